//! Where files are read from.

use std::{
    error::Error,
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use bstr::BString;
use headstart_fs::{AtPath as _, RelPath};

/// The largest manifest that is read.
const MOST_FILE_BYTES: u64 = 16 << 20;

/// What a source of files ran into, in its own words.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// A tree of files. Everything is asked for in batches, since a source may have to fetch.
pub trait SourceTree {
    /// The entries of folders, in the order asked for; what is no folder has none.
    fn list(&mut self, folders: &[RelPath]) -> Result<Vec<Vec<(BString, EntryKind)>>, SourceError>;

    /// The content of regular files, in the order asked for; `None` for what is none. A file of many megabytes is an error.
    fn read(&mut self, files: &[RelPath]) -> Result<Vec<Option<Vec<u8>>>, SourceError>;
}

/// The files on disk below a folder. Symlinks are not followed.
#[derive(Debug, Clone)]
pub struct WorkingTree {
    root: PathBuf,
}

impl WorkingTree {
    /// The files below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        WorkingTree { root: root.into() }
    }

    /// Whether a symlink is in the way to `path`.
    fn is_behind_a_link(&self, path: &RelPath) -> bool {
        let mut at = self.root.clone();
        path.components().any(|component| {
            at.push(
                RelPath::parse(component)
                    .expect("a component of a path")
                    .as_path(),
            );
            at.is_symlink()
        })
    }

    fn list_one(&self, folder: &RelPath) -> Result<Vec<(BString, EntryKind)>, SourceError> {
        use std::os::unix::ffi::OsStringExt as _;
        let path = folder.join_to(&self.root);
        if self.is_behind_a_link(folder) {
            return Ok(Vec::new());
        }
        let entries = match fs::read_dir(&path) {
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            entries => entries.at("list", &path)?,
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &path)?;
            let kind = match entry.file_type().at("look at", entry.path())?.is_dir() {
                true => EntryKind::Folder,
                false => EntryKind::Other,
            };
            list.push((entry.file_name().into_vec().into(), kind));
        }
        list.sort();
        Ok(list)
    }

    fn read_one(&self, file: &RelPath) -> Result<Option<Vec<u8>>, SourceError> {
        let path = file.join_to(&self.root);
        if self.is_behind_a_link(file) {
            return Ok(None);
        }
        let metadata = match fs::metadata(&path) {
            Err(error) if is_absence(&error) => return Ok(None),
            metadata => metadata.at("look at", &path)?,
        };
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes))
            .at("read", &path)?;
        match bytes.len() as u64 > MOST_FILE_BYTES {
            true => Err(format!("{} has more than {MOST_FILE_BYTES} bytes", path.display()).into()),
            false => Ok(Some(bytes)),
        }
    }
}

impl SourceTree for WorkingTree {
    fn list(&mut self, folders: &[RelPath]) -> Result<Vec<Vec<(BString, EntryKind)>>, SourceError> {
        folders.iter().map(|folder| self.list_one(folder)).collect()
    }

    fn read(&mut self, files: &[RelPath]) -> Result<Vec<Option<Vec<u8>>>, SourceError> {
        files.iter().map(|file| self.read_one(file)).collect()
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = |text: &str| RelPath::parse(text).unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        fs::create_dir_all(dir.path().join("root/real")).unwrap();
        fs::write(dir.path().join("outside/file"), "secret").unwrap();
        fs::write(dir.path().join("root/real/file"), "text").unwrap();
        symlink("../outside", dir.path().join("root/link")).unwrap();
        symlink("real/file", dir.path().join("root/file-link")).unwrap();
        let mut tree = WorkingTree::new(dir.path().join("root"));
        let read = tree
            .read(&["real/file", "link/file", "file-link", "real", "none"].map(path))
            .unwrap();
        assert_eq!(read, [Some(b"text".to_vec()), None, None, None, None]);
        let listed = tree.list(&["", "link", "real"].map(path)).unwrap();
        let names = |list: &[(BString, EntryKind)]| {
            list.iter()
                .map(|(name, kind)| format!("{name} {kind:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&listed[0]),
            ["file-link Other", "link Other", "real Folder"]
        );
        assert_eq!(names(&listed[1]), [""; 0]);
        assert_eq!(names(&listed[2]), ["file Other"]);
    }
}
