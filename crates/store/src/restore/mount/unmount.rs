//! Taking a mounted tree away.

use std::path::{Path, PathBuf};

use headstart_fs::{AtPath as _, PathError};
use rustix::io::Errno;

use super::{super::staging, attach};
use crate::dir_handles;

/// Why a tree was not unmounted.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// No snapshot is mounted there.
    #[error("no snapshot is mounted at {}", path.display())]
    NotMounted {
        /// The folder.
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
    let folder = dir_handles::open_base(path)?;
    if !attach::is_ours(&folder).at("look at", path)? {
        return Err(UnmountError::NotMounted {
            path: path.to_owned(),
        });
    }
    drop(folder);
    match attach::unmount(path) {
        Err(Errno::BUSY) => {
            return Err(UnmountError::InUse {
                path: path.to_owned(),
            });
        }
        unmounted => unmounted.at("unmount", path)?,
    }
    let folder = dir_handles::open_base(path)?;
    staging::remove_debris(&folder).at("remove the changes to", path)?;
    Ok(())
}
