//! From chunks in stream order to packs in the store: hashed and compressed on all cores, deduplicated in order.
//!
//! What becomes of a chunk depends on the chunks before it and on what is known of the store, never on timing or the
//! number of cores: the same tree gives the same packs.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use headstart_digest::{ChunkId, PackId};
use parking_lot::Mutex;

use super::SaveError;
use crate::{
    ChunkIndex, ChunkRef, Codec, ContentId, FrameRef, PackChunk, PackRef, PackTable, Progress, Runtime, Step,
    Store, StoreError, StoreExt as _, Written,
    chunk_index::Found,
    frame::{self, FRAME_TARGET_BYTES},
    pack::PackBuilder,
};

/// Packs uploaded at the same time.
pub(super) const UPLOADS: usize = 3;
/// The most chunk groups, and the most frames, that wait for a core: some 20 MiB each.
const MAX_QUEUE: usize = 16;

/// Chunks the store is believed to have.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// Those of the local store.
    pub(super) index: Option<&'a ChunkIndex>,
    /// Those of the nearest older snapshot, and what an earlier attempt stored.
    pub(super) recent: ChunkIndex,
    /// Packs that turned out to be gone.
    pub(super) gone: HashSet<PackId>,
}

/// The stream as a snapshot tells it.
pub(super) struct StoredStream {
    pub(super) packs: Vec<PackRef>,
    pub(super) frames: Vec<FrameRef>,
    pub(super) chunks: Vec<ChunkRef>,
    /// Those of `packs` that were not written now.
    pub(super) reused: Vec<PackId>,
    pub(super) new_chunk_bytes: u64,
    pub(super) reused_bytes: u64,
}

/// Takes chunks in stream order.
pub(super) struct StreamWriter<'a> {
    known: &'a Known<'a>,
    uploads: &'a Uploads<'a>,
    queue_limit: usize,
    group: Vec<Bytes>,
    group_bytes: usize,
    hashing: VecDeque<Group>,
    /// Where the chunks of this snapshot are: frame and offset.
    placed: HashMap<ChunkId, (u32, u32)>,
    chunks: Vec<ChunkRef>,
    /// Frames in the order of their first use. Those not packed yet have no pack.
    frames: Vec<PlacedFrame>,
    /// Frames of packs that were there before, by pack and offset.
    reused_frames: HashMap<(PackId, u32), u32>,
    open_frame: Option<OpenFrame>,
    compressing: VecDeque<Compressing>,
    pack: PackBuilder,
    packs_sent: usize,
    new_chunk_bytes: u64,
    reused_bytes: u64,
    lost_known: bool,
}

/// Chunks that follow each other in the stream.
enum Group {
    /// They are being hashed.
    Read(Receiver<Vec<(ChunkId, Bytes)>>),
    /// They were not read: the store has them.
    Known(Vec<(ChunkId, u32)>),
}

#[derive(Clone, Copy)]
struct PlacedFrame {
    pack: PackSlot,
    offset: u32,
    stored_bytes: u32,
    content_bytes: u32,
    codec: Codec,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum PackSlot {
    /// It was in the store.
    Reused(PackRef),
    /// It is the nth that this save writes.
    New(usize),
}

struct OpenFrame {
    index: u32,
    content: Vec<u8>,
    chunks: Vec<PackChunk>,
}

struct Compressing {
    index: u32,
    chunks: Vec<PackChunk>,
    result: Receiver<(Codec, Vec<u8>)>,
}

impl<'a> StreamWriter<'a> {
    pub(super) fn new(known: &'a Known<'a>, uploads: &'a Uploads<'a>) -> Self {
        StreamWriter {
            known,
            uploads,
            queue_limit: (2 * rayon::current_num_threads()).min(MAX_QUEUE),
            group: Vec::new(),
            group_bytes: 0,
            hashing: VecDeque::new(),
            placed: HashMap::new(),
            chunks: Vec::new(),
            frames: Vec::new(),
            reused_frames: HashMap::new(),
            open_frame: None,
            compressing: VecDeque::new(),
            pack: PackBuilder::new(),
            packs_sent: 0,
            new_chunk_bytes: 0,
            reused_bytes: 0,
            lost_known: false,
        }
    }

    /// Adds the next chunk of the stream. Waits while too many are on their way.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.group_bytes += chunk.len();
        self.group.push(chunk);
        if self.group_bytes >= FRAME_TARGET_BYTES {
            self.hash_group();
            while self.hashing.len() > self.queue_limit {
                self.place_group();
            }
        }
    }

    /// Adds chunks that the store has, without their bytes.
    pub(super) fn push_known(&mut self, chunks: &[ChunkRef]) {
        self.hash_group();
        let known = chunks.iter().map(|chunk| (chunk.id, chunk.bytes)).collect();
        self.hashing.push_back(Group::Known(known));
        while self.hashing.len() > self.queue_limit {
            self.place_group();
        }
    }

