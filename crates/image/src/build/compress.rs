//! Compression whose bytes depend on nothing but what is compressed.
//!
//! The stream is cut into blocks of a fixed length, each a gzip member or a zstd frame of its own, so that the number of
//! threads does not matter. Container runtimes read such streams as one.

use std::{
    io::{self, Write},
    num::NonZero,
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::{Compression as Level, GzBuilder};

use crate::{BlobDigest, decompress::Compression, digest::Sha256Hasher};

/// Long enough that starting anew costs less than half a percent.
const BLOCK_BYTES: usize = 4 << 20;
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 6;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) digest: BlobDigest,
    pub(super) bytes: u64,
}

/// Runs `fill` with a stream whose bytes arrive compressed at `out`, in order.
pub(super) fn compress<T, E: From<io::Error>>(
    compression: Compression,
    threads: NonZero<usize>,
    out: impl Write + Send,
    fill: impl FnOnce(&mut Blocks) -> Result<T, E>,
) -> Result<(T, Stored), E> {
    let threads = threads.get();
    thread::scope(|scope| {
        let (jobs, queue) = bounded::<Job>(threads);
        let (results, in_order) = bounded(2 * threads);
        for _ in 0..threads {
            let queue = queue.clone();
            scope.spawn(move || work(compression, &queue));
        }
        drop(queue);
        let writing = scope.spawn(move || write(&in_order, out));
        let mut blocks = Blocks {
            block: Vec::new(),
            is_first: true,
            jobs,
            results,
        };
        let filled = fill(&mut blocks).and_then(|value| Ok(blocks.finish().map(|()| value)?));
        drop(blocks);
        let written = writing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // When writing fails, filling fails too: for want of somebody who takes its bytes.
        let stored = written?;
        Ok((filled?, stored))
    })
}

/// A block, and who waits for it.
struct Job {
    block: Vec<u8>,
    done: Sender<io::Result<Vec<u8>>>,
}

fn work(compression: Compression, queue: &Receiver<Job>) {
    for job in queue {
        // Who does not wait any more has failed, and says why.
        let _ = job.done.send(compress_block(compression, job.block));
    }
}

fn compress_block(compression: Compression, block: Vec<u8>) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(block),
        Compression::Gzip => {
            // The header says no time, no name, and no operating system.
            let builder = GzBuilder::new().mtime(0).operating_system(255);
            let mut encoder = builder.write(Vec::with_capacity(block.len() / 2), Level::new(GZIP_LEVEL));
            encoder.write_all(&block)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(&block, ZSTD_LEVEL),
    }
}

fn write(in_order: &Receiver<Receiver<io::Result<Vec<u8>>>>, mut out: impl Write) -> io::Result<Stored> {
    let mut hasher = Sha256Hasher::new();
    let mut bytes = 0;
    for result in in_order {
        let block = result
            .recv()
            .map_err(|_| io::Error::other("a block was not compressed"))??;
        hasher.update(&block);
        bytes += block.len() as u64;
        out.write_all(&block)?;
    }
    out.flush()?;
    Ok(Stored {
        digest: hasher.finish(),
        bytes,
    })
}

/// Takes a stream and hands on its blocks.
pub(super) struct Blocks {
    block: Vec<u8>,
    is_first: bool,
    jobs: Sender<Job>,
    results: Sender<Receiver<io::Result<Vec<u8>>>>,
}

impl Blocks {
    fn hand_on(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let (done, result) = bounded(1);
        let nobody = |_| io::Error::other("nobody takes what is compressed");
        self.results.send(result).map_err(|_| nobody(()))?;
        self.jobs.send(Job { block, done }).map_err(|_| nobody(()))?;
        self.is_first = false;
        Ok(())
    }

    /// An empty stream is one empty block.
    fn finish(&mut self) -> io::Result<()> {
        match self.is_first || !self.block.is_empty() {
            true => self.hand_on(),
            false => Ok(()),
        }
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.hand_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::decompress::decompress;

    fn compressed(compression: Compression, threads: usize, bytes: &[u8]) -> (Vec<u8>, Stored) {
        let mut out = Vec::new();
        let threads = NonZero::new(threads).unwrap();
        let (_, stored) = compress(compression, threads, &mut out, |blocks| blocks.write_all(bytes)).unwrap();
        (out, stored)
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let noise: Vec<u8> = (0..2 * BLOCK_BYTES as u32 + 7)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (one, stored) = compressed(compression, 1, &noise);
            assert_eq!(compressed(compression, 3, &noise), (one.clone(), stored));
            assert_eq!(
                (stored.bytes, stored.digest),
                (one.len() as u64, BlobDigest::of(&one))
            );
            let mut back = Vec::new();
            decompress(&one[..]).unwrap().1.read_to_end(&mut back).unwrap();
            assert!(back == noise, "{compression:?}");
        }
        let (empty, _) = compressed(Compression::Gzip, 1, b"");
        assert_eq!(decompress(&empty[..]).unwrap().0, Compression::Gzip);
    }

    #[test]
    fn a_full_disk_is_what_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = vec![0; 20 * BLOCK_BYTES];
        let two = NonZero::new(2).unwrap();
        let error = compress(Compression::None, two, Full, |blocks| blocks.write_all(&bytes)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
