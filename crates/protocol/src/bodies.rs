//! JSON bodies.

use headstart_digest::{PackId, SnapshotId};
use serde::{Deserialize, Serialize};

/// What the server is: `GET /v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Format of this document, [`Info::SCHEMA`].
    pub schema: String,
    /// Name and version of the program, for people.
    pub server: String,
    /// The protocol versions it speaks.
    pub protocols: Vec<u32>,
    /// The most bytes of a pack.
    pub max_pack_bytes: u64,
    /// The most bytes of a snapshot.
    pub max_snapshot_bytes: u64,
}

impl Info {
    /// The schema of this version.
    pub const SCHEMA: &str = "headstart.info/1";
}

/// Asks for packs and snapshots, and answers which of them are missing, in the order asked: `POST /v1/find-missing`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindMissing {
    /// Packs.
    #[serde(default)]
    pub packs: Vec<PackId>,
    /// Snapshots.
    #[serde(default)]
    pub snapshots: Vec<SnapshotId>,
}

/// Answers a search, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryList {
    /// What was found.
    pub entries: Vec<ListedEntry>,
}

/// One entry of an [`EntryList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEntry {
    /// Its key.
    pub key: String,
    /// When it was written: RFC 3339, UTC.
    pub modified_at: String,
}
