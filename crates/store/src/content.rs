//! What is named by its own digest: packs and snapshots.

use std::fmt;

use headstart_digest::{Digest, PackId, SnapshotId};

/// The two kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentKind {
    /// Compressed chunks stored together.
    Pack,
    /// The listing of a tree.
    Snapshot,
}

/// Names a pack or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentId {
    /// A pack.
    Pack(PackId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

impl ContentId {
    /// Names content of `kind` with the given digest.
    pub fn new(kind: ContentKind, digest: Digest) -> Self {
        match kind {
            ContentKind::Pack => ContentId::Pack(digest.into()),
            ContentKind::Snapshot => ContentId::Snapshot(digest.into()),
        }
    }

    /// Which kind it names.
    pub fn kind(&self) -> ContentKind {
        match self {
            ContentId::Pack(_) => ContentKind::Pack,
            ContentId::Snapshot(_) => ContentKind::Snapshot,
        }
    }

    /// The digest of the stored bytes.
    pub fn digest(&self) -> &Digest {
        match self {
            ContentId::Pack(id) => id.digest(),
            ContentId::Snapshot(id) => id.digest(),
        }
    }
}

impl ContentKind {
    /// The folder or path segment its content lives under.
    pub fn plural(self) -> &'static str {
        match self {
            ContentKind::Pack => "packs",
            ContentKind::Snapshot => "snapshots",
        }
    }

    /// The most bytes one piece of content may have; larger ones are refused unread.
    pub fn max_bytes(self) -> u64 {
        match self {
            // Packs are closed at 16 MiB; one incompressible run of chunks may still follow.
            ContentKind::Pack => 32 << 20,
            // About ten million files.
            ContentKind::Snapshot => 512 << 20,
        }
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentId::Pack(id) => write!(f, "pack {id}"),
            ContentId::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}
