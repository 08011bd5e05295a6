//! Writing the image of a snapshot: frames are fetched, inflated, checked and written as they come.

use std::{fs::File, io::BufWriter, os::unix::fs::FileExt as _, path::Path, sync::atomic::Ordering};

use headstart_fs::{AtPath as _, PathError};
use parking_lot::Mutex;
use rustix::process::{getegid, geteuid};
use tokio::sync::mpsc;

use super::super::{
    RestoreError,
    engine::Engine,
    fetch::{self, FetchedFrame},
    pieces::{self, Piece},
};
use crate::{
    Step,
    erofs::{BLOCK_BYTES, Layout, Owner},
};

/// Writes an image to an empty file; the bytes that were read from the store for it.
pub(super) fn write(
    engine: &Engine<'_>,
    layout: &Layout<'_>,
    file: &File,
    path: &Path,
) -> Result<u64, RestoreError> {
    file.set_len(layout.image_bytes()).at("write", path)?;
    let writer = BodyWriter {
        engine,
        layout,
        file,
        path,
        store_location: engine.store.location(),
        error: Mutex::new(None),
    };
    let needs = pieces::find(engine.snapshot, |_| true);
    let reads = fetch::plan(engine.snapshot, needs.frames);
    let fetched_bytes = fetch::total_bytes(&reads);
    engine.progress.start(Step::Fetch, Some(fetched_bytes));
    let (sender, frames) = mpsc::channel(fetch::FRAMES_AHEAD);
    let frames = Mutex::new(frames);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let out = BufWriter::with_capacity(1 << 20, file);
            if let Err(error) = layout.write_head(owner(), out).at("write", path) {
                writer.fail(error);
            }
        });
        for _ in 0..threads {
            scope.spawn(|| writer.write_frames(&frames));
        }
        let fetched = fetch::run(
            engine.store,
            engine.runtime,
            engine.snapshot,
            reads,
            sender,
            engine.progress,
            engine.interrupt,
        );
        if let Err(error) = fetched {
            writer.fail(error);
        }
    });
    match writer.error.into_inner() {
        Some(error) => return Err(error),
        None => engine.check_interrupt()?,
    }
    engine.progress.finish(Step::Fetch);
    Ok(fetched_bytes)
}

/// What is restored belongs to whoever restores it.
pub(super) fn owner() -> Owner {
    Owner {
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
    }
}

struct BodyWriter<'a> {
    engine: &'a Engine<'a>,
    layout: &'a Layout<'a>,
    file: &'a File,
    path: &'a Path,
    store_location: String,
    /// The first error, after which everything stops.
    error: Mutex<Option<RestoreError>>,
}

impl BodyWriter<'_> {
    /// Writes frames until no more come. Run on each thread.
    fn write_frames(&self, frames: &Mutex<mpsc::Receiver<FetchedFrame>>) {
        let mut run = Run::default();
        while !self.has_stopped() {
            let Some(frame) = frames.lock().blocking_recv() else {
                return;
            };
            if let Err(error) = self.write_frame(frame, &mut run) {
                self.fail(error);
            }
        }
        // The fetching thread must not wait for room that nobody makes.
        frames.lock().close();
    }

    fn write_frame(&self, fetched: FetchedFrame, run: &mut Run) -> Result<(), RestoreError> {
        let content = fetched.inflate(self.engine.snapshot, &self.store_location)?;
        for piece in &fetched.needed.pieces {
            let start = piece.frame_offset as usize;
            let bytes = &content[start..start + piece.bytes as usize];
            let at = self.layout.body_at(piece.node) + piece.file_offset;
            if !run.continues_at(at, piece) {
                self.write_run(run)?;
                run.start = at;
            }
            run.bytes.resize((at - run.start) as usize, 0);
            run.bytes.extend_from_slice(bytes);
            let file_bytes = self.engine.tree().nodes()[piece.node as usize].size_bytes();
            run.ends_file = piece.file_offset + u64::from(piece.bytes) == file_bytes;
        }
        self.write_run(run)?;
        Ok(())
    }

    fn write_run(&self, run: &mut Run) -> Result<(), PathError> {
        self.file
            .write_all_at(&run.bytes, run.start)
            .at("write", self.path)?;
        run.bytes.clear();
        Ok(())
    }

    fn fail(&self, error: impl Into<RestoreError>) {
        self.error.lock().get_or_insert(error.into());
    }

    fn has_stopped(&self) -> bool {
        self.engine.interrupt.load(Ordering::Relaxed) || self.error.lock().is_some()
    }
}

