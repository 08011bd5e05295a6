//! A clone from a seed: its packs are linked, what is newer comes from the origin, and nothing is believed that the origin
//! did not say or a hash does not prove.
//!
//! Refs that the seed had at the same objects need nothing. For the others, one fetch tells what the seed has and brings
//! the rest; blobs of the tip that are still missing come in a second one over the same connection, while the files that
//! can be written are. The history of a seed may still be on its way then.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
};

use bstr::{BStr, ByteSlice as _};
use gix::{
    ObjectId,
    objs::{CommitRefIter, Exists as _, Find as _, Kind, TagRefIter},
};

use super::{
    repository::NewRepository,
    transfer::{Meter, Transfer, Transferred},
};
use crate::{
    error::CloneError,
    filter_spec::FilterSpec,
    pack::ReceivedPack,
    progress::{Step, Warning},
    refs::RefPlan,
    remote::{Depth, FetchRequest, Session},
    seed::{LinkedPart, PackOrder, Seed, SeedKey, SeedManifest, SeedSource, link_part},
    worktree::{WorktreeError, WorktreeWriter},
};

/// What is told to be here, at most: each costs the origin a look.
const MOST_HAVES: usize = 1000;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// A source of seeds and what is asked of it.
pub(super) struct Seeds<'a> {
    pub(super) source: &'a dyn SeedSource,
    pub(super) key: SeedKey,
}

/// What the source had before the origin was heard.
pub(super) struct Found {
    seeds: Vec<Seed>,
    /// Whether nothing newer is to be had.
    is_newest: bool,
}

/// Which seed a clone was made from.
#[derive(Debug, Clone)]
pub struct SeedUse {
    /// What it is called.
    pub label: String,
    /// Bytes of its packs.
    pub pack_bytes: u64,
    /// What it had.
    pub(crate) manifest: SeedManifest,
}

/// Why there is no clone from a seed.
pub(super) enum NoClone {
    /// The seed is of no use; without it, there may be one.
    Refused(String),
    /// There would be none without it either.
    Failed(CloneError),
}

impl<E: Into<CloneError>> From<E> for NoClone {
    fn from(error: E) -> Self {
        NoClone::Failed(error.into())
    }
}

impl Seeds<'_> {
    /// Looks for seeds, while the origin is being asked.
    pub(super) fn find(&self, stop: &AtomicBool) -> Found {
        let seeds = self.source.find_local(&self.key);
        let is_newest = seeds.is_empty();
        let newest = || self.source.fetch_newest(&self.key, &[], stop);
        Found {
            seeds: match is_newest {
                true => newest().into_iter().collect(),
                false => seeds,
            },
            is_newest,
        }
    }

    /// The seed to clone from, now that the origin was heard: one that has what is checked out, else the newest.
    pub(super) fn choose(&self, found: Found, plan: &RefPlan, stop: &AtomicBool) -> Option<Seed> {
        let wanted = plan.tip_want();
        let has_tip = |seed: &&Seed| {
            seed.manifest
                .refs
                .iter()
                .any(|seed_ref| Some(seed_ref.id) == wanted)
        };
        if let Some(seed) = found.seeds.iter().find(has_tip) {
            return Some(seed.clone());
        }
        let newer = match found.is_newest {
            true => None,
            false => self.source.fetch_newest(&self.key, &found.seeds, stop),
        };
        newer.or_else(|| found.seeds.into_iter().next())
    }
}

/// What the origin has added to a seed.
struct TopUp {
    /// Index of the pack that came, if any.
    index: Option<PathBuf>,
    /// Objects that the new ones build on: the seed must have them.
    boundary: Vec<ObjectId>,
}

