//! Projects: the parts of a repository, and which of them a change affects.
//!
//! Owns: finding projects (workspaces of npm, Yarn and pnpm, Cargo workspaces, folders named in `headstart.toml`), what they depend on,
//! whose a file is, and following dependents. Knows nothing of Git: the files come through a [`SourceTree`], so that they can be those of
//! a commit or of a working tree. What counts as what is in `docs/guide/affected.md`.
//!
//! Invariants:
//! - manifests come with a clone and are not trusted: bounded, never executed, never followed out of the tree;
//! - what cannot be understood never makes the affected set smaller.

mod affected;
mod cargo;
mod config;
mod discover;
mod error;
mod global;
mod npm;
mod pattern;
mod project;
mod source;
#[cfg(test)]
mod testing;

pub use affected::{Affected, AffectedProject};
pub use config::{AffectedConfig, ProjectConfig, TasksConfig};
pub use discover::{DiscoverWarning, Discovered, discover};
pub use error::TasksError;
pub use project::{Project, ProjectKind, Projects};
pub use source::{EntryKind, SourceError, SourceTree, WorkingTree};
