//! What is checked of a seed before a clone uses it, and what it costs.
//!
//! Always: that each part has the files its manifest lists and no others, that packs and indexes have the checksums that
//! name them, and that the history holds every commit its refs reach, each with the content its name stands for. Objects of
//! the tip are checked when the working tree is written from them. On request, [`check_objects`] reads everything.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use gix::{
    ObjectId,
    objs::{CommitRefIter, Find as _, Kind, TagRefIter},
    odb::pack::index,
};
use headstart_fs::AtPath as _;
use parking_lot::Mutex;
use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use super::{MANIFEST_FILE, SeedError, SeedManifest, SeedPack, SeedPart, commit_graph};
use crate::{GitEnvironment, error::CloneError};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// `PACK`, version, number of objects.
const PACK_HEADER_BYTES: u64 = 12;
/// `RIDX`, version, hash, then four bytes for each object and two checksums.
const REV_HEADER_BYTES: u64 = 12;
const CHECKSUM_BYTES: u64 = 20;

/// Checks the folder of a seed's tip.
pub fn check_tip(tip: &Path, manifest: &SeedManifest) -> Result<(), SeedError> {
    let mut expected = BTreeSet::from([tip.join(MANIFEST_FILE)]);
    expect_packs(&manifest.tip_packs, tip, &mut expected);
    check_files(tip, &expected)?;
    let packs = &manifest.tip_packs;
    packs
        .par_iter()
        .try_for_each(|pack| check_pack(pack, &pack.path_in(tip)))
}

/// Checks the folder of a seed's history. Reads every commit.
pub fn check_history(
    history: &Path,
    manifest: &SeedManifest,
    interrupt: &AtomicBool,
) -> Result<(), SeedError> {
    let graph = commit_graph::path_in(history);
    let mut expected = BTreeSet::new();
    expect_packs(&manifest.history_packs, history, &mut expected);
    let commits = match manifest.commit_graph_bytes {
        None => None,
        Some(_) => {
            expected.insert(graph.clone());
            Some(commit_graph::load_commits(&graph)?)
        }
    };
    check_files(history, &expected)?;
    let (packs, commits) = rayon::join(
        || {
            let packs = &manifest.history_packs;
            packs
                .par_iter()
                .try_for_each(|pack| check_pack(pack, &pack.path_in(history)))
        },
        || check_commits(history, manifest, commits, interrupt),
    );
    packs.and(commits)
}

/// Checks every object of a part and its commit-graph, as `git fsck` would: seconds for a large repository.
pub fn check_objects(
    part: &SeedPart,
    environment: &GitEnvironment,
    interrupt: &AtomicBool,
) -> Result<(), SeedError> {
    for pack in &part.packs {
        environment
            .git()
            .args(["index-pack", "--verify", "--no-rev-index"])
            .arg(pack)
            .current_dir(pack.parent().unwrap_or(Path::new("/")))
            .run_interruptible(interrupt)?;
    }
    Ok(())
}

fn expect_packs(packs: &[SeedPack], part: &Path, expected: &mut BTreeSet<PathBuf>) {
    for pack in packs {
        for extension in ["pack", "idx", "rev"] {
            expected.insert(pack.path_in(part).with_extension(extension));
        }
    }
}

/// Fails unless exactly these files are in `part`, none of them a link.
fn check_files(part: &Path, expected: &BTreeSet<PathBuf>) -> Result<(), SeedError> {
    let mut found = BTreeSet::new();
    let mut folders = vec![part.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let (path, kind) = (entry.path(), entry.file_type().at("look at", &folder)?);
            if kind.is_dir() && folders.len() < expected.len() {
                folders.push(path);
            } else if kind.is_file() && expected.contains(&path) {
                found.insert(path);
            } else {
                return Err(SeedError::invalid(path, "its manifest does not list it"));
            }
        }
    }
    match expected.difference(&found).next() {
        Some(missing) => Err(SeedError::invalid(missing, "it is missing")),
        None => Ok(()),
    }
}

