//! A clone whose history is still to come: the note that says so, and what completes it.
//!
//! The note is `headstart/history` in the git directory: text, one fact a line, written before the repository appears and
//! removed when nothing is left to do. Whoever completes the history holds the lock beside it, so that of two only one does.

use std::{
    collections::HashMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, objs::Exists as _};
use headstart_fs::{
    AtPath as _, FileLock, PathError,
    publish::{Durability, replace},
};
use headstart_process::ProcessError;

use crate::{
    bundle::{Unbundled, Unbundling},
    environment::GitEnvironment,
    filter_spec::FilterSpec,
    local::{FetchJob, LocalError, LocalRepository},
    progress::{Progress, Step, Warning},
    refs::{RefPlan, RemoteRefs},
    remote::{Depth, FetchRequest, Session},
    remote_url::anonymized,
};

/// Folder of ours in a git directory.
const FOLDER: &str = "headstart";
const NOTE: &str = "history";
const LOCK: &str = "lock";
const LOG: &str = "log";
/// How often, and how long apart, the lock is tried.
const LOCK_ATTEMPTS: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// First line of the note; a number for each format there was.
const FORMAT: &str = "headstart-history 1";

/// What is still to be fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PendingHistory {
    remote: BString,
    depth: Option<NonZeroU32>,
    /// Names there and, where there is one, here.
    refs: Vec<(BString, Option<BString>)>,
    /// Tags kept if what they point to comes anyway.
    followed_tags: Vec<BString>,
    /// What `refs/remotes/<remote>/HEAD` stands for.
    remote_head: Option<BString>,
}

impl PendingHistory {
    pub(super) fn new(plan: &RefPlan, remote: &BStr, depth: Option<NonZeroU32>) -> Self {
        let names =
            |fetched: &crate::refs::FetchedRef| (fetched.remote_name.clone(), fetched.local_name.clone());
        PendingHistory {
            remote: remote.to_owned(),
            depth,
            refs: plan.fetched.iter().map(names).collect(),
            followed_tags: plan.followed_tags.iter().map(|(name, _)| name.clone()).collect(),
            remote_head: plan.remote_head.as_ref().map(|(name, _)| name.clone()),
        }
    }

    /// Leaves the note in `git_dir`.
    pub(super) fn write(&self, git_dir: &Path) -> Result<(), PathError> {
        let folder = git_dir.join(FOLDER);
        fs::create_dir_all(&folder).at("create", &folder)?;
        replace(&folder.join(NOTE), &self.encode(), Durability::Synced)
    }

    fn encode(&self) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = vec![FORMAT.into(), [b"remote ", self.remote.as_slice()].concat()];
        lines.extend(self.depth.map(|depth| format!("depth {depth}").into_bytes()));
        for (there, here) in &self.refs {
            let here = here.as_ref().map_or(b"-".as_slice(), |name| name);
            lines.push([b"ref ", there.as_slice(), b" ", here].concat());
        }
        lines.extend(
            self.followed_tags
                .iter()
                .map(|name| [b"tag ", name.as_slice()].concat()),
        );
        lines.extend(
            self.remote_head
                .iter()
                .map(|name| [b"head ", name.as_slice()].concat()),
        );
        lines.push(Vec::new());
        lines.join(b"\n".as_slice())
    }

    /// Reads a note. Its lines end up in refs, so that names are checked.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FORMAT.as_bytes() {
            return None;
        }
        let name = |name: &[u8]| -> Option<BString> {
            let valid = name == b"HEAD" || gix::validate::reference::name(name.as_bstr()).is_ok();
            valid.then(|| name.into())
        };
        let mut pending = PendingHistory::default();
        for line in lines {
            let (key, value) = line.split_once_str(" ")?;
            match key {
                b"remote" => pending.remote = value.into(),
                b"depth" => pending.depth = Some(value.to_str().ok()?.parse().ok()?),
                b"ref" => {
                    let (there, here) = value.split_once_str(" ")?;
                    let here = match here {
                        b"-" => None,
                        here => Some(name(here)?),
                    };
                    pending.refs.push((name(there)?, here));
                }
                b"tag" => pending.followed_tags.push(name(value)?),
                b"head" => pending.remote_head = Some(name(value)?),
                _ => return None,
            }
        }
        (!pending.remote.is_empty()).then_some(pending)
    }

    fn load(git_dir: &Path) -> Result<Option<Self>, LocalError> {
        let path = git_dir.join(FOLDER).join(NOTE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.at("read", &path)?,
        };
        match Self::parse(&text) {
            Some(pending) => Ok(Some(pending)),
            None => Err(LocalError::Repository {
                path,
                source: "it is damaged, or of another version of headstart".into(),
            }),
        }
    }
}

