//! Mounting a snapshot instead of restoring it: one file is written where a restore makes one for each file of the tree.
//!
//! That file, an image of EROFS, stays in a folder of images. It is mounted out of sight, and above it, where the tree is
//! to be, overlayfs with layers for changes. The layers lie in the folder that the mount hides, so nothing is beside the
//! tree. They are never saved, and removed by whoever unmounts the tree or mounts another there. A lock of that folder and a
//! look at its path tell him that nothing is mounted above them.

#[cfg_attr(not(target_os = "linux"), path = "no_attach.rs")]
mod attach;
mod image;
mod images;
mod lock;
mod place;
#[cfg(test)]
mod tests;
mod unmount;

use std::path::{Path, PathBuf};

use headstart_digest::SnapshotId;
use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::io::Errno;

pub use self::unmount::{UnmountError, unmount};
use self::{images::Images, place::Place};
use super::{
    RestoreError, Xattrs,
    engine::{Applied, Engine},
    made_folders::MadeFolders,
};
use crate::{
    Warning,
    erofs::{Layout, Unfit},
};

/// Why a snapshot was not mounted.
#[derive(Debug, thiserror::Error)]
enum NotMounted {
    #[error("{0} is not a folder")]
    NoFolder(RelPath),
    #[error("{0} is not empty")]
    NotEmpty(RelPath),
    #[error("{0} is in use")]
    InUse(RelPath),
    #[error("images have no extended attributes")]
    Xattrs,
    #[error("others may write to {}", .0.display())]
    Shared(PathBuf),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("{}", explain(*.0))]
    Refused(#[from] Errno),
    #[error("{error}: {}", .error.source)]
    Io { error: PathError },
    /// A restore would not fare better.
    #[error(transparent)]
    Failed(RestoreError),
}

impl From<PathError> for NotMounted {
    fn from(error: PathError) -> Self {
        NotMounted::Io { error }
    }
}

impl From<RestoreError> for NotMounted {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Io(error) => NotMounted::Io { error },
            error => NotMounted::Failed(error),
        }
    }
}

/// What a refusal of the kernel means.
fn explain(error: Errno) -> String {
    match error {
        Errno::PERM => "only root may mount".to_owned(),
        Errno::NODEV => "this kernel has no EROFS or no overlayfs".to_owned(),
        // That it wants a block device; that it does not know an option, reads no files there, or puts no layers there.
        Errno::NOTBLK | Errno::INVAL => {
            "it takes Linux 6.15 or newer, and a store and a folder on a disk, not on overlayfs or tmpfs"
                .to_owned()
        }
        error => format!("the kernel does not mount it: {}", std::io::Error::from(error)),
    }
}

impl Engine<'_> {
    /// Mounts the snapshot where that can be done, and restores it, after saying why, where it cannot.
    pub(super) fn mount_or_restore(&self, images: &Path, id: SnapshotId) -> Result<Applied, RestoreError> {
        self.check_keep()?;
        let mut is_emptied = false;
        match self.mount(&Images::new(images), id, &mut is_emptied) {
            Ok(applied) => Ok(applied),
            Err(NotMounted::Failed(error)) => Err(error),
            Err(reason) => {
                let warning = Warning::NotMounted {
                    reason: reason.to_string(),
                };
                self.progress.warn(&warning);
                let mut applied = self.restore().map_err(|error| match error {
                    RestoreError::Store(error) if is_emptied => RestoreError::Emptied { error },
                    error => error,
                })?;
                applied.warnings.push(warning);
                Ok(applied)
            }
        }
    }

    /// Mounts the snapshot, or leaves the tree on disk as it was; one that was mounted before may be gone, which `is_emptied`
    /// then tells.
    fn mount(
        &self,
        images: &Images<'_>,
        id: SnapshotId,
        is_emptied: &mut bool,
    ) -> Result<Applied, NotMounted> {
        if self.options.xattrs == Xattrs::Keep && !self.snapshot.xattrs().is_empty() {
            return Err(NotMounted::Xattrs);
        }
        let root = &self.options.root;
        std::fs::create_dir_all(root).at("create", root)?;
        // Removed when they end up empty, after the layers that may be in them.
        let mut made = MadeFolders::default();
        let mut places = Vec::new();
        for (node, path) in self.tree().roots() {
            let node = &self.tree().nodes()[node as usize];
            places.push(Place::find(node, path, root, &mut made, self.interrupt)?);
        }
        let mut fetched_bytes = 0;
        let image = match images.open(id)? {
            Some(image) => image,
            None => {
                let layout = Layout::new(self.tree())?;
                if let Some(place) = places.first() {
                    images.rehearse(place)?;
                }
                let (image, fetched) = images.write(self, &layout, id)?;
                fetched_bytes = fetched;
                image
            }
        };
        let image = attach::mount_image(&image)?;
        for place in &mut places {
            place.make_ready(root, self.interrupt, is_emptied)?;
        }
        let mounts: Vec<_> = places
            .iter()
            .zip(0u32..)
            .map(|(place, number)| place.stack(&image, &number.to_string()))
            .collect::<Result<_, _>>()?;
        for (place, mount) in places.into_iter().zip(mounts) {
            place.show(mount)?;
        }
        Ok(Applied {
            files_mounted: self.tree().nodes().len() as u64,
            fetched_bytes,
            ..Applied::default()
        })
    }
}
