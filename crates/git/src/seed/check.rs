//! What is checked of a seed before a clone uses it, and what it costs.
//!
//! Always: that each part has the files its manifest lists and no others, that packs and indexes have the checksums that
//! name them, that every commit and tag in any pack is what its name stands for, and that the history holds every commit its
//! refs reach, which the commit-graph says the truth about. Trees and contents of the tip are checked when the working tree
//! is written from them. On request, [`check_objects`] reads everything.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use gix::{ObjectId, odb::pack::index};
use headstart_fs::AtPath as _;
use headstart_process::ProcessError;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::{
    MANIFEST_FILE, SeedError, SeedManifest, SeedPack, SeedPart,
    commit_graph::{self, ListedCommits},
    commits::{Deltas, Packs, check_interrupt},
};
use crate::GitEnvironment;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// `PACK`, version, number of objects.
const PACK_HEADER_BYTES: u64 = 12;
/// `RIDX`, version, hash, then four bytes for each object and two checksums.
const REV_HEADER_BYTES: u64 = 12;
const CHECKSUM_BYTES: u64 = 20;
/// Read at once.
const BUFFER_BYTES: u64 = 1 << 20;

/// Checks the folder of a seed's tip.
pub fn check_tip(tip: &Path, manifest: &SeedManifest, interrupt: &AtomicBool) -> Result<(), SeedError> {
    let mut expected = BTreeSet::from([tip.join(MANIFEST_FILE)]);
    expect_packs(&manifest.tip_packs, tip, &mut expected);
    check_files(tip, &expected)?;
    let packs = &manifest.tip_packs;
    packs
        .par_iter()
        .try_for_each(|pack| check_pack(pack, &pack.path_in(tip), interrupt))?;
    // One that is a delta, or has another name, would be found before the one in the history.
    Packs::open(SeedPart::tip_in(tip, manifest).packs, interrupt)?.check(Deltas::Refused, None)
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
            Some(ListedCommits::load(&graph)?)
        }
    };
    check_files(history, &expected)?;
    let (packs, commits) = rayon::join(
        || {
            let packs = &manifest.history_packs;
            packs
                .par_iter()
                .try_for_each(|pack| check_pack(pack, &pack.path_in(history), interrupt))
        },
        || check_commits(history, manifest, commits.as_ref(), interrupt),
    );
    packs.and(commits)
}

