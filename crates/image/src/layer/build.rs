//! Making a [`Layer`] entry by entry.

use std::{
    collections::HashMap,
    mem::size_of,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Entry, EntryKind, Layer, Metadata, NO_CONTENT, Owner, Record, RecordKind};
use crate::{ContentId, DiffId};

/// The most memory that the entries of one layer may take: two million files or so, as their names are long. The largest
/// images in use have some hundred thousand.
pub(crate) const MAX_LAYER_BYTES: u64 = 240 << 20;
/// The most that the entries of all layers together may take.
const MAX_ALL_BYTES: u64 = 4 << 30;
/// What is taken of [`EntryMemory`] in one go.
const STEP_BYTES: u64 = 1 << 20;
/// An owner, and what finds it again.
const OWNER_BYTES: u64 = 4 * size_of::<Owner>() as u64;

/// Why an entry cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("a list of entries of {} MiB", MAX_LAYER_BYTES >> 20)]
    Layer,
    #[error("a list of entries of {} GiB for all layers together", MAX_ALL_BYTES >> 30)]
    All,
    #[error("a path of 65535 bytes")]
    Path,
}

/// Memory for the entries of layers that are read together, by several threads.
#[derive(Debug)]
pub(crate) struct EntryMemory {
    left_bytes: AtomicU64,
}

impl Default for EntryMemory {
    fn default() -> Self {
        EntryMemory::of(MAX_ALL_BYTES)
    }
}

impl EntryMemory {
    fn of(bytes: u64) -> Self {
        EntryMemory {
            left_bytes: AtomicU64::new(bytes),
        }
    }

    /// Takes so much of it for good.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), Full> {
        let less = |left: u64| left.checked_sub(bytes);
        match self
            .left_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Full::All),
        }
    }
}

/// A layer in the making.
#[derive(Debug, Default)]
pub(crate) struct LayerBuilder {
    names: Vec<u8>,
    contents: Vec<ContentId>,
    owners: Vec<Owner>,
    records: Vec<Record>,
    /// Where owners are: few are different.
    known_owners: HashMap<Owner, u32>,
    /// Where the content of empty files is.
    nothing: Option<u32>,
    /// What was taken of a shared memory.
    taken_bytes: u64,
}

