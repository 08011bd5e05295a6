//! Dependency caches: which package managers a project uses, what decides what they install, where they keep it.
//!
//! Owns: finding projects by their lockfiles, exact keys and restore keys, which paths a cache is made of, whether an
//! installed tree still matches its lockfile, and the managers' own frozen installs. Saving and restoring are
//! [`headstart_store`]'s. Knows nothing of Git, tasks or images. What every manager gets is in
//! `docs/guide/dependency-caches.md`.
//!
//! Invariants:
//! - an installed tree is restored only under a key that holds everything its install depends on;
//! - an older version is offered only where the manager completes it;
//! - files of the repository name no program, and no path outside the project and known cache folders.

mod cache;
mod config;
mod content;
mod custom;
mod error;
mod explain;
mod files;
mod find;
mod freshness;
mod host;
mod install;
mod key;
mod lockfile;
mod managers;
mod node;
mod npmrc;
mod project;
mod restore;
mod save;
mod search;
mod status;
#[cfg(test)]
mod testing;
mod tools;

pub use cache::{DependencyCache, Holds, Install, Manager, OnRestoreKey};
pub use config::{CacheConfig, DepsConfig};
pub use custom::KNOWN_ROOTS;
pub use error::DepsError;
pub use explain::{Difference, Explanation, explain};
pub use find::find_caches;
pub use host::Host;
pub use install::{InstallOutput, install};
pub use key::{InputKind, KeyInput};
pub use restore::{RestoreOutcome, RestoreSettings, ThenInstall, restore};
pub use save::{SaveOutcome, SaveSettings, save};
pub use status::{CacheStatus, InStore, OnDisk, status};
pub use tools::{KNOWN_TOOLS, ProcessTools, Tools};

pub(crate) use freshness::Freshness;

/// Where the entries of dependency caches are in a store.
pub fn namespace() -> headstart_store::Namespace {
    "deps".parse().expect("four plain letters")
}
