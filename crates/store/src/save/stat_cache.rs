//! What the system said of the files of the last save of a folder: by it the next one knows which did not change.
//!
//! A file is known again by device, inode, size, modification time and time of change. The last one nobody can set, and
//! every write moves it on, as far as the kernel's clock ticks (one through a memory map only when it is written back): a file
//! that changed just before the save is not noted, since one more change within the same tick would not show.

use std::path::{Path, PathBuf};

use headstart_digest::{Digest, Hasher, SnapshotId};
use headstart_fs::publish::{self, Durability};
use jiff::Timestamp;
use rustix::fs::Stat;

use super::SaveOptions;
use crate::{
    FormatError, Mtime, dir_handles,
    format::{PutField as _, checked_body},
    on_disk,
};

/// Format and version of the file.
const MAGIC: &[u8; 8] = b"hsstat01";
/// Bytes of a node.
const ROW_BYTES: usize = 28;
/// Written where nothing is known of a node: no time has so many nanoseconds.
const UNKNOWN: u32 = u32::MAX;
/// Clocks of kernels tick at least a hundred times a second.
const TICK_NANOSECONDS: i128 = 50_000_000;
/// Folders remembered. Each takes some megabytes when it is large.
const MAX_FILES: usize = 64;

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) ctime: Mtime,
}

/// The stamps of a snapshot's nodes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatCache {
    pub(super) snapshot: SnapshotId,
    /// By node; `None` for what has to be read in any case.
    pub(super) stamps: Vec<Option<Stamp>>,
}

/// Where the cache for what `options` save is kept; nothing when there is none.
pub(super) fn file_for(options: &SaveOptions) -> Option<PathBuf> {
    let folder = options.stat_cache.as_ref()?;
    let root = on_disk::resolve(&options.root).ok()?;
    let mut hasher = Hasher::new();
    hasher.update(root.as_os_str().as_encoded_bytes());
    for path in &options.paths {
        hasher.update(&[0]);
        hasher.update(path.as_bytes());
    }
    Some(folder.join(hasher.finish().to_string()))
}

impl Stamp {
    // The width of these fields differs between systems.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn of(stat: &Stat) -> Self {
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            ctime: dir_handles::ctime(stat),
        }
    }

    /// Whether a change after `now` is sure to give another stamp.
    ///
    /// A time of whole seconds may be that of a file in a mounted image, which has its modification time, as some tool made
    /// it up, for a time of change; devices and inodes of images are those of others that were mounted before.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let changed = i128::from(self.ctime.seconds) * 1_000_000_000 + i128::from(self.ctime.nanoseconds);
        self.ctime.nanoseconds != 0 && changed + TICK_NANOSECONDS < now.as_nanosecond()
    }
}

impl StatCache {
    /// Reads the cache at `file`. One that is missing or damaged only costs reading the files.
    pub(super) fn load(file: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(file).ok()?).ok()
    }

    /// Keeps the cache for the next save. That it could not is no error.
    pub(super) fn keep(&self, file: &Path) {
        let Some(folder) = file.parent() else { return };
        if std::fs::create_dir_all(folder).is_ok() {
            if !file.exists() {
                forget_oldest(folder);
            }
            let _ = publish::replace(file, &self.encode(), Durability::Cached);
        }
    }

    /// Puts off that the cache at `file` is forgotten.
    pub(super) fn mark_used(file: &Path) {
        let _ = on_disk::touch(file);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80 + self.stamps.len() * ROW_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.put_digest(self.snapshot.digest());
        bytes.put_u32(self.stamps.len() as u32);
        for stamp in &self.stamps {
            let (device, inode, seconds, nanoseconds) = match stamp {
                None => (0, 0, 0, UNKNOWN),
                Some(stamp) => (
                    stamp.device,
                    stamp.inode,
                    stamp.ctime.seconds,
                    stamp.ctime.nanoseconds,
                ),
            };
            bytes.extend_from_slice(&device.to_le_bytes());
            bytes.extend_from_slice(&inode.to_le_bytes());
            bytes.extend_from_slice(&seconds.to_le_bytes());
            bytes.put_u32(nanoseconds);
        }
        let digest = Digest::of(&bytes);
        bytes.put_digest(&digest);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut body = checked_body(bytes, MAGIC, "stat cache")?;
        let snapshot = body.digest()?.into();
        let count = body.count(ROW_BYTES)?;
        let stamps = body.column(count, |body| {
            let mut number = || -> Result<[u8; 8], FormatError> {
                Ok(body.take(8)?.try_into().expect("eight bytes were taken"))
            };
            let (device, inode, seconds) = (number()?, number()?, number()?);
            let nanoseconds = body.u32()?;
            Ok((nanoseconds != UNKNOWN).then_some(Stamp {
                device: u64::from_le_bytes(device),
                inode: u64::from_le_bytes(inode),
                ctime: Mtime {
                    seconds: i64::from_le_bytes(seconds),
                    nanoseconds,
                },
            }))
        })?;
        body.expect_end()?;
        Ok(StatCache { snapshot, stamps })
    }
}

/// Makes room for one more.
fn forget_oldest(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(MAX_FILES);
    for (_, file) in &files[..surplus] {
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64, nanoseconds: u32) -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            ctime: Mtime { seconds, nanoseconds },
        }
    }

    #[test]
    fn a_cache_round_trips_and_damage_is_noticed() {
        let cache = StatCache {
            snapshot: SnapshotId::of(b"x"),
            stamps: vec![None, Some(stamp(-5, 7))],
        };
        let bytes = cache.encode();
        assert_eq!(StatCache::parse(&bytes).unwrap(), cache);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(StatCache::parse(&damaged).is_err(), "byte {at}");
            assert!(StatCache::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_changed_just_now_may_change_again_unseen() {
        let now = Timestamp::from_second(1000).unwrap();
        assert!(stamp(999, 949_000_000).is_settled(now));
        assert!(!stamp(999, 951_000_000).is_settled(now));
        assert!(!stamp(9, 0).is_settled(now), "whole seconds");
        assert!(!stamp(1001, 5).is_settled(now));
    }
}
