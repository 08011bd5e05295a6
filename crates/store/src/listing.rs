//! What there is on disk below some roots: folders are read in parallel, then put in path order.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headstart_fs::{AtPath as _, PathError};
use parking_lot::Mutex;
use rustix::{
    fs::{self, Dir, FileType, Mode, Stat},
    io::Errno,
};

use crate::{
    Mtime, Progress, Step,
    dir_handles::{self, DIRECTORY},
};

/// Names that start so are folders in which a restore builds what it will rename into place. They are never listed, so
/// that a restore that was killed does not leave its debris in a snapshot.
pub(crate) const STAGING_PREFIX: &[u8] = b".headstart-restore-";

/// A file, folder, link or something else.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Index of the folder it is in; `None` for a root.
    pub(crate) parent: Option<u32>,
    /// Its name; for a root the name that was given for it.
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: FileType,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
    /// When it was last changed in any way, as the system notes it: nobody can set it.
    pub(crate) ctime: Mtime,
    pub(crate) size_bytes: u64,
    /// Device and inode: what it is, whatever its name.
    pub(crate) inode: (u64, u64),
    /// How many names it has.
    pub(crate) names: u64,
    /// The number of its owner.
    pub(crate) owner: u32,
    /// Where it points if it is a symlink.
    pub(crate) target: Option<Box<[u8]>>,
    /// Where the listing of a folder is, before all are put together.
    listing: Option<usize>,
}

/// Where to start.
pub(crate) struct ListRoot<'a> {
    pub(crate) parent: &'a OwnedFd,
    pub(crate) name: &'a [u8],
    /// The name to list it by.
    pub(crate) listed_name: &'a [u8],
    /// For messages.
    pub(crate) path: PathBuf,
}

/// Whether a path is to be listed.
pub(crate) type IsWanted<'a> = dyn Fn(&Path) -> bool + Sync + 'a;

