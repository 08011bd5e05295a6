//! Trees for tests.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use headstart_fs::RelPath;

use crate::source::{EntryKind, SourceError, SourceTree};

/// Files in memory.
pub(crate) struct Files(BTreeMap<RelPath, String>);

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let parse = |path: &str| RelPath::parse(path).unwrap();
        let files = files.iter().map(|(path, text)| (parse(path), (*text).to_owned()));
        Files(files.collect())
    }
}

impl SourceTree for Files {
    fn list(&mut self, folders: &[RelPath]) -> Result<Vec<Vec<(BString, EntryKind)>>, SourceError> {
        let list = |folder: &RelPath| {
            let depth = folder.components().count();
            let inside = self.0.keys().filter(|path| path.starts_with(folder));
            let entries: BTreeSet<(BString, EntryKind)> = inside
                .filter_map(|path| {
                    let name = path.components().nth(depth)?;
                    let kind = match path.components().nth(depth + 1) {
                        Some(_) => EntryKind::Folder,
                        None => EntryKind::Other,
                    };
                    Some((name.into(), kind))
                })
                .collect();
            entries.into_iter().collect()
        };
        Ok(folders.iter().map(list).collect())
    }

    fn read(&mut self, files: &[RelPath]) -> Result<Vec<Option<Vec<u8>>>, SourceError> {
        let read = |file: &RelPath| self.0.get(file).map(|text| text.clone().into_bytes());
        Ok(files.iter().map(read).collect())
    }
}
