//! What is fetched in which order: the tip first, written while it arrives, the history beside it.

use std::{
    io::BufRead,
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gix::ObjectId;
use parking_lot::Mutex;

use super::{CloneOptions, History, repository::NewRepository};
use crate::{
    bundle::{Unbundled, Unbundling},
    commit_graph::CommitCollector,
    error::CloneError,
    filter_spec::FilterSpec,
    pack::{ObjectSink, PackError, ReceiveOptions, ReceivedPack, receive_pack},
    progress::{Progress, Step, Warning},
    refs::RefPlan,
    remote::{Conversation, Depth, FetchError, FetchRequest, Fetched, Remote, Session},
    sparse::Cone,
    worktree::{WorktreeOptions, WorktreeWriter, WrittenWorktree},
};

/// How the objects come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One fetch of everything; the working tree is written from it afterwards. No object comes twice.
    Whole,
    /// One fetch of the tip, from which the working tree is written as it arrives; `history` says whether more is wanted
    /// and comes over a second connection. `trees_first` fetches trees, then only the blobs that the cone needs.
    TipFirst {
        trees_first: bool,
        /// When more than the tip is fetched; never when that is all there is to fetch.
        history: Option<History>,
    },
}

impl Order {
    /// Chooses by what is asked for and what the remote can do.
    pub(super) fn choose(
        conversation: &Conversation<'_>,
        plan: &RefPlan,
        filter: &FilterSpec,
        depth: Option<NonZeroU32>,
        sparse: bool,
        options: &CloneOptions,
    ) -> Self {
        let Some(want) = plan.tip_want().filter(|_| options.checkout) else {
            return Order::Whole;
        };
        let tip_alone = depth.is_some_and(|depth| depth.get() == 1) && plan.wants() == [want];
        // A full history beside the tip would bring the tip again.
        let whole = filter.is_none() && !tip_alone && options.history == History::Beside;
        if !conversation.can_be_shallow() || whole {
            return Order::Whole;
        }
        Order::TipFirst {
            trees_first: sparse && !filter.is_none() && conversation.takes_more_commands(),
            history: (!tip_alone).then_some(options.history),
        }
    }

    /// Whether something remains to be fetched when this is done.
    pub(super) fn leaves_history(self) -> bool {
        matches!(
            self,
            Order::TipFirst {
                history: Some(History::Later),
                ..
            }
        )
    }
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Transferred {
    pub(super) objects: u64,
    pub(super) tip_bytes: u64,
    pub(super) history_bytes: u64,
    /// Commits whose parents were not sent.
    pub(super) shallow: Vec<ObjectId>,
    pub(super) worktree: Option<WrittenWorktree>,
    /// When the working tree was complete, since the start.
    pub(super) worktree_ready: Option<Duration>,
    /// When the history, or everything, was received and indexed, since the start.
    pub(super) history_complete: Option<Duration>,
}

/// One clone's fetches.
pub(super) struct Transfer<'a> {
    pub(super) remote: &'a Remote<'a>,
    pub(super) shown_url: &'a str,
    pub(super) plan: &'a RefPlan,
    pub(super) repository: &'a NewRepository<'a>,
    pub(super) opened: &'a gix::ThreadSafeRepository,
    pub(super) filter: &'a FilterSpec,
    pub(super) depth: Option<NonZeroU32>,
    pub(super) cone: Option<Cone>,
    pub(super) checkout: bool,
    /// Whether bundles are used.
    pub(super) bundles: bool,
    /// Whether tags are followed, being no part of the plan.
    pub(super) follow_tags: bool,
    pub(super) progress: &'a dyn Progress,
    pub(super) on_worktree_ready: &'a (dyn Fn(&std::path::Path) + Sync),
    pub(super) started: Instant,
    /// Set by the user, and by whichever part fails first so that the others stop.
    pub(super) stop: &'a AtomicBool,
}

