//! Whether an installed tree is what the lockfile asks for. Entries are written once, so a tree of last week's lockfile
//! must never be saved under today's key: somebody pulled and did not install.

use std::path::{Path, PathBuf};

use headstart_fs::RelPath;

use crate::{
    DependencyCache, DepsError,
    managers::{bun, npm, pnpm, yarn_berry, yarn_classic},
};

/// The manager's own record of what it installed, and the lockfile to compare it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Not an installed tree, or one without a record: what is there counts.
    NotChecked,
    /// npm's `node_modules/.package-lock.json`.
    NpmHiddenLockfile(PathBuf),
    /// Yarn 1's `node_modules/.yarn-integrity`.
    YarnIntegrity(PathBuf),
    /// Later Yarns' `node_modules/.yarn-state.yml`.
    YarnState(PathBuf),
    /// pnpm's `node_modules/.pnpm/lock.yaml`.
    PnpmCurrentLockfile(PathBuf),
    /// The manifests of the packages bun installed.
    BunPackages(PathBuf),
}

/// Why a tree is incomplete, if one of the `paths` its manager says it installed is not there. Paths that leave
/// `folder` are nobody's business.
pub(crate) fn why_missing<'a>(folder: &Path, mut paths: impl Iterator<Item = &'a str>) -> Option<String> {
    let is_missing = |path: &&str| {
        RelPath::parse(*path).is_ok_and(|path| path.join_to(folder).symlink_metadata().is_err())
    };
    paths.find(is_missing).map(|path| format!("{path} is missing"))
}

impl DependencyCache {
    /// Why what is on disk is not what the lockfile asks for; `None` when it is, or when there is nothing to tell by.
    pub fn find_why_stale(&self) -> Result<Option<String>, DepsError> {
        match &self.freshness {
            Freshness::NotChecked => Ok(None),
            Freshness::NpmHiddenLockfile(lockfile) => npm::why_stale(lockfile, &self.root),
            Freshness::YarnIntegrity(lockfile) => yarn_classic::why_stale(lockfile, &self.root),
            Freshness::YarnState(lockfile) => yarn_berry::why_stale(lockfile, &self.root),
            Freshness::PnpmCurrentLockfile(lockfile) => pnpm::why_stale(lockfile, &self.root),
            Freshness::BunPackages(lockfile) => bun::why_stale(lockfile, &self.root),
        }
    }
}
