//! Reading the needed frames from the store, neighbours together, some requests at a time.

use std::{ops::Range, sync::atomic::AtomicBool};

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    future::{Either, select},
};
use headstart_digest::PackId;
use tokio::sync::mpsc;

use super::{pieces::NeededFrame, prepare};
use crate::{ContentId, Progress, Runtime, Snapshot, Step, Store, StoreError, StoreExt as _, frame};

/// Reads of the store at the same time; each holds what it read.
const REQUESTS: usize = 6;
/// The most bytes of one request.
const MAX_RANGE_BYTES: u32 = 4 << 20;
/// Reading this much that is not needed beats another request.
const MAX_GAP_BYTES: u32 = 256 << 10;
/// Frames that were read and wait for a thread to write them.
pub(super) const FRAMES_AHEAD: usize = 48;

/// One request.
#[derive(Debug)]
pub(super) struct RangeRead {
    pack: PackId,
    range: Range<u64>,
    frames: Vec<NeededFrame>,
}

/// A frame as it is stored.
pub(super) struct FetchedFrame {
    pub(super) needed: NeededFrame,
    pub(super) stored: Bytes,
}

impl FetchedFrame {
    /// What it holds, with the chunks that are needed checked.
    pub(super) fn inflate(&self, snapshot: &Snapshot, store_location: &str) -> Result<Bytes, StoreError> {
        let frame = &snapshot.frames()[self.needed.frame as usize];
        let verified =
            frame::decode(frame.codec, self.stored.clone(), frame.content_bytes).and_then(|content| {
                for chunk in &self.needed.chunks {
                    let chunk = &snapshot.chunks()[*chunk as usize];
                    let start = chunk.offset as usize;
                    frame::check_chunk(&chunk.id, &content[start..start + chunk.bytes as usize])?;
                }
                Ok(content)
            });
        verified.map_err(|error| {
            let pack = ContentId::Pack(snapshot.packs()[frame.pack as usize].id);
            error.in_store(pack, store_location)
        })
    }
}

/// Plans the requests for `frames`, in the order in which the stream first needs them.
pub(super) fn plan(snapshot: &Snapshot, mut frames: Vec<NeededFrame>) -> Vec<RangeRead> {
    // The packs of a snapshot are numbered by first use.
    frames.sort_by_key(|needed| {
        let frame = &snapshot.frames()[needed.frame as usize];
        (frame.pack, frame.offset)
    });
    let mut reads: Vec<RangeRead> = Vec::new();
    for needed in frames {
        let frame = &snapshot.frames()[needed.frame as usize];
        let pack = snapshot.packs()[frame.pack as usize].id;
        let start = u64::from(frame.offset);
        let end = start + u64::from(frame.stored_bytes);
        match reads.last_mut() {
            Some(last)
                if last.pack == pack
                    && start <= last.range.end + u64::from(MAX_GAP_BYTES)
                    && end <= last.range.start + u64::from(MAX_RANGE_BYTES) =>
            {
                // Frames of a hostile snapshot may overlap.
                last.range.end = last.range.end.max(end);
                last.frames.push(needed);
            }
            _ => reads.push(RangeRead {
                pack,
                range: start..end,
                frames: vec![needed],
            }),
        }
    }
    reads
}

/// Bytes that will be read.
pub(super) fn total_bytes(reads: &[RangeRead]) -> u64 {
    reads.iter().map(|read| read.range.end - read.range.start).sum()
}

/// Carries out the requests. Waits while `frames` is full; ends early when nobody listens.
pub(super) fn run(
    store: &dyn Store,
    runtime: &Runtime,
    snapshot: &Snapshot,
    reads: Vec<RangeRead>,
    frames: mpsc::Sender<FetchedFrame>,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<(), StoreError> {
    let mut packs: Vec<PackId> = reads.iter().map(|read| read.pack).collect();
    packs.dedup();
    runtime.run(interrupt, async {
        let requests = futures::stream::iter(reads).map(|read| async move {
            let wanted = read.range.end - read.range.start;
            let bytes = store
                .read_range(ContentId::Pack(read.pack), read.range.clone())
                .await?;
            if bytes.len() as u64 != wanted {
                return Err(StoreError::Corrupt {
                    what: ContentId::Pack(read.pack).to_string(),
                    store: store.location(),
                    reason: format!("{} bytes came instead of {wanted}", bytes.len()),
                });
            }
            progress.advance(Step::Fetch, wanted);
            Ok((read, bytes))
        });
        let reading = async {
            let mut answers = requests.buffer_unordered(REQUESTS);
            while let Some((read, bytes)) = answers.try_next().await? {
                for needed in read.frames {
                    let frame = &snapshot.frames()[needed.frame as usize];
                    let start = (u64::from(frame.offset) - read.range.start) as usize;
                    let stored = bytes.slice(start..start + frame.stored_bytes as usize);
                    if frames.send(FetchedFrame { needed, stored }).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        // Ahead of the reads, which wait for the packs that are on their way.
        let preparing = std::pin::pin!(prepare::all(store, packs));
        match select(std::pin::pin!(reading), preparing).await {
            Either::Left((done, _)) => done,
            Either::Right(((), reading)) => reading.await,
        }
    })
}
