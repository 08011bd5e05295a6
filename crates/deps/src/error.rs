//! What can go wrong with dependency caches, by what the caller can do about it.

use std::path::PathBuf;

use headstart_fs::{PathError, RelPath};
use headstart_process::ProcessError;
use headstart_store::{RestoreError, SaveError, StoreError};

/// Why a dependency cache could not be found, saved, restored or installed.
#[derive(Debug, thiserror::Error)]
pub enum DepsError {
    /// A lockfile or a configuration file is not what its manager writes.
    #[error("{} is not understood: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is larger than any of its kind should be; it was not read.
    #[error("{} has {bytes} bytes; {limit} are the most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The folder has more entries than a search for lockfiles looks at.
    #[error("{} has more than {limit} files and folders to search", path.display())]
    TooMany {
        /// Where the search began.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// `headstart.toml` asks for what a repository may not ask.
    #[error("[[deps.cache]] {name:?} is refused: {reason}")]
    Refused {
        /// The cache's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// `disable` names nothing there is: what it was meant for would be saved and restored all the same.
    #[error("deps.disable names {name:?}, which is no cache and none of the managers {managers}")]
    DisablesNothing {
        /// The name.
        name: String,
        /// The names of all managers, for the message.
        managers: String,
    },
    /// The store holds a snapshot under the cache's key that reaches outside the cache. It was not restored.
    #[error("the snapshot for {cache} would write to {path}, which is no part of that cache")]
    Outside {
        /// The cache.
        cache: String,
        /// The path, relative to the cache's root.
        path: RelPath,
    },
    /// A tree could not be saved.
    #[error("the cache was not saved")]
    Save(#[source] SaveError),
    /// A tree could not be restored.
    #[error("the cache was not restored")]
    Restore(#[source] RestoreError),
    /// The store.
    #[error("the store did not answer")]
    Store(#[source] StoreError),
    /// The manager's own install failed.
    #[error("the install of {} failed", project.display())]
    Install {
        /// The folder it ran in.
        project: PathBuf,
        /// What it said.
        source: ProcessError,
    },
    /// The local file system.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl DepsError {
    /// True when the store is to blame: the caller may go on as after a miss, for nothing was touched.
    pub fn is_like_a_miss(&self) -> bool {
        match self {
            DepsError::Store(error) => !matches!(error, StoreError::Io(_)),
            DepsError::Restore(error) => error.is_like_a_miss(),
            DepsError::Outside { .. } => true,
            _ => false,
        }
    }
}

impl From<StoreError> for DepsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => DepsError::Interrupted,
            error => DepsError::Store(error),
        }
    }
}

impl From<SaveError> for DepsError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Interrupted => DepsError::Interrupted,
            error => DepsError::Save(error),
        }
    }
}

impl From<RestoreError> for DepsError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Interrupted => DepsError::Interrupted,
            error => DepsError::Restore(error),
        }
    }
}