/// Lists the roots and what is below them, in path order when the roots are. What is gone before it was looked at is not
/// listed. When it was interrupted the listing is not complete.
///
/// `is_wanted` is asked about each path below the roots, if there is one; what is not wanted is not looked at.
pub(crate) fn list(
    roots: &[ListRoot<'_>],
    is_wanted: Option<&IsWanted<'_>>,
    step: Step,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<Vec<Listed>, PathError> {
    let walk = Walk {
        listings: Mutex::default(),
        error: Mutex::new(None),
        is_wanted,
        step,
        progress,
        interrupt,
    };
    let mut items = Vec::new();
    rayon::scope(|scope| {
        for root in roots {
            match look_at(root.parent, root.name, || root.path.clone()) {
                Ok(None) => {}
                Ok(Some(mut item)) => {
                    item.name = root.listed_name.into();
                    if item.kind == FileType::Directory {
                        let listing = walk.new_listing();
                        item.listing = Some(listing);
                        let walk = &walk;
                        scope.spawn(move |scope| {
                            walk.list(scope, root.parent.as_fd(), root.name, root.path.clone(), listing);
                        });
                    }
                    items.push(item);
                }
                Err(error) => walk.fail(error),
            }
        }
    });
    match walk.error.into_inner() {
        Some(error) => Err(error),
        None => Ok(in_path_order(items, walk.listings.into_inner())),
    }
}

/// A loop over a stack of listings and not a recursion: a tree may be deeper than the stack of a thread.
fn in_path_order(roots: Vec<Listed>, mut listings: Vec<Option<Vec<Listed>>>) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    let mut stack = vec![(None, roots.into_iter())];
    while let Some((parent, items)) = stack.last_mut() {
        let parent = *parent;
        let Some(item) = items.next() else {
            stack.pop();
            continue;
        };
        if let Some(listing) = item.listing {
            let Some(below) = listings[listing].take() else {
                continue;
            };
            stack.push((Some(all.len() as u32), below.into_iter()));
        }
        all.push(Listed { parent, ..item });
    }
    all
}

struct Walk<'a> {
    /// Listings of folders, by number. Numbers are given out before a folder is read; one that is gone then has none.
    listings: Mutex<Vec<Option<Vec<Listed>>>>,
    /// The first one.
    error: Mutex<Option<PathError>>,
    is_wanted: Option<&'a IsWanted<'a>>,
    step: Step,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl Walk<'_> {
    fn new_listing(&self) -> usize {
        let mut listings = self.listings.lock();
        listings.push(None);
        listings.len() - 1
    }

    fn fail(&self, error: PathError) {
        self.error.lock().get_or_insert(error);
    }

    /// Lists the folder `name` in `parent` as number `listing`, and has those in it listed.
    fn list<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: PathBuf,
        listing: usize,
    ) {
        if self.interrupt.load(Ordering::Relaxed) || self.error.lock().is_some() {
            return;
        }
        match self.read_folder(parent, name, &path) {
            Ok((folder, mut items)) => {
                items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                // While a folder changes, the system may tell a name twice.
                items.dedup_by(|a, b| a.name == b.name);
                self.progress.advance(self.step, items.len() as u64);
                let folder = Arc::new(folder);
                for item in items.iter_mut().filter(|item| item.kind == FileType::Directory) {
                    let listing = self.new_listing();
                    item.listing = Some(listing);
                    let (folder, name) = (folder.clone(), item.name.clone());
                    let path = join(&path, &item.name);
                    scope.spawn(move |scope| match folder.fd() {
                        Ok(folder) => self.list(scope, folder, &name, path, listing),
                        Err(error) => self.fail(at("open", path, error)),
                    });
                }
                self.listings.lock()[listing] = Some(items);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.fail(error),
        }
    }

    fn read_folder(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &Path,
    ) -> Result<(Dir, Vec<Listed>), PathError> {
        let opened = fs::openat(parent, name, DIRECTORY, Mode::empty());
        let mut folder = opened.and_then(Dir::new).at("open", path)?;
        let mut items = Vec::new();
        while let Some(entry) = folder.read() {
            let entry = entry.at("read the folder", path)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || name.starts_with(STAGING_PREFIX) {
                continue;
            }
            if self
                .is_wanted
                .is_none_or(|is_wanted| is_wanted(&join(path, name)))
            {
                // One that is gone by now was never there.
                let folder = folder.fd().at("read the folder", path)?;
                items.extend(look_at(folder, name, || join(path, name))?);
            }
        }
        Ok((folder, items))
    }
}

fn look_at(
    folder: impl AsFd + Copy,
    name: &[u8],
    path: impl Fn() -> PathBuf,
) -> Result<Option<Listed>, PathError> {
    loop {
        let Some(stat) = dir_handles::look(folder, name).map_err(|error| at("look at", path(), error))?
        else {
            return Ok(None);
        };
        if dir_handles::file_type(&stat) != FileType::Symlink {
            return Ok(Some(listed(name, &stat, None)));
        }
        match fs::readlinkat(folder, name, Vec::new()) {
            Ok(target) => return Ok(Some(listed(name, &stat, Some(target.to_bytes().into())))),
            // It is gone, or no longer a link.
            Err(Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(at("read the link", path(), error)),
        }
    }
}

// The width of these fields differs between systems.
#[allow(clippy::unnecessary_cast)]
fn listed(name: &[u8], stat: &Stat, target: Option<Box<[u8]>>) -> Listed {
    Listed {
        parent: None,
        name: name.into(),
        kind: dir_handles::file_type(stat),
        mode: stat.st_mode as u32 & 0o7777,
        mtime: dir_handles::mtime(stat),
        ctime: dir_handles::ctime(stat),
        size_bytes: stat.st_size as u64,
        inode: dir_handles::inode(stat),
        names: stat.st_nlink as u64,
        owner: stat.st_uid,
        target,
        listing: None,
    }
}

fn at(action: &'static str, path: PathBuf, error: Errno) -> PathError {
    PathError {
        action,
        path,
        source: error.into(),
    }
}

fn join(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}
