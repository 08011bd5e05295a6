//! Folders of the working tree by their paths.

use std::{collections::HashMap, sync::Arc};

use gix::bstr::{BStr, BString, ByteSlice as _};

use super::super::files::Dir;

/// The folders of paths, each once.
#[derive(Default)]
pub(super) struct Dirs {
    known: HashMap<BString, Arc<Dir>>,
}

impl Dirs {
    /// The folder of a path, and its name in there.
    pub(super) fn place<'p>(&mut self, path: &'p BStr) -> (Arc<Dir>, &'p BStr) {
        match path.rsplit_once_str("/") {
            Some((dir, name)) => (self.dir(dir.as_bstr()), name.as_bstr()),
            None => (self.dir(b"".as_bstr()), path),
        }
    }

    fn dir(&mut self, path: &BStr) -> Arc<Dir> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let dir = match path.is_empty() {
            true => Dir::root(),
            false => {
                let (above, name) = self.place(path);
                above.child(name)
            }
        };
        self.known.insert(path.to_owned(), dir.clone());
        dir
    }
}

/// The folders above a path, innermost first, the root last.
pub(super) fn above(path: &BStr) -> impl Iterator<Item = &BStr> {
    let slashes: Vec<usize> = path.rfind_iter(b"/").collect();
    slashes
        .into_iter()
        .chain([0])
        .map(move |end| path[..end].as_bstr())
}
