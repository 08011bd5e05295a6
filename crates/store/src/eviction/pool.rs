//! Expanded files and images: what nobody links to only takes space.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_fs::AtPath as _;
use jiff::Timestamp;

use crate::StoreError;

/// Removes files in `folder`, the pool or that of images, that have no other link and were last linked, mounted or made
/// before `unused_since`; the bytes that were freed. They can be made again from packs. A mounted image stays on disk
/// until it is unmounted.
pub fn evict_expanded(
    folder: &Path,
    unused_since: Timestamp,
    interrupt: &AtomicBool,
) -> Result<u64, StoreError> {
    let mut freed = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.at("list", &folder)?,
        };
        for entry in entries {
            if interrupt.load(Ordering::Relaxed) {
                return Err(StoreError::Interrupted);
            }
            let entry = entry.at("list", &folder)?;
            let path = entry.path();
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.at("look at", &path)?,
            };
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            // Linking and touching change the change time; the modification time of a pool's file is that of the restored one.
            let is_unused = metadata.nlink() == 1 && metadata.ctime() < unused_since.as_second();
            if is_unused && fs::remove_file(&path).is_ok() {
                freed += metadata.len();
            }
        }
    }
    Ok(freed)
}
