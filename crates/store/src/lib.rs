//! The store: packs, snapshots and entries, on any medium, and the engines that save and restore trees through it.
//!
//! Owns: the formats (`docs/design/store-format.md`), the [`Store`] trait with its media and wrappers, saving,
//! restoring, mounting, verifying and evicting. Knows nothing of Git, package managers, tasks or images.
//!
//! Invariants:
//! - content is named by its digest and checked against it whenever it comes from anywhere remote;
//! - publication order is packs, snapshot, entry: a reader never meets a dangling name;
//! - entries are create-only.

mod bridge;
mod chunk_index;
mod chunker;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod content;
mod content_check;
mod dir_handles;
mod entry;
mod erofs;
mod error;
mod eviction;
#[cfg(any(test, feature = "conformance"))]
pub mod faults;
mod format;
mod frame;
mod http;
mod incoming;
mod key_path;
mod listing;
mod local;
mod location;
mod memory;
mod object;
mod on_disk;
mod pack;
mod pairing;
mod pool;
mod progress;
mod range;
mod restore;
mod save;
mod snapshot;
mod status;
mod store;
#[cfg(test)]
mod testing;
mod tiered;
mod tree;
mod verify;
mod wrappers;
mod xattrs;

pub use bridge::Runtime;
pub use chunk_index::ChunkIndex;
pub use content::{ContentId, ContentKind};
pub use entry::{Entry, EntryInfo, EntryName, Namespace, ParseEntryError, ParseEntryNameError};
pub use error::StoreError;
pub use eviction::{
    EvictionReason, GcOutcome, GcPlan, GcPolicy, PlannedEntry, apply_gc, evict_expanded, is_gc_due, plan_gc,
};
pub use format::FormatError;
pub use frame::Codec;
pub use http::HttpStore;
pub use local::LocalStore;
pub use location::{Credentials, Location, ParseLocationError};
pub use memory::MemoryStore;
pub use object::BucketStore;
pub use pack::{PackChunk, PackFrame, PackTable, PackTail};
pub use progress::{NoProgress, Progress, SpecialKind, Step, Unit, Warning};
pub use restore::{
    LinkMode, Lookup, RestoreError, RestoreOptions, RestoreOutcome, Restored, UnmountError, Within,
    find_entry, restore, restore_beside, unmount,
};
pub use save::{SaveError, SaveOptions, SaveOutcome, Saved, Xattrs, save, save_only};
pub use snapshot::{ChunkRef, FrameRef, PackRef, Snapshot, Xattr};
pub use status::{StoreStatus, load_status};
pub use store::{ByteStream, ContentReader, CreatedEntry, PruneStore, Store, StoreExt, Written};
pub use tiered::{Pushed, TierCounts, TierWarning, TieredStore};
pub use tree::{Mtime, Node, NodeKind, Tree};
pub use verify::{Problem, ProblemKind, Repair, Repaired, VerifyReport, repair_entry, verify, verify_pool};
pub use wrappers::ReadOnlyStore;

/// The formats, byte by byte.
#[cfg(doc)]
#[doc = include_str!("../../../docs/design/store-format.md")]
pub mod store_format {}
