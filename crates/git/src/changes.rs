//! What changed between two commits, wherever their objects are.
//!
//! Owns: resolving the two revisions, finding their merge base, comparing trees, and fetching what these need: commits first, by
//! deepening without trees, then only the trees along differing paths. The answer is that of a complete clone; what cannot be known
//! is an error.
//!
//! Where a remote owes objects (a partial clone), what is fetched is added as git would add it. Any other repository is left as it
//! is, for a pack without trees would break it: what is fetched goes to a place of its own that borrows the repository's objects and is
//! removed at the end.

use std::{cell::OnceCell, collections::BTreeSet, sync::atomic::AtomicBool};

use bstr::{BStr, BString, ByteSlice as _};
use gix::ObjectId;
use headstart_fs::RelPath;

use crate::{
    environment::GitEnvironment,
    local::{LocalError, LocalRepository},
    progress::Progress,
    remote::Depth,
};

mod commit_tree;
mod diff;
mod error;
mod fetcher;
mod merge_base;
mod objects;
mod place;
mod resolve;
mod trees;
mod uncommitted;

pub use commit_tree::{CommitTree, TreeEntryKind};
pub use diff::{ChangedFile, FileStatus};
pub use error::ChangesError;
pub use fetcher::FetchedObjects;

use fetcher::{Fetcher, History};
use merge_base::Walk;
use objects::Objects;

/// Which commits to compare.
#[derive(Debug, Clone, Default)]
pub struct ChangesOptions {
    /// What `head` is compared with; the remote's default branch when absent.
    pub base: Option<BString>,
    /// Whose changes are looked for; `HEAD` when absent.
    pub head: Option<BString>,
    /// Whether changes of the working tree that are in no commit count as well, untracked files included.
    pub uncommitted: bool,
}

/// A commit and what it was asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCommit {
    /// A revision, as given or found.
    pub name: BString,
    /// The commit.
    pub id: ObjectId,
}

/// What differs between `head` and the merge base.
#[derive(Debug, Clone)]
pub struct Changes {
    /// What was compared with.
    pub base: NamedCommit,
    /// Whose changes these are.
    pub head: NamedCommit,
    /// The newest best common ancestor of both.
    pub merge_base: ObjectId,
    /// Changed files, sorted by path. A renamed file is one deleted and one added.
    pub files: Vec<ChangedFile>,
    /// The top of the working tree; absent in a bare repository.
    pub workdir: Option<std::path::PathBuf>,
}

/// Compares two commits of the repository around the folder of `environment` and hands what differs, with the files of `head`,
/// to `then`.
pub fn compare<T>(
    options: &ChangesOptions,
    environment: &GitEnvironment,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
    then: impl FnOnce(Changes, &mut CommitTree<'_, '_>) -> T,
) -> Result<T, ChangesError> {
    let repository = LocalRepository::discover(environment)?;
    let remote_name = remote_of(&repository, options);
    let remote = OnceCell::new();
    let fetcher = Fetcher::new(&repository, remote_name, &remote, progress, interrupt);
    let mut comparison = Comparison {
        repository: &repository,
        walk: Walk::new(repository.shallow()?),
        objects: Objects::open(&repository)?,
        fetcher,
    };
    let base = comparison.resolve_base(options.base.as_ref().map(|name| name.as_bstr()))?;
    let head = comparison.resolve(
        options
            .head
            .as_ref()
            .map_or(BStr::new("HEAD"), |name| name.as_bstr()),
    )?;
    let merge_base = comparison.merge_base(&base, &head)?;
    let (old, new) = (comparison.tree_of(merge_base)?, comparison.tree_of(head.id)?);
    let Comparison { objects, fetcher, .. } = comparison;
    let mut tree = CommitTree::new(new, objects, fetcher);
    let mut files = diff::compare_trees(tree.trees(), old, new)?;
    tree.trees().end_comparison();
    if options.uncommitted {
        files = uncommitted::add(&repository, files, interrupt)?;
    }
    let changes = Changes {
        base,
        head,
        merge_base,
        files,
        workdir: repository.workdir.clone(),
    };
    Ok(then(changes, &mut tree))
}

/// The remote that is asked for what is missing: the one a revision names, else the repository's own.
fn remote_of(repository: &LocalRepository<'_>, options: &ChangesOptions) -> Result<BString, LocalError> {
    let remotes = repository.config.subsections("remote");
    let named = [&options.base, &options.head]
        .into_iter()
        .flatten()
        .filter_map(|revision| {
            let name = revision.strip_prefix(b"refs/remotes/").unwrap_or(revision);
            let rest = |remote: &&&BStr| {
                name.strip_prefix(remote.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"/"))
            };
            remotes.iter().find(rest)
        })
        .next();
    match named {
        Some(name) => Ok((*name).to_owned()),
        None => repository.remote_name(),
    }
}

