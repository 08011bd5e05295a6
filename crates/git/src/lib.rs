//! Git: what headstart knows of repositories and how it gets them.
//!
//! Owns the protocol with remotes, filter specs, packs as they arrive, the working tree and index they become, sparse cones,
//! the clone that puts these together, and what changed between two commits wherever their objects are. The result of a clone is an ordinary repository that git accepts and continues.
//! Knows nothing of stores, and prints nothing.
//!
//! Invariants:
//! - a repository appears at its destination whole, as the last step, or not at all;
//! - what a remote sends is untrusted: bounded in memory, verified, never outside of the repository's folder;
//! - the environment (git program, variables, terminal) is what [`GitEnvironment`] says, not this process's own.

mod backfill;
mod bulk;
mod bundle;
mod changes;
mod clone;
mod commit_graph;
mod config;
mod credential;
mod environment;
mod error;
mod filter_spec;
mod local;
mod pack;
mod progress;
mod pull;
mod refs;
mod remote;
mod remote_url;
mod retry;
pub mod seed;
mod sparse;
mod transport;
mod tree_diff;
mod tree_walk;
mod worktree;

pub use backfill::{BackfillOptions, BackfillOutcome, BackfillRange, backfill};
pub use changes::{
    ChangedFile, Changes, ChangesError, ChangesOptions, CommitTree, FetchedObjects, FileStatus, NamedCommit,
    TreeEntryKind, compare,
};
pub use clone::{
    CloneOptions, CloneOutcome, CompletedHistory, History, HistoryState, SeedUse, background_log, clone,
    clone_with_seeds, complete_clone, history_state,
};
pub use environment::GitEnvironment;
pub use error::CloneError;
pub use filter_spec::{FilterSpec, ObjectType, ParseFilterSpecError};
pub use local::LocalError;
pub use progress::{Progress, Silent, Step, Warning};
pub use pull::{PullError, PullOutcome, pull};
pub use refs::Head;
pub use remote::RemoteError;
pub use remote_url::{ParseRemoteUrlError, default_directory};
pub use seed::{Seed, SeedKey, SeedSource};
