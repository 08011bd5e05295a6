//! Stopping when somebody wants to.

use std::{
    io::{self, Read, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::ImageError;

/// Ends what can be left off here, when somebody wants to stop.
pub(crate) fn check(interrupt: &AtomicBool) -> Result<(), ImageError> {
    match interrupt.load(Ordering::Relaxed) {
        true => Err(ImageError::Interrupted),
        false => Ok(()),
    }
}

/// Why something failed: when somebody wants to stop that is the reason, whatever else broke by it.
pub(crate) fn reason(interrupt: &AtomicBool, error: impl Into<ImageError>) -> ImageError {
    check(interrupt).err().unwrap_or_else(|| error.into())
}

/// A stream that fails as soon as somebody wants to stop; [`reason`] tells it from others that fail.
#[derive(Debug)]
pub(crate) struct Interruptible<'a, S> {
    stream: S,
    interrupt: &'a AtomicBool,
}

impl<'a, S> Interruptible<'a, S> {
    pub(crate) fn new(stream: S, interrupt: &'a AtomicBool) -> Self {
        Interruptible { stream, interrupt }
    }

    fn check(&self) -> io::Result<()> {
        check(self.interrupt).map_err(io::Error::other)
    }
}

impl<S: Read> Read for Interruptible<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(into)
    }
}

impl<S: Write> Write for Interruptible<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.stream.flush()
    }
}