/// Checks that pack, index and reverse index belong together and are what they were when they were named.
fn check_pack(facts: &SeedPack, path: &Path) -> Result<(), SeedError> {
    let invalid = |path: &Path, what: &str| Err(SeedError::invalid(path, what));
    let data = map(path)?;
    let (objects, bytes) = (facts.objects, data.len() as u64);
    if bytes != facts.bytes || bytes < PACK_HEADER_BYTES + CHECKSUM_BYTES {
        return invalid(path, "it has another size than its manifest says");
    }
    let (content, trailer) = data.split_at(data.len() - CHECKSUM_BYTES as usize);
    let header = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &objects.to_be_bytes()].concat();
    if !content.starts_with(&header) {
        return invalid(path, "it is no pack of as many objects as its manifest says");
    }
    if trailer != facts.id.as_slice() {
        return invalid(path, "it has another checksum than its name says");
    }
    let idx_path = path.with_extension("idx");
    let idx = index::File::at(&idx_path, SHA1).map_err(|error| SeedError::invalid(&idx_path, error))?;
    if idx.num_objects() != objects || idx.pack_checksum() != facts.id {
        return invalid(&idx_path, "it is the index of another pack");
    }
    let rev_path = path.with_extension("rev");
    let rev = map(&rev_path)?;
    let rev_bytes = REV_HEADER_BYTES + 4 * u64::from(objects) + 2 * CHECKSUM_BYTES;
    if rev.len() as u64 != rev_bytes || !rev[..rev.len() - CHECKSUM_BYTES as usize].ends_with(trailer) {
        return invalid(&rev_path, "it is the reverse index of another pack");
    }
    let ends_in_checksum = |path: &Path, data: &[u8]| {
        let (content, checksum) = data.split_at(data.len() - CHECKSUM_BYTES as usize);
        let mut hasher = gix::hash::hasher(SHA1);
        hasher.update(content);
        match hasher.try_finalize() {
            Ok(actual) if actual.as_slice() == checksum => Ok(()),
            _ => Err(SeedError::invalid(path, "its bytes do not match its checksum")),
        }
    };
    let (pack, indexes) = rayon::join(
        || ends_in_checksum(path, &data),
        || ends_in_checksum(&rev_path, &rev).and_then(|()| ends_in_checksum(&idx_path, &map(&idx_path)?)),
    );
    pack.and(indexes)
}

/// The content of a file.
fn map(path: &Path) -> Result<Vec<u8>, SeedError> {
    Ok(fs::read(path).at("read", path)?)
}

/// Checks that the refs reach only commits that are there, and that these are what they are named.
fn check_commits(
    history: &Path,
    manifest: &SeedManifest,
    listed: Option<Vec<ObjectId>>,
    interrupt: &AtomicBool,
) -> Result<(), SeedError> {
    let invalid = |what: String| SeedError::invalid(history, what);
    let objects = gix::odb::at(history.to_owned(), SHA1).map_err(|error| invalid(error.to_string()))?;
    let commits = Commits {
        objects: Mutex::new(objects.into()),
        interrupt,
    };
    let refs = manifest.refs.iter().map(|seed_ref| seed_ref.id);
    let tips = commits.follow_tags(refs.collect()).map_err(invalid)?;
    match listed {
        None => commits.walk(tips).map_err(invalid),
        Some(listed) => {
            // All that git finds in the graph: closed over parents, it holds whatever its tips reach.
            let known: HashSet<ObjectId> = listed.iter().copied().collect();
            if let Some(lost) = tips.iter().find(|tip| !known.contains(*tip)) {
                return Err(invalid(format!("the commit-graph lacks {lost}")));
            }
            let in_order = in_pack_order(listed, &SeedPart::history_in(history, manifest))?;
            commits.check_all(in_order, &known).map_err(invalid)
        }
    }
}

/// Orders ids as they lie in packs, so that reading them moves forward.
pub(crate) fn in_pack_order(ids: Vec<ObjectId>, part: &SeedPart) -> Result<Vec<ObjectId>, SeedError> {
    let indexes = part.packs.iter().map(|pack| pack.with_extension("idx"));
    let order = PackOrder::open(indexes)?;
    Ok(order.sort(ids))
}

/// Where objects lie in packs.
pub(crate) struct PackOrder(Vec<index::File<gix::odb::pack::MMap>>);