/// How far the history of a clone is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryState {
    /// Nothing is left to do, as far as a clone is concerned.
    Complete,
    /// Somebody is fetching it now.
    Arriving {
        /// What was said about it.
        log: PathBuf,
    },
    /// It is still to be fetched, and nobody does.
    Waiting {
        /// What was said about it; may not exist.
        log: PathBuf,
    },
}

/// Where a process that completes a clone in the background may write what it has to say: a file in the folder it needs.
pub fn background_log(directory: &Path) -> PathBuf {
    directory.join(".git").join(FOLDER).join(LOG)
}

/// How far the history of the clone is that the folder of `environment` is in.
pub fn history_state(environment: &GitEnvironment) -> Result<HistoryState, LocalError> {
    let repository = LocalRepository::discover(environment)?;
    let folder = repository.common_dir.join(FOLDER);
    if PendingHistory::load(&repository.common_dir)?.is_none() {
        return Ok(HistoryState::Complete);
    }
    let log = folder.join(LOG);
    Ok(match FileLock::try_exclusive(folder.join(LOCK))? {
        Some(_) => HistoryState::Waiting { log },
        None => HistoryState::Arriving { log },
    })
}

/// What completing a clone brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompletedHistory {
    /// False when there was nothing left to do.
    pub was_pending: bool,
    /// Objects received.
    pub objects: u64,
    /// Bytes of their pack.
    pub bytes: u64,
    /// Refs written.
    pub refs: usize,
}

