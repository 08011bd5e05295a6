//! Backfill: what a partial clone left at its remote, fetched in bulk before something asks for it object by object.
//!
//! Owns which objects a range of history, or the blame of a file, needs. See [`crate::tree_walk`] for what is missing and
//! [`crate::bulk`] for how it comes.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use bstr::{BStr, BString};
use gix::ObjectId;

use crate::{
    bulk::{BulkFetch, Fetched},
    environment::GitEnvironment,
    local::{LocalError, LocalObjects, LocalRepository},
    progress::{Progress, Step, Warning},
    remote::Session,
    sparse::Cone,
    tree_walk::{Selection, Task, TreeWalk},
};

mod blame;
mod range;

/// What to fetch, and how.
#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// The part of history that is looked at later.
    pub range: BackfillRange,
    /// Files and folders, relative to the folder of the environment; all when empty. Not used for a blame.
    pub paths: Vec<PathBuf>,
    /// Objects asked for at once.
    pub batch_objects: NonZeroUsize,
    /// Find out what is missing and fetch nothing.
    pub dry_run: bool,
}

/// A part of history.
#[derive(Debug, Clone)]
pub enum BackfillRange {
    /// Everything reachable from `HEAD`.
    History {
        /// The sparse cone, where one is on, does not narrow it.
        ignore_sparse: bool,
    },
    /// What comparing these commits with their parents looks at.
    Changes {
        /// Revisions and ranges, as `git rev-list` takes them; `HEAD` when empty.
        revs: Vec<BString>,
        /// Only commits after this date, in any of git's spellings.
        since: Option<String>,
        /// Only so many commits, the newest ones.
        max_count: Option<u32>,
    },
    /// What `git blame` of this file at `HEAD` looks at.
    Blame {
        /// Relative to the folder of the environment.
        file: PathBuf,
    },
}

/// What a backfill did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillOutcome {
    /// Trees that were missing. In a dry run only those that could be known.
    pub missing_trees: u64,
    /// Blobs that were missing. In a dry run only those that could be known.
    pub missing_blobs: u64,
    /// Whether more is missing than a dry run can tell: what is in trees that are missing themselves.
    pub more: bool,
    /// Objects received.
    pub objects: u64,
    /// Bytes of the packs they came in.
    pub bytes: u64,
    /// Packs asked for, or to ask for.
    pub batches: u64,
    /// Whether the clone is a partial one: any other lacks nothing.
    pub partial: bool,
    /// How long it took.
    pub total: Duration,
}

