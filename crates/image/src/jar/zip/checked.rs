//! A body, held against what the directory says of it.

use std::io::{self, Read};

use flate2::Crc;

/// Compares the checksum at the end.
pub(super) struct Checked<R> {
    inner: R,
    crc: Crc,
    expected: u32,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(inner: R, expected: u32) -> Self {
        Checked {
            inner,
            crc: Crc::new(),
            expected,
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.crc.update(&into[..read]);
        match read == 0 && !into.is_empty() && self.crc.sum() != self.expected {
            true => Err(io::Error::other("its checksum is wrong")),
            false => Ok(read),
        }
    }
}
