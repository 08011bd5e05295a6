//! What did not change since the last save of the same folder, and so need not be read.
//!
//! The stat cache tells which files are as the last snapshot has them. Of other files of the same path and size it is found out by
//! their digest, which takes less than cutting and hashing them again. Where neighbours in the stream are neighbours in that
//! snapshot, too, whole chunks of it are taken over; only what lies before the first of them and after the last is read.

use std::{ops::Range, path::Path, sync::atomic::AtomicBool};

use headstart_digest::{Digest, SnapshotId};
use jiff::Timestamp;

use super::{
    SaveOptions, Xattrs,
    scan::Scan,
    stat_cache::{Stamp, StatCache},
};
use crate::{
    ChunkRef, ContentId, Node, NodeKind, Progress, Runtime, Snapshot, Store, StoreExt as _, content_check,
    pairing::pair,
};

/// Fewer bytes in a row are read again: each row may add two chunks that are smaller than they should be.
const MIN_ROW_BYTES: u64 = 1 << 20;

/// The last snapshot of a folder, and what was noted about its files. This program made it: of any other it is not certain that its
/// chunks hold what its digests say.
pub(super) struct LastSave {
    pub(super) id: SnapshotId,
    pub(super) snapshot: Snapshot,
    stamps: Vec<Option<Stamp>>,
    /// Where in the stream the body of each node starts.
    starts: Vec<u64>,
    /// Where in the stream each chunk starts, and where the last one ends.
    chunk_starts: Vec<u64>,
}

/// The last save compared with what is on disk now.
pub(super) struct Unchanged {
    pub(super) last: LastSave,
    /// By node of the scan, the node of the last snapshot that it still is, but perhaps for its mode and time.
    same: Vec<Option<u32>>,
    /// Whether all that is the same has the mode and the time it had.
    same_meta: bool,
    /// Whether files were read to find that out: what was noted of them is outdated.
    pub(super) was_read: bool,
}

/// A part of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole body of a node.
    Whole(u32),
    /// Some bytes of the body of a node that did not change, in the middle of the rest of it.
    Slice(u32, Range<u64>),
    /// Chunks of the last snapshot.
    Chunks(Range<usize>),
}

impl LastSave {
    /// Loads what was noted in `file`; nothing where that is of no use.
    pub(super) fn load(
        file: &Path,
        store: &dyn Store,
        runtime: &Runtime,
        interrupt: &AtomicBool,
    ) -> Option<Self> {
        let StatCache { snapshot: id, stamps } = StatCache::load(file)?;
        let stored = runtime.run(interrupt, store.read(ContentId::Snapshot(id))).ok()?;
        let snapshot = Snapshot::parse(&stored).ok()?;
        (stamps.len() == snapshot.tree().nodes().len()).then(|| Self::new(id, snapshot, stamps))
    }

    fn new(id: SnapshotId, snapshot: Snapshot, stamps: Vec<Option<Stamp>>) -> Self {
        LastSave {
            starts: running_sum(snapshot.tree().nodes().iter().map(Node::size_bytes)),
            chunk_starts: running_sum(snapshot.chunks().iter().map(|chunk| u64::from(chunk.bytes))),
            id,
            snapshot,
            stamps,
        }
    }

    /// What the store must still have for any of it to be of use.
    pub(super) fn content(&self) -> Vec<ContentId> {
        let packs = self.snapshot.packs().iter().map(|pack| ContentId::Pack(pack.id));
        packs.chain([ContentId::Snapshot(self.id)]).collect()
    }

    /// Finds out what did not change. `None` when that was interrupted.
    pub(super) fn compare(
        self,
        scan: &Scan,
        options: &SaveOptions,
        progress: &dyn Progress,
        interrupt: &AtomicBool,
    ) -> Option<Unchanged> {
        let nodes = self.snapshot.tree().nodes();
        let mut same = pair(scan.tree.nodes(), nodes);
        let mut same_meta = true;
        let mut doubtful: Vec<(u32, Digest)> = Vec::new();
        for ((node, index), found) in scan.tree.nodes().iter().zip(0u32..).zip(&mut same) {
            let Some(last) = found.map(|found| &nodes[found as usize]) else {
                continue;
            };
            let has_same_meta = last.mtime == node.mtime && last.mode == node.mode;
            match (&last.kind, &node.kind) {
                (
                    NodeKind::File {
                        size_bytes: last,
                        digest,
                    },
                    NodeKind::File { size_bytes, .. },
                ) if last == size_bytes => {
                    let stamp = found.and_then(|found| self.stamps[found as usize]);
                    let is_known = has_same_meta && stamp.as_ref() == Some(&scan.stamps[index as usize]);
                    if !is_known {
                        doubtful.push((index, *digest));
                    }
                }
                (last, kind) if last == kind => {}
                _ => *found = None,
            }
            same_meta &= found.is_none() || has_same_meta;
        }
        let changed = content_check::find_changed(
            &scan.tree,
            &doubtful,
            &scan.roots,
            &options.root,
            progress,
            interrupt,
        )?;
        for index in changed {
            same[index as usize] = None;
        }
        Some(Unchanged {
            last: self,
            same,
            same_meta,
            was_read: !doubtful.is_empty(),
        })
    }
}