/// Fetches the missing objects of a part of history in the repository around the folder of `environment`.
///
/// What has been fetched stays, whatever happens then: the next backfill fetches the rest.
pub fn backfill(
    options: &BackfillOptions,
    environment: &GitEnvironment,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<BackfillOutcome, LocalError> {
    let started = Instant::now();
    let repository = LocalRepository::discover(environment)?;
    let Some(name) = repository.promisor_name()? else {
        return Ok(Backfill::outcome(
            &Found::default(),
            Fetched::default(),
            false,
            started,
        ));
    };
    let remote = repository.remote(name.as_ref(), interrupt)?;
    let mut backfill = Backfill {
        repository: &repository,
        objects: LocalObjects::open(&repository)?,
        fetch: BulkFetch::new(
            &repository,
            name.as_ref(),
            Session::new(&remote, progress),
            options.batch_objects,
            progress,
            interrupt,
        ),
        options,
        progress,
        interrupt,
    };
    progress.start(Step::FindMissing, None);
    let found = match &options.range {
        BackfillRange::History { ignore_sparse } => {
            let selection = Selection {
                paths: backfill.paths(&options.paths)?,
                cone: match ignore_sparse {
                    true => None,
                    false => backfill.cone()?,
                },
            };
            let tasks = range::whole_history(&repository, &backfill.objects)?;
            backfill.find(selection, tasks)
        }
        BackfillRange::Changes {
            revs,
            since,
            max_count,
        } => {
            let selection = Selection {
                paths: backfill.paths(&options.paths)?,
                cone: None,
            };
            let limits = range::Limits {
                revs,
                since: since.as_deref(),
                max_count: *max_count,
            };
            let tasks = range::changes(&repository, &backfill.objects, &limits)?;
            backfill.find(selection, tasks)
        }
        BackfillRange::Blame { file } => backfill.find_for_blame(file),
    }?;
    progress.finish(Step::FindMissing);
    let outcome = match options.dry_run {
        true => {
            let batches = (found.blobs.len() as u64).div_ceil(options.batch_objects.get() as u64);
            let batches = batches + found.tree_batches;
            Backfill::outcome(
                &found,
                Fetched {
                    batches,
                    ..Fetched::default()
                },
                true,
                started,
            )
        }
        false => {
            backfill.fetch_blobs(&found.blobs)?;
            Backfill::outcome(&found, backfill.fetch.fetched, true, started)
        }
    };
    Ok(outcome)
}

/// Objects found missing. Of the trees, those of a real run are here already.
#[derive(Debug, Default)]
struct Found {
    blobs: Vec<ObjectId>,
    trees: u64,
    tree_batches: u64,
    more: bool,
    /// Blobs fetched already on the way to know more.
    fetched_blobs: u64,
}

struct Backfill<'a> {
    repository: &'a LocalRepository<'a>,
    objects: LocalObjects,
    fetch: BulkFetch<'a>,
    options: &'a BackfillOptions,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl Backfill<'_> {
    /// Walks `tasks`, fetching the trees that are in the way; answers the missing blobs, those of one path together.
    fn find(&mut self, selection: Selection, mut tasks: Vec<Task>) -> Result<Found, LocalError> {
        let walk = TreeWalk::new(selection, self.interrupt);
        let on_missing = |more| self.progress.advance(Step::FindMissing, more);
        let mut found = Found::default();
        let mut blobs = Vec::new();
        while !tasks.is_empty() {
            let round = walk.round(&self.objects, &tasks, &on_missing)?;
            blobs.extend(round.blobs);
            found.trees += round.trees.len() as u64;
            if self.options.dry_run {
                found.tree_batches =
                    (round.trees.len() as u64).div_ceil(self.options.batch_objects.get() as u64);
                found.more = !round.trees.is_empty();
                break;
            }
            self.fetch_trees(&round.trees)?;
            tasks = round.rest;
        }
        blobs.sort_unstable();
        found.blobs = blobs.into_iter().map(|(_, id)| id).collect();
        Ok(found)
    }

    fn fetch_trees(&mut self, ids: &[ObjectId]) -> Result<(), LocalError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.progress.start(Step::ReceiveMissing, None);
        self.fetch.trees(ids)?;
        self.objects = LocalObjects::open(self.repository)?;
        self.fetch.check(ids, &self.objects)
    }

    fn fetch_blobs(&mut self, ids: &[ObjectId]) -> Result<(), LocalError> {
        if !ids.is_empty() {
            self.progress.start(Step::ReceiveMissing, None);
            self.fetch.blobs(ids)?;
            self.objects = LocalObjects::open(self.repository)?;
            self.fetch.check(ids, &self.objects)?;
        }
        self.progress.finish(Step::ReceiveMissing);
        Ok(())
    }

    /// Paths as they are in trees.
    fn paths(&self, paths: &[PathBuf]) -> Result<Vec<BString>, LocalError> {
        paths
            .iter()
            .map(|path| self.repository.path_in_tree(path))
            .collect()
    }

    /// The cone of a sparse working tree, if it has one.
    fn cone(&self) -> Result<Option<Cone>, LocalError> {
        let sparse = self.repository.sparse_cone()?;
        if sparse == Some(None) {
            self.progress.warn(&Warning::SparseNotCone);
        }
        Ok(sparse.flatten())
    }

    fn outcome(found: &Found, fetched: Fetched, partial: bool, started: Instant) -> BackfillOutcome {
        BackfillOutcome {
            missing_trees: found.trees,
            missing_blobs: found.blobs.len() as u64 + found.fetched_blobs,
            more: found.more,
            objects: fetched.objects,
            bytes: fetched.bytes,
            batches: fetched.batches,
            partial,
            total: started.elapsed(),
        }
    }
}

/// A name of an object in a list of git's.
fn parse_id(text: &[u8]) -> Result<ObjectId, LocalError> {
    ObjectId::from_hex(text).map_err(|error| LocalError::Object {
        id: BStr::new(text).to_string(),
        source: error.into(),
    })
}
