//! Packs as they arrive: stored, indexed and taken apart in one pass.
//!
//! Owns: parsing a pack stream from a remote, resolving its deltas while it arrives, the `.pack`, `.idx`, `.rev` and
//! `.promisor` files in `objects/pack`. Hands every object a [`ObjectSink`] wants to it, once, in memory.
//!
//! Invariants:
//! - a pack becomes visible (its `.idx` appears) only whole, with its checksum and all its deltas verified;
//! - no size the remote claims is allocated before the bytes for it have come;
//! - memory stays within the budgets in `budget.rs`, whatever the pack, but for the largest single objects in flight.

use std::{io::BufRead, path::Path, sync::atomic::AtomicBool};

use gix::{ObjectId, objs::Kind};
use headstart_fs::AtPath as _;

mod base_cache;
mod budget;
mod delta;
mod entry;
mod error;
mod index_files;
mod read_back;
mod resolve;
mod schedule;
mod stream;
mod temp_pack;

use budget::Budget;
use entry::{EntryForm, Inflater};
pub(crate) use error::PackError;
use resolve::{Failed, Resolver, StopOnPanic};
use schedule::{Arrival, Content};
use stream::PackStream;
use temp_pack::TempPack;

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
/// A pack without objects is verified and leaves no file. Objects the repository has already are stored once more, as
/// they come.
///
/// Packs of history, which no sink looks at, go the same way: resolving while they arrive takes about as much work as
/// `gix_pack::Bundle::write_to_directory` and `git index-pack` do afterwards. Measured on a `blob:none` pack of a
/// JavaScript monorepo (400,000 objects, 53 MB) on two shared cores: 1.5, 1.25 and 2.2 s of processor time and 130, 105
/// and 36 MB at the peak; sent at 20 MB/s, the pack was in place 0.6, 1.7 and 2.4 s after its last byte.
pub(crate) fn receive_pack(
    input: &mut dyn BufRead,
    options: &ReceiveOptions<'_>,
    sink: Option<&dyn ObjectSink>,
) -> Result<ReceivedPack, PackError> {
    receive_within(&Budget::DEFAULT, input, options, sink)
}

fn receive_within(
    budget: &Budget,
    input: &mut dyn BufRead,
    options: &ReceiveOptions<'_>,
    sink: Option<&dyn ObjectSink>,
) -> Result<ReceivedPack, PackError> {
    std::fs::create_dir_all(options.pack_dir).at("create", options.pack_dir)?;
    let temp = TempPack::create(options.pack_dir)?;
    let mut stream = PackStream::new(input, temp.pack_file(), temp.pack_path(), options);
    let objects = read_pack_header(&mut stream)?;
    if objects == 0 {
        let (id, bytes) = stream.finish()?;
        return Ok(ReceivedPack {
            id,
            objects: 0,
            bytes,
        });
    }
    let resolver = Resolver::new(
        temp.pack_file(),
        temp.pack_path(),
        sink,
        options.interrupt,
        budget,
    );
    let received = std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| resolver.work());
        }
        let _stop_workers = StopOnPanic(&resolver);
        let received = read_entries(stream, objects, &resolver, budget);
        match received {
            Ok((_, bytes)) => {
                resolver.end_stream(bytes);
                // While the workers resolve what is left.
                if let Err(error) = temp.sync_pack() {
                    resolver.fail(Some(error.into()));
                }
            }
            Err(_) => resolver.fail(None),
        }
        received
    });
    let (id, bytes) = match received {
        Err(ReadError::Pack(error)) => return Err(error),
        Err(ReadError::WorkerFailed) => (ObjectId::null(gix::hash::Kind::Sha1), 0),
        Ok(received) => received,
    };
    let entries = resolver.into_entries()?;
    temp.publish(id, &entries, options.promisor)?;
    Ok(ReceivedPack {
        id,
        objects: entries.len() as u64,
        bytes,
    })
}

/// Why the reader stopped.
enum ReadError {
    /// Because of the pack, or what it is read from or written to.
    Pack(PackError),
    /// Because a worker did, which says why.
    WorkerFailed,
}

impl From<PackError> for ReadError {
    fn from(error: PackError) -> Self {
        ReadError::Pack(error)
    }
}

