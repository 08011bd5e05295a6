//! Entries read again from the part of the pack that is on disk.

use std::{
    fs::File,
    io::{self, BufRead, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
};

use headstart_fs::PathError;

use super::{
    PackError,
    budget::DELTIFIED_MAX_BYTES,
    entry::{EntryError, Inflater, read_header},
};

/// Inflates the entry in `range` of the pack: the object if it is whole, the instructions if it is a delta.
pub(super) fn read_back(
    file: &File,
    path: &Path,
    range: Range<u64>,
    inflater: &mut Inflater,
) -> Result<Vec<u8>, PackError> {
    let offset = range.start;
    let mut piece = FilePiece {
        file,
        range,
        buffer: Vec::new(),
        used: 0,
    };
    let to_pack_error = |error| match error {
        EntryError::Read(source) => PackError::Io(PathError {
            action: "read",
            path: path.to_owned(),
            source,
        }),
        EntryError::Truncated => PackError::Truncated,
        EntryError::Corrupt(what) => PackError::Corrupt { offset, what },
    };
    let header = read_header(&mut piece).map_err(to_pack_error)?;
    if header.inflated_bytes > DELTIFIED_MAX_BYTES {
        return Err(PackError::TooLarge {
            offset,
            size_bytes: header.inflated_bytes,
        });
    }
    inflater
        .inflate(&mut piece, header.inflated_bytes)
        .map_err(to_pack_error)
}

/// Most entries fit; larger ones take several reads.
const BUFFER_BYTES: u64 = 64 << 10;

/// A range of a file, read without moving its cursor: others write to it.
struct FilePiece<'a> {
    file: &'a File,
    range: Range<u64>,
    buffer: Vec<u8>,
    used: usize,
}

impl Read for FilePiece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for FilePiece<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            let wanted = (self.range.end - self.range.start).min(BUFFER_BYTES);
            self.buffer.resize(wanted as usize, 0);
            self.file.read_exact_at(&mut self.buffer, self.range.start)?;
            self.range.start += wanted;
            self.used = 0;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}
