//! Pull: a checkout of yesterday made today's. Objects first, then refs of the remote, files, the index and the branch.
//!
//! Owns the order of things; it fast-forwards and never merges. What differs between the two commits is fetched in bulk and is
//! all that is touched in the working tree. Where that is not for us to decide, git does it, with all objects at hand:
//! see [`crate::worktree::Planned`].

use std::{
    num::NonZeroUsize,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::ObjectId;
use headstart_process::ProcessError;

use crate::{
    bulk::BulkFetch,
    environment::GitEnvironment,
    filter_spec::FilterSpec,
    local::{LocalError, LocalObjects, LocalRepository},
    progress::{Progress, Step, Warning},
    refs::RemoteRefs,
    remote::{Remote, Session},
    worktree::{self, Changes, Planned, UpdatePlan, UpdatedWorktree},
};

mod begun;
mod error;
mod fetch;
mod refs;

use begun::Begun;
pub use error::PullError;
use refs::RefRules;

/// Objects asked for at once: as `headstart backfill` does it.
const BATCH_OBJECTS: NonZeroUsize = NonZeroUsize::new(50_000).unwrap();

/// What a pull has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullOutcome {
    /// The short name of the branch.
    pub branch: BString,
    /// The remote.
    pub remote: BString,
    /// The full name of what the branch follows there.
    pub upstream: BString,
    /// Where the branch was; nowhere if it had no commits.
    pub old: Option<ObjectId>,
    /// Where it is.
    pub new: ObjectId,
    /// Refs of the remote, and tags, that were set here.
    pub refs: usize,
    /// Objects received.
    pub objects: u64,
    /// Bytes of the packs they came in.
    pub bytes: u64,
    /// Files and symlinks written; unknown where git did it.
    pub files_written: u64,
    /// Files and symlinks removed; unknown where git did it.
    pub files_removed: u64,
    /// Why git updated the working tree, if it did.
    pub by_git: Option<String>,
    /// When the last object was here and the refs of the remote were set, since the start.
    pub fetched: Duration,
    /// When everything was done.
    pub total: Duration,
}

