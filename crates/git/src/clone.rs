//! Cloning: one command from a URL to a repository that is ready to work in.
//!
//! Owns the order of things. The tip is fetched first and its files are written while it arrives; the history comes beside
//! it as the filter asks. All of it happens in a place of its own and is moved to the destination as the last step.

use std::{
    cell::OnceCell,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::objs::Exists as _;
use headstart_fs::RelPath;
use headstart_process::ProcessError;

use crate::{
    config::GitConfig,
    environment::GitEnvironment,
    error::CloneError,
    filter_spec::FilterSpec,
    progress::{Progress, Step, Warning},
    refs::{Head, RefPlan, RemoteRefs, Selection},
    remote::{Conversation, Remote, RemoteError, Session},
    remote_url::{RemoteUrl, configured_url},
    seed::{SeedKey, SeedSource},
    sparse::Cone,
};

mod from_seed;
mod pending;
mod repository;
mod staging;
mod transfer;

pub use from_seed::SeedUse;
use from_seed::{NoClone, Seeds};
use pending::PendingHistory;
pub use pending::{CompletedHistory, HistoryState, background_log, complete_clone, history_state};
use repository::{NewRepository, Settings};
use staging::Staging;
use transfer::{Order, Transfer};

/// How often the user's wish to stop is passed on.
const INTERRUPT_POLL: Duration = Duration::from_millis(25);

/// What to clone, and how much of it.
#[derive(Debug, Clone)]
pub struct CloneOptions {
    /// The remote, in any of git's spellings.
    pub url: BString,
    /// Where to; it must not exist, or be an empty folder. Missing parents are made.
    pub directory: PathBuf,
    /// What is left at the remote until it is needed.
    pub filter: FilterSpec,
    /// Commits of history, from the tips; all when absent.
    pub depth: Option<NonZeroU32>,
    /// The branch or tag to check out; what the remote's `HEAD` names when absent.
    pub branch: Option<BString>,
    /// Only the history of that one branch.
    pub single_branch: bool,
    /// Whether tags are fetched.
    pub tags: bool,
    /// Directories kept in the working tree, with the files directly in the folders above them; all when empty.
    pub sparse: Vec<RelPath>,
    /// Whether files are written at all.
    pub checkout: bool,
    /// When the history comes.
    pub history: History,
}

/// When the history of a clone comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// While the files are written; the clone is over when both are there.
    #[default]
    Beside,
    /// The clone is over when the working tree is there, a valid shallow repository; [`complete_clone`] fetches the rest.
    /// Where the remote has no shallow clones, or there are no files to write, the history comes at once.
    Later,
}

/// What a clone has done.
#[derive(Debug, Clone)]
pub struct CloneOutcome {
    /// The repository.
    pub directory: PathBuf,
    /// What is checked out.
    pub head: Head,
    /// Refs the remote listed.
    pub refs: usize,
    /// Objects received, those that came twice counted twice.
    pub objects: u64,
    /// Bytes of the packs that brought the tip.
    pub tip_bytes: u64,
    /// Bytes of the pack that brought the history, or everything.
    pub history_bytes: u64,
    /// Files and symlinks written.
    pub files_written: u64,
    /// Bytes in them.
    pub bytes_written: u64,
    /// When the working tree was complete, since the start; absent without one.
    pub worktree_ready: Option<Duration>,
    /// When the last object of the history, or of everything, was received and indexed, since the start; absent where only
    /// the tip was fetched, or nothing.
    pub history_complete: Option<Duration>,
    /// Whether the history was left for [`complete_clone`].
    pub history_pending: bool,
    /// When everything was.
    pub total: Duration,
    /// The filter really used: `none` where the remote has no filters.
    pub filter: FilterSpec,
    /// The seed that was used.
    pub seed: Option<SeedUse>,
}

/// Clones a repository, all of it from the origin. See [`clone_with_seeds`].
pub fn clone(
    options: &CloneOptions,
    environment: &GitEnvironment,
    progress: &dyn Progress,
    on_worktree_ready: &(dyn Fn(&Path) + Sync),
    interrupt: &AtomicBool,
) -> Result<CloneOutcome, CloneError> {
    clone_with_seeds(options, None, environment, progress, on_worktree_ready, interrupt)
}