/// Fetches the history that a clone left for later, in the repository that the folder of `environment` is in.
///
/// At any moment the repository is a valid one: objects appear before the shallow boundary goes, and refs come after both.
pub fn complete_clone(
    environment: &GitEnvironment,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<CompletedHistory, LocalError> {
    let repository = LocalRepository::discover(environment)?;
    if PendingHistory::load(&repository.common_dir)?.is_none() {
        return Ok(CompletedHistory::default());
    }
    let folder = repository.common_dir.join(FOLDER);
    let _lock = lock(&folder, &repository)?;
    // Who held the lock before may have done it.
    let Some(pending) = PendingHistory::load(&repository.common_dir)? else {
        return Ok(CompletedHistory::default());
    };
    let completed = Completion {
        repository: &repository,
        pending: &pending,
        progress,
        interrupt,
    }
    .run()?;
    let note = folder.join(NOTE);
    fs::remove_file(&note).at("remove", &note)?;
    Ok(completed)
}

/// Waits a little: whoever only looks holds the lock for a moment.
fn lock(folder: &Path, repository: &LocalRepository<'_>) -> Result<FileLock, LocalError> {
    for _ in 0..LOCK_ATTEMPTS {
        if let Some(lock) = FileLock::try_exclusive(folder.join(LOCK))? {
            return Ok(lock);
        }
        thread::sleep(LOCK_PAUSE);
    }
    Err(LocalError::Busy {
        path: repository.git_dir.clone(),
    })
}

struct Completion<'a> {
    repository: &'a LocalRepository<'a>,
    pending: &'a PendingHistory,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl Completion<'_> {
    fn run(&self) -> Result<CompletedHistory, LocalError> {
        // Before the remote is asked: what moves from now on is newer than what it says.
        let before = self.local_refs()?;
        let name = self.pending.remote.as_bstr();
        let filter = self.repository.filter_of(name)?;
        self.progress.start(Step::Connect, None);
        let remote = self.repository.remote(name, self.interrupt)?;
        let mut session = Session::new(&remote, self.progress);
        let listed =
            session.hold(|conversation| conversation.list_refs(&["HEAD", "refs/heads/", "refs/tags/"]));
        let listed = RemoteRefs::new(listed?);
        self.progress.finish(Step::Connect);
        let targets: Vec<(&BString, ObjectId)> = self
            .pending
            .refs
            .iter()
            .filter_map(|(there, here)| Some((here.as_ref()?, listed.target(there.as_ref())?)))
            .collect();
        let mut wants: Vec<ObjectId> = targets.iter().map(|(_, id)| *id).collect();
        wants.extend(
            self.pending
                .refs
                .iter()
                .filter_map(|(there, _)| listed.target(there.as_ref())),
        );
        wants.sort();
        wants.dedup();
        if self.is_unshallowed()? {
            // By an earlier attempt, or by git: what is here is here with all it reaches.
            let objects = self.repository.open()?.objects;
            wants.retain(|id| !objects.exists(id));
        }
        let mut completed = CompletedHistory {
            was_pending: true,
            ..CompletedHistory::default()
        };
        if !wants.is_empty() {
            let filter_text = filter.to_string();
            let mut request = self.request(wants, &filter, &filter_text)?;
            let promisor: String = self
                .pending
                .refs
                .iter()
                .filter_map(|(there, _)| Some(format!("{} {there}\n", listed.target(there.as_ref())?)))
                .collect();
            let promisor = (!filter.is_none()).then_some(promisor.as_bytes());
            self.progress.start(Step::ReceiveHistory, None);
            let job = FetchJob {
                progress: self.progress,
                on_bytes: &|bytes| self.progress.advance(Step::ReceiveHistory, bytes),
                interrupt: self.interrupt,
            };
            let bundles = self.repository.config.boolean("transfer.bundleuri");
            let unbundled = match self.pending.depth.is_none() && bundles.unwrap_or(true) {
                true => Unbundling {
                    remote: &remote,
                    environment: self.repository.environment,
                    objects_dir: self.repository.common_dir.join("objects"),
                    filter: &filter,
                    progress: self.progress,
                    on_bytes: job.on_bytes,
                    interrupt: self.interrupt,
                }
                .run(&mut session)?,
                false => Unbundled::default(),
            };
            request.haves.extend(unbundled.tips);
            let url = remote.shown_url();
            let fetched = session.hold(|conversation| {
                self.repository
                    .fetch(conversation, &url, &request, promisor, &job)
            })?;
            self.progress.finish(Step::ReceiveHistory);
            completed.objects = unbundled.objects + fetched.pack.objects;
            completed.bytes = unbundled.bytes + fetched.pack.bytes;
            self.repository.settle_shallow(&fetched.shallow)?;
        }
        completed.refs = self.write_refs(&before, &targets, &listed)?;
        self.write_commit_graph();
        Ok(completed)
    }

    /// Whether nothing of the boundary is left that the clone had to begin with.
    fn is_unshallowed(&self) -> Result<bool, LocalError> {
        Ok(self.pending.depth.is_none() && self.repository.shallow()?.is_empty())
    }

    /// Names and objects of all refs here.
    fn local_refs(&self) -> Result<HashMap<BString, BString>, LocalError> {
        let listed = self
            .repository
            .git()
            .args(["for-each-ref", "--format=%(refname) %(objectname)"])
            .run()?;
        let refs = ByteSlice::lines(listed.stdout.as_slice()).filter_map(|line| line.split_once_str(" "));
        Ok(refs.map(|(name, id)| (name.into(), id.into())).collect())
    }

    /// A full history is asked for as what is missing. Of a filtered one, the trees of the tip come again: told what is
    /// here, a server prepares the pack object by object, without the bitmaps that make it fast.
    fn request<'r>(
        &self,
        wants: Vec<ObjectId>,
        filter: &FilterSpec,
        filter_text: &'r str,
    ) -> Result<FetchRequest<'r>, LocalError> {
        let depth = self.pending.depth.map(Depth::Commits);
        let include_tag = !self.pending.followed_tags.is_empty();
        if !filter.is_none() {
            return Ok(FetchRequest {
                wants,
                depth,
                filter: Some(filter_text),
                include_tag,
                ..FetchRequest::default()
            });
        }
        let shallow = self.repository.shallow()?;
        Ok(FetchRequest {
            wants,
            haves: shallow.clone(),
            depth: depth.or((!shallow.is_empty()).then_some(Depth::All)),
            shallow,
            include_tag,
            ..FetchRequest::default()
        })
    }

    /// Writes the refs the clone left out. Tags that are here already stay as they are, as with `git fetch`, and so does what
    /// the user's own git has moved since `before`.
    fn write_refs(
        &self,
        before: &HashMap<BString, BString>,
        targets: &[(&BString, ObjectId)],
        listed: &RemoteRefs,
    ) -> Result<usize, LocalError> {
        let existing = self.local_refs()?;
        let objects = self.repository.open()?.objects;
        let followed = self.pending.followed_tags.iter().filter_map(|name| {
            let id = listed.target(name.as_ref())?;
            objects.exists(&id).then_some((name, id))
        });
        let mut updates = Vec::new();
        for (name, id) in targets.iter().copied().chain(followed) {
            let hex = id.to_string();
            let now = existing.get(name);
            let is_settled = now != before.get(name)
                || now.is_some_and(|now| name.starts_with(b"refs/tags/") || *now == hex.as_bytes());
            if is_settled {
                continue;
            }
            if !objects.exists(&id) {
                return Err(LocalError::CorruptPack {
                    url: self.pending.remote.to_string(),
                    source: format!("{id} is not in it, which {name} is").into(),
                });
            }
            let null = ObjectId::null(id.kind()).to_string();
            let old = now.map_or(null.as_bytes(), |now| now.as_slice());
            updates.push(
                [
                    b"update ",
                    name.as_slice(),
                    b" ",
                    hex.as_bytes(),
                    b" ",
                    old,
                    b"\n",
                ]
                .concat(),
            );
        }
        self.update(&updates)?;
        // Many refs would be as many files. They serve all the same where somebody else is at it.
        let _ = self
            .git()
            .args(["pack-refs", "--all"])
            .run_interruptible(self.interrupt);
        let remote_head = [b"refs/remotes/", self.pending.remote.as_slice(), b"/HEAD"].concat();
        if let Some(branch) = &self.pending.remote_head
            && !existing.contains_key(remote_head.as_bstr())
            && (existing.contains_key(branch) || targets.iter().any(|(name, _)| *name == branch))
        {
            let url = self.repository.remote_string(self.pending.remote.as_ref(), "url");
            let message = [b"clone: from ".as_slice(), &anonymized(url.unwrap_or_default())].concat();
            let args = [b"symbolic-ref", b"-m".as_slice(), &message, &remote_head, branch];
            self.repository
                .git()
                .args(args.map(|arg| os(arg.as_bstr())))
                .run()?;
        }
        Ok(updates.len())
    }

    /// All at once; where one stands in the way of that (a tag of the user's that is a folder of the remote's), one by one.
    fn update(&self, updates: &[Vec<u8>]) -> Result<(), LocalError> {
        let update_ref = |lines: Vec<u8>| {
            let command = self.git().args(["update-ref", "--stdin"]).stdin(lines);
            command.run_interruptible(self.interrupt)
        };
        match update_ref(updates.concat()) {
            Err(ProcessError::Failed { .. }) => {}
            done => return done.map(drop).map_err(LocalError::from),
        }
        for line in updates {
            match update_ref(line.clone()) {
                Err(error @ ProcessError::Failed { .. }) => self.progress.warn(&Warning::RefLeft {
                    message: error.to_string(),
                }),
                done => done.map(drop)?,
            }
        }
        Ok(())
    }

    /// Git in the repository; a clone writes no logs for the refs of a remote.
    fn git(&self) -> headstart_process::Command {
        self.repository.git().args(["-c", "core.logAllRefUpdates=false"])
    }

    /// Git is fast with a commit-graph and right without.
    fn write_commit_graph(&self) {
        let written = self
            .repository
            .git()
            .args(["commit-graph", "write", "--reachable", "--no-progress"])
            .run_interruptible(self.interrupt);
        if let Err(error) = written {
            self.progress.warn(&Warning::CommitGraph {
                message: error.to_string(),
            });
        }
    }
}

