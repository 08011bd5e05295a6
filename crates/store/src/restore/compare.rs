//! Files on disk against the digests of the snapshot, where size, time and mode do not tell.
//!
//! A file whose time has a fraction of a second is taken to be the one that was saved when size, time and mode are the
//! same: a kernel's clock made that time, and an edit makes another. Whole seconds are what tools set, archivers and package
//! managers above all, and they give the same one to different contents. Such files are read.

use std::{
    io::{self, Read as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_digest::{Digest, Hasher};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rustix::fs::{self, Mode, OFlags};

use super::RestoreError;
use crate::{
    NodeKind, Tree,
    dir_handles::{Anchor, DirHandles},
};

/// Read at once, by each thread. In bytes.
const BUFFER_BYTES: usize = 128 << 10;

/// Of `files`, those whose content on disk is another, in order. What cannot be read counts as another: it is made anew.
pub(super) fn find_changed(
    tree: &Tree,
    files: &[u32],
    on_disk: &[Anchor],
    base: &Path,
    interrupt: &AtomicBool,
) -> Result<Vec<u32>, RestoreError> {
    let start = || {
        (
            DirHandles::new(tree, on_disk, base),
            vec![0; BUFFER_BYTES].into_boxed_slice(),
        )
    };
    let compared = files.par_iter().map_init(start, |(dirs, buffer), file| {
        let node = &tree.nodes()[*file as usize];
        let NodeKind::File { size_bytes, digest } = &node.kind else {
            return Ok(None);
        };
        let found = digest_of(dirs, *file, *size_bytes, buffer, interrupt);
        match interrupt.load(Ordering::Relaxed) {
            true => Err(RestoreError::Interrupted),
            false => Ok(found.is_none_or(|found| found != *digest).then_some(*file)),
        }
    });
    let changed: Vec<Option<u32>> = compared.collect::<Result<_, _>>()?;
    Ok(changed.into_iter().flatten().collect())
}

/// The digest of a file of that size; `None` when it cannot be read, has another size by now, or there is no time left.
fn digest_of(
    dirs: &mut DirHandles<'_>,
    file: u32,
    size_bytes: u64,
    buffer: &mut [u8],
    interrupt: &AtomicBool,
) -> Option<Digest> {
    let (folder, name) = dirs.place(file).ok()?;
    // Should it have become a link or a pipe since it was listed, it is neither followed nor waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let mut body = std::fs::File::from(opened).take(size_bytes + 1);
    let mut hasher = Hasher::new();
    let mut read_bytes = 0u64;
    while !interrupt.load(Ordering::Relaxed) {
        match body.read(buffer) {
            Ok(0) => return (read_bytes == size_bytes).then(|| hasher.finish()),
            Ok(bytes) => {
                hasher.update(&buffer[..bytes]);
                read_bytes += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}