/// Checks every object of a part and its commit-graph, as `git fsck` would: seconds for a large repository.
pub fn check_objects(
    part: &SeedPart,
    environment: &GitEnvironment,
    interrupt: &AtomicBool,
) -> Result<(), SeedError> {
    let failed = |path: &Path, error| match error {
        ProcessError::Failed { status, .. } if status.code().is_some() => SeedError::invalid(path, error),
        error => error.into(),
    };
    for pack in &part.packs {
        environment
            .git()
            .args(["index-pack", "--verify", "--no-rev-index"])
            .arg(pack)
            .current_dir(pack.parent().unwrap_or(Path::new("/")))
            .run_interruptible(interrupt)
            .map_err(|error| failed(pack, error))?;
    }
    if let Some(graph) = &part.commit_graph
        && let Some(objects) = graph.parent().and_then(Path::parent)
    {
        let beside = objects.parent().unwrap_or(objects);
        // Git looks at a commit-graph from a repository only.
        let empty = tempfile::tempdir_in(beside).at("create a folder in", beside)?;
        let git = || environment.git().current_dir(empty.path());
        git()
            .args(["init", "-q", "--bare", "--object-format=sha1", "."])
            .run()?;
        git()
            .env("GIT_OBJECT_DIRECTORY", objects)
            .args(["commit-graph", "verify", "--no-progress"])
            .run_interruptible(interrupt)
            .map_err(|error| failed(graph, error))?;
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
fn check_pack(facts: &SeedPack, path: &Path, interrupt: &AtomicBool) -> Result<(), SeedError> {
    let invalid = |path: &Path, what: &str| Err(SeedError::invalid(path, what));
    let objects = facts.objects;
    let data = Ends::read(path)?;
    if data.bytes != facts.bytes || data.bytes < PACK_HEADER_BYTES + CHECKSUM_BYTES {
        return invalid(path, "it has another size than its manifest says");
    }
    let header = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &objects.to_be_bytes()].concat();
    if data.first != *header {
        return invalid(path, "it is no pack of as many objects as its manifest says");
    }
    if !data.last.ends_with(facts.id.as_slice()) {
        return invalid(path, "it has another checksum than its name says");
    }
    let idx_path = path.with_extension("idx");
    let idx = index::File::at(&idx_path, SHA1).map_err(|error| SeedError::reading(&idx_path, &error))?;
    if idx.num_objects() != objects || idx.pack_checksum() != facts.id {
        return invalid(&idx_path, "it is the index of another pack");
    }
    let rev_path = path.with_extension("rev");
    let rev = Ends::read(&rev_path)?;
    let rev_bytes = REV_HEADER_BYTES + 4 * u64::from(objects) + 2 * CHECKSUM_BYTES;
    if rev.bytes != rev_bytes || !rev.last.starts_with(facts.id.as_slice()) {
        return invalid(&rev_path, "it is the reverse index of another pack");
    }
    let (pack, indexes) = rayon::join(
        || check_checksum(path, interrupt),
        || check_checksum(&rev_path, interrupt).and_then(|()| check_checksum(&idx_path, interrupt)),
    );
    pack.and(indexes)
}

/// The ends of a file.
struct Ends {
    bytes: u64,
    first: [u8; PACK_HEADER_BYTES as usize],
    /// Room for two checksums.
    last: [u8; 2 * CHECKSUM_BYTES as usize],
}

impl Ends {
    /// All zeros, but for its size, of a file that is too short.
    fn read(path: &Path) -> Result<Self, SeedError> {
        let file = File::open(path).at("open", path)?;
        let mut ends = Ends {
            bytes: file.metadata().at("look at", path)?.len(),
            first: [0; PACK_HEADER_BYTES as usize],
            last: [0; 2 * CHECKSUM_BYTES as usize],
        };
        if let Some(last) = ends.bytes.checked_sub(2 * CHECKSUM_BYTES) {
            file.read_exact_at(&mut ends.first, 0).at("read", path)?;
            file.read_exact_at(&mut ends.last, last).at("read", path)?;
        }
        Ok(ends)
    }
}

/// Checks that a file ends in the checksum of what is before.
fn check_checksum(path: &Path, interrupt: &AtomicBool) -> Result<(), SeedError> {
    let invalid = || SeedError::invalid(path, "its bytes do not match its checksum");
    let mut file = File::open(path).at("open", path)?;
    let bytes = file.metadata().at("look at", path)?.len();
    let mut left = bytes.checked_sub(CHECKSUM_BYTES).ok_or_else(invalid)?;
    let mut hasher = gix::hash::hasher(SHA1);
    let mut buffer = vec![0; BUFFER_BYTES.min(bytes) as usize];
    while left > 0 {
        check_interrupt(interrupt)?;
        let piece = &mut buffer[..left.min(BUFFER_BYTES) as usize];
        file.read_exact(piece).at("read", path)?;
        hasher.update(piece);
        left -= piece.len() as u64;
    }
    let mut checksum = [0; CHECKSUM_BYTES as usize];
    file.read_exact(&mut checksum).at("read", path)?;
    match hasher.try_finalize() {
        Ok(actual) if actual.as_slice() == checksum => Ok(()),
        _ => Err(invalid()),
    }
}

/// Checks every commit and tag of the history, and that the refs reach only commits that are there.
fn check_commits(
    history: &Path,
    manifest: &SeedManifest,
    listed: Option<&ListedCommits>,
    interrupt: &AtomicBool,
) -> Result<(), SeedError> {
    let packs = Packs::open(SeedPart::history_in(history, manifest).packs, interrupt)?;
    packs.check(Deltas::Allowed, listed)?;
    let refs = manifest.refs.iter().map(|seed_ref| seed_ref.id);
    let tips = packs.follow_tags(refs.collect())?;
    match listed {
        None => packs.walk(tips),
        // The parents of all that is in the graph are in it, so it holds whatever its tips reach.
        Some(listed) => match tips.iter().find(|tip| !listed.contains(tip)) {
            Some(lost) => Err(packs.invalid(format!("the commit-graph lacks {lost}"))),
            None => Ok(()),
        },
    }
}

/// Where objects lie in packs.
pub(crate) struct PackOrder(Vec<index::File<gix::odb::pack::MMap>>);

impl PackOrder {
    pub(crate) fn open(indexes: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self, SeedError> {
        let open =
            |path: &Path| index::File::at(path, SHA1).map_err(|error| SeedError::reading(path, &error));
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