    /// Ends the stream: all packs are handed to the uploads.
    pub(super) fn finish(mut self) -> FinishedStream {
        self.hash_group();
        while !self.hashing.is_empty() {
            self.place_group();
        }
        self.close_frame();
        while !self.compressing.is_empty() {
            self.pack_frame();
        }
        self.close_pack();
        FinishedStream {
            frames: self.frames,
            chunks: self.chunks,
            new_chunk_bytes: self.new_chunk_bytes,
            reused_bytes: self.reused_bytes,
            lost_known: self.lost_known,
        }
    }

    fn hash_group(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        self.hashing.push_back(Group::Read(on_a_core(move || {
            group
                .into_iter()
                .map(|chunk| (ChunkId::of(&chunk), chunk))
                .collect()
        })));
    }

    fn place_group(&mut self) {
        match self.hashing.pop_front() {
            None => {}
            Some(Group::Read(group)) => {
                for (id, chunk) in group.recv().expect("hashing does not fail") {
                    self.place(id, chunk.len() as u32, Some(&chunk));
                }
            }
            Some(Group::Known(group)) => {
                for (id, bytes) in group {
                    self.place(id, bytes, None);
                }
            }
        }
    }

    fn place(&mut self, id: ChunkId, bytes: u32, content: Option<&[u8]>) {
        let (frame, offset) = match (self.find(&id, bytes), content) {
            (Some(place), _) => {
                self.reused_bytes += u64::from(bytes);
                place
            }
            (None, Some(content)) => {
                self.new_chunk_bytes += u64::from(bytes);
                self.add_to_frame(id, content)
            }
            (None, None) => {
                self.lost_known = true;
                return;
            }
        };
        self.placed.insert(id, (frame, offset));
        self.chunks.push(ChunkRef {
            frame,
            offset,
            bytes,
            id,
        });
    }

    fn find(&mut self, id: &ChunkId, bytes: u32) -> Option<(u32, u32)> {
        if let Some(place) = self.placed.get(id) {
            return Some(*place);
        }
        let Found { pack, frame, offset } = self.known.find(id, bytes)?;
        let next = self.frames.len() as u32;
        let index = *self.reused_frames.entry((pack.id, frame.offset)).or_insert(next);
        if index == next {
            self.frames.push(PlacedFrame {
                pack: PackSlot::Reused(pack),
                offset: frame.offset,
                stored_bytes: frame.stored_bytes,
                content_bytes: frame.content_bytes,
                codec: frame.codec,
            });
        }
        Some((index, offset))
    }

    fn add_to_frame(&mut self, id: ChunkId, chunk: &[u8]) -> (u32, u32) {
        let frames = &mut self.frames;
        let open = self.open_frame.get_or_insert_with(|| {
            frames.push(PlacedFrame {
                pack: PackSlot::New(usize::MAX),
                offset: 0,
                stored_bytes: 0,
                content_bytes: 0,
                codec: Codec::Raw,
            });
            OpenFrame {
                index: frames.len() as u32 - 1,
                content: Vec::with_capacity(FRAME_TARGET_BYTES * 3 / 2),
                chunks: Vec::new(),
            }
        });
        let place = (open.index, open.content.len() as u32);
        open.content.extend_from_slice(chunk);
        open.chunks.push(PackChunk {
            id,
            bytes: chunk.len() as u32,
        });
        if open.content.len() >= FRAME_TARGET_BYTES {
            self.close_frame();
        }
        place
    }

    fn close_frame(&mut self) {
        let Some(frame) = self.open_frame.take() else {
            return;
        };
        self.frames[frame.index as usize].content_bytes = frame.content.len() as u32;
        self.compressing.push_back(Compressing {
            index: frame.index,
            chunks: frame.chunks,
            result: on_a_core(move || frame::encode(frame.content)),
        });
        while self.compressing.len() > self.queue_limit {
            self.pack_frame();
        }
    }

    fn pack_frame(&mut self) {
        let Some(frame) = self.compressing.pop_front() else {
            return;
        };
        let (codec, stored) = frame.result.recv().expect("compressing does not fail");
        let placed = &mut self.frames[frame.index as usize];
        placed.pack = PackSlot::New(self.packs_sent);
        placed.offset = self.pack.push(codec, &stored, frame.chunks);
        placed.stored_bytes = stored.len() as u32;
        placed.codec = codec;
        if self.pack.is_full() {
            self.close_pack();
        }
    }

    fn close_pack(&mut self) {
        if !self.pack.is_empty() {
            let pack = std::mem::replace(&mut self.pack, PackBuilder::new());
            self.uploads.send(self.packs_sent, pack);
            self.packs_sent += 1;
        }
    }
}

