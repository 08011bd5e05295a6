//! One pass over a layer's blob: hash what is stored, decompress, hash the tar, list its entries and hash their bodies.
//!
//! Two threads share the work: one reads and decompresses, the other takes the tar apart.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    BlobDigest, ImageError, Layer, Progress,
    decompress::{Compression, check_ratio, decompress},
    digest::Sha256Hasher,
    layer::{EntryMemory, ScanError, TarHash, scan_tar},
};

/// What is decompressed in one go: with what is done to it, it stays in the processor's caches.
const CHUNK_BYTES: usize = 64 << 10;
/// How far decompression may be ahead.
const CHUNKS: usize = 6;
/// What is read in one go.
const READ_BYTES: usize = 128 << 10;

/// A blob that was read.
#[derive(Debug)]
pub(crate) struct ScannedBlob {
    pub(crate) digest: BlobDigest,
    pub(crate) compression: Compression,
    pub(crate) layer: Layer,
}

/// A blob to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredBlob<'a> {
    /// Names it in errors.
    pub(crate) what: &'a str,
    /// Its length: more, or less, is an error.
    pub(crate) size_bytes: u64,
}

/// A blob that was read, and what became of its tar.
#[derive(Debug)]
pub(crate) struct ReadBlob<T> {
    pub(crate) digest: BlobDigest,
    pub(crate) compression: Compression,
    pub(crate) taken: T,
}

/// Reads a layer from its stored bytes.
pub(crate) fn scan_blob(
    blob: StoredBlob<'_>,
    stored: impl Read + Send,
    memory: &EntryMemory,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<ScannedBlob, ImageError> {
    let read = read_blob(blob, stored, progress, interrupt, |mut tar| {
        let hash = match tar.compression() {
            Some(Compression::None) => TarHash::Elsewhere,
            _ => TarHash::Here,
        };
        scan_tar(tar, hash, memory, interrupt)
    })?;
    Ok(ScannedBlob {
        digest: read.digest,
        compression: read.compression,
        layer: read.taken.into_layer(read.digest),
    })
}

/// Lets `take` have the tar of a blob. Unless it fails, it must read to the end.
pub(crate) fn read_blob<T>(
    blob: StoredBlob<'_>,
    stored: impl Read + Send,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
    take: impl FnOnce(Chunks<'_>) -> Result<T, ScanError>,
) -> Result<ReadBlob<T>, ImageError> {
    let compression = OnceLock::new();
    let (full, chunks) = bounded(CHUNKS);
    let (empty, spare) = bounded(CHUNKS + 2);
    let stored = Stored::new(blob, stored, progress, interrupt);
    let (unpacked, taken) = thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack(blob, stored, &compression, full, spare));
        let taken = take(Chunks {
            compression: &compression,
            chunks,
            empty,
            current: Vec::new(),
            at: 0,
        });
        (unpacking.join(), taken)
    });
    let unpacked = unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // A stream that broke explains why the tar ended early; a tar that is none explains why nobody took the rest of it.
    let (digest, compression) = match unpacked {
        Ok(unpacked) => unpacked,
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::NotWanted) => {
            let error = taken.err().map(|error| take_error(blob.what, &error));
            return Err(error.unwrap_or_else(|| ImageError::corrupt(blob.what, "nobody read it to its end")));
        }
    };
    Ok(ReadBlob {
        digest,
        compression,
        taken: taken.map_err(|error| take_error(blob.what, &error))?,
    })
}

