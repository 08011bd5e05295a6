//! Files on disk against the digests of a snapshot, where size, time and mode do not tell.

use std::{
    io::{self, Read as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_digest::{Digest, Hasher};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rustix::fs::{self, Mode, OFlags};

use crate::{
    Progress, Step, Tree,
    dir_handles::{Anchor, DirHandles},
};

/// Read at once, by each thread. In bytes.
const BUFFER_BYTES: usize = 128 << 10;

/// Of `files`, nodes of `tree` with the digest expected of each, those whose content on disk is another, in order. What cannot be
/// read counts as another. `None` when it was interrupted.
pub(crate) fn find_changed(
    tree: &Tree,
    files: &[(u32, Digest)],
    on_disk: &[Anchor],
    base: &Path,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Option<Vec<u32>> {
    if files.is_empty() {
        return Some(Vec::new());
    }
    let sizes = files
        .iter()
        .map(|(file, _)| tree.nodes()[*file as usize].size_bytes());
    progress.start(Step::Compare, Some(sizes.sum()));
    let start = || {
        (
            DirHandles::new(tree, on_disk, base),
            vec![0; BUFFER_BYTES].into_boxed_slice(),
        )
    };
    let compared = files
        .par_iter()
        .map_init(start, |(dirs, buffer), (file, expected)| {
            let size_bytes = tree.nodes()[*file as usize].size_bytes();
            let found = digest_of(dirs, *file, size_bytes, buffer, interrupt);
            progress.advance(Step::Compare, size_bytes);
            match interrupt.load(Ordering::Relaxed) {
                true => None,
                false => Some((found != Some(*expected)).then_some(*file)),
            }
        });
    let changed = compared.collect::<Option<Vec<Option<u32>>>>()?;
    progress.finish(Step::Compare);
    Some(changed.into_iter().flatten().collect())
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
    let mut body = std::fs::File::from(fs::openat(folder, name, flags, Mode::empty()).ok()?);
    let mut hasher = Hasher::new();
    let mut left = size_bytes;
    while !interrupt.load(Ordering::Relaxed) {
        // One byte more than there should be: where that is missing, the file has ended.
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1));
        match body.read(&mut buffer[..wanted]) {
            Ok(bytes) => {
                left = left.checked_sub(bytes as u64)?;
                hasher.update(&buffer[..bytes]);
                if left == 0 && bytes < wanted {
                    return Some(hasher.finish());
                }
                if bytes == 0 {
                    return None;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}
