//! What can go wrong with projects, by what the caller can do about it.

use headstart_fs::RelPath;

use crate::source::SourceError;

/// Why projects are not known.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The manifest of a workspace, on which everything else rests, is not what its package manager reads.
    #[error("{path} is not understood: {reason}")]
    Malformed {
        /// The file.
        path: RelPath,
        /// What is wrong with it.
        reason: String,
    },
    /// `headstart.toml` asks for what there is not.
    #[error("headstart.toml: {key}: {reason}")]
    Config {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The patterns of a workspace lead through more folders than are looked at.
    #[error("the workspace patterns of {path} lead through more than {limit} folders")]
    TooMany {
        /// The manifest with the patterns.
        path: RelPath,
        /// The limit.
        limit: usize,
    },
    /// The files could not be read.
    #[error("the files of the projects cannot be read")]
    Source(#[source] SourceError),
}