/// Clones a repository, from a seed where `seeds` has one.
///
/// `on_worktree_ready` is told the folder of the working tree as soon as its files and index are complete, while history
/// may still be coming; it is renamed to its final name later, so only relative paths in it last. Setting `interrupt` ends
/// the clone soon. Whatever goes wrong, nothing is left behind.
pub fn clone_with_seeds(
    options: &CloneOptions,
    seeds: Option<&dyn SeedSource>,
    environment: &GitEnvironment,
    progress: &dyn Progress,
    on_worktree_ready: &(dyn Fn(&Path) + Sync),
    interrupt: &AtomicBool,
) -> Result<CloneOutcome, CloneError> {
    let started = Instant::now();
    let staging = Staging::create(&environment.folder.join(&options.directory))?;
    // The parts of a clone stop each other when one fails, which is not the user's doing.
    let stop = AtomicBool::new(false);
    let outcome = forwarding(interrupt, &stop, || {
        let cloning = Cloning {
            options,
            seeds,
            environment,
            progress,
            on_worktree_ready,
            stop: &stop,
            started,
        };
        cloning.run(staging.path())
    });
    let outcome = match outcome {
        // The first failure stops the rest, and the user's wish outranks what it led to.
        Err(_) if interrupt.load(Ordering::Relaxed) => Err(CloneError::Interrupted),
        outcome => outcome,
    }?;
    let directory = staging.publish()?;
    Ok(CloneOutcome {
        directory,
        total: started.elapsed(),
        ..outcome
    })
}

/// Runs `work` while every wish of `interrupt` reaches `stop`.
fn forwarding<T>(interrupt: &AtomicBool, stop: &AtomicBool, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let forwarder = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if interrupt.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                }
                thread::park_timeout(INTERRUPT_POLL);
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        forwarder.thread().unpark();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Cloning<'a> {
    options: &'a CloneOptions,
    seeds: Option<&'a dyn SeedSource>,
    environment: &'a GitEnvironment,
    progress: &'a dyn Progress,
    on_worktree_ready: &'a (dyn Fn(&Path) + Sync),
    stop: &'a AtomicBool,
    started: Instant,
}

