//! Taking a mounted tree away.

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, PathError};
use rustix::{
    fs::{self, AtFlags, FileType, Mode},
    io::Errno,
};

use super::{super::staging, attach, lock};
use crate::{
    dir_handles::{self, DIRECTORY},
    on_disk,
};

/// Why a tree was not unmounted.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// No snapshot is mounted there.
    #[error("no snapshot is mounted at {}", path.display())]
    NotMounted {
        /// The folder.
        path: PathBuf,
    },
    /// It is a symlink, perhaps to a mounted tree.
    #[error("{} is a link, not a mounted tree", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A process has a file in it open, or is in it.
    #[error("{} is in use", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] PathError),
}

/// Takes away a tree that [`restore`](crate::restore()) mounted, with all changes in it. The folder stays, empty.
pub fn unmount(path: &Path) -> Result<(), UnmountError> {
    let whole = match path.file_name() {
        Some(_) => path.to_owned(),
        // It ends with `..`, or is the root or the working folder.
        None => on_disk::resolve(path).at("find", path)?,
    };
    let (Some(above), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(UnmountError::NotMounted {
            path: path.to_owned(),
        });
    };
    let here = above.as_os_str().is_empty();
    let parent = dir_handles::open_base(if here { Path::new(".") } else { above })?;
    unmount_in(&parent, name.as_bytes(), path)
}

/// The same for what is called `name` in an open folder: whatever becomes of the path to it, nothing else is unmounted.
/// `path` is for messages.
pub(super) fn unmount_in(parent: &OwnedFd, name: &[u8], path: &Path) -> Result<(), UnmountError> {
    let open = || fs::openat(parent, name, DIRECTORY, Mode::empty());
    let found = dir_handles::look(parent, name).at("look at", path)?;
    if found.is_some_and(|stat| dir_handles::file_type(&stat) == FileType::Symlink) {
        return Err(UnmountError::Link {
            path: path.to_owned(),
        });
    }
    // Closed at once: an open folder is in use.
    if !attach::is_ours(open().at("open", path)?).at("look at", path)? {
        return Err(UnmountError::NotMounted {
            path: path.to_owned(),
        });
    }
    match attach::unmount(parent, name) {
        Err(Errno::BUSY) => {
            return Err(UnmountError::InUse {
                path: path.to_owned(),
            });
        }
        unmounted => unmounted.at("unmount", path)?,
    }
    let folder = open().at("open", path)?;
    remove_changes(&folder, parent, name).at("remove the changes to", path)?;
    Ok(())
}

/// Removes the changes to what was mounted above a folder, unless something is mounted there anew: they are gone then, and
/// those that are there are in use.
pub(super) fn remove_changes(folder: &OwnedFd, parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    if lock::wait_for(|| Ok::<_, Errno>(lock::lock(folder)?.then_some(())))?.is_none() {
        return Err(Errno::WOULDBLOCK);
    }
    let found = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if lock::is_shown(folder, &found)? {
        staging::remove_layers(folder)?;
    }
    Ok(())
}
