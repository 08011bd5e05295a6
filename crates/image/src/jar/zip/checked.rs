//! A body, held against what the directory says of it.

use std::io::{self, Read};

use flate2::Crc;

/// Compares length and checksum at the end; what is longer ends with an error as soon as that is seen.
pub(super) struct Checked<R> {
    inner: R,
    crc: Crc,
    expected_crc: u32,
    left: u64,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(inner: R, size_bytes: u64, expected_crc: u32) -> Self {
        Checked {
            inner,
            crc: Crc::new(),
            expected_crc,
            left: size_bytes,
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.crc.update(&into[..read]);
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("it is longer than its directory says"))?;
        let is_end = read == 0 && !into.is_empty();
        match is_end {
            true if self.left > 0 => Err(io::Error::other("it is shorter than its directory says")),
            true if self.crc.sum() != self.expected_crc => Err(io::Error::other("its checksum is wrong")),
            _ => Ok(read),
        }
    }
}