impl LayerBuilder {
    /// Adds an entry while there is memory for it.
    pub(crate) fn push_within(&mut self, memory: &EntryMemory, entry: &Entry<'_>) -> Result<(), Full> {
        self.push(entry)?;
        while self.bytes() > self.taken_bytes {
            memory.take(STEP_BYTES)?;
            self.taken_bytes += STEP_BYTES;
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        let (kind, target, size, content): (_, &[u8], _, _) = match entry.kind {
            EntryKind::File { size_bytes, content } => (
                RecordKind::File,
                b"",
                size_bytes,
                self.content_index(size_bytes, content),
            ),
            EntryKind::HardLink { target } => (RecordKind::HardLink, target, 0, NO_CONTENT),
            EntryKind::Symlink { target } => (RecordKind::Symlink, target, 0, NO_CONTENT),
            EntryKind::Folder => (RecordKind::Folder, b"", 0, NO_CONTENT),
            EntryKind::CharDevice { major, minor } => {
                (RecordKind::CharDevice, b"", device(major, minor), NO_CONTENT)
            }
            EntryKind::BlockDevice { major, minor } => {
                (RecordKind::BlockDevice, b"", device(major, minor), NO_CONTENT)
            }
            EntryKind::Fifo => (RecordKind::Fifo, b"", 0, NO_CONTENT),
            EntryKind::Whiteout => (RecordKind::Whiteout, b"", 0, NO_CONTENT),
            EntryKind::Opaque => (RecordKind::Opaque, b"", 0, NO_CONTENT),
        };
        let Metadata {
            mode,
            uid,
            gid,
            mtime_seconds,
            mtime_nanoseconds,
            attributes,
        } = entry.meta;
        // Small enough for 32 bits: see the check at the end.
        let path_at = self.names.len() as u32;
        let record = Record {
            mtime_seconds,
            size,
            path_at,
            mtime_nanoseconds,
            owner: self.owner_index(Owner { uid, gid, attributes }),
            content,
            path_length: u16::try_from(entry.path.len()).map_err(|_| Full::Path)?,
            mode: mode as u16,
            kind,
        };
        self.names.extend_from_slice(entry.path);
        self.names.extend_from_slice(target);
        self.records.push(record);
        match self.bytes() > MAX_LAYER_BYTES {
            true => Err(Full::Layer),
            false => Ok(()),
        }
    }

    /// The memory that all of it takes.
    fn bytes(&self) -> u64 {
        list_bytes(self.names.len(), self.contents.len(), self.records.len())
            + self.owners.len() as u64 * OWNER_BYTES
    }

    pub(crate) fn finish(mut self, diff_id: DiffId, tar_bytes: u64) -> Layer {
        self.names.shrink_to_fit();
        self.contents.shrink_to_fit();
        self.owners.shrink_to_fit();
        self.records.shrink_to_fit();
        Layer {
            diff_id,
            tar_bytes,
            names: self.names,
            contents: self.contents,
            owners: self.owners,
            records: self.records,
        }
    }

    fn content_index(&mut self, size_bytes: u64, content: ContentId) -> u32 {
        if size_bytes == 0
            && let Some(index) = self.nothing
        {
            return index;
        }
        self.contents.push(content);
        let index = (self.contents.len() - 1) as u32;
        if size_bytes == 0 {
            self.nothing = Some(index);
        }
        index
    }

    fn owner_index(&mut self, owner: Owner) -> u32 {
        *self.known_owners.entry(owner).or_insert_with(|| {
            self.owners.push(owner);
            (self.owners.len() - 1) as u32
        })
    }
}

impl Layer {
    /// The memory that its entries take.
    pub(crate) fn bytes(&self) -> u64 {
        list_bytes(self.names.len(), self.contents.len(), self.records.len())
            + (self.owners.len() * size_of::<Owner>()) as u64
    }
}

fn list_bytes(names: usize, contents: usize, records: usize) -> u64 {
    (names + contents * size_of::<ContentId>() + records * size_of::<Record>()) as u64
}

fn device(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &[u8]) -> Entry<'_> {
        Entry {
            path,
            kind: EntryKind::File {
                size_bytes: 0,
                content: ContentId::of(b""),
            },
            meta: Metadata::default(),
        }
    }

    #[test]
    fn an_entry_takes_few_bytes() {
        assert_eq!(size_of::<Record>(), 40);
        let mut builder = LayerBuilder::default();
        (0..1000).for_each(|_| builder.push(&file(b"usr/lib")).unwrap());
        assert!(builder.bytes() < 1000 * (40 + 8), "{}", builder.bytes());
    }

    #[test]
    fn entries_without_end_fill_a_layer() {
        let mut builder = LayerBuilder::default();
        let path = [b'x'; 4096];
        let full = (0..100_000).find_map(|_| builder.push(&file(&path)).err());
        assert_eq!(full, Some(Full::Layer));
        assert!(builder.bytes() < MAX_LAYER_BYTES + 10_000);
        assert_eq!(builder.push(&file(&[b'x'; 1 << 16])), Err(Full::Path));
    }

    #[test]
    fn layers_that_are_read_together_share_their_memory() {
        let memory = EntryMemory::of(5 << 20);
        let fill = || {
            let mut builder = LayerBuilder::default();
            let path = [b'x'; 4096];
            (0..500).try_for_each(|_| builder.push_within(&memory, &file(&path)))
        };
        assert_eq!([fill(), fill(), fill()], [Ok(()), Ok(()), Err(Full::All)]);
    }
}
