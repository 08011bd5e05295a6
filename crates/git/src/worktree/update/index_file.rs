//! The index as it is, for changing some of its entries.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use gix::{
    ObjectId,
    bstr::{BStr, BString, ByteSlice as _},
    index::{entry, extension},
};
use headstart_fs::AtPath as _;

use super::super::{
    WorktreeError,
    index::{FileStat, IndexEntry, IndexTree},
};

/// How long another program may hold the lock of the index: an editor's `git status` does for some milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An index of plain entries, and the file it was read from.
pub(super) struct IndexFile {
    path: PathBuf,
    /// To notice that somebody else wrote it.
    bytes: Vec<u8>,
    /// Seconds of its own modification time: files as new as this may have changed unseen.
    pub(super) written_seconds: i64,
    /// Sorted by path.
    pub(super) entries: Vec<IndexEntry>,
    /// The cache of trees, when it covers everything: the trees by their folders.
    pub(super) trees: Option<Vec<IndexTree>>,
}

/// What is in an index that only git can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPlain(pub(super) &'static str);

impl IndexFile {
    /// Reads it, or says why git has to work on it.
    pub(super) fn read(path: &Path) -> Result<Result<Self, NotPlain>, WorktreeError> {
        if !wait_for(|| !path.with_extension("lock").exists()) {
            return Ok(Err(NotPlain("another program holds its lock")));
        }
        if has_shared_index(path) {
            return Ok(Err(NotPlain("it is split")));
        }
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Err(NotPlain("there is none")));
            }
            file => file.at("open", path)?,
        };
        let written = rustix::fs::fstat(&file)
            .map_err(std::io::Error::from)
            .at("look at", path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).at("read", path)?;
        let decoded = gix::index::File::at(path, gix::hash::Kind::Sha1, true, Default::default());
        let Ok(state) = decoded else {
            return Ok(Err(NotPlain("it cannot be read")));
        };
        if let Some(reason) = not_plain(&state) {
            return Ok(Err(NotPlain(reason)));
        }
        let entries = state.entries().iter().map(|entry| IndexEntry {
            path: entry.path(&state).to_owned(),
            mode: entry.mode.bits(),
            id: entry.id,
            stat: FileStat::from(&entry.stat),
            skip_worktree: entry.flags.contains(entry::Flags::SKIP_WORKTREE),
        });
        Ok(Ok(IndexFile {
            path: path.to_owned(),
            written_seconds: written.st_mtime,
            entries: entries.collect(),
            trees: state.tree().and_then(flattened),
            bytes,
        }))
    }

    pub(super) fn find(&self, path: &BStr) -> Option<&IndexEntry> {
        let found = self
            .entries
            .binary_search_by(|entry| entry.path.as_bstr().cmp(path));
        found.ok().map(|at| &self.entries[at])
    }

    /// Whether there are entries below `path`.
    pub(super) fn has_below(&self, path: &BStr) -> bool {
        let first = [path.as_bytes(), b"/"].concat();
        let at = self.entries.partition_point(|entry| entry.path < first);
        self.entries
            .get(at)
            .is_some_and(|entry| entry.path.starts_with(&first))
    }

    /// Puts a new index in its place, by the lock file git uses, unless somebody else was faster.
    pub(super) fn replace(&self, index: &[u8]) -> Result<(), WorktreeError> {
        use std::io::Write as _;
        let lock = self.path.with_extension("lock");
        let mut file = None;
        let is_made = wait_for(|| {
            let made = File::create_new(&lock);
            let is_held = matches!(&made, Err(error) if error.kind() == ErrorKind::AlreadyExists);
            file = Some(made);
            !is_held
        });
        let mut file = match file {
            Some(made) if is_made => made.at("create", &lock)?,
            _ => return Err(WorktreeError::IndexChanged),
        };
        let replaced = std::fs::read(&self.path)
            .at("read", &self.path)
            .map_err(WorktreeError::from)
            .and_then(|now| match now == self.bytes {
                true => Ok(()),
                false => Err(WorktreeError::IndexChanged),
            })
            .and_then(|()| {
                file.write_all(index).at("write", &lock)?;
                Ok(std::fs::rename(&lock, &self.path).at("rename the lock file to", &self.path)?)
            });
        if replaced.is_err() {
            std::fs::remove_file(&lock).ok();
        }
        replaced
    }
}

/// Tries until it works, or the patience is at its end.
fn wait_for(mut is_done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if is_done() {
            return true;
        }
        if started.elapsed() > LOCK_PATIENCE {
            return false;
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// Whether there is, or was, the other half of a split index. The reader puts the halves together in silence.
fn has_shared_index(path: &Path) -> bool {
    let listed = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    listed.is_some_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"sharedindex."))
        })
    })
}

fn not_plain(state: &gix::index::State) -> Option<&'static str> {
    let other_flags = |entry: &gix::index::Entry| {
        entry.stage_raw() != 0
            || entry
                .flags
                .intersects(entry::Flags::ASSUME_VALID | entry::Flags::INTENT_TO_ADD)
    };
    if state.is_sparse() {
        Some("it is sparse")
    } else if state.fs_monitor().is_some() {
        Some("it has the state of a file system monitor")
    } else if state.untracked().is_some() {
        Some("it has a cache of untracked files")
    } else if state.entries().iter().any(other_flags) {
        Some("it has conflicts or entries with flags of their own")
    } else {
        None
    }
}

/// The cache of trees as a list; `None` unless all of it is valid.
fn flattened(root: &extension::Tree) -> Option<Vec<IndexTree>> {
    let mut trees = Vec::new();
    let mut rest: Vec<(BString, &extension::Tree)> = vec![(BString::default(), root)];
    while let Some((path, tree)) = rest.pop() {
        tree.num_entries?;
        for child in &tree.children {
            let path = crate::tree_diff::join(path.as_bstr(), child.name.as_slice().as_bstr());
            rest.push((path, child));
        }
        trees.push(IndexTree { path, id: tree.id });
    }
    Some(trees)
}

impl From<&entry::Stat> for FileStat {
    fn from(stat: &entry::Stat) -> Self {
        FileStat {
            ctime: (stat.ctime.secs, stat.ctime.nsecs),
            mtime: (stat.mtime.secs, stat.mtime.nsecs),
            dev: stat.dev,
            ino: stat.ino,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
        }
    }
}

/// The trees of the new index: those of the old one, with the folders that changed.
pub(super) fn renewed_trees(old: Vec<IndexTree>, dirs: &[(BString, Option<ObjectId>)]) -> Vec<IndexTree> {
    let mut trees: std::collections::BTreeMap<BString, ObjectId> =
        old.into_iter().map(|tree| (tree.path, tree.id)).collect();
    for (path, id) in dirs {
        match id {
            Some(id) => trees.insert(path.clone(), *id),
            None => trees.remove(path),
        };
    }
    trees
        .into_iter()
        .map(|(path, id)| IndexTree { path, id })
        .collect()
}