/// One comparison under way.
struct Comparison<'r, 'c> {
    repository: &'c LocalRepository<'r>,
    walk: Walk,
    objects: Objects,
    fetcher: Fetcher<'r, 'c>,
}

impl Comparison<'_, '_> {
    /// The newest best common ancestor, the one a complete clone has.
    fn merge_base(&mut self, base: &NamedCommit, head: &NamedCommit) -> Result<ObjectId, ChangesError> {
        let mut steps = Steps::default();
        loop {
            let missing = self.missing(&[base.id, head.id]);
            let (newest, ends) = match missing.is_empty() {
                true => {
                    let found = self.walk.best_common_ancestors(&self.objects, base.id, head.id)?;
                    (found.newest, found.open_ends)
                }
                false => (None, self.ends_of_what_is_here(&[base.id, head.id])?),
            };
            let is_certain = missing.is_empty() && ends.is_empty();
            if is_certain || steps.are_over() {
                // Where the remote's own history is cut off, nobody knows better.
                return newest.ok_or_else(|| ChangesError::NoMergeBase {
                    base: base.clone(),
                    head: head.clone(),
                });
            }
            self.deepen(&missing, ends, &[base.id, head.id], &mut steps)?;
        }
    }

    fn missing(&self, tips: &[ObjectId]) -> Vec<ObjectId> {
        tips.iter()
            .copied()
            .filter(|id| !self.objects.contains(*id))
            .collect()
    }

    fn ends_of_what_is_here(&mut self, tips: &[ObjectId]) -> Result<BTreeSet<ObjectId>, ChangesError> {
        let mut ends = BTreeSet::new();
        for tip in tips {
            if self.objects.contains(*tip) {
                ends.extend(self.walk.ends(&self.objects, *tip)?);
            }
        }
        Ok(ends)
    }

    /// Brings the `missing` commits and what is behind `ends`, as far as the next of `steps` goes. The remote is asked for
    /// these and not for the `tips` they were met from: those may be commits that were never pushed.
    fn deepen(
        &mut self,
        missing: &[ObjectId],
        ends: BTreeSet<ObjectId>,
        tips: &[ObjectId],
        steps: &mut Steps,
    ) -> Result<(), ChangesError> {
        let depth = match (self.walk.boundary().is_empty(), missing.is_empty()) {
            // The history here is whole and needs the missing commits on top.
            (true, _) => {
                steps.end();
                None
            }
            (false, true) => Some(steps.next(Depth::More)),
            (false, false) => Some(steps.next(Depth::Commits)),
        };
        let here = tips.iter().filter(|id| !missing.contains(id));
        let history = History {
            wants: missing.iter().chain(&ends).copied().collect(),
            haves: here.chain(&ends).copied().collect(),
            boundary: self.walk.boundary().iter().copied().collect(),
            depth,
        };
        self.fetcher.fetch_history(&history, &self.objects)?;
        self.objects = self.fetcher.objects()?;
        self.walk.set_boundary(self.fetcher.boundary()?);
        Ok(())
    }

    fn tree_of(&self, commit: ObjectId) -> Result<ObjectId, ChangesError> {
        let commit = self.objects.commit(commit)?;
        Ok(commit.expect("its history has just been walked").tree)
    }
}

/// How far each fetch of history goes. Few round trips for a far merge base, few commits for a near one.
#[derive(Debug, Default)]
struct Steps {
    taken: u32,
    over: bool,
}

impl Steps {
    /// Commits of the first step; each later one brings four times as many.
    const FIRST: u32 = 64;
    /// After this many, everything is fetched.
    const MOST: u32 = 5;

    fn next(&mut self, depth: impl FnOnce(std::num::NonZeroU32) -> Depth) -> Depth {
        if self.taken == Self::MOST {
            self.over = true;
            return Depth::All;
        }
        let commits = Self::FIRST << (2 * self.taken);
        self.taken += 1;
        depth(std::num::NonZeroU32::new(commits).expect("a power of two"))
    }

    /// There is no more than what comes next.
    fn end(&mut self) {
        self.over = true;
    }

    fn are_over(&self) -> bool {
        self.over
    }
}

/// A path in a tree that came from somewhere: git itself refuses to check out what this refuses.
fn path_in(folder: &RelPath, name: &BStr, tree: ObjectId) -> Result<RelPath, ChangesError> {
    let mut path = folder.clone();
    path.push(name)
        .map_err(|error| ChangesError::corrupt(tree, error.to_string()))?;
    Ok(path)
}
