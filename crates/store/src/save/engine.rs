//! The order of a save: look, read, store, publish; and again where the store lost something meanwhile.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use headstart_digest::{Hasher, PackId, SnapshotId};
use headstart_fs::RelPath;

use super::{
    SaveError, SaveOptions, SaveOutcome, Saved, Xattrs, gone, nearest,
    read::{Fate, Files, InOrder, ReadFile, Readers},
    scan::{self, Scan},
    stat_cache::{self, StatCache},
    stream::{self, FinishedStream, Known, StoredStream, StreamWriter, Uploads},
    unchanged::{self, LastSave, Unchanged},
};
use crate::{
    ChunkIndex, ContentId, ContentKind, CreatedEntry, Entry, FormatError, NodeKind, Progress, Runtime,
    Snapshot, Step, Store, StoreError, StoreExt as _, Tree, Warning, Written, chunker::Chunker, tree,
};

/// Threads that read files. More gain nothing on any disk we know.
const MAX_READERS: usize = 8;
/// Attempts before giving up on a store from which known packs keep disappearing. One of them may be lost to a file that
/// changes just then.
const MAX_ATTEMPTS: usize = 4;

/// Lets the threads of a save end when it is dropped.
struct EndThreads<'a> {
    readers: &'a Readers<'a>,
    uploads: &'a Uploads<'a>,
}

impl Drop for EndThreads<'_> {
    fn drop(&mut self) {
        self.readers.stop();
        self.uploads.close();
    }
}

/// Saves one tree.
pub(super) struct Engine<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) runtime: &'a Runtime,
    pub(super) options: &'a SaveOptions,
    pub(super) only: Option<&'a BTreeSet<RelPath>>,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a AtomicBool,
}

/// What one attempt leaves to the next.
struct Learned<'a> {
    known: Known<'a>,
    /// Bytes of the packs that were written.
    stored_bytes: u64,
    /// Where to note what was seen on disk.
    stat_cache: Option<PathBuf>,
}

