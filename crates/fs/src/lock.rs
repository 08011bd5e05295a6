//! Advisory file locks, released by the system when the process ends however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use crate::{AtPath, PathError};

/// An exclusive or shared lock on a file, held until dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
    path: PathBuf,
}

impl FileLock {
    /// Waits for the exclusive lock on `path`, creating the file.
    pub fn exclusive(path: impl Into<PathBuf>) -> Result<Self, PathError> {
        let path = path.into();
        let file = open(&path)?;
        file.lock().at("lock", &path)?;
        Ok(FileLock { _file: file, path })
    }

    /// Waits for the shared lock on `path`, creating the file.
    pub fn shared(path: impl Into<PathBuf>) -> Result<Self, PathError> {
        let path = path.into();
        let file = open(&path)?;
        file.lock_shared().at("lock", &path)?;
        Ok(FileLock { _file: file, path })
    }

    /// Takes the exclusive lock on `path` if nobody holds any lock on it, creating the file.
    pub fn try_exclusive(path: impl Into<PathBuf>) -> Result<Option<Self>, PathError> {
        let path = path.into();
        Self::try_lock(open(&path)?, path)
    }

    /// The same of a file that is there, and that may be somebody else's: reading it is enough.
    pub fn try_exclusive_existing(path: impl Into<PathBuf>) -> Result<Option<Self>, PathError> {
        let path = path.into();
        Self::try_lock(File::open(&path).at("open", &path)?, path)
    }

    fn try_lock(file: File, path: PathBuf) -> Result<Option<Self>, PathError> {
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock { _file: file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &path),
        }
    }

    /// The locked file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> Result<File, PathError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .at("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::try_exclusive(&path).unwrap().expect("nobody holds it");
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        let read_only = FileLock::try_exclusive_existing(&path)
            .unwrap()
            .expect("nobody holds it");
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(read_only);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
    }
}
