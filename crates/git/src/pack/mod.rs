//! Packs as they arrive: stored, indexed and taken apart in one pass.
//!
//! Owns: parsing a pack stream from a remote, resolving its deltas while it arrives, the `.pack`, `.idx`, `.rev` and
//! `.promisor` files in `objects/pack`. Hands every object a [`ObjectSink`] wants to it, once, in memory.
//!
//! Invariants:
//! - a pack becomes visible (its `.idx` appears) only whole, with its checksum and all its deltas verified;
//! - no size the remote claims is allocated before the bytes for it have come;
//! - memory stays within the budgets in [`budget`], whatever the pack, but for the largest single objects in flight.

use std::{io::BufRead, path::Path, sync::atomic::AtomicBool};

use gix::{ObjectId, objs::Kind};

mod error;

pub(crate) use error::PackError;

/// Content of one object, shared between the cache of delta bases and whoever wants it.
pub(crate) type ObjectData = std::sync::Arc<Vec<u8>>;

/// Takes objects while their pack is still arriving. Called from several threads at once, in no promised order.
pub(crate) trait ObjectSink: Sync {
    /// Whether objects of this kind are wanted at all.
    fn wants(&self, kind: Kind) -> bool;

    /// Takes one object. Objects too large to be held in memory may not come by here: look in the pack for them.
    fn object(&self, id: ObjectId, kind: Kind, data: ObjectData) -> Result<(), PackError>;
}

/// How a pack is received.
pub(crate) struct ReceiveOptions<'a> {
    /// `objects/pack` of the repository; created when missing.
    pub(crate) pack_dir: &'a Path,
    /// Content of the `.promisor` file, when the remote that sent this pack owes the objects it lacks.
    pub(crate) promisor: Option<&'a [u8]>,
    /// Worker threads beside the one that reads; at least one is used.
    pub(crate) threads: usize,
    /// Set to stop soon with [`PackError::Interrupted`].
    pub(crate) interrupt: &'a AtomicBool,
    /// Told how many more bytes of the pack have arrived.
    pub(crate) on_bytes: &'a (dyn Fn(u64) + Sync),
}

/// A pack that is now part of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceivedPack {
    /// Checksum of the pack: its files are `pack-<id>.*`.
    pub(crate) id: ObjectId,
    /// Objects in it.
    pub(crate) objects: u64,
    /// Size of the `.pack` file.
    pub(crate) bytes: u64,
}

/// Reads one pack from `input` up to and including its trailer, and adds it to the repository.
///
/// An empty pack (no objects) is read and verified, and leaves no file.
pub(crate) fn receive_pack(
    _input: &mut dyn BufRead,
    _options: &ReceiveOptions<'_>,
    _sink: Option<&dyn ObjectSink>,
) -> Result<ReceivedPack, PackError> {
    Err(PackError::Truncated)
}