/// Hashes stored bytes and does nothing else.
pub(crate) fn hash_blob(
    blob: StoredBlob<'_>,
    stored: impl Read,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<BlobDigest, ImageError> {
    copy_blob(blob, stored, progress, interrupt, |_| Ok(()))
}

/// Hashes stored bytes, and gives them to `take`: no more than there should be.
pub(crate) fn copy_blob(
    blob: StoredBlob<'_>,
    stored: impl Read,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
    mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
) -> Result<BlobDigest, ImageError> {
    let mut stored = Stored::new(blob, stored, progress, interrupt);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match stored.read(&mut buffer) {
            Ok(0) => return stored.finish(blob),
            Ok(read) => take(&buffer[..read])?,
            Err(error) => return Err(read_error(blob.what, error, interrupt)),
        }
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn take_error(what: &str, error: &ScanError) -> ImageError {
    match error {
        ScanError::Stopped => ImageError::Interrupted,
        ScanError::Full(full) => ImageError::too_large(what, full.to_string()),
        error => ImageError::corrupt(what, chain(error)),
    }
}

fn read_error(what: &str, source: io::Error, interrupt: &AtomicBool) -> ImageError {
    match interrupt.load(Ordering::Relaxed) {
        true => ImageError::Interrupted,
        false => ImageError::Read {
            what: what.to_owned(),
            source,
        },
    }
}

/// Why unpacking ended early.
enum Stop {
    Failed(ImageError),
    /// Nobody takes what comes.
    NotWanted,
}

fn unpack<R: Read + Send>(
    blob: StoredBlob<'_>,
    mut stored: Stored<'_, R>,
    said: &OnceLock<Compression>,
    full: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
) -> Result<(BlobDigest, Compression), Stop> {
    let interrupt = stored.interrupt;
    let read_bytes = Arc::clone(&stored.bytes);
    let failed = |error| Stop::Failed(read_error(blob.what, error, interrupt));
    let mut input = BufReader::with_capacity(READ_BYTES, &mut stored);
    let (compression, mut stream) = decompress(&mut input).map_err(failed)?;
    said.get_or_init(|| compression);
    let mut tar_bytes = 0;
    loop {
        let mut chunk = spare.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let read = fill(&mut stream, &mut chunk).map_err(failed)?;
        if read == 0 {
            break;
        }
        chunk.truncate(read);
        tar_bytes += read as u64;
        // What was read tells; the length that is said may be a lie until all is read.
        let stored_bytes = read_bytes.load(Ordering::Relaxed);
        check_ratio(blob.what, tar_bytes, stored_bytes).map_err(Stop::Failed)?;
        full.send(chunk).map_err(|_| Stop::NotWanted)?;
    }
    drop(stream);
    // What a decompressor leaves has a part in the digest.
    io::copy(&mut input, &mut io::sink()).map_err(failed)?;
    drop(input);
    stored
        .finish(blob)
        .map(|digest| (digest, compression))
        .map_err(Stop::Failed)
}

/// Reads until `into` is full, or there is no more.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The bytes of a blob, counted and hashed on their way.
struct Stored<'a, R> {
    inner: R,
    hasher: Sha256Hasher,
    bytes: Arc<AtomicU64>,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl<'a, R: Read> Stored<'a, io::Take<R>> {
    fn new(blob: StoredBlob<'_>, inner: R, progress: &'a dyn Progress, interrupt: &'a AtomicBool) -> Self {
        Stored {
            // One more shows that there are more.
            inner: inner.take(blob.size_bytes.saturating_add(1)),
            hasher: Sha256Hasher::new(),
            bytes: Arc::default(),
            progress,
            interrupt,
        }
    }
}

impl<R> Stored<'_, R> {
    /// The digest, when the length is right.
    fn finish(self, blob: StoredBlob<'_>) -> Result<BlobDigest, ImageError> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let reason = match bytes.cmp(&blob.size_bytes) {
            std::cmp::Ordering::Equal => return Ok(self.hasher.finish()),
            std::cmp::Ordering::Less => format!("it has {bytes} bytes, not {}", blob.size_bytes),
            std::cmp::Ordering::Greater => format!("it has more than {} bytes", blob.size_bytes),
        };
        Err(ImageError::corrupt(blob.what, reason))
    }
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped on request"));
        }
        let read = self.inner.read(into)?;
        self.hasher.update(&into[..read]);
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.progress.advance(read as u64);
        Ok(read)
    }
}