impl Transfer<'_> {
    pub(super) fn run(&self, mut session: Session<'_>, order: Order) -> Result<Transferred, CloneError> {
        match order {
            Order::Whole => self.run_whole(&mut session),
            Order::TipFirst {
                trees_first,
                history: Some(History::Beside),
            } => self.run_both(&mut session, trees_first),
            Order::TipFirst { trees_first, .. } => self.run_tip(&mut session, trees_first),
        }
    }

    fn run_whole(&self, session: &mut Session<'_>) -> Result<Transferred, CloneError> {
        let mut transferred = self.receive_history(session)?;
        if let Some(tip) = self.plan.head.tip().filter(|_| self.checkout) {
            let writer = self.writer(tip, false)?;
            self.finish_worktree(writer, &Meter::new(self.progress), &mut transferred)?;
        }
        Ok(transferred)
    }

    fn run_both(&self, session: &mut Session<'_>, trees_first: bool) -> Result<Transferred, CloneError> {
        // Whoever fails first stops the other, whose failure is an echo then: noted before the other can notice.
        let first_error = Mutex::new(None);
        let or_stop = |result: Result<Transferred, CloneError>| {
            result
                .map_err(|error| {
                    first_error.lock().get_or_insert(error);
                    self.stop.store(true, Ordering::Relaxed);
                })
                .ok()
        };
        let receive_history = || or_stop(self.receive_history(&mut Session::new(self.remote, self.progress)));
        let (tip, history) = thread::scope(|scope| {
            let beside = thread::Builder::new()
                .name("history".to_owned())
                .spawn_scoped(scope, receive_history);
            let tip = or_stop(self.run_tip(session, trees_first));
            let history = match beside {
                Ok(beside) => beside
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No room for one more thread: one after the other.
                Err(_) => tip.as_ref().and_then(|_| receive_history()),
            };
            (tip, history)
        });
        if let Some(error) = first_error.into_inner() {
            return Err(error);
        }
        let (Some(tip), Some(history)) = (tip, history) else {
            unreachable!("what is missing has left an error")
        };
        Ok(Transferred {
            objects: tip.objects + history.objects,
            history_bytes: history.history_bytes,
            history_complete: history.history_complete,
            shallow: history.shallow,
            ..tip
        })
    }

    fn run_tip(&self, session: &mut Session<'_>, trees_first: bool) -> Result<Transferred, CloneError> {
        let (Some(want), Some(tip)) = (self.plan.tip_want(), self.plan.head.tip()) else {
            unreachable!("only a plan with a tip is fetched tip first")
        };
        let writer = self.writer(tip, false)?;
        let meter = Meter::new(self.progress);
        let trees_only = FilterSpec::BlobNone.to_string();
        let request = FetchRequest {
            wants: vec![want],
            depth: NonZeroU32::new(1).map(Depth::Commits),
            filter: trees_first.then_some(&trees_only),
            include_tag: self.follow_tags,
            ..FetchRequest::default()
        };
        self.progress.start(Step::ReceiveTip, None);
        let on_bytes = |bytes| {
            self.progress.advance(Step::ReceiveTip, bytes);
            meter.update(&writer);
        };
        let promisor = self.plan.promisor_lines(&request.wants);
        let fetched = self.fetch(session, &request, &promisor, &on_bytes, Some(&writer))?;
        let mut transferred = Transferred {
            objects: fetched.pack.objects,
            tip_bytes: fetched.pack.bytes,
            shallow: fetched.shallow,
            ..Transferred::default()
        };
        if trees_first {
            let request = FetchRequest {
                wants: writer.missing(),
                ..FetchRequest::default()
            };
            if !request.wants.is_empty() {
                let fetched = self.fetch(session, &request, b"", &on_bytes, Some(&writer))?;
                transferred.objects += fetched.pack.objects;
                transferred.tip_bytes += fetched.pack.bytes;
            }
        }
        self.progress.finish(Step::ReceiveTip);
        self.finish_worktree(writer, &meter, &mut transferred)?;
        Ok(transferred)
    }

    pub(super) fn receive_history(&self, session: &mut Session<'_>) -> Result<Transferred, CloneError> {
        let filter = self.filter.to_string();
        let request = FetchRequest {
            wants: self.plan.wants(),
            depth: self.depth.map(Depth::Commits),
            filter: (!self.filter.is_none()).then_some(&filter),
            include_tag: self.follow_tags,
            ..FetchRequest::default()
        };
        self.progress.start(Step::ReceiveHistory, None);
        let on_bytes = |bytes| self.progress.advance(Step::ReceiveHistory, bytes);
        let unbundled = match self.depth.is_none() && self.bundles {
            true => self.unbundling(&on_bytes).run(session)?,
            false => Unbundled::default(),
        };
        // The commits in them do not pass by.
        let all_pass_by = self.depth.is_none() && unbundled.tips.is_empty();
        let request = FetchRequest {
            haves: unbundled.tips,
            ..request
        };
        let promisor = self.plan.promisor_lines(&request.wants);
        let wanted = self
            .opened
            .to_thread_local()
            .config_snapshot()
            .boolean("core.commitGraph");
        let commits = (all_pass_by && wanted != Some(false)).then(CommitCollector::default);
        let sink = commits.as_ref().map(|commits| commits as &dyn ObjectSink);
        let fetched = self.fetch(session, &request, &promisor, &on_bytes, sink)?;
        if let Some(commits) = commits.filter(|_| fetched.shallow.is_empty()) {
            commits.write(self.repository.git_dir())?;
        }
        let history_complete = Some(self.started.elapsed());
        self.progress.finish(Step::ReceiveHistory);
        Ok(Transferred {
            objects: unbundled.objects + fetched.pack.objects,
            history_bytes: unbundled.bytes + fetched.pack.bytes,
            history_complete,
            shallow: fetched.shallow,
            ..Transferred::default()
        })
    }

    fn unbundling<'s>(&'s self, on_bytes: &'s (dyn Fn(u64) + Sync)) -> Unbundling<'s> {
        Unbundling {
            remote: self.remote,
            environment: self.repository.environment,
            objects_dir: self.repository.git_dir().join("objects"),
            filter: self.filter,
            progress: self.progress,
            on_bytes,
            interrupt: self.stop,
        }
    }

    /// Receives one pack, from the start again when it breaks off. Files that `sink` has written by then are not written
    /// again.
    pub(super) fn fetch(
        &self,
        session: &mut Session<'_>,
        request: &FetchRequest<'_>,
        promisor: &[u8],
        on_bytes: &(dyn Fn(u64) + Sync),
        sink: Option<&dyn ObjectSink>,
    ) -> Result<Fetched<ReceivedPack>, CloneError> {
        let pack_dir: PathBuf = self.repository.pack_dir();
        let options = ReceiveOptions {
            pack_dir: &pack_dir,
            promisor: (!self.filter.is_none()).then_some(promisor),
            threads: thread::available_parallelism().map_or(1, usize::from),
            interrupt: self.stop,
            on_bytes,
        };
        let on_message = |message: String| self.progress.warn(&Warning::Remote { message });
        session.hold(|conversation| {
            let take = |input: &mut dyn BufRead| -> Result<ReceivedPack, PackError> {
                receive_pack(input, &options, sink)
            };
            conversation
                .fetch(request, &on_message, take)
                .map_err(|error| match error {
                    FetchError::Remote(error) => error.into(),
                    FetchError::Pack(error) => CloneError::from_pack(self.shown_url, error),
                })
        })
    }

    pub(super) fn writer(&self, tip: ObjectId, verify: bool) -> Result<WorktreeWriter, CloneError> {
        let options = WorktreeOptions {
            sparse: self.cone.clone(),
            verify,
        };
        Ok(WorktreeWriter::new(&self.opened.to_thread_local(), tip, options)?)
    }

    pub(super) fn finish_worktree(
        &self,
        writer: WorktreeWriter,
        meter: &Meter<'_>,
        transferred: &mut Transferred,
    ) -> Result<(), CloneError> {
        // What the refs need is not here yet while the history comes; nobody may take that for damage.
        self.repository.write_shallow(&transferred.shallow)?;
        meter.update(&writer);
        let objects = self.opened.to_thread_local().objects;
        let written = writer.finish(&objects, self.stop, &|writer| meter.update(writer))?;
        self.progress.finish(Step::WriteFiles);
        transferred.worktree = Some(written);
        transferred.worktree_ready = Some(self.started.elapsed());
        (self.on_worktree_ready)(self.repository.root);
        Ok(())
    }
}

/// Turns the files written so far into progress.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    reported: AtomicU64,
    /// Set when the total was told.
    total: OnceLock<()>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a dyn Progress) -> Self {
        progress.start(Step::WriteFiles, None);
        Meter {
            progress,
            reported: AtomicU64::new(0),
            total: OnceLock::new(),
        }
    }

    pub(super) fn update(&self, writer: &WorktreeWriter) {
        if self.total.get().is_none()
            && let Some(total) = writer.total_files()
            && self.total.set(()).is_ok()
        {
            self.progress.start(Step::WriteFiles, Some(total));
        }
        let files = writer.progress().files;
        let before = self.reported.fetch_max(files, Ordering::Relaxed);
        if let Some(more @ 1..) = files.checked_sub(before) {
            self.progress.advance(Step::WriteFiles, more);
        }
    }
}
