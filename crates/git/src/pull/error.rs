//! Why a pull did not come to its end, by what the caller can do about it.

use std::path::PathBuf;

use bstr::BString;
use headstart_process::ProcessError;

use crate::{
    local::LocalError,
    worktree::{ChangesError, WorktreeError},
};

/// Why a pull did not come to its end. Branch, index and files are as they were, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The repository, or its remote, cannot be used.
    #[error(transparent)]
    Local(LocalError),
    /// The repository has no working tree.
    #[error("{} has no working tree", path.display())]
    Bare {
        /// The git directory.
        path: PathBuf,
    },
    /// No branch is checked out.
    #[error("HEAD is detached: there is no branch to pull into")]
    Detached,
    /// The branch follows no branch of a remote.
    #[error("the branch {branch} follows no branch of a remote")]
    NoUpstream {
        /// The short name of the branch.
        branch: BString,
    },
    /// The remote no longer has the branch that this one follows.
    #[error("the remote {remote} has no {name}, which the branch {branch} follows")]
    UpstreamGone {
        /// The short name of the branch.
        branch: BString,
        /// The remote.
        remote: BString,
        /// The full name of the branch at the remote.
        name: BString,
    },
    /// The branch has commits that its upstream has not. Refs of the remote are up to date.
    #[error("the branch {branch} cannot be fast-forwarded: it and {upstream} have diverged")]
    Diverged {
        /// The short name of the branch.
        branch: BString,
        /// The upstream, for people.
        upstream: BString,
    },
    /// A ref of the remote was set to something that is not its continuation, and the refspec does not allow it.
    #[error("{name} was rewritten at the remote, and its refspec does not say that this is fine")]
    Rewritten {
        /// The full name of the ref here.
        name: BString,
    },
    /// What was sent does not connect to what is here.
    #[error("the history that the remote {remote} sent has holes")]
    Disconnected {
        /// The remote.
        remote: BString,
        /// What git found.
        source: ProcessError,
    },
    /// Git refuses to update the working tree: local changes or untracked files are in the way. Refs of the remote are up to
    /// date.
    #[error("the working tree cannot be updated: {said}")]
    InTheWay {
        /// Git's own words.
        said: String,
    },
    /// Another program changed the index while files were written; the branch is as it was. The next pull goes on.
    #[error("another program changed the index meanwhile")]
    IndexChanged,
    /// Files could not be written. Some may be those of the new commit already; the next pull goes on.
    #[error("cannot update the working tree")]
    Worktree {
        /// What went wrong, and with which file.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user asked to stop. As with [`PullError::Worktree`], some files may be new.
    #[error("interrupted")]
    Interrupted,
}

impl PullError {
    /// Whether the same may work when tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            PullError::Local(error) => error.is_retryable(),
            PullError::IndexChanged => true,
            _ => false,
        }
    }
}

impl<E: Into<LocalError>> From<E> for PullError {
    fn from(error: E) -> Self {
        match error.into() {
            LocalError::Interrupted => PullError::Interrupted,
            error => PullError::Local(error),
        }
    }
}

impl From<WorktreeError> for PullError {
    fn from(error: WorktreeError) -> Self {
        match error {
            WorktreeError::Interrupted => PullError::Interrupted,
            WorktreeError::IndexChanged => PullError::IndexChanged,
            WorktreeError::Io(error) => LocalError::from(error).into(),
            error => PullError::Worktree { source: error.into() },
        }
    }
}

impl From<ChangesError> for PullError {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Local(error) => error.into(),
            ChangesError::Worktree(error) => error.into(),
        }
    }
}
