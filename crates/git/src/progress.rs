//! What a long operation tells about itself while it runs.

use std::time::Duration;

use crate::filter_spec::FilterSpec;

/// A part of the work. Several may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reaching the remote and listing its refs. Counts refs.
    Connect,
    /// The objects of the tip. Counts bytes.
    ReceiveTip,
    /// The files of the working tree. Counts files.
    WriteFiles,
    /// The history, as the filter asks; or everything, for a full clone. Counts bytes.
    ReceiveHistory,
    /// Looking for objects that a partial clone lacks. Counts those found.
    FindMissing,
    /// Those objects. Counts bytes.
    ReceiveMissing,
}

/// Something worth a line that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The remote has no filters; everything is fetched instead.
    FilterUnsupported {
        /// What was asked for.
        filter: FilterSpec,
    },
    /// The remote has no shallow clones; its whole history is fetched instead.
    DepthUnsupported,
    /// The remote has no commits and no refs.
    EmptyRepository,
    /// `HEAD` of the remote names a branch that does not exist, so there is nothing to check out.
    RemoteHeadMissing,
    /// The user's own `post-checkout` hook failed; the clone is whole.
    HookFailed {
        /// What it said.
        message: String,
    },
    /// A ref of the remote could not be written; `git fetch` tries again.
    RefLeft {
        /// What git said.
        message: String,
    },
    /// The commit-graph could not be written; git is slower without and no less right.
    CommitGraph {
        /// What git said.
        message: String,
    },
    /// Something failed in a way that may pass, and is tried again.
    Retrying {
        /// What failed, in one line.
        reason: String,
        /// How long is waited before.
        wait: Duration,
    },
    /// A bundle that the remote names was left; what is in it comes from the remote itself.
    BundleLeft {
        /// Where it is, as the remote has written it, without secrets.
        uri: String,
        /// Why, in one line.
        reason: String,
    },
    /// A seed was of no use; the clone goes on without it.
    SeedRefused {
        /// What it is called.
        label: String,
        /// Why.
        reason: String,
    },
    /// The sparse patterns are no cone, so nothing is left out by them.
    SparseNotCone,
    /// The remote says something, already stripped of control characters.
    Remote {
        /// One line.
        message: String,
    },
}

/// Told how far the work is. It never decides anything; calls come from several threads.
pub trait Progress: Send + Sync {
    /// `step` begins; `total` is how much will be counted, where that is known. Comes again when it is known later.
    fn start(&self, step: Step, total: Option<u64>);
    /// `amount` more of `step` is done.
    fn advance(&self, step: Step, amount: u64);
    /// `step` has ended well.
    fn finish(&self, step: Step);
    /// Something the user should see.
    fn warn(&self, warning: &Warning);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _step: Step, _total: Option<u64>) {}
    fn advance(&self, _step: Step, _amount: u64) {}
    fn finish(&self, _step: Step) {}
    fn warn(&self, _warning: &Warning) {}
}
