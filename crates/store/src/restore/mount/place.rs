//! A folder in which a root of the snapshot is to be seen.

use std::{
    io::ErrorKind,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headstart_fs::{AtPath as _, RelPath};
use rustix::fs::{self, Dir, Mode};

use super::{
    super::{
        RestoreError,
        made_folders::MadeFolders,
        set_back::Before,
        staging::{self, Staging},
    },
    NotMounted, attach, lock,
    unmount::{UnmountError, unmount, unmount_in},
};
use crate::{
    Node, NodeKind,
    dir_handles::{self, DIRECTORY},
    on_disk,
};

/// A folder among the layers.
const REHEARSAL: &[u8] = b"rehearsal";

/// Where a root is to be seen.
pub(super) struct Place<'a> {
    node: &'a Node,
    path: RelPath,
    /// The path on disk, for messages.
    shown: PathBuf,
    state: State,
}

enum State {
    /// It shows a snapshot already.
    Mounted,
    /// It is empty and locked.
    Empty {
        folder: Arc<OwnedFd>,
        layers: Box<Staging>,
    },
}

impl<'a> Place<'a> {
    /// Finds or makes the folder at `path` below `root`, which must be empty or show a snapshot. Waits a while for
    /// others who are mounting there.
    pub(super) fn find(
        node: &'a Node,
        path: RelPath,
        root: &Path,
        made: &mut MadeFolders,
        interrupt: &AtomicBool,
    ) -> Result<Self, NotMounted> {
        if node.kind != NodeKind::Directory {
            return Err(NotMounted::NoFolder(path));
        }
        let shown = path.join_to(root);
        let mut inside = path.clone();
        inside.push(b"layers").expect("it is a plain name");
        let state = lock::wait_for(|| {
            if interrupt.load(Ordering::Relaxed) {
                return Err(NotMounted::from(RestoreError::Interrupted));
            }
            let folder = match made.open_parent(root, &inside) {
                Err(error) if error.kind() == ErrorKind::NotADirectory => {
                    return Err(NotMounted::NotEmpty(path.clone()));
                }
                opened => opened?,
            };
            if attach::is_ours(&folder).at("look at", &shown)? {
                return Ok(Some(State::Mounted));
            }
            claim(folder, &path, &shown)
        })?;
        let Some(state) = state else {
            return Err(NotMounted::InUse(path));
        };
        Ok(Place {
            node,
            path,
            shown,
            state,
        })
    }

    /// Mounts an image of nothing, and shows it to nobody.
    pub(super) fn rehearse(&self, image: &OwnedFd) -> Result<(), NotMounted> {
        if let State::Empty { layers, .. } = &self.state {
            let folder = layers.folder();
            fs::mkdirat(folder, REHEARSAL, Mode::RWXU)?;
            let inside = fs::openat(folder, REHEARSAL, DIRECTORY, Mode::empty())?;
            attach::mount_writable(image, ".", &inside, self.node)?;
            staging::remove_tree(folder, REHEARSAL)?;
        }
        Ok(())
    }

    /// Takes away what it shows, and says so in `is_emptied`: from then on a failure leaves it empty.
    pub(super) fn make_ready(
        &mut self,
        root: &Path,
        interrupt: &AtomicBool,
        is_emptied: &mut bool,
    ) -> Result<(), NotMounted> {
        if let State::Mounted = self.state {
            let unmounted = self.unmount(root);
            // The system may also have refused what comes after it.
            *is_emptied |= matches!(unmounted, Ok(()) | Err(UnmountError::Io(_)));
            unmounted.map_err(|error| match error {
                UnmountError::InUse { .. } => NotMounted::InUse(self.path.clone()),
                UnmountError::NotMounted { .. } => NotMounted::NotEmpty(self.path.clone()),
                UnmountError::Link { .. } => NotMounted::NoFolder(self.path.clone()),
                UnmountError::Io(error) => error.into(),
            })?;
            let mut made = MadeFolders::default();
            *self = Place::find(self.node, self.path.clone(), root, &mut made, interrupt)?;
        }
        Ok(())
    }

    fn unmount(&self, root: &Path) -> Result<(), UnmountError> {
        if self.path.is_root() {
            return unmount(&on_disk::resolve(root).at("find", root)?);
        }
        let (parent, name) = dir_handles::open_parent(root, &self.path)?;
        unmount_in(&parent, name, &self.shown)
    }

    /// Mounts folder `name` of a mounted image, to be shown here.
    pub(super) fn stack(&self, image: &OwnedFd, name: &str) -> Result<OwnedFd, NotMounted> {
        match &self.state {
            State::Mounted => Err(NotMounted::InUse(self.path.clone())),
            State::Empty { layers, .. } => {
                Ok(attach::mount_writable(image, name, layers.folder(), self.node)?)
            }
        }
    }

    /// Shows `mount` here.
    pub(super) fn show(self, mount: OwnedFd) -> Result<(), NotMounted> {
        if let State::Empty { folder, layers } = self.state {
            attach::show(mount, &folder)?;
            layers.keep();
        }
        Ok(())
    }
}

/// Takes an empty folder, which nobody else takes until it is closed; `None` while somebody has it.
fn claim(folder: Arc<OwnedFd>, path: &RelPath, shown: &Path) -> Result<Option<State>, NotMounted> {
    if !lock::lock(&folder).at("lock", shown)? {
        return Ok(None);
    }
    // Whoever had it may have mounted something above it: then what is in it is in use.
    let found = fs::stat(shown).at("look at", shown)?;
    if !lock::is_shown(&folder, &found).at("look at", shown)? {
        return Ok(None);
    }
    let layers = Before::of(folder.clone()).and_then(Staging::create_layers);
    let layers = layers.at("create a temporary folder in", shown)?;
    let entries = Dir::read_from(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    // Itself, the one above it, and the layers.
    if entries.at("list", shown)?.len() > 3 {
        return Err(NotMounted::NotEmpty(path.clone()));
    }
    let layers = Box::new(layers);
    Ok(Some(State::Empty { folder, layers }))
}
