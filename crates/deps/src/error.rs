//! What can go wrong with dependency caches, by what the caller can do about it.

use std::path::PathBuf;

use headstart_fs::PathError;
use headstart_process::ProcessError;
use headstart_store::StoreError;

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
    /// What is installed does not match the lockfile, so that saving it under the lockfile's key would be a lie.
    #[error("{cache} is not saved: {reason}")]
    Stale {
        /// The cache.
        cache: String,
        /// What does not match.
        reason: String,
    },
    /// There is nothing on disk to save.
    #[error("{cache} has nothing to save: {} does not exist", path.display())]
    NothingToSave {
        /// The cache.
        cache: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The store.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
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
