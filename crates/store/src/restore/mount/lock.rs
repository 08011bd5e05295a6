//! The lock of a folder that trees are mounted above. Who looks for old changes in it, or makes room for new ones, has it.

use std::{os::fd::AsFd, time::Duration};

use rustix::{
    fs::{self, FlockOperation, Stat},
    io::{Errno, Result},
};

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// Some ten seconds: to mount takes far less. Tests wait for one.
const TRIES: u32 = if cfg!(test) { 50 } else { 500 };

/// Locks an open folder until it is closed; whether nobody else has it locked.
pub(super) fn lock(folder: impl AsFd) -> Result<bool> {
    match fs::flock(folder, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        locked => locked.map(|()| true),
    }
}

/// Whether an open folder is the one that was found at its path: else something is mounted above it.
pub(super) fn is_shown(folder: impl AsFd, found: &Stat) -> Result<bool> {
    let opened = fs::fstat(folder)?;
    Ok((opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino))
}

/// Makes attempts until one succeeds, or for as long as one may wait for others who are mounting.
pub(super) fn wait_for<T, E>(
    mut attempt: impl FnMut() -> std::result::Result<Option<T>, E>,
) -> std::result::Result<Option<T>, E> {
    for _ in 0..TRIES {
        if let Some(done) = attempt()? {
            return Ok(Some(done));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}