impl Transfer<'_> {
    /// Makes the clone from `seed`. Until the working tree is there, the seed may be refused: the repository is then as good
    /// as [`clear`] makes it. Later, what it fails to bring comes from the origin.
    pub(super) fn run_from_seed(
        &self,
        session: &mut Session<'_>,
        source: &dyn SeedSource,
        seed: &Seed,
    ) -> Result<(Transferred, SeedUse), NoClone> {
        let objects_dir = self.repository.git_dir().join("objects");
        let linked = link_part(&seed.tip, &objects_dir, &promisor_text(seed))
            .map_err(|error| NoClone::Refused(chain(&error)))?;
        thread::scope(|scope| {
            let mut history = History::On(scope.spawn(|| {
                let part = source.fetch_history(seed, self.stop).ok_or(None)?;
                let linked = link_part(&part, &objects_dir, &promisor_text(seed));
                let mut linked = linked.map_err(|error| Some(chain(&error)))?;
                for part in [&seed.tip, &part] {
                    linked.add_commit_graph(part, &objects_dir);
                }
                Ok(linked)
            }));
            let (mut transferred, top_up) = self.tip_from_seed(session, seed, &linked, &mut history)?;
            let mut seed_use = SeedUse {
                label: seed.label.clone(),
                pack_bytes: linked.pack_bytes,
                manifest: seed.manifest.clone(),
            };
            match self.take_history(history, &top_up) {
                Ok(bytes) => seed_use.pack_bytes += bytes,
                Err(reason) => {
                    if let Some(reason) = reason {
                        self.warn_refused(seed, reason);
                        source.refuse(seed);
                    }
                    let whole = self.receive_history(session)?;
                    transferred.objects += whole.objects;
                    transferred.history_bytes += whole.history_bytes;
                }
            }
            transferred.history_complete = Some(self.started.elapsed());
            Ok((transferred, seed_use))
        })
    }

    pub(super) fn warn_refused(&self, seed: &Seed, reason: String) {
        self.progress.warn(&Warning::SeedRefused {
            label: seed.label.clone(),
            reason,
        });
    }

    /// Brings what the refs need beyond the seed, and writes the working tree.
    fn tip_from_seed(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        linked: &LinkedPart,
        history: &mut History<'_>,
    ) -> Result<(Transferred, TopUp), NoClone> {
        let mut transferred = Transferred::default();
        let top_up = self.top_up(session, seed, &mut transferred)?;
        if let Some(tip) = self.plan.head.tip().filter(|_| self.checkout) {
            let mut indexes = linked.indexes().to_owned();
            indexes.extend(top_up.index.clone());
            let tip = Tip { seed, tip, indexes };
            self.write_tip(session, tip, history, &mut transferred)?;
        }
        Ok((transferred, top_up))
    }

    fn top_up(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        transferred: &mut Transferred,
    ) -> Result<TopUp, NoClone> {
        let known: HashSet<ObjectId> = seed.manifest.refs.iter().map(|seed_ref| seed_ref.id).collect();
        let (known, wants): (Vec<_>, Vec<_>) = self
            .plan
            .wants()
            .into_iter()
            .partition(|want| known.contains(want));
        if wants.is_empty() {
            return Ok(TopUp {
                index: None,
                boundary: known,
            });
        }
        let filter = self.filter.to_string();
        let request = FetchRequest {
            haves: haves(&seed.manifest, self.plan),
            filter: Some(&filter),
            include_tag: self.follow_tags,
            wants,
            ..FetchRequest::default()
        };
        self.progress.start(Step::ReceiveHistory, None);
        let on_bytes = |bytes| self.progress.advance(Step::ReceiveHistory, bytes);
        let promisor = self.plan.promisor_lines(&request.wants);
        let fetched = self.fetch(session, &request, &promisor, &on_bytes, None)?;
        self.progress.finish(Step::ReceiveHistory);
        if !fetched.shallow.is_empty() {
            return Err(NoClone::Refused("the origin is shallow".to_owned()));
        }
        transferred.objects = fetched.pack.objects;
        transferred.history_bytes = fetched.pack.bytes;
        let index = self.index_of(&fetched.pack);
        let order = PackOrder::open(&index).map_err(|error| NoClone::Refused(chain(&error)))?;
        let mut boundary = self.boundary(request.wants, &order)?;
        if boundary.is_empty() && known.is_empty() {
            return Err(NoClone::Refused(
                "it is of another history than the origin's".to_owned(),
            ));
        }
        boundary.extend(known);
        Ok(TopUp { index, boundary })
    }

    /// What the commits in `order` that `tips` reach build on, without being in it.
    fn boundary(&self, tips: Vec<ObjectId>, order: &PackOrder) -> Result<Vec<ObjectId>, NoClone> {
        let objects = self.opened.to_thread_local().objects;
        let mut seen: HashSet<ObjectId> = tips.iter().copied().collect();
        let (mut unseen, mut data, mut boundary) = (tips, Vec::new(), Vec::new());
        while let Some(id) = unseen.pop() {
            if !order.contains(&id) {
                boundary.push(id);
                continue;
            }
            let found = objects.try_find(&id, &mut data);
            let object = found.ok().flatten().ok_or_else(|| CloneError::CorruptPack {
                url: self.shown_url.to_owned(),
                source: format!("{id} cannot be read from it").into(),
            })?;
            let reached: Vec<ObjectId> = match object.kind {
                Kind::Commit => CommitRefIter::from_bytes(object.data, SHA1)
                    .parent_ids()
                    .collect(),
                Kind::Tag => TagRefIter::from_bytes(object.data, SHA1)
                    .target_id()
                    .into_iter()
                    .collect(),
                Kind::Tree | Kind::Blob => Vec::new(),
            };
            unseen.extend(reached.into_iter().filter(|id| seen.insert(*id)));
        }
        Ok(boundary)
    }

    /// Writes the working tree from what is in the packs with these indexes, and from fetches of what is not.
    fn write_tip(
        &self,
        session: &mut Session<'_>,
        tip: Tip<'_>,
        history: &mut History<'_>,
        transferred: &mut Transferred,
    ) -> Result<(), NoClone> {
        let Tip {
            seed,
            tip,
            mut indexes,
        } = tip;
        let open =
            |indexes: &[PathBuf]| PackOrder::open(indexes).map_err(|error| NoClone::Refused(chain(&error)));
        let mut order = open(&indexes)?;
        let writer = self.writer(tip, true)?;
        let meter = Meter::new(self.progress);
        let objects = self.opened.to_thread_local().objects;
        let on_progress = |writer: &WorktreeWriter| meter.update(writer);
        let take = |order: &PackOrder, ids| {
            let taken = writer.take_known(&objects, order.sort(ids), self.stop, &on_progress);
            taken.map_err(no_clone)
        };
        let take_structure = |order: &PackOrder| -> Result<(), NoClone> {
            loop {
                let missing = writer.missing_structure().into_iter();
                let here: Vec<_> = missing.filter(|id| order.contains(id)).collect();
                match here.is_empty() {
                    true => return Ok(()),
                    false => take(order, here)?,
                }
            }
        };
        take_structure(&order)?;
        // Of a commit that is older than the seed, or of another branch, the history has the trees.
        if writer.total_files().is_none()
            && let Ok(linked) = history.wait()
        {
            indexes.extend_from_slice(linked.indexes());
            order = open(&indexes)?;
            take_structure(&order)?;
        }
        if writer.total_files().is_none() {
            if !self.filter.leaves_out_trees() {
                return Err(NoClone::Refused("it lacks trees of the tip".to_owned()));
            }
            indexes.extend(self.fetch_trees(session, seed, transferred)?);
            order = open(&indexes)?;
            take_structure(&order)?;
        }
        let (here, absent): (Vec<_>, Vec<_>) =
            writer.missing().into_iter().partition(|id| order.contains(id));
        let (taken, fetched) = thread::scope(|scope| {
            let fetching = (!absent.is_empty()).then(|| {
                scope.spawn(|| {
                    let request = FetchRequest {
                        wants: absent,
                        ..FetchRequest::default()
                    };
                    self.progress.start(Step::ReceiveTip, None);
                    let on_bytes = |bytes| self.progress.advance(Step::ReceiveTip, bytes);
                    let fetched = self.fetch(session, &request, b"", &on_bytes, None);
                    self.progress.finish(Step::ReceiveTip);
                    fetched
                })
            });
            let taken = take(&order, here);
            let join = |fetching: thread::ScopedJoinHandle<'_, _>| {
                fetching
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (taken, fetching.map(join).transpose())
        });
        taken?;
        if let Some(fetched) = fetched? {
            transferred.objects += fetched.pack.objects;
            transferred.tip_bytes += fetched.pack.bytes;
        }
        match self.finish_worktree(writer, &meter, transferred) {
            Err(CloneError::Worktree { source }) => Err(NoClone::Refused(source.to_string())),
            finished => Ok(finished?),
        }
    }

    /// Brings the trees of the tip that a filter has left out; the index of the pack they came in.
    fn fetch_trees(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        transferred: &mut Transferred,
    ) -> Result<Option<PathBuf>, NoClone> {
        let trees_only = FilterSpec::BlobNone.to_string();
        let request = FetchRequest {
            wants: self.plan.tip_want().into_iter().collect(),
            haves: vec![seed.manifest.tip],
            // Its parents are here: the boundary that the remote tells of is none.
            depth: NonZeroU32::new(1).map(Depth::Commits),
            filter: Some(&trees_only),
            ..FetchRequest::default()
        };
        let promisor = self.plan.promisor_lines(&request.wants);
        let fetched = self.fetch(session, &request, &promisor, &|_| {}, None)?;
        transferred.objects += fetched.pack.objects;
        transferred.tip_bytes += fetched.pack.bytes;
        Ok(self.index_of(&fetched.pack))
    }

    /// The index of a pack that was received; none for one without objects.
    fn index_of(&self, pack: &ReceivedPack) -> Option<PathBuf> {
        let name = format!("pack-{}.idx", pack.id);
        (pack.objects > 0).then(|| self.repository.pack_dir().join(name))
    }

    /// Makes sure of the history of the seed; answers the bytes of its packs, or why it is of no use, unless that is known
    /// already.
    fn take_history(&self, history: History<'_>, top_up: &TopUp) -> Result<u64, Option<String>> {
        let linked = history.into_linked()?;
        let objects = self.opened.to_thread_local().objects;
        if let Some(lost) = top_up.boundary.iter().find(|id| !objects.exists(id)) {
            linked.remove();
            return Err(Some(format!("it lacks {lost}")));
        }
        Ok(linked.pack_bytes)
    }
}