/// The stream when its packs are on their way.
pub(super) struct FinishedStream {
    frames: Vec<PlacedFrame>,
    chunks: Vec<ChunkRef>,
    new_chunk_bytes: u64,
    reused_bytes: u64,
    /// A chunk that was said to be known is not.
    pub(super) lost_known: bool,
}

impl FinishedStream {
    /// Fills in the names of the packs, which are numbered by first use.
    pub(super) fn name_packs(self, uploaded: &[Uploaded]) -> StoredStream {
        let uploaded: HashMap<usize, PackRef> = uploaded
            .iter()
            .map(|upload| (upload.number, upload.pack))
            .collect();
        let mut numbers = HashMap::new();
        let mut packs = Vec::new();
        let mut reused = Vec::new();
        let frames = self
            .frames
            .iter()
            .map(|frame| {
                let pack = *numbers.entry(frame.pack).or_insert_with(|| {
                    packs.push(match frame.pack {
                        PackSlot::Reused(pack) => {
                            reused.push(pack.id);
                            pack
                        }
                        PackSlot::New(number) => uploaded[&number],
                    });
                    packs.len() as u32 - 1
                });
                FrameRef {
                    pack,
                    offset: frame.offset,
                    stored_bytes: frame.stored_bytes,
                    content_bytes: frame.content_bytes,
                    codec: frame.codec,
                }
            })
            .collect();
        StoredStream {
            frames,
            chunks: self.chunks,
            reused,
            packs,
            new_chunk_bytes: self.new_chunk_bytes,
            reused_bytes: self.reused_bytes,
        }
    }
}

impl Known<'_> {
    fn find(&self, id: &ChunkId, bytes: u32) -> Option<Found> {
        let usable = |found: &Found| {
            // A frame too short for it: whoever described it was wrong.
            let end = u64::from(found.offset) + u64::from(bytes);
            end <= u64::from(found.frame.content_bytes) && !self.gone.contains(&found.pack.id)
        };
        let recent = self.recent.find(id).filter(usable);
        recent.or_else(|| self.index?.find(id).filter(usable))
    }
}

fn on_a_core<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = bounded(1);
    rayon::spawn(move || {
        // Nobody listens any more when the save failed.
        let _ = sender.send(work());
    });
    receiver
}

/// A pack the store has taken.
pub(super) struct Uploaded {
    number: usize,
    pub(super) pack: PackRef,
    pub(super) table: PackTable,
    written: Written,
}

impl Uploaded {
    /// Bytes the store did not have.
    pub(super) fn new_bytes(&self) -> u64 {
        match self.written {
            Written::New => self.pack.bytes.into(),
            Written::Existed => 0,
        }
    }
}

/// Writes packs to the store, some at a time.
pub(super) struct Uploads<'a> {
    store: &'a dyn Store,
    runtime: &'a Runtime,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
    queue: Mutex<Option<Sender<(usize, PackBuilder)>>>,
    waiting: Receiver<(usize, PackBuilder)>,
    done: Mutex<Vec<Uploaded>>,
    failed: AtomicBool,
    error: Mutex<Option<StoreError>>,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        runtime: &'a Runtime,
        progress: &'a dyn Progress,
        interrupt: &'a AtomicBool,
    ) -> Self {
        let (queue, waiting) = bounded(1);
        Uploads {
            store,
            runtime,
            progress,
            interrupt,
            queue: Mutex::new(Some(queue)),
            waiting,
            done: Mutex::default(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Works until the queue is closed. Run on each uploading thread.
    pub(super) fn run(&self) {
        for (number, pack) in &self.waiting {
            // After a failure the queue is only emptied.
            if self.has_failed() {
                continue;
            }
            match self.upload(number, pack) {
                Ok(uploaded) => self.done.lock().push(uploaded),
                Err(error) => {
                    self.error.lock().get_or_insert(error);
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// True when there is no point in going on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// No more packs will come.
    pub(super) fn close(&self) {
        self.queue.lock().take();
    }

    /// What was uploaded, when all threads are through.
    pub(super) fn finish(self) -> Result<Vec<Uploaded>, SaveError> {
        match self.error.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(self.done.into_inner()),
        }
    }

    fn send(&self, number: usize, pack: PackBuilder) {
        let queue = self.queue.lock().clone();
        if let Some(queue) = queue {
            // The receiving end is ours as well and cannot be gone.
            let _ = queue.send((number, pack));
        }
    }

    fn upload(&self, number: usize, pack: PackBuilder) -> Result<Uploaded, StoreError> {
        let table = pack.table().clone();
        let bytes = pack.finish();
        let pack = PackRef {
            id: PackId::of(&bytes),
            bytes: bytes.len() as u32,
        };
        let written = self.runtime.run(
            self.interrupt,
            self.store.write_bytes(ContentId::Pack(pack.id), bytes),
        )?;
        self.progress.advance(Step::Upload, u64::from(pack.bytes));
        Ok(Uploaded {
            number,
            pack,
            table,
            written,
        })
    }
}
