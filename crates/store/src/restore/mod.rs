//! Restoring: an entry becomes a tree on disk.

mod engine;
mod fetch;
mod lookup;
mod made_folders;
mod mount;
mod pieces;
mod plan;
mod prepare;
mod publish;
mod set_back;
mod staging;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use headstart_digest::SnapshotId;
use headstart_fs::{PathError, RelPath};

use self::engine::Engine;
pub use self::{
    lookup::{Lookup, find_entry},
    mount::{UnmountError, unmount},
};
use crate::{
    ContentId, Entry, Namespace, Progress, Runtime, Snapshot, Store, StoreError, StoreExt as _, Warning,
    Xattrs,
};

/// How files come into being where the pool has them already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkMode {
    /// Reflink where the file system can, else copy.
    #[default]
    Auto,
    /// Write every file; the pool is not used.
    Copy,
    /// Hardlink to the pool: nearly free, but an edit in place changes the pool's file and every other tree's.
    Hardlink,
    /// Share blocks with the pool's file until one of the two is changed.
    Reflink,
}

/// Which roots a snapshot may have. Whoever can write to a store can put any snapshot under a key.
#[derive(Clone)]
pub struct Within(Arc<dyn Fn(&RelPath) -> bool + Send + Sync>);

impl Within {
    /// Only roots for which `allows`.
    pub fn new(allows: impl Fn(&RelPath) -> bool + Send + Sync + 'static) -> Self {
        Within(Arc::new(allows))
    }

    /// Whether a snapshot may have this root.
    pub fn allows(&self, root: &RelPath) -> bool {
        (self.0)(root)
    }
}

impl fmt::Debug for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Within")
    }
}

/// What to restore, and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The namespace of the keys.
    pub namespace: Namespace,
    /// The exact key.
    pub key: String,
    /// Prefixes tried in order when the exact key is a miss; of each the newest entry is taken.
    pub restore_keys: Vec<String>,
    /// The folder the snapshot's paths are relative to; made when it is absent. May itself be reached through symlinks.
    pub root: PathBuf,
    /// Which roots are restored; a snapshot with another one is refused whole. `None` takes any below `root`.
    pub within: Option<Within>,
    /// How files are made.
    pub link: LinkMode,
    /// The pool of expanded files, for `link` modes that use one; made when it is absent.
    pub pool: Option<PathBuf>,
    /// Whether extended attributes are restored.
    pub xattrs: Xattrs,
    /// Mounts the tree where that can be done, from an image in this folder; made when it is absent. Images are not synced and
    /// what is in the folder is believed: it must not outlive the run of the system.
    pub images: Option<PathBuf>,
    /// The folder of the local store, absolute and without symlinks: what holds it or lies in it is not restored over.
    pub keep: Option<PathBuf>,
}

/// What became of a restore.
// There is one value of it for a whole restore.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The tree is there.
    Restored(Restored),
    /// No key matched; nothing was touched.
    Miss,
}

/// The numbers of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Which key matched.
    pub lookup: Lookup,
    /// What the key stands for.
    pub entry: Entry,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The files, links and folders at its top.
    pub roots: Vec<RelPath>,
    /// Files, links and folders made or replaced.
    pub files_written: u64,
    /// Files, links and folders that were right already.
    pub files_kept: u64,
    /// Files, links and folders taken away because the snapshot does not have them.
    pub files_removed: u64,
    /// Files, links and folders that are mounted instead.
    pub files_mounted: u64,
    /// Of the written, files linked from the pool.
    pub files_linked: u64,
    /// Bytes of file bodies written, not counting linked files.
    pub bytes_written: u64,
    /// Bytes read from the store for it, the snapshot included. A tiered store counts on its own which came from where.
    pub fetched_bytes: u64,
    /// What is not as it should be.
    pub warnings: Vec<Warning>,
}

