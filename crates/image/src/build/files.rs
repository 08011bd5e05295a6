//! Layers of files: of a folder on disk, whole or by a list.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use headstart_fs::AtPath as _;

use super::{layer::LayerWriter, proof::IMPLIED};
use crate::{
    EntryKind, ImageError, Tree, interrupt,
    layer::{WHITEOUT, clean_path, split_last},
    tar::{Entry, Kind},
};

/// What times new entries get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Those their files have.
    Keep,
    /// This one: seconds since 1970.
    Fixed(i64),
}

/// What files of the disk are in an image: their owner there means nothing elsewhere, nor do bits that a umask changes.
#[derive(Debug, Clone, Copy)]
pub struct FileStyle {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Times.
    pub times: Times,
}

/// Files of a folder on disk.
#[derive(Debug, Clone)]
pub struct FileLayer {
    /// The folder.
    pub from: PathBuf,
    /// Where it is in the image.
    pub to: PathBuf,
    /// Paths in the folder that are meant, folders with all they hold; everything when there is no list.
    pub listed: Option<Vec<Vec<u8>>>,
}

impl FileLayer {
    /// Looks at the files; their bytes are read when they are written.
    pub(super) fn list(&self, interrupt: &AtomicBool) -> Result<FileSet<PathBuf>, ImageError> {
        let mut files = FileSet::default();
        match &self.listed {
            None => self.add(&mut files, b"", interrupt)?,
            Some(listed) => {
                for path in listed {
                    let path = clean(path)?;
                    self.check_parents(&path)?;
                    self.add(&mut files, &path, interrupt)?;
                }
            }
        }
        Ok(files)
    }

    /// Refuses to take in `output`, a folder that an image is to be written to: it need not be there yet.
    pub fn check_apart(&self, output: &Path) -> Result<(), ImageError> {
        let output = real_path(output)?;
        let everything = [Vec::new()];
        for path in self.listed.as_deref().unwrap_or(&everything) {
            let path = clean(path)?;
            let on_disk = self.on_disk(&path);
            // A link is taken as such, but for the folder itself.
            let is_link = !path.is_empty() && on_disk.is_symlink();
            if !is_link && output.starts_with(real_path(&on_disk)?) {
                let reason = format!(
                    "it holds {}, where the image is written; write elsewhere, or list the files that are meant",
                    output.display()
                );
                return Err(ImageError::unsupported(on_disk.display().to_string(), reason));
            }
        }
        Ok(())
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        match path.is_empty() {
            true => self.from.clone(),
            false => self.from.join(OsStr::from_bytes(path)),
        }
    }

    /// A file below a link is elsewhere: the link and the file's own path are to be listed.
    fn check_parents(&self, path: &[u8]) -> Result<(), ImageError> {
        let mut folder = split_last(path).0;
        while !folder.is_empty() {
            let on_disk = self.from.join(OsStr::from_bytes(folder));
            if fs::symlink_metadata(&on_disk)
                .at("look at", &on_disk)?
                .is_symlink()
            {
                let what = String::from_utf8_lossy(path).into_owned();
                let reason = format!(
                    "{} is a link; list it, and what it leads to by its own path",
                    on_disk.display()
                );
                return Err(ImageError::unsupported(what, reason));
            }
            folder = split_last(folder).0;
        }
        Ok(())
    }