/// Entries handed over at once: few enough to keep workers fed, enough to make the lock cheap.
const ARRIVALS_AT_ONCE: usize = 256;

/// Bytes handed over at once, so that large objects do not wait for small ones.
const ARRIVING_BYTES_AT_ONCE: usize = 256 << 10;

fn read_pack_header(stream: &mut PackStream<'_>) -> Result<u32, PackError> {
    let mut header = [0; 12];
    stream.read_exactly(&mut header)?;
    let [signature, version, objects] =
        [0, 4, 8].map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    if signature != u32::from_be_bytes(*b"PACK") {
        return Err(PackError::Corrupt {
            offset: 0,
            what: "it does not start with PACK",
        });
    }
    if !matches!(version, 2 | 3) {
        return Err(PackError::Version(version));
    }
    Ok(objects)
}

/// Reads and hands over all entries; returns the checksum and the size of the pack when it is whole and in the file.
fn read_entries(
    mut stream: PackStream<'_>,
    objects: u32,
    resolver: &Resolver<'_>,
    budget: &Budget,
) -> Result<(ObjectId, u64), ReadError> {
    let mut inflater = Inflater::new();
    let mut offsets = Vec::new();
    let mut arrivals = Vec::with_capacity(ARRIVALS_AT_ONCE);
    let mut arriving_bytes = 0;
    for _ in 0..objects {
        let start = stream.offset();
        let arrival = read_entry(&mut stream, &offsets, &mut inflater, budget)?;
        arriving_bytes += arrival.content.held_bytes();
        arrivals.push(arrival);
        offsets.push(start);
        if arrivals.len() == ARRIVALS_AT_ONCE || arriving_bytes >= ARRIVING_BYTES_AT_ONCE {
            resolver
                .arrive(&mut arrivals, stream.written_bytes())
                .map_err(|Failed| ReadError::WorkerFailed)?;
            arriving_bytes = 0;
        }
    }
    resolver
        .arrive(&mut arrivals, stream.written_bytes())
        .map_err(|Failed| ReadError::WorkerFailed)?;
    Ok(stream.finish()?)
}

/// Reads the next entry; `offsets` are those of the entries before it.
fn read_entry(
    stream: &mut PackStream<'_>,
    offsets: &[u64],
    inflater: &mut Inflater,
    budget: &Budget,
) -> Result<Arrival, PackError> {
    let offset = stream.offset();
    stream.start_entry();
    let header = entry::read_header(stream).map_err(|error| stream.error_at(offset, error))?;
    let size = header.inflated_bytes;
    let content = match header.form {
        EntryForm::Whole(kind) if size > budget.streamed_above_bytes => {
            let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
            hasher.update(&gix::objs::encode::loose_header(kind, size));
            inflater
                .inflate_through(stream, size, |piece| hasher.update(piece))
                .map_err(|error| stream.error_at(offset, error))?;
            let id = hasher.try_finalize().map_err(|_| PackError::Corrupt {
                offset,
                what: "its content is a SHA-1 collision attack",
            })?;
            Content::Hashed(kind, id)
        }
        EntryForm::Whole(kind) => {
            let data = inflater
                .inflate(stream, size)
                .map_err(|error| stream.error_at(offset, error))?;
            Content::Whole(kind, data)
        }
        EntryForm::OffsetDelta { .. } | EntryForm::IdDelta { .. } => {
            if size > budget.streamed_above_bytes {
                return Err(PackError::TooLarge {
                    offset,
                    size_bytes: size,
                });
            }
            let instructions = inflater
                .inflate(stream, size)
                .map_err(|error| stream.error_at(offset, error))?;
            match header.form {
                EntryForm::IdDelta { base } => Content::DeltaOfId { base, instructions },
                EntryForm::OffsetDelta { distance } => {
                    let base = offset
                        .checked_sub(distance)
                        .and_then(|base| offsets.binary_search(&base).ok())
                        .ok_or(PackError::MissingBase { offset })?;
                    Content::Delta {
                        base: base as u32,
                        instructions,
                    }
                }
                EntryForm::Whole(_) => unreachable!("matched above"),
            }
        }
    };
    Ok(Arrival {
        offset,
        crc: stream.entry_crc(),
        content,
    })
}

#[cfg(test)]
pub(crate) mod tests;
