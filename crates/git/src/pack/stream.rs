//! The pack as it comes from the remote: checked, counted and copied to a temporary file on the way.

use std::{
    fs::File,
    io::{self, BufRead, Read, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::Crc;
use gix::{ObjectId, hash::Hasher};
use headstart_fs::{AtPath as _, PathError};

use super::{PackError, ReceiveOptions, entry::EntryError};

/// Bytes gathered before they are hashed and written: few system calls, and still in the processor's cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads a pack; whatever is consumed from it is in the temporary file, its checksum and the CRC of the entry.
pub(super) struct PackStream<'a> {
    input: &'a mut dyn BufRead,
    file: &'a File,
    path: &'a Path,
    /// Consumed, but neither hashed nor written yet.
    chunk: Vec<u8>,
    hasher: Hasher,
    crc: Crc,
    offset: u64,
    /// Why the temporary file could not be written, which `BufRead` cannot say.
    failed: Option<PathError>,
    on_bytes: &'a (dyn Fn(u64) + Sync),
    interrupt: &'a AtomicBool,
}

impl<'a> PackStream<'a> {
    pub(super) fn new(
        input: &'a mut dyn BufRead,
        file: &'a File,
        path: &'a Path,
        options: &ReceiveOptions<'a>,
    ) -> Self {
        PackStream {
            input,
            file,
            path,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            hasher: gix::hash::hasher(gix::hash::Kind::Sha1),
            crc: Crc::new(),
            offset: 0,
            failed: None,
            on_bytes: options.on_bytes,
            interrupt: options.interrupt,
        }
    }

    /// Bytes consumed so far: where the next entry starts.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are in the file already.
    pub(super) fn written_bytes(&self) -> u64 {
        self.offset - self.chunk.len() as u64
    }

    /// Starts the CRC of an entry.
    pub(super) fn start_entry(&mut self) {
        self.crc.reset();
    }

    /// The CRC of what was consumed since the entry started.
    pub(super) fn entry_crc(&self) -> u32 {
        self.crc.sum()
    }

    /// Reads as many bytes as `buffer` has.
    pub(super) fn read_exactly(&mut self, buffer: &mut [u8]) -> Result<(), PackError> {
        let at = self.offset;
        Read::read_exact(self, buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error_at(at, EntryError::Truncated),
            _ => self.error_at(at, EntryError::Read(error)),
        })
    }

    /// Hashes and writes what was consumed; afterwards all of it can be read back from the file.
    pub(super) fn flush(&mut self) -> Result<(), PathError> {
        self.hasher.update(&self.chunk);
        self.file.write_all(&self.chunk).at("write", self.path)?;
        (self.on_bytes)(self.chunk.len() as u64);
        self.chunk.clear();
        Ok(())
    }

    /// Ends the part of the pack that its checksum covers: reads the trailer and compares. Returns the checksum and
    /// the size of the whole pack, all of which is in the file.
    pub(super) fn finish(mut self) -> Result<(ObjectId, u64), PackError> {
        let offset = self.offset;
        self.flush()?;
        let expected = self
            .hasher
            .clone()
            .try_finalize()
            .map_err(|_| PackError::Corrupt {
                offset,
                what: "its bytes are a SHA-1 collision attack",
            })?;
        let mut trailer = [0; 20];
        self.read_exactly(&mut trailer)?;
        self.flush()?;
        if expected.as_slice() != trailer {
            return Err(PackError::Corrupt {
                offset,
                what: "its checksum does not match",
            });
        }
        Ok((expected, self.offset))
    }

    /// Turns the error of an entry into one of the pack.
    pub(super) fn error_at(&mut self, offset: u64, error: EntryError) -> PackError {
        if let Some(failed) = self.failed.take() {
            return PackError::Io(failed);
        }
        if self.interrupt.load(Ordering::Relaxed) {
            return PackError::Interrupted;
        }
        match error {
            EntryError::Read(error) => PackError::Read(error),
            EntryError::Truncated => PackError::Truncated,
            EntryError::Corrupt(what) => PackError::Corrupt { offset, what },
        }
    }
}

impl Read for PackStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for PackStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        if self.chunk.len() >= CHUNK_BYTES
            && let Err(error) = self.flush()
        {
            self.failed = Some(error);
            return Err(io::Error::other("the temporary file cannot be written"));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // Consuming follows filling, so this returns the same bytes again and reads nothing.
        if let Ok(bytes) = self.input.fill_buf()
            && let Some(bytes) = bytes.get(..count)
        {
            self.crc.update(bytes);
            self.chunk.extend_from_slice(bytes);
        }
        self.input.consume(count);
        self.offset += count as u64;
    }
}