    /// Adds a path of the folder, and all below it.
    fn add(
        &self,
        files: &mut FileSet<PathBuf>,
        path: &[u8],
        interrupt: &AtomicBool,
    ) -> Result<(), ImageError> {
        let mut stack = vec![path.to_vec()];
        while let Some(path) = stack.pop() {
            interrupt::check(interrupt)?;
            let on_disk = self.on_disk(&path);
            let metadata = match path.is_empty() {
                true => fs::metadata(&on_disk),
                false => fs::symlink_metadata(&on_disk),
            };
            let metadata = metadata.at("look at", &on_disk)?;
            let mtime = (metadata.mtime(), metadata.mtime_nsec() as u32);
            let kind = if metadata.is_dir() {
                for entry in fs::read_dir(&on_disk).at("list", &on_disk)? {
                    let name = entry.at("list", &on_disk)?.file_name();
                    stack.push(join(&path, name.as_bytes()));
                }
                ItemKind::Folder
            } else if metadata.is_symlink() {
                let target = fs::read_link(&on_disk).at("read the link", &on_disk)?;
                ItemKind::Symlink(target.into_os_string().into_vec())
            } else if metadata.is_file() {
                ItemKind::File {
                    size_bytes: metadata.len(),
                    is_executable: metadata.mode() & 0o111 != 0,
                    body: on_disk,
                }
            } else {
                let reason = "it is no file, folder or link";
                return Err(ImageError::unsupported(on_disk.display().to_string(), reason));
            };
            let to = clean(self.to.as_os_str().as_bytes())?;
            files.insert(join(&to, &path), Item { kind, mtime });
        }
        Ok(())
    }
}

/// A path without links, as far as it is there.
fn real_path(path: &Path) -> Result<PathBuf, ImageError> {
    let absolute = std::path::absolute(path).at("find", path)?;
    let real = absolute.ancestors().find_map(|folder| {
        let rest = absolute.strip_prefix(folder).ok()?;
        Some(fs::canonicalize(folder).ok()?.join(rest))
    });
    Ok(real.unwrap_or(absolute))
}

/// Opens a file of the disk.
pub(super) fn open_file(path: &PathBuf) -> Result<Box<dyn Read>, ImageError> {
    Ok(Box::new(File::open(path).at("open", path)?))
}

/// Files by their path in the image. `B` leads to their bytes.
#[derive(Debug)]
pub(crate) struct FileSet<B> {
    items: BTreeMap<Vec<u8>, Item<B>>,
}

#[derive(Debug)]
pub(crate) struct Item<B> {
    pub(crate) kind: ItemKind<B>,
    pub(crate) mtime: (i64, u32),
}

#[derive(Debug)]
pub(crate) enum ItemKind<B> {
    Folder,
    Symlink(Vec<u8>),
    File {
        size_bytes: u64,
        is_executable: bool,
        body: B,
    },
}

impl<B> Default for FileSet<B> {
    fn default() -> Self {
        FileSet {
            items: BTreeMap::new(),
        }
    }
}

impl<B> FileSet<B> {
    pub(crate) fn insert(&mut self, path: Vec<u8>, item: Item<B>) {
        self.items.insert(path, item);
    }

    /// Writes the files, sorted, and the folders they are in. A folder that the layers `below` have stays what it is.
    pub(crate) fn write(
        mut self,
        writer: &mut LayerWriter<'_>,
        below: &Tree<'_>,
        style: FileStyle,
        open: impl Fn(&B) -> Result<Box<dyn Read>, ImageError>,
    ) -> Result<(), ImageError> {
        self.add_parents()?;
        // The root is there, and not ours to change.
        self.items.remove(&b""[..]);
        for (path, item) in self.items {
            check_name(&path)?;
            let mut entry = Entry {
                path,
                kind: Kind::Folder,
                mode: 0o755,
                uid: style.uid,
                gid: style.gid,
                mtime: match style.times {
                    Times::Keep => item.mtime,
                    Times::Fixed(seconds) => (seconds, 0),
                },
                xattrs: Vec::new(),
            };
            match item.kind {
                ItemKind::Folder => {
                    keep_folder(&mut entry, below)?;
                    writer.add(&entry, io::empty())?;
                }
                ItemKind::Symlink(_) | ItemKind::File { .. } if is_folder(&entry.path, below) => {
                    let reason =
                        "the layers below have a folder there, which it would hide with all it holds";
                    return Err(refuse(&entry.path, reason));
                }
                ItemKind::Symlink(target) => {
                    (entry.kind, entry.mode) = (Kind::Symlink(target), 0o777);
                    writer.add(&entry, io::empty())?;
                }
                ItemKind::File {
                    size_bytes,
                    is_executable,
                    body,
                } => {
                    entry.kind = Kind::File {
                        size_bytes,
                        hole_bytes: 0,
                    };
                    entry.mode = if is_executable { 0o755 } else { 0o644 };
                    writer.add(&entry, open(&body)?)?;
                }
            }
        }
        Ok(())
    }

