//! Making a [`Layer`] entry by entry.

use std::collections::HashMap;

use super::{Entry, EntryKind, Layer, Metadata, NO_CONTENT, Record, RecordKind};
use crate::{ContentId, DiffId};

/// The most entries a layer may have: 280 MB of records. The largest images in use have some hundred thousand.
pub(crate) const MAX_ENTRIES: usize = 4_000_000;
/// The most bytes of names a layer may have.
pub(crate) const MAX_NAME_BYTES: usize = 512 << 20;

/// Why an entry cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("4 million entries")]
    Entries,
    #[error("512 MiB of names")]
    Names,
}

/// A layer in the making.
#[derive(Debug, Default)]
pub(crate) struct LayerBuilder {
    names: Vec<u8>,
    contents: Vec<ContentId>,
    records: Vec<Record>,
    /// Where the digests of extended attributes are: few are different.
    attributes: HashMap<ContentId, u32>,
}

impl LayerBuilder {
    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        if self.records.len() >= MAX_ENTRIES {
            return Err(Full::Entries);
        }
        let (kind, target, size, content): (_, &[u8], _, _) = match entry.kind {
            EntryKind::File { size_bytes, content } => {
                (RecordKind::File, b"", size_bytes, self.content_index(content))
            }
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
        let attributes = match entry.meta.attributes {
            None => NO_CONTENT,
            Some(digest) => match self.attributes.get(&digest) {
                Some(&index) => index,
                None => {
                    let index = self.content_index(digest);
                    self.attributes.insert(digest, index);
                    index
                }
            },
        };
        if self.names.len() + entry.path.len() + target.len() > MAX_NAME_BYTES {
            return Err(Full::Names);
        }
        let path_at = self.names.len() as u32;
        self.names.extend_from_slice(entry.path);
        let link_at = self.names.len() as u32;
        self.names.extend_from_slice(target);
        let Metadata {
            mode,
            uid,
            gid,
            mtime_seconds,
            mtime_nanoseconds,
            attributes: _,
        } = entry.meta;
        self.records.push(Record {
            path_at,
            link_at,
            link_end: self.names.len() as u32,
            kind,
            mode,
            uid,
            gid,
            mtime_nanoseconds,
            mtime_seconds,
            size,
            content,
            attributes,
        });
        Ok(())
    }

    pub(crate) fn finish(mut self, diff_id: DiffId, tar_bytes: u64) -> Layer {
        self.names.shrink_to_fit();
        self.contents.shrink_to_fit();
        self.records.shrink_to_fit();
        Layer {
            diff_id,
            tar_bytes,
            names: self.names,
            contents: self.contents,
            records: self.records,
        }
    }

    /// There are at most two digests per record, so that indexes stay far below [`NO_CONTENT`].
    fn content_index(&mut self, content: ContentId) -> u32 {
        self.contents.push(content);
        (self.contents.len() - 1) as u32
    }
}

fn device(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}