impl PackOrder {
    pub(crate) fn open(indexes: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self, SeedError> {
        let open = |path: &Path| index::File::at(path, SHA1).map_err(|error| SeedError::invalid(path, error));
        let opened: Result<_, _> = indexes.into_iter().map(|path| open(path.as_ref())).collect();
        Ok(PackOrder(opened?))
    }

    pub(crate) fn contains(&self, id: &ObjectId) -> bool {
        self.place(id).is_some()
    }

    pub(crate) fn sort(&self, ids: Vec<ObjectId>) -> Vec<ObjectId> {
        let mut placed: Vec<_> = ids.into_iter().map(|id| (self.place(&id), id)).collect();
        placed.sort_unstable();
        placed.into_iter().map(|(_, id)| id).collect()
    }

    fn place(&self, id: &ObjectId) -> Option<(usize, u64)> {
        let find = |(pack, index): (usize, &index::File<_>)| {
            let at = index.lookup(id)?;
            Some((pack, index.pack_offset_at_index(at)))
        };
        self.0.iter().enumerate().find_map(find)
    }
}

/// Commits in a folder of objects.
struct Commits<'a> {
    objects: Mutex<gix::OdbHandle>,
    interrupt: &'a AtomicBool,
}

impl Commits<'_> {
    /// What tags finally point to, where that is a commit.
    fn follow_tags(&self, ids: BTreeSet<ObjectId>) -> Result<Vec<ObjectId>, String> {
        let objects = self.objects.lock().clone();
        let (mut data, mut commits) = (Vec::new(), Vec::new());
        let mut unseen: Vec<ObjectId> = ids.into_iter().collect();
        while let Some(id) = unseen.pop() {
            match read(&objects, id, &mut data)? {
                Kind::Commit => commits.push(id),
                Kind::Tag => unseen.push(
                    TagRefIter::from_bytes(&data, SHA1)
                        .target_id()
                        .map_err(|error| format!("{id}: {error}"))?,
                ),
                Kind::Tree | Kind::Blob => {}
            }
        }
        Ok(commits)
    }

    fn walk(&self, tips: Vec<ObjectId>) -> Result<(), String> {
        let objects = self.objects.lock().clone();
        let mut seen: HashSet<ObjectId> = tips.iter().copied().collect();
        let (mut data, mut unseen) = (Vec::new(), tips);
        while let Some(id) = unseen.pop() {
            self.check_interrupt()?;
            for parent in self.parents(&objects, id, &mut data)? {
                if seen.insert(parent) {
                    unseen.push(parent);
                }
            }
        }
        Ok(())
    }

    fn check_all(&self, ids: Vec<ObjectId>, known: &HashSet<ObjectId>) -> Result<(), String> {
        ids.into_par_iter().try_for_each_init(
            || (self.objects.lock().clone(), Vec::new()),
            |(objects, data), id| {
                self.check_interrupt()?;
                let parents = self.parents(objects, id, data)?;
                match parents.iter().find(|parent| !known.contains(*parent)) {
                    Some(lost) => Err(format!("{lost}, a parent of {id}, is missing")),
                    None => Ok(()),
                }
            },
        )
    }

    fn parents(
        &self,
        objects: &gix::OdbHandle,
        id: ObjectId,
        data: &mut Vec<u8>,
    ) -> Result<Vec<ObjectId>, String> {
        match read(objects, id, data)? {
            Kind::Commit => Ok(CommitRefIter::from_bytes(data, SHA1).parent_ids().collect()),
            kind => Err(format!("{id} is a {kind} and no commit")),
        }
    }

    fn check_interrupt(&self) -> Result<(), String> {
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(CloneError::Interrupted.to_string()),
            false => Ok(()),
        }
    }
}

/// Reads an object that is there and is what its name says.
fn read(objects: &gix::OdbHandle, id: ObjectId, data: &mut Vec<u8>) -> Result<Kind, String> {
    let found = objects
        .try_find(&id, data)
        .map_err(|error| format!("{id}: {error}"))?;
    let object = found.ok_or_else(|| format!("{id} is missing"))?;
    object
        .verify_checksum(&id)
        .map_err(|error| format!("{id}: {error}"))?;
    Ok(object.kind)
}
