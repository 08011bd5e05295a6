//! Folders in which a restore builds what it then renames into place.
//!
//! A staging folder lies on the same file system as what it is for and is locked while its restore runs; one that is not
//! locked is the debris of a killed run.

use std::{
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode},
    io::Errno,
};

use super::set_back::{Before, Made};
use crate::{
    dir_handles::{self, DIRECTORY},
    listing::{LAYERS_PREFIX, STAGING_PREFIX},
};

/// A staging folder, removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    folder: Arc<OwnedFd>,
    is_kept: bool,
    /// The parent as it was, while nothing is published.
    parent_before: Option<Made>,
}

/// The staging folders of a restore, removed in the reverse order of their making.
#[derive(Debug, Default)]
pub(crate) struct Stagings(Vec<Staging>);

impl Stagings {
    pub(crate) fn push(&mut self, staging: Staging) {
        self.0.push(staging);
    }

    /// From now on what they are in changes for good.
    pub(crate) fn begin_to_publish(&mut self) {
        for staging in &mut self.0 {
            staging.parent_before = None;
        }
    }
}

impl Deref for Stagings {
    type Target = [Staging];

    fn deref(&self) -> &[Staging] {
        &self.0
    }
}

impl Drop for Stagings {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

impl Staging {
    /// Makes a staging folder in a folder, after removing debris there. `before` is that folder as it is to be should
    /// nothing be published.
    pub(super) fn create(before: Before) -> rustix::io::Result<Self> {
        remove_debris(before.folder())?;
        Staging::create_named(before, STAGING_PREFIX)
    }

    /// Makes a folder for the changes to a tree that is to be mounted above a folder, after removing debris and old changes
    /// there, as [`remove_layers`] may.
    pub(super) fn create_layers(before: Before) -> rustix::io::Result<Self> {
        remove_debris(before.folder())?;
        remove_layers(before.folder())?;
        Staging::create_named(before, LAYERS_PREFIX)
    }

    fn create_named(before: Before, prefix: &[u8]) -> rustix::io::Result<Self> {
        let parent = before.folder().clone();
        for attempt in 0u32.. {
            let mut name = prefix.to_vec();
            name.extend_from_slice(format!("{}-{attempt}", std::process::id()).as_bytes());
            match fs::mkdirat(&parent, &*name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error),
            }
            if let Some(folder) = lock(&parent, &name)? {
                return Ok(Staging {
                    parent_before: Some(before.made()?),
                    parent,
                    name,
                    folder: Arc::new(folder),
                    is_kept: false,
                });
            }
        }
        Err(Errno::EXIST)
    }

    pub(crate) fn folder(&self) -> &Arc<OwnedFd> {
        &self.folder
    }

    /// Leaves it where it is.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // What cannot be removed now is debris that the next restore removes.
        let remove = || remove_tree(&self.parent, &self.name).is_ok();
        match &self.parent_before {
            Some(parent) => parent.set_back_if(remove),
            None => drop(remove()),
        }
    }
}

/// Opens and locks the folder, unless another has it locked or has just removed it.
fn lock(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<Option<OwnedFd>> {
    let folder = match fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    match fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error),
    }
    // Between opening and locking, whoever held the lock may have removed it.
    let opened = fs::fstat(&folder)?;
    let is_same = dir_handles::look(parent, name)?.is_some_and(|found| found.st_ino == opened.st_ino);
    Ok(is_same.then_some(folder))
}

/// Removes what killed restores left.
pub(crate) fn remove_debris(parent: &OwnedFd) -> rustix::io::Result<()> {
    for name in names(parent, STAGING_PREFIX)? {
        if let Ok(Some(_lock)) = lock(parent, &name) {
            remove_tree(parent, &name)?;
        }
    }
    Ok(())
}

/// Removes the changes to trees that were mounted above a folder. Only for who has that folder locked and saw that nothing is
/// mounted above it: a mount that is shown holds no lock of its own.
pub(super) fn remove_layers(parent: &OwnedFd) -> rustix::io::Result<()> {
    for name in names(parent, LAYERS_PREFIX)? {
        remove_tree(parent, &name)?;
    }
    Ok(())
}

/// The names in a folder that start so.
fn names(folder: &OwnedFd, prefix: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(prefix) {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Removes a file, link or folder with all that is in it. What is not there is no error; links are not followed.
///
/// Needs three open folders at any depth: the way back is through `..`.
pub(crate) fn remove_tree(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let parent = parent.as_fd();
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Which of the two it is differs between systems.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut folder = open_writable(parent, name)?;
    let mut levels = vec![Level {
        inode: fs::fstat(&folder)?.st_ino,
        name: name.to_vec(),
        folders: empty_of_files(&folder)?,
    }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.folders.pop() {
            folder = open_writable(&folder, &name)?;
            levels.push(Level {
                inode: fs::fstat(&folder)?.st_ino,
                folders: empty_of_files(&folder)?,
                name,
            });
            continue;
        }
        let done = levels.pop().expect("it is the last one");
        match levels.last() {
            None => return fs::unlinkat(parent, &*done.name, AtFlags::REMOVEDIR),
            Some(above) => {
                folder = fs::openat(&folder, "..", DIRECTORY, Mode::empty())?;
                // Somebody moved it meanwhile: do not go on somewhere else.
                if fs::fstat(&folder)?.st_ino != above.inode {
                    return Err(Errno::BUSY);
                }
                fs::unlinkat(&folder, &*done.name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

/// A folder that is being emptied.
struct Level {
    inode: u64,
    name: Vec<u8>,
    /// The folders still in it.
    folders: Vec<Vec<u8>>,
}

/// Opens a folder and makes sure that what is in it may be removed.
fn open_writable(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let parent = parent.as_fd();
    let folder = match fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            fs::openat(parent, name, DIRECTORY, Mode::empty())?
        }
        opened => opened?,
    };
    make_writable(&folder)?;
    Ok(folder)
}

/// Gives the owner all rights to an open folder.
pub(crate) fn make_writable(folder: impl AsFd) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(fs::fstat(&folder)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        fs::fchmod(&folder, mode | Mode::RWXU)?;
    }
    Ok(())
}

/// Removes all but folders, and tells those.
fn empty_of_files(folder: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Unknown => dir_handles::look(folder, name)?
                .is_some_and(|stat| dir_handles::file_type(&stat) == FileType::Directory),
            kind => kind == FileType::Directory,
        };
        if is_folder {
            folders.push(name.to_vec());
        } else {
            match fs::unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(folders)
}