impl Unchanged {
    /// True when the tree is what the last snapshot says, node by node.
    pub(super) fn is_all(&self) -> bool {
        self.same_meta
            && self.last.snapshot.xattrs().is_empty()
            && self.same.len() == self.last.snapshot.tree().nodes().len()
            && self
                .same
                .iter()
                .zip(0u32..)
                .all(|(same, index)| *same == Some(index))
    }

    /// The digest of a node that did not change.
    pub(super) fn digest(&self, node: u32) -> Option<Digest> {
        match self.last.snapshot.tree().nodes()[self.same[node as usize]? as usize].kind {
            NodeKind::File { digest, .. } => Some(digest),
            _ => None,
        }
    }

    pub(super) fn chunks(&self, range: &Range<usize>) -> &[ChunkRef] {
        &self.last.snapshot.chunks()[range.clone()]
    }

    /// The stream of the scan, in order: what to read and what to take over.
    pub(super) fn plan(&self, scan: &Scan) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut row: Vec<(u32, Range<u64>)> = Vec::new();
        for (node, index) in scan.tree.nodes().iter().zip(0u32..) {
            let is_file = matches!(node.kind, NodeKind::File { .. });
            let is_empty = node.size_bytes() == 0 && self.same[index as usize].is_some();
            if !is_file || is_empty {
                continue;
            }
            let place = self.same[index as usize].map(|last| {
                let start = self.last.starts[last as usize];
                start..start + node.size_bytes()
            });
            let continues = match (row.last(), &place) {
                (Some((_, last)), Some(place)) => last.end == place.start,
                _ => false,
            };
            if !continues {
                self.end_row(&mut row, &mut parts);
            }
            match place {
                Some(place) => row.push((index, place)),
                None => parts.push(Part::Whole(index)),
            }
        }
        self.end_row(&mut row, &mut parts);
        parts
    }

    fn end_row(&self, row: &mut Vec<(u32, Range<u64>)>, parts: &mut Vec<Part>) {
        let (Some((_, first)), Some((_, last))) = (row.first(), row.last()) else {
            return;
        };
        let starts = &self.last.chunk_starts;
        let first_chunk = starts.partition_point(|start| *start < first.start);
        let end_chunk = starts
            .partition_point(|start| *start <= last.end)
            .saturating_sub(1);
        let known = match first_chunk < end_chunk {
            true => starts[first_chunk]..starts[end_chunk],
            false => 0..0,
        };
        if known.end - known.start < MIN_ROW_BYTES {
            parts.extend(row.drain(..).map(|(node, _)| Part::Whole(node)));
            return;
        }
        let slice = |node: u32, body: &Range<u64>, part: Range<u64>| match part == *body {
            true => Part::Whole(node),
            false => Part::Slice(node, part.start - body.start..part.end - body.start),
        };
        for (node, body) in row.iter().take_while(|(_, body)| body.start < known.start) {
            parts.push(slice(*node, body, body.start..body.end.min(known.start)));
        }
        parts.push(Part::Chunks(first_chunk..end_chunk));
        for (node, body) in row.drain(..).skip_while(|(_, body)| body.end <= known.end) {
            parts.push(slice(node, &body, body.start.max(known.end)..body.end));
        }
    }
}

/// What to note of a snapshot's files for the next save: of those that are as the scan saw them, and were settled then.
pub(super) fn stamps_to_keep(
    nodes: &[Node],
    scanned: &[(u64, crate::Mtime)],
    stamps: &[Stamp],
    now: Timestamp,
) -> Vec<Option<Stamp>> {
    nodes
        .iter()
        .zip(scanned)
        .zip(stamps)
        .map(|((node, (size_bytes, mtime)), stamp)| {
            let is_file = matches!(node.kind, NodeKind::File { .. });
            let is_as_scanned = node.size_bytes() == *size_bytes && node.mtime == *mtime;
            (is_file && is_as_scanned && stamp.is_settled(now)).then_some(*stamp)
        })
        .collect()
}

/// Whether stat data can stand for content under these options: attributes leave no trace in what is noted.
pub(super) fn is_of_use(xattrs: Xattrs) -> bool {
    xattrs == Xattrs::Drop
}

fn running_sum(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sum = 0;
    let mut sums = vec![0];
    sums.extend(lengths.map(|length| {
        sum += length;
        sum
    }));
    sums
}

#[cfg(test)]
mod tests;
