//! Saving: a tree on disk becomes packs, a snapshot and an entry.

mod engine;
mod gone;
mod nearest;
mod read;
mod scan;
mod stat_cache;
mod stream;
#[cfg(test)]
mod tests;
mod unchanged;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::AtomicBool,
};

use headstart_digest::SnapshotId;
use headstart_fs::{PathError, RelPath};
use jiff::Timestamp;

use self::engine::Engine;
use crate::{ChunkIndex, Entry, EntryName, Progress, Runtime, Store, StoreError, Warning};

/// Whether extended attributes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xattrs {
    /// Those of files and folders in the `user.` namespace are saved and restored.
    Keep,
    /// They are ignored.
    #[default]
    Drop,
}

/// What to save, and as what.
#[derive(Debug, Clone)]
pub struct SaveOptions {
    /// The entry to create.
    pub name: EntryName,
    /// The folder the paths are relative to. May itself be reached through symlinks.
    pub root: PathBuf,
    /// Folders, files or links to save, each with everything below it; `RelPath::root()` is the whole folder. They must
    /// exist, and be reached from `root` without symlinks.
    pub paths: Vec<RelPath>,
    /// A folder below the paths that is not saved, absolute and without symlinks: the local store.
    pub leave_out: Option<PathBuf>,
    /// A folder in which the save notes what it saw on disk, so that the next one of the same paths reads only what changed.
    pub stat_cache: Option<PathBuf>,
    /// Whether extended attributes are saved.
    pub xattrs: Xattrs,
    /// Facts for people, kept in the entry.
    pub facts: BTreeMap<String, String>,
    /// The time the entry is created at.
    pub now: Timestamp,
}

/// What became of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The entry is new.
    Saved(Saved),
    /// The key was taken; this is what it stands for. The store is as it was, except perhaps for content nobody names.
    KeyExists(Entry),
}

/// The numbers of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The snapshot the entry names.
    pub snapshot: SnapshotId,
    /// Regular files in it, hardlinks included.
    pub files: u64,
    /// Bytes of their bodies.
    pub content_bytes: u64,
    /// Of these, bytes in chunks the store did not have.
    pub new_chunk_bytes: u64,
    /// Of these, bytes in chunks that were in the store before or occur repeatedly.
    pub reused_bytes: u64,
    /// Bytes written to the store: new packs and the snapshot.
    pub stored_bytes: u64,
    /// What was left out or may be wrong: special files, files that changed meanwhile.
    pub warnings: Vec<Warning>,
}

/// Why a tree was not saved. No entry was created.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A path to save does not exist.
    #[error("{path} does not exist in {}", root.display())]
    NotFound {
        /// The path asked for.
        path: RelPath,
        /// The folder it was looked for in.
        root: PathBuf,
    },
    /// A folder on the way to a path to save is a symlink: it could not be restored to where it came from.
    #[error("{path} lies behind a symlink in {}", root.display())]
    BehindSymlink {
        /// The path asked for.
        path: RelPath,
        /// The folder it was looked for in.
        root: PathBuf,
    },
    /// The tree exceeds what a snapshot can describe.
    #[error("a snapshot cannot describe this tree: {0}")]
    TooLarge(String),
    /// A file or folder could not be read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<StoreError> for SaveError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => SaveError::Interrupted,
            error => SaveError::Store(error),
        }
    }
}

/// Saves a tree: packs first, then the snapshot, then the entry.
///
/// `index` knows the chunks of a local store; chunks of the nearest older snapshot of the same namespace are known
/// anyway. Reading uses all cores and less than 300 MB of memory. Not to be called from a thread of rayon's.
pub fn save(
    store: &dyn Store,
    index: Option<&ChunkIndex>,
    runtime: &Runtime,
    options: &SaveOptions,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<SaveOutcome, SaveError> {
    save_part(store, index, runtime, options, None, progress, interrupt)
}

/// Saves a part of a tree: of the folders that `options` names only what is at, above or below one of `only`. For folders
/// that serve several uses at once; [`restore_beside`](crate::restore_beside) brings such a part back.
pub fn save_only(
    store: &dyn Store,
    index: Option<&ChunkIndex>,
    runtime: &Runtime,
    options: &SaveOptions,
    only: &BTreeSet<RelPath>,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<SaveOutcome, SaveError> {
    save_part(store, index, runtime, options, Some(only), progress, interrupt)
}

fn save_part(
    store: &dyn Store,
    index: Option<&ChunkIndex>,
    runtime: &Runtime,
    options: &SaveOptions,
    only: Option<&BTreeSet<RelPath>>,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<SaveOutcome, SaveError> {
    match runtime.run(interrupt, store.read_entry(&options.name)) {
        Ok(entry) => return Ok(SaveOutcome::KeyExists(entry)),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    let engine = Engine {
        store,
        runtime,
        options,
        only,
        progress,
        interrupt,
    };
    engine.save(index)
}
