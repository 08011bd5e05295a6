//! Opening the folders of a tree relative to each other, never through a symlink.
//!
//! Works at any depth: no path longer than one component is given to the system, and few folders are open at a time.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps},
    io::Errno,
};

use crate::{Mtime, Node, Tree};

/// Folders kept open by one [`DirHandles`]: deeper than nearly every tree, and far from the limit of open files.
const MAX_OPEN: usize = 48;

/// Flags for opening a folder that must not be a symlink.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Where a node of a tree is on disk: a name in an open folder. What is below the node is found below it.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    /// Index of the node.
    pub(crate) node: u32,
    pub(crate) parent: Arc<OwnedFd>,
    pub(crate) name: Box<[u8]>,
}

/// Opens folders of a tree; keeps those on the way to the last one open. One for each thread.
pub(crate) struct DirHandles<'a> {
    tree: &'a Tree,
    anchors: &'a [Anchor],
    base: &'a Path,
    open: VecDeque<(u32, OwnedFd)>,
}

impl<'a> DirHandles<'a> {
    /// `anchors` are in order and anchor whatever will be asked for. `base` is for messages: the folder the paths of the
    /// tree are relative to.
    pub(crate) fn new(tree: &'a Tree, anchors: &'a [Anchor], base: &'a Path) -> Self {
        DirHandles {
            tree,
            anchors,
            base,
            open: VecDeque::new(),
        }
    }

    /// The folder a node is in, and its name there.
    pub(crate) fn place(&mut self, node: u32) -> Result<(BorrowedFd<'_>, &'a [u8]), PathError> {
        if let Some(anchor) = self.anchor(node) {
            return Ok((anchor.parent.as_fd(), &anchor.name));
        }
        let node = &self.tree.nodes()[node as usize];
        let parent = node.parent.expect("a root is anchored");
        Ok((self.folder(parent)?, &node.name))
    }

    /// Opens the folder that is `node`.
    pub(crate) fn folder(&mut self, node: u32) -> Result<BorrowedFd<'_>, PathError> {
        let mut missing = Vec::new();
        let mut next = node;
        loop {
            // Indices of open folders ascend, and so do those of a chain of ancestors.
            while self.open.back().is_some_and(|(open, _)| *open > next) {
                self.open.pop_back();
            }
            if self.open.back().is_some_and(|(open, _)| *open == next) {
                break;
            }
            missing.push(next);
            if self.anchor(next).is_some() {
                self.open.clear();
                break;
            }
            next = self.tree.nodes()[next as usize]
                .parent
                .expect("a root is anchored");
        }
        for index in missing.into_iter().rev() {
            let fd = self.open_one(index)?;
            if self.open.len() == MAX_OPEN {
                self.open.pop_front();
            }
            self.open.push_back((index, fd));
        }
        let (_, fd) = self.open.back().expect("the folder was found open or opened");
        Ok(fd.as_fd())
    }

    /// The path of a node on disk, for messages.
    pub(crate) fn path(&self, node: u32) -> PathBuf {
        self.tree.path(node).join_to(self.base)
    }

    fn open_one(&self, index: u32) -> Result<OwnedFd, PathError> {
        let opened = match (self.anchor(index), self.open.back()) {
            (Some(anchor), _) => fs::openat(&anchor.parent, &*anchor.name, DIRECTORY, Mode::empty()),
            (None, parent) => {
                let (_, parent) = parent.expect("parents are opened first");
                let name = &self.tree.nodes()[index as usize].name;
                fs::openat(parent, &**name, DIRECTORY, Mode::empty())
            }
        };
        opened.at("open", self.path(index))
    }

    fn anchor(&self, node: u32) -> Option<&'a Anchor> {
        let found = self.anchors.binary_search_by_key(&node, |anchor| anchor.node);
        found.ok().map(|at| &self.anchors[at])
    }
}

/// Opens the folder that `path` is in, without following symlinks, and tells the name it has there. The folder itself is
/// named `.`. Says `NotFound` or `NotADirectory` of the component that is missing or in the way.
pub(crate) fn open_parent<'p>(base: &Path, path: &'p RelPath) -> Result<(OwnedFd, &'p [u8]), PathError> {
    let mut fd = open_base(base)?;
    let mut shown = base.to_owned();
    let mut components = path.components();
    let name = components.next_back().unwrap_or(b".");
    for component in components {
        shown.push(RelPath::parse(component).expect("a component is plain").as_path());
        fd = fs::openat(&fd, component, DIRECTORY, Mode::empty()).at("open", &shown)?;
    }
    Ok((fd, name))
}

/// Opens the folder that paths are relative to. That one may be reached through symlinks.
pub(crate) fn open_base(base: &Path) -> Result<OwnedFd, PathError> {
    fs::open(base, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty()).at("open", base)
}

/// Looks at `name` in `folder` itself, not at what it links to. `None` when there is nothing.
pub(crate) fn look(folder: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What kind of file it is.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Device and inode: what it is, whatever its name.
// The width of these fields differs between systems.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Its modification time.
// The width of these fields differs between systems.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn mtime(stat: &Stat) -> Mtime {
    Mtime {
        seconds: stat.st_mtime as i64,
        nanoseconds: stat.st_mtime_nsec as u32,
    }
}

/// When it was last changed in any way: content, mode, names.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn ctime(stat: &Stat) -> Mtime {
    Mtime {
        seconds: stat.st_ctime as i64,
        nanoseconds: stat.st_ctime_nsec as u32,
    }
}

/// Gives an open file or folder the mode and time of its node.
pub(crate) fn set_meta(file: impl AsFd, node: &Node) -> rustix::io::Result<()> {
    fs::fchmod(&file, Mode::from_raw_mode(node.mode.into()))?;
    fs::futimens(&file, &timestamps(node.mtime))
}

/// Times to set: the modification time; the time of the last access is left alone.
pub(crate) fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}