/// Fast-forwards the branch that is checked out around the folder of `environment` to its upstream.
///
/// Whatever goes wrong, the repository stays valid. Where it happens while files are written, the next pull takes up from
/// there, and so does `git reset --hard`.
pub fn pull(
    environment: &GitEnvironment,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<PullOutcome, PullError> {
    let started = Instant::now();
    let repository = LocalRepository::discover(environment)?;
    if repository.workdir.is_none() {
        return Err(PullError::Bare {
            path: repository.git_dir,
        });
    }
    let upstream = Upstream::of(&repository)?;
    let remote = repository.remote(upstream.remote.as_ref(), interrupt)?;
    let mut pull = Pull {
        filter: repository.filter_of(upstream.remote.as_ref())?,
        repository: &repository,
        upstream,
        remote: &remote,
        progress,
        interrupt,
        started,
    };
    pull.run()
}

/// The branch, and what it follows.
struct Upstream {
    branch: BString,
    /// Its tip.
    old: Option<ObjectId>,
    remote: BString,
    /// The full name at the remote.
    name: BString,
}

impl Upstream {
    fn of(repository: &LocalRepository<'_>) -> Result<Self, PullError> {
        let asked = repository
            .git_without_fetching()
            .args(["symbolic-ref", "-q", "HEAD"])
            .run();
        let head = match asked {
            Ok(output) => BString::from(output.stdout.trim()),
            Err(ProcessError::Failed { .. }) => return Err(PullError::Detached),
            Err(error) => return Err(error.into()),
        };
        let branch = BString::from(head.strip_prefix(b"refs/heads/").unwrap_or(&head));
        let setting = |key: &str| {
            let key = format!("branch.{branch}.{key}");
            repository.config.string(&key).map(BStr::to_owned)
        };
        let (Some(remote), Some(name)) = (setting("remote"), setting("merge")) else {
            return Err(PullError::NoUpstream { branch });
        };
        if remote == "." {
            return Err(PullError::NoUpstream { branch });
        }
        let asked = repository.git_without_fetching();
        let old = asked
            .args(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .run()
            .ok();
        let old = old.and_then(|output| ObjectId::from_hex(output.stdout.trim()).ok());
        Ok(Upstream {
            branch,
            old,
            remote,
            name,
        })
    }

    /// The upstream as people write it.
    fn shown(&self) -> BString {
        let short = self.name.strip_prefix(b"refs/heads/").unwrap_or(&self.name);
        [self.remote.as_slice(), b"/", short].concat().into()
    }
}

struct Pull<'a> {
    repository: &'a LocalRepository<'a>,
    upstream: Upstream,
    remote: &'a Remote<'a>,
    filter: FilterSpec,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
    started: Instant,
}

impl<'a> Pull<'a> {
    fn run(&mut self) -> Result<PullOutcome, PullError> {
        self.progress.start(Step::Connect, None);
        let mut session = Session::new(self.remote, self.progress);
        let rules = RefRules::load(self.repository, self.upstream.remote.as_ref());
        let prefixes = rules.prefixes(self.upstream.name.as_ref())?;
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let listed = RemoteRefs::new(session.hold(|conversation| conversation.list_refs(&prefixes))?);
        self.progress.advance(Step::Connect, listed.len() as u64);
        self.progress.finish(Step::Connect);

        let fetched = self.fetch_refs(&mut session, &rules, &listed)?;
        session.pause_if_over();
        let mut bulk = BulkFetch::new(
            self.repository,
            self.upstream.remote.as_ref(),
            session,
            BATCH_OBJECTS,
            self.progress,
            self.interrupt,
        );
        let mut outcome = PullOutcome {
            branch: self.upstream.branch.clone(),
            remote: self.upstream.remote.clone(),
            upstream: self.upstream.name.clone(),
            old: self.upstream.old,
            new: fetched.tip,
            refs: fetched.refs,
            objects: fetched.objects,
            bytes: fetched.bytes,
            files_written: 0,
            files_removed: 0,
            by_git: None,
            fetched: self.started.elapsed(),
            total: Duration::ZERO,
        };
        self.finish_begun(&mut bulk, fetched.tip, &mut outcome)?;
        let is_current = match self.upstream.old {
            Some(old) if old == fetched.tip => true,
            Some(old) => self.repository.is_ancestor(fetched.tip, old)?,
            None => false,
        };
        if is_current {
            outcome.new = self.upstream.old.unwrap_or(fetched.tip);
        } else {
            let diverged = match self.upstream.old {
                Some(old) => !self.repository.is_ancestor(old, fetched.tip)?,
                None => false,
            };
            if diverged {
                return Err(PullError::Diverged {
                    branch: self.upstream.branch.clone(),
                    upstream: self.upstream.shown(),
                });
            }
            let updated = self.move_branch(&mut bulk, fetched.tip, &mut outcome)?;
            outcome.files_written += updated.written.files;
            outcome.files_removed += updated.removed;
        }
        Begun::of(self.repository).remove();
        outcome.objects += bulk.fetched.objects;
        outcome.bytes += bulk.fetched.bytes;
        outcome.total = self.started.elapsed();
        Ok(outcome)
    }

    /// Brings a pull to its end that was killed among its files, where the way to `tip` leads through its commit.
    fn finish_begun(
        &mut self,
        bulk: &mut BulkFetch<'_>,
        tip: ObjectId,
        outcome: &mut PullOutcome,
    ) -> Result<(), PullError> {
        let repository = self.repository;
        let (Some(begun), Some(old)) = (Begun::of(repository).load(), self.upstream.old) else {
            return Ok(());
        };
        if begun == old || begun == tip || !LocalObjects::open(repository)?.contains(&begun) {
            return Ok(());
        }
        if repository.is_ancestor(old, begun)? && repository.is_ancestor(begun, tip)? {
            let updated = self.move_branch(bulk, begun, outcome)?;
            outcome.files_written += updated.written.files;
            outcome.files_removed += updated.removed;
            self.upstream.old = Some(begun);
        }
        Ok(())
    }

    /// Whether the remote owes what is missing.
    fn is_promisor(&self) -> bool {
        self.repository.is_promisor(self.upstream.remote.as_ref())
    }

    /// Updates files and index, then the branch.
    fn move_branch(
        &self,
        bulk: &mut BulkFetch<'_>,
        tip: ObjectId,
        outcome: &mut PullOutcome,
    ) -> Result<UpdatedWorktree, PullError> {
        let repository = self.repository;
        let mut objects = LocalObjects::open(repository)?;
        let Some(old) = self.upstream.old else {
            return self.move_by_git(tip, "the branch had no commits".to_owned(), outcome);
        };
        let opened = repository.open()?;
        let protect = worktree::protection(&opened)?;
        let (old_tree, new_tree) = (objects.tree_of(old)?, objects.tree_of(tip)?);
        let changes = loop {
            let changes =
                Changes::between(&objects, Some(old_tree), Some(new_tree), protect, self.interrupt)?;
            let Some(missing) = changes.missing_trees.first() else {
                break changes;
            };
            if !self.is_promisor() {
                return Err(LocalError::object(*missing, "it is missing").into());
            }
            bulk.trees(&changes.missing_trees)?;
            objects = LocalObjects::open(repository)?;
            bulk.check(&changes.missing_trees, &objects)?;
        };
        let all_blobs: Vec<ObjectId> = changes
            .paths
            .iter()
            .filter_map(|change| change.new.filter(|side| side.is_blob()))
            .map(|side| side.id)
            .collect();
        let cone = repository.sparse_cone()?;
        let folder = &repository.environment.folder;
        let planned = match self.wants_git() {
            Some(reason) => Planned::ByGit(reason),
            None => UpdatePlan::plan(&opened, tip, old_tree, changes, cone, folder)?,
        };
        let mut blobs = match &planned {
            Planned::Here(plan) => plan.blobs(),
            // With a cone that only git understands, it fetches what it needs by itself, in bulk as well.
            Planned::ByGit(_) if repository.sparse_cone()?.is_some() => Vec::new(),
            Planned::ByGit(_) => all_blobs,
        };
        blobs.retain(|id| !objects.contains(id));
        blobs.sort_unstable();
        blobs.dedup();
        if !blobs.is_empty() && self.is_promisor() {
            self.progress.start(Step::ReceiveMissing, None);
            bulk.blobs(&blobs)?;
            self.progress.finish(Step::ReceiveMissing);
            objects = LocalObjects::open(repository)?;
            bulk.check(&blobs, &objects)?;
        }
        outcome.fetched = self.started.elapsed();
        let plan = match planned {
            Planned::Here(plan) => plan,
            Planned::ByGit(reason) => return self.move_by_git(tip, reason, outcome),
        };
        self.progress.start(Step::WriteFiles, Some(plan.total_files()));
        let on_progress = |more| self.progress.advance(Step::WriteFiles, more);
        let begun = Begun::of(repository);
        let is_resumed = begun.load() == Some(tip);
        begun.write(tip)?;
        match plan.apply(&objects, self.interrupt, &on_progress)? {
            Err(reason) => {
                // Nothing was touched. What a pull before this one has written is still there.
                if !is_resumed {
                    begun.remove();
                }
                self.move_by_git(tip, reason, outcome)
            }
            Ok(updated) => {
                self.progress.finish(Step::WriteFiles);
                self.move_refs(old, tip)?;
                self.run_post_merge();
                Ok(updated)
            }
        }
    }

    /// What only git does: look at signatures, and say how something that was begun comes to its end.
    fn wants_git(&self) -> Option<String> {
        let config = &self.repository.config;
        if config.boolean("merge.verifysignatures") == Some(true) {
            return Some("merge.verifySignatures is set".to_owned());
        }
        let options = format!("branch.{}.mergeoptions", self.upstream.branch);
        if config.string(&options).is_some() {
            return Some(format!("{options} is set"));
        }
        let names = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG"];
        let found = names
            .iter()
            .find(|name| self.repository.git_dir.join(name).exists())?;
        Some(format!("{found} is there"))
    }

    fn move_refs(&self, old: ObjectId, tip: ObjectId) -> Result<(), PullError> {
        let commands = format!("update ORIG_HEAD {old}\nupdate HEAD {tip} {old}\n");
        let command = self.repository.git_without_fetching();
        command
            .args(["update-ref", "-m", "pull: Fast-forward", "--stdin"])
            .stdin(commands)
            .run()?;
        Ok(())
    }

    /// Has git do it, with its own judgement of what may be overwritten.
    fn move_by_git(
        &self,
        tip: ObjectId,
        reason: String,
        outcome: &mut PullOutcome,
    ) -> Result<UpdatedWorktree, PullError> {
        let command = self.repository.git().env("GIT_REFLOG_ACTION", "pull");
        let merged = command
            .args(["merge", "--ff-only", "--quiet", "--no-stat"])
            // Git takes what is ignored for worthless, unless it is told.
            .args(["--no-overwrite-ignore", &tip.to_string()])
            .run_interruptible(self.interrupt);
        outcome.by_git = Some(reason);
        match merged {
            Ok(_) => Ok(UpdatedWorktree::default()),
            Err(ProcessError::Failed { stderr_tail, .. }) => Err(PullError::InTheWay { said: stderr_tail }),
            Err(error) => Err(error.into()),
        }
    }

    /// As git does after a fast-forward.
    fn run_post_merge(&self) {
        let repository = self.repository;
        let configured = repository.config.string("core.hookspath").is_some();
        if !configured && !repository.common_dir.join("hooks/post-merge").exists() {
            return;
        }
        let hook = repository
            .git()
            .args(["hook", "run", "--ignore-missing", "post-merge", "--", "0"]);
        if let Err(error) = hook.run_interruptible(self.interrupt) {
            self.progress.warn(&Warning::HookFailed {
                message: error.to_string(),
            });
        }
    }
}