    fn add_parents(&mut self) -> Result<(), ImageError> {
        let paths: Vec<_> = self.items.keys().cloned().collect();
        for path in paths {
            let mut folder = split_last(&path).0;
            while !folder.is_empty() {
                match self.items.get(folder).map(|item| &item.kind) {
                    None => {}
                    Some(ItemKind::Folder) => break,
                    Some(_) => return Err(refuse(folder, "another file would have to be below it")),
                }
                let item = Item {
                    kind: ItemKind::Folder,
                    mtime: (0, 0),
                };
                self.items.insert(folder.to_vec(), item);
                folder = split_last(folder).0;
            }
        }
        Ok(())
    }
}

/// Names that layers give to what they hide would hide something, or vanish.
fn check_name(path: &[u8]) -> Result<(), ImageError> {
    match split_last(path).1.starts_with(WHITEOUT) {
        true => Err(refuse(
            path,
            "images mark by such a name that something is hidden",
        )),
        false => Ok(()),
    }
}

fn is_folder(path: &[u8], below: &Tree<'_>) -> bool {
    let node = below.find(path).map(|id| below.node(id));
    node.is_some_and(|node| matches!(node.kind, EntryKind::Folder))
}

fn refuse(path: &[u8], reason: impl Into<String>) -> ImageError {
    ImageError::unsupported(String::from_utf8_lossy(path), reason)
}

fn keep_folder(entry: &mut Entry, below: &Tree<'_>) -> Result<(), ImageError> {
    let Some(node) = below.find(&entry.path).map(|id| below.node(id)) else {
        return Ok(());
    };
    match node.kind {
        EntryKind::Folder => {
            let meta = node.meta.unwrap_or(IMPLIED);
            if meta.attributes.is_some() {
                let reason = "the base has a folder there with extended attributes, which would be lost";
                return Err(refuse(&entry.path, reason));
            }
            (entry.mode, entry.uid, entry.gid) = (meta.mode, meta.uid, meta.gid);
            entry.mtime = (meta.mtime_seconds, meta.mtime_nanoseconds);
            Ok(())
        }
        EntryKind::Symlink { target } => {
            let reason = format!(
                "the base has a link there, to {}; name the folder it leads to",
                String::from_utf8_lossy(target)
            );
            Err(refuse(&entry.path, reason))
        }
        _ => Ok(()),
    }
}

pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, ImageError> {
    let clean = clean_path(path).map_err(|problem| {
        let what = String::from_utf8_lossy(path).into_owned();
        ImageError::unsupported(what, problem.to_string())
    })?;
    Ok(clean.into_owned())
}

pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", name) => name.to_vec(),
        (folder, b"") => folder.to_vec(),
        (folder, name) => [folder, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_folder_of_another() {
        let file = || Item {
            kind: ItemKind::File {
                size_bytes: 0,
                is_executable: false,
                body: (),
            },
            mtime: (0, 0),
        };
        for path in ["a/x", "a/b/c"] {
            let mut files = FileSet::default();
            files.insert(b"a".to_vec(), file());
            files.insert(path.into(), file());
            let error = files.add_parents().unwrap_err();
            assert!(error.to_string().starts_with("a: "), "{error}");
        }
        let mut files = FileSet::default();
        files.insert(b"a/b/c".to_vec(), file());
        files.insert(b"a/b-c".to_vec(), file());
        files.add_parents().unwrap();
        assert_eq!(files.items.len(), 4);
    }
}
