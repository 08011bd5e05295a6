//! A layer: what its tar holds, in little memory.
//!
//! A [`Layer`] lists the entries of a tar in their order, bodies replaced by their digests. It is what every metric, the
//! merged tree and the comparison of images are computed from, and what is kept in a cache.

mod build;
mod encode;
mod path;
mod scan;

pub(crate) use build::{EntryMemory, Full, LayerBuilder};
pub(crate) use encode::FORMAT;
pub(crate) use path::{MAX_PATH_BYTES, clean_path, split_last};
pub(crate) use scan::{ScanError, TarHash, hash_attributes, scan_tar};

use crate::{ContentId, DiffId, tar};

/// Names that begin so hide the file of the rest of the name.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in its folder.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Left over from AUFS, except for [`OPAQUE`].
pub(crate) const AUFS: &[u8] = b".wh..wh.";

/// The entries of a layer's tar.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    diff_id: DiffId,
    tar_bytes: u64,
    /// Paths and link targets, one after the other.
    names: Vec<u8>,
    contents: Vec<ContentId>,
    owners: Vec<Owner>,
    records: Vec<Record>,
}

/// What few entries of a layer have for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    uid: u32,
    gid: u32,
    attributes: Option<ContentId>,
}

/// One entry, packed: millions of them must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    mtime_seconds: i64,
    /// Length of a file; major and minor number of a device.
    size: u64,
    /// Behind the path, until that of the next record, is the target of a link.
    path_at: u32,
    mtime_nanoseconds: u32,
    owner: u32,
    /// Index of the digest of a file's bytes.
    content: u32,
    path_length: u16,
    mode: u16,
    kind: RecordKind,
}

/// An index into the digests that stands for none.
const NO_CONTENT: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum RecordKind {
    File,
    HardLink,
    Symlink,
    Folder,
    CharDevice,
    BlockDevice,
    Fifo,
    Whiteout,
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Clean: no `.`, no `..`, no slash at either end; the root is empty. Of a whiteout, what it hides.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Whose it is, and since when.
    pub meta: Metadata,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A regular file.
    File {
        /// Its length, holes included.
        size_bytes: u64,
        /// Digest of its bytes.
        content: ContentId,
    },
    /// Another name of a file.
    HardLink {
        /// Clean path of that file.
        target: &'a [u8],
    },
    /// A symbolic link.
    Symlink {
        /// As written.
        target: &'a [u8],
    },
    /// A folder.
    Folder,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides what lower layers have at the path.
    Whiteout,
    /// Hides what lower layers have in the folder of this path.
    Opaque,
}

/// What does not belong to an entry's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits, with set-user-ID and its like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: whole seconds since 1970.
    pub mtime_seconds: i64,
    /// The rest of it.
    pub mtime_nanoseconds: u32,
    /// Digest of the extended attributes, if there are any.
    pub attributes: Option<ContentId>,
}

impl Metadata {
    /// That of an entry as it stands in a tar.
    pub(crate) fn of(entry: &tar::Entry) -> Self {
        Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime_seconds: entry.mtime.0,
            mtime_nanoseconds: entry.mtime.1,
            attributes: hash_attributes(&entry.xattrs),
        }
    }
}

impl Entry<'_> {
    /// Length of a regular file; 0 of anything else.
    pub fn size_bytes(&self) -> u64 {
        match self.kind {
            EntryKind::File { size_bytes, .. } => size_bytes,
            _ => 0,
        }
    }
}

impl Layer {
    /// The digest of the tar.
    pub fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    /// Length of the tar.
    pub fn tar_bytes(&self) -> u64 {
        self.tar_bytes
    }

    /// How many entries there are.
    pub fn entry_count(&self) -> usize {
        self.records.len()
    }

    /// The entry of this number, in the order of the tar.
    pub fn entry(&self, number: usize) -> Entry<'_> {
        let record = &self.records[number];
        let end = self.records.get(number + 1).map(|next| next.path_at as usize);
        let names = &self.names[record.path_at as usize..end.unwrap_or(self.names.len())];
        let (path, target) = names.split_at(usize::from(record.path_length));
        let Owner { uid, gid, attributes } = self.owners[record.owner as usize];
        let (major, minor) = ((record.size >> 32) as u32, record.size as u32);
        Entry {
            path,
            kind: match record.kind {
                RecordKind::File => EntryKind::File {
                    size_bytes: record.size,
                    content: self.contents[record.content as usize],
                },
                RecordKind::HardLink => EntryKind::HardLink { target },
                RecordKind::Symlink => EntryKind::Symlink { target },
                RecordKind::Folder => EntryKind::Folder,
                RecordKind::CharDevice => EntryKind::CharDevice { major, minor },
                RecordKind::BlockDevice => EntryKind::BlockDevice { major, minor },
                RecordKind::Fifo => EntryKind::Fifo,
                RecordKind::Whiteout => EntryKind::Whiteout,
                RecordKind::Opaque => EntryKind::Opaque,
            },
            meta: Metadata {
                mode: u32::from(record.mode),
                uid,
                gid,
                mtime_seconds: record.mtime_seconds,
                mtime_nanoseconds: record.mtime_nanoseconds,
                attributes,
            },
        }
    }

    /// All entries, in the order of the tar.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + Clone {
        (0..self.records.len()).map(|number| self.entry(number))
    }

    /// The regular files: length and content.
    pub fn files(&self) -> impl Iterator<Item = (u64, ContentId)> + '_ {
        self.records
            .iter()
            .filter(|record| record.kind == RecordKind::File)
            .map(|record| (record.size, self.contents[record.content as usize]))
    }

    /// How many regular files there are. Further hard links are not counted.
    pub fn file_count(&self) -> u64 {
        self.count(|kind| kind == RecordKind::File)
    }

    /// How many markers hide something of lower layers.
    pub fn whiteout_count(&self) -> u64 {
        self.count(|kind| matches!(kind, RecordKind::Whiteout | RecordKind::Opaque))
    }

    /// Bytes of all regular files.
    pub fn file_bytes(&self) -> u64 {
        self.files()
            .fold(0, |sum, (size_bytes, _)| sum.saturating_add(size_bytes))
    }

    fn count(&self, is_meant: impl Fn(RecordKind) -> bool) -> u64 {
        self.records.iter().filter(|record| is_meant(record.kind)).count() as u64
    }
}
