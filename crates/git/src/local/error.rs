//! Why something could not be done with a repository, by what the caller can do about it.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use headstart_fs::PathError;
use headstart_process::ProcessError;

use crate::{
    error::CloneError,
    pack::PackError,
    remote::RemoteError,
    remote_url::ParseRemoteUrlError,
    retry::{Hope, Transient},
};

/// Why something could not be done with an existing repository. It is as valid as it was before.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There is no repository.
    #[error("{} is not in a git repository", folder.display())]
    NoRepository {
        /// Where one was looked for.
        folder: PathBuf,
    },
    /// Its objects are named by another hash than SHA-1.
    #[error("{} uses {format} object names, which are not supported", path.display())]
    UnsupportedObjectFormat {
        /// The git directory.
        path: PathBuf,
        /// The name of the hash.
        format: String,
    },
    /// It has no remote to fetch from.
    #[error("{} has no remote", path.display())]
    NoRemote {
        /// The git directory.
        path: PathBuf,
    },
    /// Another process completes its history right now.
    #[error("another process is fetching the history of {}", path.display())]
    Busy {
        /// The git directory.
        path: PathBuf,
    },
    /// The URL of its remote cannot be used.
    #[error(transparent)]
    Url(#[from] ParseRemoteUrlError),
    /// A value of its configuration cannot be used.
    #[error("the setting {key} cannot be used")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It cannot be read: the configuration or a file of git's is wrong.
    #[error("cannot read the repository {}", path.display())]
    Repository {
        /// The git directory, or the file in it.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An object in it cannot be used.
    #[error("object {id} of this repository cannot be used")]
    Object {
        /// Its name.
        id: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A path does not lie in the working tree.
    #[error("{} is outside of the working tree", path.display())]
    OutsideWorktree {
        /// As it was given.
        path: PathBuf,
    },
    /// A path is not in the checked-out commit.
    #[error("there is no file {path} in HEAD")]
    NoSuchPath {
        /// From the root of the working tree.
        path: bstr::BString,
    },
    /// The remote did not give what was asked for; the error says whether trying again may help.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What the remote sent is no valid pack.
    #[error("{url} sent a pack that cannot be used")]
    CorruptPack {
        /// The remote.
        url: String,
        /// What is wrong with it.
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

impl LocalError {
    /// Whether the same may work when tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, LocalError::Remote(error) if error.is_retryable())
    }

    pub(crate) fn object(id: gix::ObjectId, what: &'static str) -> Self {
        LocalError::Object {
            id: id.to_string(),
            source: what.into(),
        }
    }

    /// Git could not say what repository `folder` is in.
    pub(super) fn no_repository(folder: &Path, error: ProcessError) -> Self {
        match error {
            ProcessError::Failed { status, .. } if status.code() == Some(128) => LocalError::NoRepository {
                folder: folder.to_owned(),
            },
            error => error.into(),
        }
    }

    /// What receiving a pack from `url` ran into.
    pub(super) fn from_pack(url: &str, error: PackError) -> Self {
        match CloneError::from_pack(url, error) {
            CloneError::Remote(error) => error.into(),
            CloneError::CorruptPack { url, source } => LocalError::CorruptPack { url, source },
            CloneError::DiskFull(error) => LocalError::DiskFull(error),
            CloneError::Io(error) => LocalError::Io(error),
            CloneError::Interrupted => LocalError::Interrupted,
            error => LocalError::CorruptPack {
                url: url.to_owned(),
                source: error.into(),
            },
        }
    }
}

impl Transient for LocalError {
    fn hope(&self) -> Hope {
        match self {
            LocalError::Remote(error) => error.hope(),
            LocalError::CorruptPack { .. } => Hope::Once,
            _ => Hope::None,
        }
    }
}

impl From<ProcessError> for LocalError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Interrupted { .. } => LocalError::Interrupted,
            error => LocalError::Git(error),
        }
    }
}
