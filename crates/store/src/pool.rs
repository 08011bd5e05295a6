//! The pool: files as they were restored before, to be linked instead of written.
//!
//! A pool file is named by its digest, mode bits and modification time, since a hardlink shares them all. It is used only
//! while its length, mode and time are what its name and the snapshot say: one that was edited in place through a link
//! is dropped. (An edit that restores length and time is not noticed here but by `verify`, which reads it.)

use std::{
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
};

use headstart_digest::{Digest, Hasher};
use headstart_fs::{AtPath as _, PathError};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    Mtime, Node, NodeKind,
    dir_handles::{self, DIRECTORY},
};

/// Format and version of the pool, as the name of the folder it is in.
const VERSION: &str = "v1";

/// A folder of expanded files.
#[derive(Debug)]
pub(crate) struct Pool {
    folder: OwnedFd,
    path: PathBuf,
    method: Method,
}

/// How a file comes out of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// As another name of the pool's file.
    Hardlink,
    /// As a new file that shares its blocks.
    Reflink,
}

/// What became of taking a file out of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is there.
    Yes,
    /// The pool does not have it.
    No,
    /// The pool lies on another file system, or its file system cannot do that.
    Never,
}

impl Pool {
    /// Opens the pool at `path`, making it when it is absent.
    pub(crate) fn open_or_create(path: &Path, method: Method) -> Result<Self, PathError> {
        let path = path.join(VERSION);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for shard in 0..=255u8 {
            let shard = path.join(format!("{shard:02x}"));
            builder.create(&shard).at("create", &shard)?;
        }
        let folder = fs::open(&path, DIRECTORY, Mode::empty()).at("open", &path)?;
        Ok(Pool { folder, path, method })
    }

    /// Makes `name` in `folder` from the pool's file for `node`.
    pub(crate) fn take(&self, node: &Node, folder: impl AsFd, name: &[u8]) -> Result<Taken, PathError> {
        let Some(pooled) = file_name(node) else {
            return Ok(Taken::No);
        };
        let found =
            dir_handles::look(&self.folder, pooled.as_bytes()).at("look at", self.path.join(&pooled))?;
        let Some(stat) = found else {
            return Ok(Taken::No);
        };
        let is_intact = dir_handles::file_type(&stat) == FileType::RegularFile
            && stat.st_size as u64 == node.size_bytes()
            && dir_handles::mtime(&stat) == node.mtime
            && stat.st_mode & 0o7777 == u32::from(node.mode);
        if !is_intact {
            let _ = fs::unlinkat(&self.folder, &*pooled, AtFlags::empty());
            return Ok(Taken::No);
        }
        let made = match self.method {
            Method::Hardlink => fs::linkat(&self.folder, &*pooled, folder, name, AtFlags::empty()),
            Method::Reflink => fs::openat(
                &self.folder,
                &*pooled,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .and_then(|source| reflink(&source, folder.as_fd(), name, node)),
        };
        match made {
            Ok(()) => Ok(Taken::Yes),
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => Ok(Taken::Never),
            // Evicted just now, or as many names as a file may have.
            Err(Errno::NOENT | Errno::MLINK) => Ok(Taken::No),
            Err(error) => Err(error).at("link from the pool", self.path.join(&pooled)),
        }
    }

    /// Keeps the finished file `name` in `folder`, which is `node`, for later. `body` is what it holds, if that is at hand.
    /// That it could not is no error.
    ///
    /// A snapshot that lies about the digest of a file harms itself; the pool must not carry the lie to other snapshots.
    pub(crate) fn keep(&self, node: &Node, body: Option<&[u8]>, folder: impl AsFd, name: &[u8]) {
        let folder = folder.as_fd();
        let (NodeKind::File { digest, .. }, Some(pooled)) = (&node.kind, file_name(node)) else {
            return;
        };
        let actual = match body {
            Some(body) => Ok(Digest::of(body)),
            None => digest_of(folder, name),
        };
        if !actual.is_ok_and(|actual| actual == *digest) {
            return;
        }
        let _ = match self.method {
            Method::Hardlink => fs::linkat(folder, name, &self.folder, &*pooled, AtFlags::empty()),
            Method::Reflink => self.keep_reflink(node, folder, name, &pooled),
        };
    }

    fn keep_reflink(
        &self,
        node: &Node,
        folder: impl AsFd,
        name: &[u8],
        pooled: &str,
    ) -> rustix::io::Result<()> {
        let source = fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let temp = format!("{pooled}.{}", std::process::id());
        let made = reflink(&source, self.folder.as_fd(), temp.as_bytes(), node)
            .and_then(|()| fs::renameat(&self.folder, &*temp, &self.folder, pooled));
        if made.is_err() {
            let _ = fs::unlinkat(&self.folder, &*temp, AtFlags::empty());
        }
        made
    }
}

/// Whether files in `folder` can share blocks.
pub(crate) fn can_reflink(folder: impl AsFd) -> bool {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let open = |name: &str| fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR);
    let names = [".probe", ".probe-clone"];
    let probe = || -> rustix::io::Result<()> {
        let source = open(names[0])?;
        rustix::io::write(&source, b"probe")?;
        clone_blocks(&open(names[1])?, &source)
    };
    let works = probe().is_ok();
    for name in names {
        let _ = fs::unlinkat(&folder, name, AtFlags::empty());
    }
    works
}

/// The name of the pool's file for a node, below the pool's folder; none for what is no file, and for empty files.
fn file_name(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::File { size_bytes, digest } if *size_bytes > 0 => {
            Some(format_name(digest, node.mode, node.mtime))
        }
        _ => None,
    }
}

fn digest_of(folder: impl AsFd, name: &[u8]) -> io::Result<Digest> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(fs::openat(folder, name, flags, Mode::empty())?);
    let mut hasher = Hasher::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finish())
}

fn format_name(digest: &Digest, mode: u16, mtime: Mtime) -> String {
    let hex = digest.to_string();
    format!(
        "{}/{hex}-{mode:03o}-{}.{:09}",
        &hex[..2],
        mtime.seconds,
        mtime.nanoseconds
    )
}

fn reflink(source: impl AsFd, folder: impl AsFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    let made = clone_blocks(&target, source).and_then(|()| dir_handles::set_meta(&target, node));
    if made.is_err() {
        let _ = fs::unlinkat(&folder, name, AtFlags::empty());
    }
    made
}

#[cfg(target_os = "linux")]
fn clone_blocks(target: impl AsFd, source: impl AsFd) -> rustix::io::Result<()> {
    fs::ioctl_ficlone(target, source)
}

#[cfg(not(target_os = "linux"))]
fn clone_blocks(_target: impl AsFd, _source: impl AsFd) -> rustix::io::Result<()> {
    Err(Errno::OPNOTSUPP)
}