/// Bodies that follow each other in the image, with what fills up their blocks between them.
#[derive(Default)]
struct Run {
    start: u64,
    bytes: Vec<u8>,
    /// Whether the last byte is the last one of its file.
    ends_file: bool,
}

impl Run {
    /// Whether `piece`, which is to be at `at`, is the next one. Any other gap than that between two files has bytes of
    /// another frame.
    fn continues_at(&self, at: u64, piece: &Piece) -> bool {
        let end = self.start + self.bytes.len() as u64;
        let is_next_file = self.ends_file && piece.file_offset == 0;
        !self.bytes.is_empty() && (at == end || is_next_file && at == end.next_multiple_of(BLOCK_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headstart_digest::{ChunkId, Digest, PackId};

    use super::*;
    use crate::{
        ChunkRef, Codec, ContentId, FrameRef, Mtime, NoProgress, Node, NodeKind, PackRef, Snapshot,
        StoreExt as _, Tree,
        restore::Unlisted,
        testing::{Bench, noise},
    };

    #[test]
    fn bytes_of_another_frame_are_not_taken_for_what_fills_up_a_block() {
        // Of a first file all but its end lies in the large frame, and all of the second one.
        let (first, end, second) = (noise(1004, 1), noise(20, 2), noise(100_000, 3));
        let node = |name: &[u8], body: &[u8]| Node {
            parent: None,
            name: name.into(),
            mode: 0o644,
            mtime: Mtime::default(),
            kind: NodeKind::File {
                size_bytes: body.len() as u64,
                digest: Digest::of(body),
            },
        };
        let bodies = [[&*first, &*end].concat(), second.clone()];
        let tree = Tree::new(vec![node(b"a", &bodies[0]), node(b"b", &bodies[1])]).unwrap();
        // The small one is read and written first.
        let pack = [&*end, &*first, &*second].concat();
        let frame = |offset, bytes| FrameRef {
            pack: 0,
            offset,
            stored_bytes: bytes,
            content_bytes: bytes,
            codec: Codec::Raw,
        };
        let chunk = |frame, offset, body: &[u8]| ChunkRef {
            frame,
            offset,
            bytes: body.len() as u32,
            id: ChunkId::of(body),
        };
        let id = PackId::of(&pack);
        let pack_ref = PackRef {
            id,
            bytes: pack.len() as u32,
        };
        let snapshot = Snapshot::new(
            vec![pack_ref],
            vec![frame(20, 101_004), frame(0, 20)],
            vec![chunk(0, 0, &first), chunk(1, 0, &end), chunk(0, 1004, &second)],
            tree,
            Vec::new(),
        )
        .unwrap();
        let bench = Bench::new();
        let write_pack = bench.store.write_bytes(ContentId::Pack(id), Bytes::from(pack));
        bench.runtime.run(&bench.interrupt, write_pack).unwrap();

        let options = bench.restore_options("k", &[]);
        let engine = Engine {
            store: &*bench.store,
            runtime: &bench.runtime,
            options: &options,
            unlisted: Unlisted::Remove,
            snapshot: &snapshot,
            progress: &NoProgress,
            interrupt: &bench.interrupt,
        };
        let layout = Layout::new(snapshot.tree()).unwrap();
        let path = bench.temp.path().join("image");
        write(&engine, &layout, &File::create(&path).unwrap(), &path).unwrap();
        let image = std::fs::read(&path).unwrap();
        for (node, body) in bodies.iter().enumerate() {
            let at = layout.body_at(node as u32) as usize;
            assert!(image[at..].starts_with(body), "file {node}");
        }
    }
}