impl Engine<'_> {
    pub(super) fn save(&self, index: Option<&ChunkIndex>) -> Result<SaveOutcome, SaveError> {
        let can_compare = unchanged::is_of_use(self.options.xattrs);
        let stat_cache = can_compare.then(|| stat_cache::file_for(self.options)).flatten();
        let (scan, nearest, mut last) = std::thread::scope(|scope| {
            let last = scope.spawn(|| {
                let file = stat_cache.as_deref()?;
                LastSave::load(file, self.store, self.runtime, self.interrupt)
            });
            let nearest =
                scope.spawn(|| nearest::load(self.store, self.runtime, &self.options.name, self.interrupt));
            let scan = self.scan();
            (
                scan,
                nearest.join().expect("looking for a snapshot does not panic"),
                last.join().expect("loading a snapshot does not panic"),
            )
        });
        let mut scan = scan?;
        let mut learned = Learned {
            known: Known {
                index,
                recent: ChunkIndex::default(),
                gone: HashSet::new(),
            },
            stored_bytes: 0,
            stat_cache,
        };
        if let Some(nearest) = &nearest {
            learned.known.recent.add_snapshot(nearest);
        }
        for attempt in 1.. {
            if let Some(outcome) = self.attempt(scan, last.take(), &mut learned)? {
                return Ok(outcome);
            }
            if attempt == MAX_ATTEMPTS {
                break;
            }
            scan = self.scan()?;
        }
        Err(SaveError::Store(StoreError::Missing {
            what: "content that was there a moment ago".to_owned(),
            store: self.store.location(),
        }))
    }

    fn scan(&self) -> Result<Scan, SaveError> {
        scan::scan(self.options, self.only, self.progress, self.interrupt)
    }

    /// Saves what the scan saw. `None` when what was taken for known or unchanged is not: the next attempt does without.
    fn attempt(
        &self,
        scan: Scan,
        last: Option<LastSave>,
        learned: &mut Learned<'_>,
    ) -> Result<Option<SaveOutcome>, SaveError> {
        let unchanged = match last {
            Some(last) => self.find_unchanged(last, &scan)?,
            None => None,
        };
        if let Some(found) = &unchanged {
            if found.is_all() {
                return self.create_entry_again(scan, found, learned);
            }
            learned.known.recent.add_snapshot(&found.last.snapshot);
        }
        let Some(bodies) = self.store_bodies(&scan, unchanged, learned)? else {
            return Ok(None);
        };
        // What is known of the store may be outdated. Asking also marks the packs as used, so that none is swept
        // before the entry exists.
        let reused: Vec<ContentId> = bodies
            .stream
            .reused
            .iter()
            .copied()
            .map(ContentId::Pack)
            .collect();
        if self.are_gone(&reused, learned)? {
            return Ok(None);
        }
        let outcome = self.publish(scan, bodies, learned)?;
        if outcome.is_none() {
            self.are_gone(&reused, learned)?;
        }
        Ok(outcome)
    }

    /// What of the tree is as in an older snapshot of which the store still has all.
    fn find_unchanged(&self, last: LastSave, scan: &Scan) -> Result<Option<Unchanged>, SaveError> {
        if !self.find_missing(&last.content())?.is_empty() {
            return Ok(None);
        }
        let compared = last.compare(scan, self.options, self.progress, self.interrupt);
        compared.map(Some).ok_or(SaveError::Interrupted)
    }

    fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, SaveError> {
        match ids {
            [] => Ok(Vec::new()),
            ids => Ok(self.runtime.run(self.interrupt, self.store.find_missing(ids))?),
        }
    }

    /// True, and noted, when some of these packs are gone from the store.
    fn are_gone(&self, packs: &[ContentId], learned: &mut Learned<'_>) -> Result<bool, SaveError> {
        let missing = self.find_missing(packs)?;
        if missing.is_empty() {
            return Ok(false);
        }
        self.progress.warn(&Warning::PacksGone { packs: missing.len() });
        let missing = missing.iter().map(|id| PackId::from(*id.digest()));
        learned.known.gone.extend(missing);
        Ok(true)
    }

    /// Reads the files, but for what is known to be unchanged, and stores their bodies. `None` when something that was said
    /// to be unchanged is not.
    fn store_bodies(
        &self,
        scan: &Scan,
        unchanged: Option<Unchanged>,
        learned: &mut Learned<'_>,
    ) -> Result<Option<Bodies>, SaveError> {
        self.progress.start(Step::Read, Some(scan.tree.content_bytes()));
        self.progress.start(Step::Upload, None);
        let readers = Readers::new(scan, unchanged.as_ref(), self.options, self.interrupt);
        let uploads = Uploads::new(self.store, self.runtime, self.progress, self.interrupt);
        let (sender, blocks) = crossbeam_channel::unbounded();
        let consumed = std::thread::scope(|scope| {
            // Also when this thread panics: the others would wait for it for ever.
            let _end = EndThreads {
                readers: &readers,
                uploads: &uploads,
            };
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
            self.consume(
                unchanged.as_ref(),
                &readers,
                InOrder::new(blocks),
                StreamWriter::new(&learned.known, &uploads),
                &uploads,
            )
        });
        let uploaded = uploads.finish()?;
        for upload in &uploaded {
            learned.stored_bytes += upload.new_bytes();
            learned.known.recent.add_pack(upload.pack, &upload.table);
        }
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
            stream: finished.name_packs(&uploaded),
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
    fn create_entry_again(
        &self,
        scan: Scan,
        unchanged: &Unchanged,
        learned: &Learned<'_>,
    ) -> Result<Option<SaveOutcome>, SaveError> {
        match &learned.stat_cache {
            Some(file) if unchanged.was_read => self.note_scan(&scan, unchanged.last.id, file),
            Some(file) => StatCache::mark_used(file),
            None => {}
        }
        for warning in &scan.warnings {
            self.progress.warn(warning);
        }
        let content_bytes = scan.tree.content_bytes();
        self.create_entry(Saved {
            snapshot: unchanged.last.id,
            files: scan.tree.files(),
            content_bytes,
            new_chunk_bytes: 0,
            reused_bytes: content_bytes,
            stored_bytes: 0,
            warnings: scan.warnings,
        })
    }

    /// Notes a tree that is the snapshot's, as the scan saw it.
    fn note_scan(&self, scan: &Scan, snapshot: SnapshotId, file: &Path) {
        let nodes = scan.tree.nodes();
        let scanned: Vec<_> = nodes.iter().map(|node| (node.size_bytes(), node.mtime)).collect();
        let stamps = unchanged::stamps_to_keep(nodes, &scanned, &scan.stamps, self.options.now);
        StatCache { snapshot, stamps }.keep(file);
    }

    /// `None` when the store lost something the entry needs.
    fn create_entry(&self, saved: Saved) -> Result<Option<SaveOutcome>, SaveError> {
        let entry = Entry {
            schema: Entry::SCHEMA.to_owned(),
            snapshot: saved.snapshot,
            created_at: self.options.now,
            content_bytes: saved.content_bytes,
            files: saved.files,
            facts: self.options.facts.clone(),
        };
        let create = self.store.create_entry(&self.options.name, &entry);
        match self.runtime.run(self.interrupt, create) {
            Ok(CreatedEntry::Existed(entry)) => Ok(Some(SaveOutcome::KeyExists(entry))),
            Ok(CreatedEntry::Created) => Ok(Some(SaveOutcome::Saved(saved))),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the snapshot, then the entry. `None` as with [`Self::create_entry`].
    fn publish(
        &self,
        scan: Scan,
        bodies: Bodies,
        learned: &Learned<'_>,
    ) -> Result<Option<SaveOutcome>, SaveError> {
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
        let mut warnings = Vec::new();
        let mut warn = |warning: Warning| {
            self.progress.warn(&warning);
            warnings.push(warning);
        };
        scan.warnings.into_iter().for_each(&mut warn);
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
        let mut stored_bytes = learned.stored_bytes;
        let write = self.store.write_bytes(ContentId::Snapshot(id), stored);
        if self.runtime.run(self.interrupt, write)? == Written::New {
            stored_bytes += snapshot_bytes;
        }
        if let Some(file) = &learned.stat_cache {
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