/// Why a tree was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something on disk stands in the way that must not be written through or removed: a symlink or a file where a
    /// folder above the restored paths is needed, or, for [`restore_beside`], a folder where a file is to be.
    #[error("{path} in {} is in the way", root.display())]
    InTheWay {
        /// The path on disk.
        path: RelPath,
        /// The folder it is in.
        root: PathBuf,
    },
    /// What was to be restored is, holds or lies in [`RestoreOptions::keep`]; nothing was touched.
    #[error("{} holds the store itself", path.display())]
    InTheStore {
        /// Where it was to be restored.
        path: PathBuf,
    },
    /// The snapshot has a root that [`RestoreOptions::within`] does not allow; nothing was touched.
    #[error("what the store has would also restore {path}, which was not asked for")]
    Outside {
        /// The root.
        path: RelPath,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store failed, or what it gave is corrupt.
    #[error(transparent)]
    Store(StoreError),
    /// The store failed after the tree that was mounted there before had been taken away.
    #[error("the tree that was mounted is gone, and the one to follow it did not come: {error}")]
    Emptied {
        /// What the store says.
        error: StoreError,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl RestoreError {
    /// True when the store is to blame, so that the caller may go on as after a miss: the tree is as it was before.
    pub fn is_like_a_miss(&self) -> bool {
        matches!(self, RestoreError::Store(error) if !matches!(error, StoreError::Io(_)))
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => RestoreError::Interrupted,
            error => RestoreError::Store(error),
        }
    }
}

/// Restores a tree: looks the keys up, plans, fetches what is needed, and publishes when all of it is verified.
///
/// Until then the tree on disk is as it was. What is below the snapshot's roots and not in it is removed; nothing outside
/// of them is touched. Not to be called from a thread of rayon's.
pub fn restore(
    store: &dyn Store,
    runtime: &Runtime,
    options: &RestoreOptions,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<RestoreOutcome, RestoreError> {
    restore_as(Unlisted::Remove, store, runtime, options, progress, interrupt)
}

/// Like [`restore`], and removes nothing: what is below the snapshot's roots and not in it stays, and a folder where the
/// snapshot has something else is [`RestoreError::InTheWay`]. For folders that serve several uses at once.
pub fn restore_beside(
    store: &dyn Store,
    runtime: &Runtime,
    options: &RestoreOptions,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<RestoreOutcome, RestoreError> {
    restore_as(Unlisted::Keep, store, runtime, options, progress, interrupt)
}

/// What happens to what the snapshot does not list, in folders it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unlisted {
    Remove,
    Keep,
}

fn restore_as(
    unlisted: Unlisted,
    store: &dyn Store,
    runtime: &Runtime,
    options: &RestoreOptions,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<RestoreOutcome, RestoreError> {
    let find = find_entry(store, &options.namespace, &options.key, &options.restore_keys);
    let Some((lookup, entry)) = runtime.run(interrupt, find)? else {
        return Ok(RestoreOutcome::Miss);
    };
    let id = ContentId::Snapshot(entry.snapshot);
    let stored = runtime.run(interrupt, store.read(id))?;
    let snapshot = Snapshot::parse(&stored).map_err(|error| error.in_store(id, store.location()))?;
    let snapshot_bytes = stored.len() as u64;
    drop(stored);
    let roots: Vec<RelPath> = snapshot.tree().roots().map(|(_, path)| path).collect();
    if let Some(within) = &options.within
        && let Some(path) = roots.iter().find(|path| !within.allows(path))
    {
        return Err(RestoreError::Outside { path: path.clone() });
    }
    let engine = Engine {
        store,
        runtime,
        options,
        unlisted,
        snapshot: &snapshot,
        progress,
        interrupt,
    };
    let applied = match &options.images {
        Some(images) => engine.mount_or_restore(images, entry.snapshot)?,
        None => engine.restore()?,
    };
    Ok(RestoreOutcome::Restored(Restored {
        lookup,
        snapshot: entry.snapshot,
        roots,
        entry,
        files_written: applied.files_written,
        files_kept: applied.files_kept,
        files_removed: applied.files_removed,
        files_mounted: applied.files_mounted,
        files_linked: applied.files_linked,
        bytes_written: applied.bytes_written,
        fetched_bytes: snapshot_bytes + applied.fetched_bytes,
        warnings: applied.warnings,
    }))
}
