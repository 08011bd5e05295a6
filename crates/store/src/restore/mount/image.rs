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
    pieces,
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
            if !run.continues_at(at) {
                self.write_run(run)?;
                run.start = at;
            }
            run.bytes.resize((at - run.start) as usize, 0);
            run.bytes.extend_from_slice(bytes);
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
}

impl Run {
    fn continues_at(&self, at: u64) -> bool {
        let end = self.start + self.bytes.len() as u64;
        !self.bytes.is_empty() && (end..end + BLOCK_BYTES).contains(&at)
    }
}
