//! What was learned of layers, kept in a folder of the local store.
//!
//! ```text
//! layers/<name>   as the image crate names and encodes it; what is damaged counts as missing
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use headstart_fs::publish::{self, Durability};
use headstart_image::LayerCache;
use headstart_store::LocalStore;
use jiff::Timestamp;

/// More than any layer takes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Where a local store remembers layers.
pub(crate) fn layers_dir(local: &LocalStore) -> PathBuf {
    local.folder().join("layers")
}

/// Files of a folder.
#[derive(Debug)]
pub(super) struct LayerFolder(PathBuf);

impl LayerFolder {
    pub(super) fn new(folder: PathBuf) -> Self {
        LayerFolder(folder)
    }
}

impl LayerCache for LayerFolder {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.0.join(name);
        let file = File::open(&path).ok()?;
        if file.metadata().ok()?.len() > MAX_FILE_BYTES {
            return None;
        }
        // Noted for eviction; that it cannot be is no reason to fail.
        let _ = file.set_modified(SystemTime::now());
        fs::read(&path).ok()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        // What cannot be kept costs the next run time.
        if fs::create_dir_all(&self.0).is_ok() {
            let _ = publish::replace(&self.0.join(name), bytes, Durability::Cached);
        }
    }
}

/// Removes what was not used since `unused_since`; the bytes that were freed.
pub(crate) fn evict_layers(folder: &Path, unused_since: Timestamp) -> u64 {
    let unused_since = SystemTime::from(unused_since);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut freed = 0;
    for entry in entries {
        let Ok(metadata) = entry.metadata() else { continue };
        let is_unused = metadata.modified().is_ok_and(|used| used < unused_since);
        if is_unused && fs::remove_file(entry.path()).is_ok() {
            freed += metadata.len();
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LayerFolder::new(folder.path().join("layers"));
        assert_eq!(cache.get("x"), None);
        cache.put("x", b"one");
        cache.put("y", b"two");
        let past = SystemTime::now() - std::time::Duration::from_secs(1000);
        for name in ["x", "y"] {
            let file = File::options()
                .write(true)
                .open(folder.path().join("layers").join(name))
                .unwrap();
            file.set_modified(past).unwrap();
        }
        assert_eq!(cache.get("y").as_deref(), Some(&b"two"[..]));
        let horizon = Timestamp::try_from(SystemTime::now() - std::time::Duration::from_secs(500)).unwrap();
        assert_eq!(evict_layers(&folder.path().join("layers"), horizon), 3);
        assert_eq!(cache.get("x"), None);
        assert!(cache.get("y").is_some(), "it was read a moment ago");
    }
}
