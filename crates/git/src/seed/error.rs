//! Why a seed cannot be built or used.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

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
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl SeedError {
    pub(super) fn invalid(path: impl Into<PathBuf>, what: impl ToString) -> Self {
        SeedError::Invalid {
            path: path.into(),
            what: what.to_string(),
        }
    }

    /// What reading a file of a seed has run into: the file is wrong, unless the system says that it cannot be read.
    pub(super) fn reading(path: &Path, error: &(dyn Error + 'static)) -> Self {
        match answer_of_system(error) {
            Some(source) => SeedError::Io(PathError {
                action: "read",
                path: path.to_owned(),
                source,
            }),
            None => SeedError::invalid(path, error),
        }
    }

    /// The user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            SeedError::Interrupted
                | SeedError::Clone(CloneError::Interrupted)
                | SeedError::Local(LocalError::Interrupted)
                | SeedError::Git(ProcessError::Interrupted { .. })
        )
    }
}

/// What the system has answered, if that is what an error is about: too many open files, say, and not wrong bytes.
pub(crate) fn answer_of_system(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wrong_bytes_are_the_seeds_fault() {
        let path = Path::new("pack");
        let full = CloneError::Worktree {
            source: io::Error::from_raw_os_error(24).into(),
        };
        assert!(matches!(SeedError::reading(path, &full), SeedError::Io(_)));
        let wrong = CloneError::Worktree {
            source: io::Error::other("a bad header").into(),
        };
        assert!(matches!(
            SeedError::reading(path, &wrong),
            SeedError::Invalid { .. }
        ));
    }
}
