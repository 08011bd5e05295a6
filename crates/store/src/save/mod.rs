//! Saving: a tree on disk becomes packs, a snapshot and an entry.

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
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use headstart_digest::{Hasher, PackId, SnapshotId};
use headstart_fs::{PathError, RelPath};
use jiff::Timestamp;

use self::{
    read::{Fate, Files, InOrder, ReadFile, Readers},
    scan::Scan,
    stat_cache::StatCache,
    stream::{FinishedStream, Known, StoredStream, StreamWriter, Uploads},
    unchanged::{LastSave, Unchanged},
};
use crate::{
    ChunkIndex, ContentId, ContentKind, CreatedEntry, Entry, EntryName, FormatError, NodeKind, Progress,
    Runtime, Snapshot, Step, Store, StoreError, StoreExt as _, Tree, Warning, Written, chunker::Chunker,
    tree,
};

/// Threads that read files. More gain nothing on any disk we know.
const MAX_READERS: usize = 8;

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

/// Attempts before giving up on a store from which known packs keep disappearing.
const MAX_ATTEMPTS: usize = 3;

struct Engine<'a> {
    store: &'a dyn Store,
    runtime: &'a Runtime,
    options: &'a SaveOptions,
    only: Option<&'a BTreeSet<RelPath>>,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl Engine<'_> {
    fn save(&self, index: Option<&ChunkIndex>) -> Result<SaveOutcome, SaveError> {
        let can_compare = unchanged::is_of_use(self.options.xattrs);
        let stat_cache = can_compare.then(|| stat_cache::file_for(self.options)).flatten();
        let (scan, nearest, last) = std::thread::scope(|scope| {
            let last = scope.spawn(|| {
                let file = stat_cache.as_deref()?;
                LastSave::load(file, self.store, self.runtime, self.interrupt)
            });
            let nearest =
                scope.spawn(|| nearest::load(self.store, self.runtime, &self.options.name, self.interrupt));
            let scan = scan::scan(self.options, self.only, self.progress, self.interrupt);
            (
                scan,
                nearest.join().expect("looking for a snapshot does not panic"),
                last.join().expect("loading a snapshot does not panic"),
            )
        });
        let scan = scan?;
        for warning in &scan.warnings {
            self.progress.warn(warning);
        }
        let mut known = Known {
            index,
            recent: ChunkIndex::default(),
            gone: HashSet::new(),
        };
        if let Some((_, nearest)) = &nearest {
            known.recent.add_snapshot(nearest);
        }
        let elsewhere = nearest
            .filter(|_| can_compare)
            .map(|(id, snapshot)| LastSave::of_elsewhere(id, snapshot));
        let mut unchanged = match last.or(elsewhere) {
            Some(last) => self.find_unchanged(last, &scan)?,
            None => None,
        };
        if let Some(found) = &unchanged {
            if found.is_all() {
                return self.create_entry_again(&scan, found);
            }
            known.recent.add_snapshot(&found.last.snapshot);
        }
        let mut stored_bytes = 0;
        for _ in 0..MAX_ATTEMPTS {
            let Some(body) = self.store_bodies(&scan, unchanged.take(), &known)? else {
                continue;
            };
            stored_bytes += body.stream.stored_bytes;
            // What is known of the store may be outdated. Asking also marks the packs as used, so that none is swept
            // before the entry exists.
            let reused: Vec<ContentId> = body.stream.reused.iter().copied().map(ContentId::Pack).collect();
            let missing = match reused.is_empty() {
                true => Vec::new(),
                false => self
                    .runtime
                    .run(self.interrupt, self.store.find_missing(&reused))?,
            };
            if missing.is_empty() {
                return self.publish(scan, body, stored_bytes, stat_cache.as_deref());
            }
            self.progress.warn(&Warning::PacksGone { packs: missing.len() });
            known
                .gone
                .extend(missing.iter().map(|id| PackId::from(*id.digest())));
            for (pack, table) in &body.stream.uploaded {
                known.recent.add_pack(*pack, table);
            }
        }
        Err(SaveError::Store(StoreError::Missing {
            what: "content that was there a moment ago".to_owned(),
            store: self.store.location(),
        }))
    }

    /// What of the tree is as in an older snapshot that the store still has.
    fn find_unchanged(&self, last: LastSave, scan: &Scan) -> Result<Option<Unchanged>, SaveError> {
        let missing = self
            .runtime
            .run(self.interrupt, self.store.find_missing(&last.content()))?;
        if !missing.is_empty() {
            return Ok(None);
        }
        let compared = last.compare(scan, self.options, self.progress, self.interrupt);
        compared.map(Some).ok_or(SaveError::Interrupted)
    }

    /// Reads the files, but for what is known to be unchanged, and stores their bodies. `None` when something that was said
    /// to be unchanged is not.
    fn store_bodies(
        &self,
        scan: &Scan,
        unchanged: Option<Unchanged>,
        known: &Known<'_>,
    ) -> Result<Option<Bodies>, SaveError> {
        self.progress.start(Step::Read, Some(scan.tree.content_bytes()));
        self.progress.start(Step::Upload, None);
        let readers = Readers::new(scan, unchanged.as_ref(), self.options, self.interrupt);
        let uploads = Uploads::new(self.store, self.runtime, self.progress, self.interrupt);
        let (sender, blocks) = crossbeam_channel::unbounded();
        let consumed = std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(MAX_READERS)
            {
                let (readers, sender) = (&readers, sender.clone());
                scope.spawn(move || readers.run(&sender));
            }
            drop(sender);
            for _ in 0..stream::UPLOADS {
                scope.spawn(|| uploads.run());
            }
            let consumed = self.consume(
                unchanged.as_ref(),
                &readers,
                InOrder::new(blocks),
                StreamWriter::new(known, &uploads),
                &uploads,
            );
            readers.stop();
            uploads.close();
            consumed
        });
        let uploaded = uploads.finish()?;
        let Some((mut files, finished)) = consumed? else {
            return Ok(None);
        };
        if let Some(unchanged) = &unchanged {
            add_unchanged(&mut files, scan, unchanged);
        }
        self.progress.finish(Step::Read);
        self.progress.finish(Step::Upload);
        Ok(Some(Bodies {
            files,
            stream: finished.name_packs(uploaded),
        }))
    }

    fn consume(
        &self,
        unchanged: Option<&Unchanged>,
        readers: &Readers<'_>,
        mut blocks: InOrder,
        mut writer: StreamWriter<'_>,
        uploads: &Uploads<'_>,
    ) -> Result<Option<(Vec<ReadFile>, FinishedStream)>, SaveError> {
        let mut chunker = Chunker::new();
        let mut files = Vec::new();
        // Of a file that is read in parts.
        let mut hasher = Hasher::new();
        let mut part_bytes = 0;
        while let Some(block) = blocks.next()? {
            if self.interrupt.load(Ordering::Relaxed) || uploads.has_failed() {
                break;
            }
            chunker.push(&block.bytes, &mut |chunk| writer.push(chunk));
            self.progress.advance(Step::Read, block.bytes.len() as u64);
            readers.release(&block);
            match block.files {
                Files::Whole(whole) => {
                    files.extend(whole);
                    continue;
                }
                Files::Slice => continue,
                Files::Stale => return Ok(None),
                Files::Known(range) => {
                    let chunks = unchanged.expect("who plans it has it").chunks(&range);
                    chunker.end(&mut |chunk| writer.push(chunk));
                    writer.push_known(chunks);
                    let bytes = chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
                    self.progress.advance(Step::Read, bytes);
                    continue;
                }
                Files::Part | Files::LastPart(_) => {}
            }
            hasher.update(&block.bytes);
            part_bytes += block.bytes.len() as u64;
            if let Files::LastPart(mut file) = block.files {
                if file.size_bytes != part_bytes {
                    file.fate = Fate::Changed;
                }
                file.size_bytes = std::mem::take(&mut part_bytes);
                file.digest = std::mem::take(&mut hasher).finish();
                files.push(file);
            }
        }
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted);
        }
        chunker.end(&mut |chunk| writer.push(chunk));
        let finished = writer.finish();
        Ok((!finished.lost_known).then_some((files, finished)))
    }

    /// Names the snapshot of the last save by the new key, too: the tree is the same.
    fn create_entry_again(&self, scan: &Scan, unchanged: &Unchanged) -> Result<SaveOutcome, SaveError> {
        let content_bytes = scan.tree.content_bytes();
        self.create_entry(Saved {
            snapshot: unchanged.last.id,
            files: scan.tree.files(),
            content_bytes,
            new_chunk_bytes: 0,
            reused_bytes: content_bytes,
            stored_bytes: 0,
            warnings: scan.warnings.clone(),
        })
    }

    fn create_entry(&self, saved: Saved) -> Result<SaveOutcome, SaveError> {
        let entry = Entry {
            schema: Entry::SCHEMA.to_owned(),
            snapshot: saved.snapshot,
            created_at: self.options.now,
            content_bytes: saved.content_bytes,
            files: saved.files,
            facts: self.options.facts.clone(),
        };
        let create = self.store.create_entry(&self.options.name, &entry);
        Ok(match self.runtime.run(self.interrupt, create)? {
            CreatedEntry::Existed(entry) => SaveOutcome::KeyExists(entry),
            CreatedEntry::Created => SaveOutcome::Saved(saved),
        })
    }

    /// Writes the snapshot, then the entry.
    fn publish(
        &self,
        scan: Scan,
        bodies: Bodies,
        mut stored_bytes: u64,
        stat_cache: Option<&Path>,
    ) -> Result<SaveOutcome, SaveError> {
        let too_large = |error: FormatError| SaveError::TooLarge(error.to_string());
        let Bodies { files, stream } = bodies;
        let mut xattrs = match self.options.xattrs {
            Xattrs::Keep => scan::folder_xattrs(&scan, &self.options.root)?,
            Xattrs::Drop => Vec::new(),
        };
        let gone = gone::find(&files, &scan, &self.options.root)?;
        if let Some(path) = gone.root() {
            let (path, root) = (path.clone(), self.options.root.clone());
            return Err(SaveError::NotFound { path, root });
        }
        let mut warnings = scan.warnings;
        let mut warn = |warning: Warning| {
            self.progress.warn(&warning);
            warnings.push(warning);
        };
        let mut nodes = scan.tree.into_nodes();
        let mut scanned: Vec<_> = nodes.iter().map(|node| (node.size_bytes(), node.mtime)).collect();
        let mut stamps = scan.stamps;
        for file in files {
            if file.fate == Fate::Changed {
                let path = tree::path_in(&nodes, file.node);
                warn(Warning::Changed { path });
            }
            let node = &mut nodes[file.node as usize];
            node.mode = file.mode;
            node.mtime = file.mtime;
            node.kind = NodeKind::File {
                size_bytes: file.size_bytes,
                digest: file.digest,
            };
            xattrs.extend(file.xattrs);
        }
        for path in gone.tops() {
            warn(Warning::Gone { path: path.clone() });
        }
        gone.leave_out(&mut nodes, &mut xattrs);
        gone.retain(&mut scanned);
        gone.retain(&mut stamps);
        xattrs.sort_by(|a, b| (a.node, &a.name).cmp(&(b.node, &b.name)));
        let stamps = unchanged::stamps_to_keep(&nodes, &scanned, &stamps, self.options.now);
        let tree = Tree::new(nodes).map_err(too_large)?;
        let (files, content_bytes) = (tree.files(), tree.content_bytes());
        let snapshot =
            Snapshot::new(stream.packs, stream.frames, stream.chunks, tree, xattrs).map_err(too_large)?;
        let stored = Bytes::from(snapshot.encode().map_err(too_large)?);
        drop(snapshot);
        let id = SnapshotId::of(&stored);
        let snapshot_bytes = stored.len() as u64;
        let limit = ContentKind::Snapshot.max_bytes();
        if snapshot_bytes > limit {
            return Err(SaveError::TooLarge(format!(
                "its listing has {snapshot_bytes} bytes; {limit} are the most"
            )));
        }
        let write = self.store.write_bytes(ContentId::Snapshot(id), stored);
        if self.runtime.run(self.interrupt, write)? == Written::New {
            stored_bytes += snapshot_bytes;
        }
        if let Some(file) = stat_cache {
            let snapshot = id;
            StatCache { snapshot, stamps }.keep(file);
        }
        self.create_entry(Saved {
            snapshot: id,
            files,
            content_bytes,
            new_chunk_bytes: stream.new_chunk_bytes,
            reused_bytes: stream.reused_bytes,
            stored_bytes,
            warnings,
        })
    }
}

/// Adds the files that were not read whole because they did not change.
fn add_unchanged(files: &mut Vec<ReadFile>, scan: &Scan, unchanged: &Unchanged) {
    let mut is_read = vec![false; scan.tree.nodes().len()];
    for file in files.iter() {
        is_read[file.node as usize] = true;
    }
    for (node, index) in scan.tree.nodes().iter().zip(0u32..) {
        let digest = unchanged.digest(index).filter(|_| !is_read[index as usize]);
        files.extend(digest.map(|digest| ReadFile {
            node: index,
            size_bytes: node.size_bytes(),
            digest,
            mode: node.mode,
            mtime: node.mtime,
            xattrs: Vec::new(),
            fate: Fate::Sound,
        }));
    }
}

/// What reading the files gave.
struct Bodies {
    files: Vec<ReadFile>,
    stream: StoredStream,
}