/// The unpacked tar as the other thread sends it.
pub(crate) struct Chunks<'a> {
    /// Said before the first chunk is sent.
    compression: &'a OnceLock<Compression>,
    chunks: Receiver<Vec<u8>>,
    /// Takes chunks back, to be filled again.
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Chunks<'_> {
    /// Waits for the first bytes; `None` when they cannot be had.
    fn compression(&mut self) -> Option<Compression> {
        self.fill_buf().ok()?;
        self.compression.get().copied()
    }
}

impl BufRead for Chunks<'_> {
    /// A stream that broke looks like one that ended: who unpacks it tells the difference.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len()
            && let Ok(next) = self.chunks.recv()
        {
            let used = std::mem::replace(&mut self.current, next);
            self.at = 0;
            // There is room for all of them, or nobody fills them any more.
            let _ = self.empty.try_send(used);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Silent,
        testing::{TarMaker, gzip},
    };

    fn scan(stored: &[u8], size_bytes: u64) -> Result<ScannedBlob, ImageError> {
        let blob = StoredBlob {
            what: "x",
            size_bytes,
        };
        scan_blob(
            blob,
            stored,
            &EntryMemory::default(),
            &Silent,
            &AtomicBool::new(false),
        )
    }

    fn tar() -> Vec<u8> {
        TarMaker::new()
            .file("a", &vec![7; 700_000])
            .file("b", b"1")
            .finish()
    }

    #[test]
    fn one_pass_gives_both_digests_whatever_the_compression() {
        let tar = tar();
        let half = tar.len() / 2;
        let stored = [
            (tar.clone(), Compression::None),
            (gzip(&tar), Compression::Gzip),
            (
                [gzip(&tar[..half]), gzip(&tar[half..])].concat(),
                Compression::Gzip,
            ),
            (zstd::bulk::compress(&tar, 1).unwrap(), Compression::Zstd),
        ];
        for (stored, compression) in stored {
            let scanned = scan(&stored, stored.len() as u64).unwrap();
            assert_eq!(scanned.compression, compression);
            assert_eq!(scanned.digest, BlobDigest::of(&stored));
            assert_eq!(scanned.layer.diff_id(), crate::DiffId::of(&tar));
            assert_eq!(scanned.layer.tar_bytes(), tar.len() as u64);
            assert_eq!(scanned.layer.file_bytes(), 700_001);
        }
    }

    #[test]
    fn a_blob_of_another_length_or_cut_off_is_refused() {
        let stored = gzip(&tar());
        let length = stored.len() as u64;
        for (bytes, size) in [
            (&stored[..], length + 1),
            (&stored[..], length - 1),
            (&stored[..stored.len() - 9], length),
            (&b"no tar at all, and longer than a block"[..], 38),
            (&[7; 5000][..], 5000),
        ] {
            assert!(scan(bytes, size).is_err(), "{} of {size}", bytes.len());
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_kept_us_busy() {
        // Frames of a few bytes that unpack to 100 MB of zeros each: an endless file.
        let zeros = zstd::bulk::compress(&vec![0; 100 << 20], 1).unwrap();
        let head = crate::testing::block(&crate::testing::Head {
            name: "zeros",
            size: 0o77_777_777_777,
            ..Default::default()
        });
        let mut bomb = zstd::bulk::compress(&head, 1).unwrap();
        (0..15).for_each(|_| bomb.extend_from_slice(&zeros));
        // Its manifest may say that it is large.
        let error = scan(&bomb, 1 << 40).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn an_interrupt_ends_the_reading() {
        let stored = tar();
        let blob = StoredBlob {
            what: "x",
            size_bytes: stored.len() as u64,
        };
        let outcome = scan_blob(
            blob,
            &stored[..],
            &EntryMemory::default(),
            &Silent,
            &AtomicBool::new(true),
        );
        assert!(matches!(outcome, Err(ImageError::Interrupted)));
    }
}
