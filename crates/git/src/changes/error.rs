//! Why changes are not known, by what the caller can do about it.

use bstr::BString;
use gix::ObjectId;
use headstart_fs::PathError;
use headstart_process::ProcessError;

use super::NamedCommit;
use crate::{local::LocalError, remote::RemoteError};

/// Why it is not known what changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The repository or its remote.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A revision names no commit, neither here nor at the remote.
    #[error("{name} names no commit")]
    UnknownRevision {
        /// The revision.
        name: BString,
        /// The remote that was asked too.
        remote: Option<String>,
    },
    /// There is nothing to compare with: the remote says no default branch, or there is no remote.
    #[error("the repository has no default branch of a remote to compare with")]
    NoDefaultBase,
    /// The two have no common history.
    #[error("{} ({}) and {} ({}) have no commit in common", base.name, base.id, head.name, head.id)]
    NoMergeBase {
        /// What was compared with.
        base: NamedCommit,
        /// Whose changes were looked for.
        head: NamedCommit,
    },
    /// History is missing that the remote cannot send in parts.
    #[error("{url} cannot deepen a shallow clone")]
    CannotDeepen {
        /// The remote.
        url: String,
    },
    /// An object is missing that the remote was asked for and did not send.
    #[error("{url} did not send the object {id}")]
    NotSent {
        /// The remote.
        url: String,
        /// The object.
        id: ObjectId,
    },
    /// An object is not what it should be.
    #[error("the object {id} cannot be used: {reason}")]
    Corrupt {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        reason: String,
    },
    /// More files differ than are taken.
    #[error("more than {limit} files differ")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A file is larger than any of its kind should be; it was not read.
    #[error("{path} has {bytes} bytes; {limit} are the most")]
    TooLarge {
        /// The file.
        path: headstart_fs::RelPath,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Changes that are in no commit were asked for where there are no files.
    #[error("a bare repository has no uncommitted changes")]
    NoWorkingTree,
}

impl ChangesError {
    pub(super) fn corrupt(id: ObjectId, reason: impl ToString) -> Self {
        ChangesError::Corrupt {
            id,
            reason: reason.to_string(),
        }
    }

    /// Whether the same may work when tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ChangesError::Local(error) if error.is_retryable())
    }
}

impl From<RemoteError> for ChangesError {
    fn from(error: RemoteError) -> Self {
        ChangesError::Local(error.into())
    }
}

impl From<ProcessError> for ChangesError {
    fn from(error: ProcessError) -> Self {
        ChangesError::Local(error.into())
    }
}

impl From<PathError> for ChangesError {
    fn from(error: PathError) -> Self {
        ChangesError::Local(error.into())
    }
}
