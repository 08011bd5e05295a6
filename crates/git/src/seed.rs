//! Seeds: clones prepared in advance, and what a clone takes from them.
//!
//! Owns what a seed is made of (`docs/design/seeds.md`), how one is built, checked and found in a repository that is here
//! already, and the name it goes by. Where seeds are kept is the caller's business: see [`SeedSource`].
//!
//! Invariants:
//! - a seed saves time and decides nothing: refs, settings and the commit that is checked out come from the origin;
//! - what a seed claims about its files is checked before any of them is used;
//! - packs are linked or copied, never shared through alternates: a clone needs no seed once it is made.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

mod ancestry;
mod build;
mod check;
mod commit_graph;
mod commits;
mod error;
mod history_packs;
mod key;
mod link;
mod manifest;
mod neighbour;
mod tip_packs;

pub use build::{BuildOptions, BuiltSeed, build_seed};
pub(crate) use check::PackOrder;
pub use check::{check_history, check_objects, check_tip};
pub use error::SeedError;
pub(crate) use error::answer_of_system;
pub use key::SeedKey;
pub(crate) use link::{LinkedPart, link_part};
pub use manifest::{SeedManifest, SeedPack, SeedRef};
pub use neighbour::find_in_repository;

/// The file that describes a seed, in the folder of its tip.
pub const MANIFEST_FILE: &str = "seed.json";

/// A seed of which the tip is on this machine.
#[derive(Debug, Clone)]
pub struct Seed {
    /// What it is called in messages.
    pub label: String,
    /// What it has.
    pub manifest: SeedManifest,
    /// The packs with the tip's objects; for a repository, all it has.
    pub tip: SeedPart,
}

/// Packs of a seed that are on this machine.
#[derive(Debug, Clone, Default)]
pub struct SeedPart {
    /// The `.pack` files; their indexes are beside them.
    pub packs: Vec<PathBuf>,
    /// The commit-graph that goes with them.
    pub commit_graph: Option<PathBuf>,
}

impl SeedPart {
    /// The tip of the seed that `manifest` describes, in the folder `tip`.
    pub fn tip_in(tip: &Path, manifest: &SeedManifest) -> Self {
        SeedPart {
            packs: manifest.tip_packs.iter().map(|pack| pack.path_in(tip)).collect(),
            commit_graph: None,
        }
    }

    /// The history of the seed that `manifest` describes, in the folder `history`.
    pub fn history_in(history: &Path, manifest: &SeedManifest) -> Self {
        let graph = manifest
            .commit_graph_bytes
            .map(|_| commit_graph::path_in(history));
        SeedPart {
            packs: manifest
                .history_packs
                .iter()
                .map(|pack| pack.path_in(history))
                .collect(),
            commit_graph: graph,
        }
    }
}

/// Where a clone looks for seeds. None of it may fail a clone: who implements it tells the user what is wrong.
pub trait SeedSource: Sync {
    /// Those on this machine, the best first. Quick: it looks at names and manifests only.
    fn find_local(&self, key: &SeedKey) -> Vec<Seed>;

    /// The newest there is anywhere, its tip brought to this machine; `None` where there is none that is newer than all
    /// `known`.
    fn fetch_newest(&self, key: &SeedKey, known: &[Seed], interrupt: &AtomicBool) -> Option<Seed>;

    /// The history of `seed`, brought to this machine if need be. `None` when it is not to be had.
    fn fetch_history(&self, seed: &Seed, interrupt: &AtomicBool) -> Option<SeedPart>;

    /// `seed` turned out to be of no use, and is not to be offered again.
    fn refuse(&self, seed: &Seed);
}