fn os(text: &BStr) -> std::ffi::OsString {
    text.to_os_str_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> PendingHistory {
        PendingHistory {
            remote: "origin".into(),
            depth: NonZeroU32::new(7),
            refs: vec![
                ("HEAD".into(), None),
                (
                    b"refs/heads/odd-\xff".as_slice().into(),
                    Some(b"refs/remotes/origin/odd-\xff".as_slice().into()),
                ),
            ],
            followed_tags: vec!["refs/tags/v1".into()],
            remote_head: Some("refs/remotes/origin/main".into()),
        }
    }

    #[test]
    fn a_note_says_what_was_written() {
        assert_eq!(PendingHistory::parse(&pending().encode()), Some(pending()));
    }

    #[test]
    fn other_versions_and_names_that_are_no_refs_are_refused() {
        let text = String::from_utf8_lossy(&pending().encode()).into_owned();
        for (from, to) in [
            ("history 1", "history 2"),
            ("ref HEAD -", "ref HEAD ../../config"),
            ("tag refs/tags/v1", "tag refs/tags/..v1"),
            ("depth 7", "depth 0"),
            ("remote origin\n", ""),
            ("tag ", "unknown "),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            assert_eq!(PendingHistory::parse(changed.as_bytes()), None, "{to}");
        }
    }
}
