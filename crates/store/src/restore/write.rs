//! Making files in staging: from the pool, from nothing, or from frames.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use headstart_fs::{AtPath as _, PathError};
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use tokio::sync::mpsc;

use super::{RestoreError, fetch::FetchedFrame, pieces::Piece};
use crate::{
    NodeKind, Progress, Snapshot, Step, Warning, Xattr, Xattrs,
    dir_handles::{self, Anchor, DirHandles, timestamps},
    pool::{Pool, Taken},
    xattrs,
};

/// Nodes a thread takes at a time, for what needs no frame.
const BATCH: usize = 256;

/// What is needed to make nodes in staging. Shared by the writing threads.
pub(super) struct Writer<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Where nodes are made.
    pub(super) staged: &'a [Anchor],
    /// The folder the snapshot's paths are relative to.
    pub(super) root: &'a Path,
    pub(super) store_location: String,
    pub(super) pool: Option<Pool>,
    pub(super) xattrs: Xattrs,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a AtomicBool,
    /// The first error, after which everything stops.
    pub(super) error: Mutex<Option<RestoreError>>,
    pub(super) warnings: Mutex<Vec<Warning>>,
    pub(super) bytes_written: AtomicU64,
}

impl<'a> Writer<'a> {
    pub(super) fn dirs(&self) -> DirHandles<'a> {
        DirHandles::new(self.snapshot.tree(), self.staged, self.root)
    }

    /// Runs `work` on each of `nodes`, on all cores.
    pub(super) fn for_each(
        &self,
        nodes: &[u32],
        threads: usize,
        work: impl Fn(&mut DirHandles<'a>, u32) -> Result<(), PathError> + Sync,
    ) -> Result<(), RestoreError> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(nodes.len().div_ceil(BATCH)) {
                scope.spawn(|| {
                    let mut dirs = self.dirs();
                    while !self.has_stopped() {
                        let start = next.fetch_add(BATCH, Ordering::Relaxed);
                        let Some(rest) = nodes.get(start..).filter(|rest| !rest.is_empty()) else {
                            return;
                        };
                        let batch = &rest[..BATCH.min(rest.len())];
                        if let Err(error) = batch.iter().try_for_each(|node| work(&mut dirs, *node)) {
                            return self.fail(error);
                        }
                    }
                });
            }
        });
        self.check()
    }

    /// Makes a folder. Its mode and time come when what is in it is complete.
    pub(super) fn make_folder(&self, dirs: &mut DirHandles<'_>, node: u32) -> Result<(), PathError> {
        let (folder, name) = dirs.place(node)?;
        fs::mkdirat(folder, name, Mode::RWXU).at("create", dirs.path(node))
    }

    /// Makes a node from the pool. Says whether it did; a pool that never can is not asked again.
    pub(super) fn take_from_pool(
        &self,
        dirs: &mut DirHandles<'_>,
        node: u32,
        pool: &Pool,
    ) -> Result<Taken, PathError> {
        let (folder, name) = dirs.place(node)?;
        let taken = pool.take(&self.snapshot.tree().nodes()[node as usize], folder, name)?;
        if taken == Taken::Yes {
            self.progress.advance(Step::WriteFiles, 1);
        }
        Ok(taken)
    }

    /// Makes an empty file or a symlink.
    pub(super) fn make_small(&self, dirs: &mut DirHandles<'_>, node: u32) -> Result<(), PathError> {
        let (folder, name) = dirs.place(node)?;
        match &self.snapshot.tree().nodes()[node as usize].kind {
            NodeKind::Symlink { target } => {
                let mtime = self.snapshot.tree().nodes()[node as usize].mtime;
                fs::symlinkat(&**target, folder, name)
                    .and_then(|()| fs::utimensat(folder, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW))
                    .at("create the link", dirs.path(node))?;
            }
            _ => {
                let file = create(folder, name).at("create", dirs.path(node))?;
                self.finish_file(dirs, node, &file)?;
            }
        }
        self.progress.advance(Step::WriteFiles, 1);
        Ok(())
    }

    /// Makes another name of an earlier file, which is at `target` in `target_folder`.
    pub(super) fn make_hardlink(
        &self,
        dirs: &mut DirHandles<'_>,
        node: u32,
        targets: &mut DirHandles<'_>,
        to: u32,
    ) -> Result<(), PathError> {
        let (target_folder, target) = targets.place(to)?;
        let (folder, name) = dirs.place(node)?;
        fs::linkat(target_folder, target, folder, name, AtFlags::empty())
            .at("create the link", dirs.path(node))?;
        self.progress.advance(Step::WriteFiles, 1);
        Ok(())
    }

    /// Writes files from frames until no more come. Run on each writing thread.
    pub(super) fn write_frames(
        &self,
        frames: &Mutex<mpsc::Receiver<FetchedFrame>>,
        open_pieces: &OpenPieces,
    ) {
        let mut dirs = self.dirs();
        while !self.has_stopped() {
            let Some(frame) = frames.lock().blocking_recv() else {
                return;
            };
            if let Err(error) = self.write_frame(&mut dirs, frame, open_pieces) {
                self.fail(error);
                // The fetching thread must not wait for room that nobody makes.
                return frames.lock().close();
            }
        }
        frames.lock().close();
    }

    /// The first error, or that the caller wants to stop.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if let Some(error) = self.error.lock().take() {
            return Err(error);
        }
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(RestoreError::Interrupted),
            false => Ok(()),
        }
    }

    /// Remembers the first error.
    pub(super) fn fail(&self, error: impl Into<RestoreError>) {
        self.error.lock().get_or_insert(error.into());
    }

    /// Tells the user something, and notes it for the outcome.
    pub(super) fn warn(&self, warning: Warning) {
        self.progress.warn(&warning);
        self.warnings.lock().push(warning);
    }

    fn has_stopped(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) || self.error.lock().is_some()
    }

    fn write_frame(
        &self,
        dirs: &mut DirHandles<'_>,
        fetched: FetchedFrame,
        open_pieces: &OpenPieces,
    ) -> Result<(), RestoreError> {
        let content = fetched.inflate(self.snapshot, &self.store_location)?;
        for piece in &fetched.needed.pieces {
            let start = piece.frame_offset as usize;
            let bytes = &content[start..start + piece.bytes as usize];
            self.write_piece(dirs, piece, bytes, open_pieces)?;
        }
        Ok(())
    }

    fn write_piece(
        &self,
        dirs: &mut DirHandles<'_>,
        piece: &Piece,
        bytes: &[u8],
        open_pieces: &OpenPieces,
    ) -> Result<(), PathError> {
        let (folder, name) = dirs.place(piece.node)?;
        let is_last = match open_pieces.of.get(&piece.node) {
            None => {
                let file = create(folder, name).at("create", dirs.path(piece.node))?;
                write_all_at(&file, bytes, 0).at("write", dirs.path(piece.node))?;
                self.finish_file(dirs, piece.node, &file)?;
                true
            }
            // Pieces come in any order, on any thread.
            Some(left) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
                    .at("create", dirs.path(piece.node))?;
                write_all_at(&file, bytes, piece.file_offset).at("write", dirs.path(piece.node))?;
                let is_last = left.fetch_sub(1, Ordering::AcqRel) == 1;
                if is_last {
                    self.finish_file(dirs, piece.node, &file)?;
                }
                is_last
            }
        };
        self.bytes_written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if is_last {
            self.progress.advance(Step::WriteFiles, 1);
            if let Some(pool) = &self.pool
                && self.xattrs_of(piece.node).is_empty()
            {
                let node = &self.snapshot.tree().nodes()[piece.node as usize];
                let (folder, name) = dirs.place(piece.node)?;
                let is_whole = bytes.len() as u64 == node.size_bytes();
                pool.keep(node, is_whole.then_some(bytes), folder, name);
            }
        }
        Ok(())
    }

    /// Attributes, mode and time: the time last, so that an unfinished file never looks right.
    fn finish_file(&self, dirs: &DirHandles<'_>, node: u32, file: &OwnedFd) -> Result<(), PathError> {
        self.set_xattrs(node, file);
        dir_handles::set_meta(file, &self.snapshot.tree().nodes()[node as usize])
            .at("set the time and mode of", dirs.path(node))
    }

    /// Sets the attributes of an open file or folder.
    pub(super) fn set_xattrs(&self, node: u32, file: &OwnedFd) {
        for attribute in self.xattrs_of(node) {
            if xattrs::write(file, attribute).is_err() {
                self.warn(Warning::Xattr {
                    path: self.snapshot.tree().path(node),
                    name: String::from_utf8_lossy(&attribute.name).into_owned(),
                });
            }
        }
    }

    /// The attributes to set on a node.
    pub(super) fn xattrs_of(&self, node: u32) -> &'a [Xattr] {
        if self.xattrs == Xattrs::Drop {
            return &[];
        }
        let all = self.snapshot.xattrs();
        let start = all.partition_point(|attribute| attribute.node < node);
        let end = all.partition_point(|attribute| attribute.node <= node);
        &all[start..end]
    }
}

/// Files of several pieces, and how many pieces each still lacks.
pub(super) struct OpenPieces {
    of: HashMap<u32, AtomicU32>,
}

impl OpenPieces {
    /// `pieces_of` tells the number of pieces of each node.
    pub(super) fn new(pieces_of: &[u32]) -> Self {
        let several = (0u32..).zip(pieces_of).filter(|(_, pieces)| **pieces > 1);
        OpenPieces {
            of: several
                .map(|(node, pieces)| (node, AtomicU32::new(*pieces)))
                .collect(),
        }
    }
}

/// True for a file whose body is empty, whatever its digest says.
pub(super) fn is_empty_file(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::File { size_bytes: 0, .. })
}

fn create(folder: impl std::os::fd::AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(rustix::io::Errno::IO);
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}
