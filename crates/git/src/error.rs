//! Why a clone failed, by what the caller can do about it.

use std::{error::Error, path::PathBuf};

use bstr::BString;
use headstart_fs::PathError;
use headstart_process::ProcessError;

use crate::{
    pack::PackError,
    remote::RemoteError,
    remote_url::ParseRemoteUrlError,
    retry::{Hope, Transient},
    worktree::WorktreeError,
};

/// Why a clone failed. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] ParseRemoteUrlError),
    /// The destination is there and not an empty folder.
    #[error("destination {} already exists and is not an empty folder", path.display())]
    DestinationExists {
        /// The destination.
        path: PathBuf,
    },
    /// The remote did not give what was asked for; the error says whether trying again may help.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The remote has no such branch or tag.
    #[error("{url} has no branch or tag {branch:?}")]
    NoSuchBranch {
        /// The remote.
        url: String,
        /// What was asked for.
        branch: BString,
    },
    /// What the remote sent is no valid pack: the repository there is damaged, or the transfer was tampered with.
    #[error("{url} sent a pack that cannot be used")]
    CorruptPack {
        /// The remote.
        url: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The commit cannot be checked out.
    #[error("cannot write the working tree")]
    Worktree {
        /// What is wrong with it, and where.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The repository that was made cannot be read back: its configuration, perhaps from a template, is wrong.
    #[error("cannot open the new repository")]
    Repository {
        /// What is wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk or quota is full.
    #[error("the disk is full")]
    DiskFull(#[source] PathError),
    /// A file or folder could not be read or written.
    #[error(transparent)]
    Io(PathError),
    /// The git program failed.
    #[error(transparent)]
    Git(ProcessError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl CloneError {
    /// Whether the same may work when tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CloneError::Remote(error) if error.is_retryable())
    }

    /// What receiving a pack from `url` ran into.
    pub(crate) fn from_pack(url: &str, error: PackError) -> Self {
        match error {
            PackError::Read(source) => RemoteError::HungUp {
                url: url.to_owned(),
                said: None,
                source: Some(source),
            }
            .into(),
            PackError::Truncated => RemoteError::HungUp {
                url: url.to_owned(),
                said: None,
                source: None,
            }
            .into(),
            PackError::Io(error) => error.into(),
            PackError::Interrupted => CloneError::Interrupted,
            PackError::Sink(source) => match source.downcast::<WorktreeError>() {
                Ok(error) => (*error).into(),
                Err(source) => CloneError::Worktree { source },
            },
            error => CloneError::CorruptPack {
                url: url.to_owned(),
                source: error.into(),
            },
        }
    }
}

impl Transient for CloneError {
    fn hope(&self) -> Hope {
        match self {
            CloneError::Remote(error) => error.hope(),
            // A bit that tipped on the way, perhaps.
            CloneError::CorruptPack { .. } => Hope::Once,
            _ => Hope::None,
        }
    }
}

impl From<WorktreeError> for CloneError {
    fn from(error: WorktreeError) -> Self {
        match error {
            WorktreeError::Io(error) => error.into(),
            WorktreeError::Interrupted => CloneError::Interrupted,
            error => CloneError::Worktree { source: error.into() },
        }
    }
}

impl From<PathError> for CloneError {
    fn from(error: PathError) -> Self {
        match error.is_disk_full() {
            true => CloneError::DiskFull(error),
            false => CloneError::Io(error),
        }
    }
}

impl From<ProcessError> for CloneError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Interrupted { .. } => CloneError::Interrupted,
            error => CloneError::Git(error),
        }
    }
}
