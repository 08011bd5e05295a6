//! A folder in which something is made only for a while, and which is then to be as it was.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::fs::{self, Mode, Stat};

use crate::{
    Mtime,
    dir_handles::{mtime, timestamps},
};

/// A folder, and its time and mode before something was made in it.
#[derive(Debug)]
pub(super) struct Before {
    folder: Arc<OwnedFd>,
    stat: Stat,
}

/// The same, and its time directly afterwards, by which it is seen that nobody else changed it.
#[derive(Debug)]
pub(super) struct Made {
    before: Before,
    after: Mtime,
}

impl Before {
    pub(super) fn of(folder: Arc<OwnedFd>) -> rustix::io::Result<Self> {
        let stat = fs::fstat(&folder)?;
        Ok(Before { folder, stat })
    }

    pub(super) fn folder(&self) -> &Arc<OwnedFd> {
        &self.folder
    }

    pub(super) fn made(self) -> rustix::io::Result<Made> {
        let after = mtime(&fs::fstat(&self.folder)?);
        Ok(Made { before: self, after })
    }
}

impl Made {
    /// Has `unmake` take away what was made and, where it says so, sets time and mode back. Where somebody else changed
    /// the folder meanwhile the time stays.
    pub(super) fn set_back_if(&self, unmake: impl FnOnce() -> bool) {
        let Before { folder, stat } = &self.before;
        let now = fs::fstat(folder);
        let is_unmade = unmake();
        // What cannot be set back stays.
        let (true, Ok(now)) = (is_unmade, now) else {
            return;
        };
        if mtime(&now) == self.after {
            let _ = fs::futimens(folder.as_fd(), &timestamps(mtime(stat)));
        }
        if now.st_mode != stat.st_mode {
            let _ = fs::fchmod(folder.as_fd(), Mode::from_raw_mode(stat.st_mode));
        }
    }
}
