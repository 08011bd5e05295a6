//! Mounting a snapshot instead of restoring it: one file is written where a restore makes one for each file of the tree.
//!
//! The file, an image of EROFS, stays in a folder of images. It is mounted out of sight, and above it, where the tree
//! is to be, overlayfs with a layer for changes. That layer lies in the folder that the mount hides: nothing is beside the tree, and
//! what is left when it is unmounted is debris of a restore like any other, which is never saved and which the next restore
//! removes.

mod attach;
mod image;

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::Path,
    sync::Arc,
};

use headstart_digest::SnapshotId;
use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::{fs::Dir, io::Errno};

use super::{
    RestoreError, Xattrs,
    engine::{Applied, Engine},
    made_folders::MadeFolders,
    staging::Staging,
};
use crate::{
    Node, NodeKind, Warning,
    erofs::{Layout, Unfit},
};

/// Why a snapshot was not mounted.
#[derive(Debug, thiserror::Error)]
enum NotMounted {
    #[error("{0} is not a folder")]
    NoFolder(RelPath),
    #[error("{0} is not empty")]
    NotEmpty(RelPath),
    #[error("images have no extended attributes")]
    Xattrs,
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("{}", explain(*.0))]
    Refused(Errno),
    #[error("{error}: {}", .error.source)]
    Io { error: PathError },
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
        Errno::NODEV => "this kernel lacks EROFS or overlayfs".to_owned(),
        Errno::NOTBLK | Errno::INVAL => {
            format!(
                "this kernel cannot mount an image in a file here; Linux 6.15 can, on ext4, XFS or Btrfs ({error})"
            )
        }
        error => format!("the kernel refused to mount it: {error}"),
    }
}

/// A folder that is to show a root.
struct Place<'a> {
    node: &'a Node,
    folder: Arc<OwnedFd>,
    layers: Staging,
}

impl Engine<'_> {
    /// Mounts the snapshot; `None`, and a warning, where that cannot be done.
    pub(super) fn mount(&self, images: &Path, id: SnapshotId) -> Result<Option<Applied>, RestoreError> {
        self.check_keep()?;
        match self.try_mount(images, id) {
            Ok(applied) => Ok(Some(applied)),
            Err(NotMounted::Failed(error)) => Err(error),
            Err(reason) => {
                self.progress.warn(&Warning::NotMounted {
                    reason: reason.to_string(),
                });
                Ok(None)
            }
        }
    }

    fn try_mount(&self, images: &Path, id: SnapshotId) -> Result<Applied, NotMounted> {
        if self.options.xattrs == Xattrs::Keep && !self.snapshot.xattrs().is_empty() {
            return Err(NotMounted::Xattrs);
        }
        let layout = Layout::new(self.tree())?;
        let root = &self.options.root;
        fs::create_dir_all(root).at("create", root)?;
        let mut made = MadeFolders::default();
        let places: Vec<Place<'_>> = self
            .tree()
            .roots()
            .map(|(node, path)| self.prepare(&self.tree().nodes()[node as usize], path, &mut made))
            .collect::<Result<_, _>>()?;
        let path = images.join(id.to_string());
        let mut fetched_bytes = 0;
        let image = match File::open(&path) {
            Ok(image) => image,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(images)
                    .at("create", images)?;
                let temp = headstart_fs::publish::temp_beside(&path)?;
                fetched_bytes = image::write(self, &layout, temp.as_file(), temp.path())?;
                temp.persist(&path)
                    .map_err(|error| error.error)
                    .at("publish", &path)?
            }
            Err(error) => return Err(error).at("open", &path)?,
        };
        let image = attach::mount_image(&image).map_err(NotMounted::Refused)?;
        let mut mounts = Vec::new();
        for (place, number) in places.iter().zip(0..) {
            let mount =
                attach::mount_writable(&image, &number.to_string(), place.layers.folder(), place.node);
            mounts.push(mount.map_err(NotMounted::Refused)?);
        }
        for (place, mount) in places.iter().zip(&mounts) {
            attach::show(mount, &place.folder).map_err(NotMounted::Refused)?;
        }
        for place in places {
            place.layers.keep();
        }
        Ok(Applied {
            files_mounted: self.tree().nodes().len() as u64,
            fetched_bytes,
            ..Applied::default()
        })
    }

    fn prepare<'a>(
        &self,
        node: &'a Node,
        path: RelPath,
        made: &mut MadeFolders,
    ) -> Result<Place<'a>, NotMounted> {
        if node.kind != NodeKind::Directory {
            return Err(NotMounted::NoFolder(path));
        }
        let shown = path.join_to(&self.options.root);
        let mut inside = path.clone();
        inside.push(b"layers").expect("a plain name");
        let folder = made.open_parent(&self.options.root, &inside)?;
        let folder = Arc::new(folder);
        let layers = Staging::create(folder.clone()).at("create a temporary folder in", &shown)?;
        let names = Dir::read_from(&folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .at("list", &shown)?;
        // Itself, the one above, and the layers.
        if names.len() > 3 {
            return Err(NotMounted::NotEmpty(path));
        }
        Ok(Place { node, folder, layers })
    }
}
