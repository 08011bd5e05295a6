//! Why a seed cannot be built or used.

use std::path::PathBuf;

use headstart_fs::PathError;
use headstart_process::ProcessError;

use crate::{error::CloneError, local::LocalError};

/// Why a seed cannot be built or used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The origin has no commits, or its `HEAD` names none.
    #[error("{url} has no commit to make a seed of")]
    Empty {
        /// The origin, without secrets.
        url: String,
    },
    /// The origin does not serve filters, and seeds of full clones are not made.
    #[error("a seed leaves file contents of the history at the origin, and {filter} does not")]
    Unfiltered {
        /// What was asked for, or what the origin agreed to.
        filter: String,
    },
    /// The files of a seed are not what its manifest says, or not what they have to be.
    #[error("{}: {what}", path.display())]
    Invalid {
        /// The file, or the folder it should be in.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The origin could not be cloned.
    #[error(transparent)]
    Clone(#[from] CloneError),
    /// Objects of the tip could not be fetched.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The git program failed.
    #[error(transparent)]
    Git(#[from] ProcessError),
    /// A file or folder could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl SeedError {
    pub(super) fn invalid(path: impl Into<PathBuf>, what: impl ToString) -> Self {
        SeedError::Invalid {
            path: path.into(),
            what: what.to_string(),
        }
    }

    /// The user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            SeedError::Clone(CloneError::Interrupted)
                | SeedError::Local(LocalError::Interrupted)
                | SeedError::Git(ProcessError::Interrupted { .. })
        )
    }
}
