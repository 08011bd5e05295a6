//! A folder in which a root of the snapshot is to be seen.

use std::{
    io::ErrorKind,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use headstart_fs::{AtPath as _, RelPath};
use rustix::{
    fs::{self, Dir, FlockOperation, Mode},
    io::Errno,
};

use super::{
    super::{
        RestoreError,
        made_folders::MadeFolders,
        set_back::Before,
        staging::{self, Staging},
    },
    NotMounted, attach,
    unmount::{UnmountError, unmount},
};
use crate::{Node, NodeKind, dir_handles::DIRECTORY};

/// Before it is looked again whether somebody has finished mounting.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// Finds or makes the folder at `path` below `root`, which must be empty or show a snapshot. Waits for others who are
    /// mounting there.
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
        let state = loop {
            if interrupt.load(Ordering::Relaxed) {
                return Err(RestoreError::Interrupted.into());
            }
            let folder = match made.open_parent(root, &inside) {
                Err(error) if error.kind() == ErrorKind::NotADirectory => {
                    return Err(NotMounted::NotEmpty(path));
                }
                opened => opened?,
            };
            if attach::is_ours(&folder).at("look at", &shown)? {
                break State::Mounted;
            }
            if let Some(state) = claim(folder, &path, &shown)? {
                break state;
            }
            std::thread::sleep(PAUSE);
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

    /// Takes away what it shows. From here on a failure leaves it empty.
    pub(super) fn make_ready(&mut self, root: &Path, interrupt: &AtomicBool) -> Result<(), NotMounted> {
        if let State::Mounted = self.state {
            unmount(&self.shown).map_err(|error| match error {
                UnmountError::InUse { .. } => NotMounted::InUse(self.path.clone()),
                UnmountError::NotMounted { .. } => NotMounted::NotEmpty(self.path.clone()),
                UnmountError::Io(error) => error.into(),
            })?;
            let mut made = MadeFolders::default();
            *self = Place::find(self.node, self.path.clone(), root, &mut made, interrupt)?;
        }
        Ok(())
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
    match fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked.at("lock", shown)?,
    }
    // Whoever had it may have mounted something above it: then what is in it is no debris.
    let opened = fs::fstat(&folder).at("look at", shown)?;
    let found = fs::stat(shown).at("look at", shown)?;
    if (opened.st_dev, opened.st_ino) != (found.st_dev, found.st_ino) {
        return Ok(None);
    }
    let layers = Before::of(folder.clone()).and_then(Staging::create);
    let layers = layers.at("create a temporary folder in", shown)?;
    let entries = Dir::read_from(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    // Itself, the one above it, and the layers.
    if entries.at("list", shown)?.len() > 3 {
        return Err(NotMounted::NotEmpty(path.clone()));
    }
    let layers = Box::new(layers);
    Ok(Some(State::Empty { folder, layers }))
}