/// What is to be checked out.
struct Tip<'a> {
    seed: &'a Seed,
    tip: ObjectId,
    /// Of the packs that are likely to have it.
    indexes: Vec<PathBuf>,
}

/// What a history has brought, or why it is of no use, unless that was said.
type LinkedHistory = Result<LinkedPart, Option<String>>;

/// The history of a seed.
enum History<'scope> {
    /// On its way to the repository.
    On(thread::ScopedJoinHandle<'scope, LinkedHistory>),
    Arrived(LinkedHistory),
}

impl History<'_> {
    fn wait(&mut self) -> &LinkedHistory {
        let arriving = std::mem::replace(self, History::Arrived(Err(None)));
        *self = History::Arrived(arriving.into_linked());
        match self {
            History::Arrived(linked) => linked,
            History::On(_) => unreachable!("it was waited for"),
        }
    }

    fn into_linked(self) -> LinkedHistory {
        match self {
            History::On(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            History::Arrived(linked) => linked,
        }
    }
}

/// Takes everything out of a new repository again that [`Transfer::run_from_seed`] may have put there.
pub(super) fn clear(repository: &NewRepository<'_>) -> Result<(), CloneError> {
    let failed = |path: &Path, source| {
        CloneError::from(headstart_fs::PathError {
            action: "remove",
            path: path.to_owned(),
            source,
        })
    };
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in list(repository.root).filter(|entry| entry.file_name() != ".git") {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = match is_folder {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(|error| failed(&path, error))?;
    }
    for entry in list(&repository.pack_dir()) {
        fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
    }
    for name in ["index", "index.lock", "objects/info/commit-graph"] {
        // Not there, most of the time.
        let _ = fs::remove_file(repository.git_dir().join(name));
    }
    Ok(())
}

/// What is said to be here: where refs were that have moved, for what is new builds on that; then the others.
fn haves(manifest: &SeedManifest, plan: &RefPlan) -> Vec<ObjectId> {
    let fetched = plan.fetched.iter();
    let now: HashMap<&BStr, ObjectId> = fetched
        .map(|fetched| (fetched.remote_name.as_bstr(), fetched.target.id))
        .collect();
    let rank = |name: &str, id: ObjectId| match now.get(BStr::new(name)) {
        Some(moved) if *moved != id => 0,
        _ if name.starts_with("refs/heads/") => 1,
        _ => 2,
    };
    let mut ranked: Vec<_> = manifest
        .refs
        .iter()
        .map(|seed_ref| (rank(&seed_ref.name, seed_ref.id), seed_ref.id))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut told = BTreeSet::new();
    ranked
        .into_iter()
        .map(|(_, id)| id)
        .filter(|id| told.insert(*id))
        .take(MOST_HAVES)
        .collect()
}

/// As git notes it beside a pack: the refs it was fetched for.
fn promisor_text(seed: &Seed) -> Vec<u8> {
    let lines = seed.manifest.refs.iter();
    let lines = lines.filter(|seed_ref| !seed_ref.name.contains(|c: char| c.is_control()));
    lines
        .map(|seed_ref| format!("{} {}\n", seed_ref.id, seed_ref.name))
        .collect::<String>()
        .into_bytes()
}

/// Objects that are missing or wrong are the seed's fault; the rest is not.
fn no_clone(error: WorktreeError) -> NoClone {
    match CloneError::from(error) {
        CloneError::Worktree { source } => NoClone::Refused(chain(&*source)),
        error => NoClone::Failed(error),
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
