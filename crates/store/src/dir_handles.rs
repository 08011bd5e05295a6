//! Opening the folders of a tree relative to each other, never through a symlink.
//!
//! Works at any depth: no path longer than one component is given to the system, and few folders are open at a time.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{Mtime, Tree};

/// Folders kept open by one [`DirHandles`]: deeper than nearly every tree, and far from the limit of open files.
const MAX_OPEN: usize = 48;

/// Flags for opening a folder that must not be a symlink.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Where a root of a tree is on disk: a name in an open folder.
#[derive(Debug)]
pub(crate) struct RootHandle {
    /// Index of the root's node.
    pub(crate) node: u32,
    pub(crate) parent: OwnedFd,
    pub(crate) name: Box<[u8]>,
    /// The folder the root's path is relative to; for messages.
    pub(crate) base: PathBuf,
}

/// Opens folders of a tree; keeps those on the way to the last one open. One for each thread.
pub(crate) struct DirHandles<'a> {
    tree: &'a Tree,
    roots: &'a [RootHandle],
    open: VecDeque<(u32, OwnedFd)>,
}

impl<'a> DirHandles<'a> {
    /// `roots` are in the order of the tree's.
    pub(crate) fn new(tree: &'a Tree, roots: &'a [RootHandle]) -> Self {
        DirHandles {
            tree,
            roots,
            open: VecDeque::new(),
        }
    }

    /// The folder a node is in, and its name there.
    pub(crate) fn place(&mut self, node: u32) -> Result<(BorrowedFd<'_>, &'a [u8]), PathError> {
        let tree = self.tree;
        match tree.nodes()[node as usize].parent {
            Some(parent) => Ok((self.folder(parent)?, &tree.nodes()[node as usize].name)),
            None => {
                let root = self.root(node);
                Ok((root.parent.as_fd(), &root.name))
            }
        }
    }

    /// Opens the folder that is `node`.
    pub(crate) fn folder(&mut self, node: u32) -> Result<BorrowedFd<'_>, PathError> {
        let mut missing = Vec::new();
        let mut next = Some(node);
        while let Some(index) = next {
            // Indices of open folders ascend, and so do those of a chain of ancestors.
            while self.open.back().is_some_and(|(open, _)| *open > index) {
                self.open.pop_back();
            }
            if self.open.back().is_some_and(|(open, _)| *open == index) {
                break;
            }
            missing.push(index);
            next = self.tree.nodes()[index as usize].parent;
        }
        if next.is_none() {
            self.open.clear();
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
        node_path(self.tree, self.roots, node)
    }

    fn open_one(&self, index: u32) -> Result<OwnedFd, PathError> {
        let node = &self.tree.nodes()[index as usize];
        let opened = match node.parent {
            Some(_) => {
                let (_, parent) = self.open.back().expect("parents are opened first");
                fs::openat(parent, &*node.name, DIRECTORY, Mode::empty())
            }
            None => {
                let root = self.root(index);
                fs::openat(&root.parent, &*root.name, DIRECTORY, Mode::empty())
            }
        };
        opened.at("open", self.path(index))
    }

    fn root(&self, node: u32) -> &'a RootHandle {
        find_root(self.roots, node)
    }
}

fn find_root(roots: &[RootHandle], node: u32) -> &RootHandle {
    let after = roots.partition_point(|root| root.node <= node);
    &roots[after - 1]
}

/// The path of a node on disk, for messages.
pub(crate) fn node_path(tree: &Tree, roots: &[RootHandle], node: u32) -> PathBuf {
    tree.path(node).join_to(&find_root(roots, node).base)
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

/// Its modification time.
// The width of these fields differs between systems.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn mtime(stat: &Stat) -> Mtime {
    Mtime {
        seconds: stat.st_mtime as i64,
        nanoseconds: stat.st_mtime_nsec as u32,
    }
}
