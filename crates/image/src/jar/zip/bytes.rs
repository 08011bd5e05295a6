//! The bytes of a zip: a file, or a part of one.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use crate::ImageError;

/// Where the bytes of a zip are.
#[derive(Debug, Clone)]
pub(super) struct ZipBytes {
    pub(super) name: String,
    pub(super) file: Arc<File>,
    pub(super) range: Range<u64>,
}

impl ZipBytes {
    /// Reads all of `bytes`, from this place of the file.
    pub(super) fn fill(&self, bytes: &mut [u8], at: u64) -> Result<(), ImageError> {
        let is_inside = at
            .checked_add(bytes.len() as u64)
            .is_some_and(|end| end <= self.range.end);
        if !is_inside {
            return Err(self.corrupt("it is cut off"));
        }
        self.file
            .read_exact_at(bytes, at)
            .map_err(|source| ImageError::Read {
                what: self.name.clone(),
                source,
            })
    }

    /// A part of the file, to be read from its beginning.
    pub(super) fn part(&self, at: u64, length: u64) -> Part {
        Part {
            file: Arc::clone(&self.file),
            at,
            left: length,
        }
    }

    pub(super) fn corrupt(&self, reason: &str) -> ImageError {
        ImageError::corrupt(&self.name, reason)
    }
}

/// A part of the file.
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
