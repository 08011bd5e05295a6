//! I/O errors that say what was done to which path.

use std::{
    io,
    path::{Path, PathBuf},
};

/// An I/O error, the path it happened on and what was being done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// What was being done, as a verb: `open`, `create`, `rename`.
    pub action: &'static str,
    /// The path it was done to.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

impl PathError {
    /// The kind of the system's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// True when the disk or the user's quota is full: the remedy is space, not a retry.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Adds the path to an I/O result: `File::open(path).at("open", path)?`.
pub trait AtPath<T> {
    /// Says that the failed operation was `action` (a verb) on `path`.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> AtPath<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError> {
        self.map_err(|error| PathError {
            action,
            path: path.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