impl Cloning<'_> {
    fn run(&self, root: &Path) -> Result<CloneOutcome, CloneError> {
        let options = self.options;
        let repository = NewRepository::begin(root, self.environment)?;
        let config = GitConfig::load(self.environment, repository.git_dir())?;
        let remote_name = config
            .string("clone.defaultremotename")
            .filter(|name| !name.is_empty());
        let remote_name = remote_name.unwrap_or(BStr::new("origin")).to_owned();
        let (url, written_url) = self.url(&config)?;
        let shown_url = url.to_string();
        if !is_remote_name(remote_name.as_ref()) {
            let source = format!("clone.defaultRemoteName: {remote_name:?} is no name for a remote");
            return Err(RemoteError::Setting {
                url: shown_url,
                source: std::io::Error::other(source),
            }
            .into());
        }

        // A part of the history is less than a seed has.
        let seeds = self
            .seeds
            .filter(|_| options.depth.is_none() && !options.filter.is_none());
        let seeds = seeds.map(|source| Seeds {
            source,
            key: SeedKey::new(&url, options.filter.clone()),
        });
        self.progress.start(Step::Connect, None);
        let remote = Remote::new(url, &config, self.environment, repository.git_dir(), self.stop)?;
        let mut session = Session::new(&remote, self.progress);
        // While the remote is asked, git makes the repository and tells what it knows: a program takes as long as an answer
        // from nearby.
        let (listed, found, ident) = thread::scope(|scope| {
            let making = scope.spawn(|| {
                repository.init()?;
                // Asked once, and needed to open the repository.
                gix::path::env::installation_config();
                Ok::<_, ProcessError>(repository.ident())
            });
            let finding = seeds.as_ref().map(|seeds| scope.spawn(|| seeds.find(self.stop)));
            let listed =
                session.hold(|conversation| conversation.list_refs(&["HEAD", "refs/heads/", "refs/tags/"]));
            if listed.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            (
                listed,
                finding.map(|finding| {
                    finding
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }),
                making
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let ident = ident?;
        let refs = RemoteRefs::new(listed?);
        self.progress.advance(Step::Connect, refs.len() as u64);
        self.progress.finish(Step::Connect);

        let default_branch = repository.default_branch()?;
        let selection = Selection {
            branch: options.branch.as_ref().map(|branch| branch.as_bstr()),
            single_branch: options.single_branch,
            tags: options.tags,
            default_branch: default_branch.as_ref(),
            remote: remote_name.as_ref(),
        };
        let plan = refs.plan(&selection).map_err(|_| CloneError::NoSuchBranch {
            url: shown_url.clone(),
            branch: options.branch.clone().unwrap_or_default(),
        })?;
        if let Some((folder, file)) = plan.conflict() {
            return Err(RemoteError::Protocol {
                url: shown_url,
                source: format!("{folder} and {file} cannot both be refs").into(),
            }
            .into());
        }
        let (filter, depth) = self.agreed(session.conversation()?, &refs, &plan);
        let cone = (!options.sparse.is_empty()).then(|| Cone::new(options.sparse.iter().cloned()));
        let rebase = config.string("branch.autosetuprebase");
        repository.configure(&Settings {
            remote: remote_name.as_ref(),
            url: written_url.as_ref(),
            tags: options.tags,
            filter: &filter,
            plan: &plan,
            cone: cone.as_ref(),
            rebase: rebase.is_some_and(|rebase| rebase == "always" || rebase == "remote"),
        })?;
        let mut outcome = CloneOutcome {
            directory: root.to_owned(),
            head: plan.head.clone(),
            refs: refs.len(),
            objects: 0,
            tip_bytes: 0,
            history_bytes: 0,
            files_written: 0,
            bytes_written: 0,
            worktree_ready: None,
            history_complete: None,
            history_pending: false,
            total: Duration::ZERO,
            filter: filter.clone(),
            seed: None,
        };
        let wants_nothing = plan.wants().is_empty();
        if !wants_nothing {
            let first = repository.open(&config)?;
            let (mut opened, after_refusal) = (&first, OnceCell::new());
            let conversation = session.conversation()?;
            // Of an old remote, one connection answers one question.
            let agreed = filter == options.filter && conversation.takes_more_commands();
            let order = Order::choose(conversation, &plan, &filter, depth, cone.is_some(), options);
            let seed = seeds.as_ref().zip(found).filter(|_| agreed);
            let seed = seed.and_then(|(seeds, found)| Some((seeds, seeds.choose(found, &plan, self.stop)?)));
            let transfer = |opened| Transfer {
                remote: &remote,
                shown_url: &shown_url,
                plan: &plan,
                repository: &repository,
                opened,
                filter: &filter,
                depth,
                cone: cone.clone(),
                checkout: options.checkout,
                // Git's default is not to. They are part of the remote's answer, and checked like the rest of it.
                bundles: config.boolean("transfer.bundleuri").unwrap_or(true),
                follow_tags: !plan.followed_tags.is_empty(),
                progress: self.progress,
                on_worktree_ready: self.on_worktree_ready,
                started: self.started,
                stop: self.stop,
            };
            let mut from_seed = None;
            if let Some((seeds, seed)) = &seed {
                let transfer = transfer(opened);
                match transfer.run_from_seed(&mut session, seeds.source, seed) {
                    Ok(done) => from_seed = Some(done),
                    Err(no_clone) => {
                        let reason = match no_clone {
                            NoClone::Failed(error) => return Err(error),
                            NoClone::Gone(reason) => reason,
                            NoClone::Refused(reason) => {
                                seeds.source.refuse(seed);
                                reason
                            }
                        };
                        transfer.warn_refused(seed, reason);
                        from_seed::clear(&repository)?;
                        // The one before knows of packs that are gone.
                        let again = repository.open(&config)?;
                        opened = after_refusal.get_or_init(|| again);
                    }
                }
            }
            let (transferred, seed_use) = match from_seed {
                Some((transferred, seed_use)) => (transferred, Some(seed_use)),
                None => (transfer(opened).run(session, order)?, None),
            };
            outcome.seed = seed_use;
            repository.write_shallow(&transferred.shallow)?;
            let mut followed = plan.followed_tags.clone();
            let objects = opened.to_thread_local().objects;
            let mut plan = plan;
            let history_pending = order.leaves_history() && outcome.seed.is_none();
            if history_pending {
                PendingHistory::new(&plan, remote_name.as_ref(), depth).write(repository.git_dir())?;
                // Refs to what is still to come would be broken ones.
                plan.fetched.retain(|fetched| objects.exists(&fetched.target.id));
            }
            if let Some(lost) = plan
                .fetched
                .iter()
                .find(|fetched| !objects.exists(&fetched.target.id))
            {
                return Err(CloneError::CorruptPack {
                    url: shown_url,
                    source: format!("{} is not in it, which {} is", lost.target.id, lost.remote_name).into(),
                });
            }
            followed.retain(|(_, target)| objects.exists(&target.id));
            repository.write_refs(
                &plan,
                &followed,
                remote_name.as_ref(),
                written_url.as_ref(),
                &ident,
            )?;
            if let Some(tip) = plan.head.tip().filter(|_| options.checkout)
                && let Some(message) = repository.run_post_checkout(&config, tip, self.stop)
            {
                self.progress.warn(&Warning::HookFailed { message });
            }
            let written = transferred.worktree.unwrap_or_default();
            outcome = CloneOutcome {
                objects: transferred.objects,
                tip_bytes: transferred.tip_bytes,
                history_bytes: transferred.history_bytes,
                files_written: written.files,
                bytes_written: written.bytes,
                worktree_ready: transferred.worktree_ready,
                history_complete: transferred.history_complete,
                history_pending,
                ..outcome
            };
        }
        Ok(outcome)
    }

    /// Where to connect to, and what goes into the configuration.
    fn url(&self, config: &GitConfig) -> Result<(RemoteUrl, BString), CloneError> {
        let given = self.options.url.as_bstr();
        // A text that only `insteadOf` gives a meaning to is no URL by itself.
        let written = match RemoteUrl::parse(given, &self.environment.folder) {
            Ok(parsed) => configured_url(given, &parsed),
            Err(_) => given.to_owned(),
        };
        let rewritten = config.instead_of(written.as_ref());
        Ok((
            RemoteUrl::parse(rewritten.as_ref(), &self.environment.folder)?,
            written,
        ))
    }

    /// The filter and depth that the remote can serve, having warned of what it cannot.
    fn agreed(
        &self,
        conversation: &Conversation<'_>,
        refs: &RemoteRefs,
        plan: &RefPlan,
    ) -> (FilterSpec, Option<NonZeroU32>) {
        let (mut filter, mut depth) = (self.options.filter.clone(), self.options.depth);
        // Without shallow fetches, there is no fetch of the tip's blobs that a filter leaves out.
        let can_filter = conversation.can_filter() && conversation.can_be_shallow();
        if !filter.is_none() && !can_filter {
            self.progress.warn(&Warning::FilterUnsupported { filter });
            filter = FilterSpec::None;
        }
        if depth.is_some() && !conversation.can_be_shallow() {
            self.progress.warn(&Warning::DepthUnsupported);
            depth = None;
        }
        if refs.is_empty() {
            self.progress.warn(&Warning::EmptyRepository);
        } else if plan.head_missing {
            self.progress.warn(&Warning::RemoteHeadMissing);
        }
        (filter, depth)
    }
}

/// Whether git takes `name` for a remote: it becomes a part of refs.
fn is_remote_name(name: &BStr) -> bool {
    let tracking = [b"refs/remotes/".as_slice(), name, b"/branch"].concat();
    gix::validate::reference::name(tracking.as_bstr()).is_ok()
}
