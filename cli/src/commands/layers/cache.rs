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
/// What all of them may take, whether or not anybody collects garbage: some ten thousand layers.
pub(super) const MAX_BYTES: u64 = 2_000_000_000;

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

    /// Removes what was not used for longest until no more than `most_bytes` are left.
    pub(super) fn trim(&self, most_bytes: u64) {
        let mut files: Vec<_> = files(&self.0).collect();
        let mut all_bytes: u64 = files.iter().map(|file| file.bytes).sum();
        files.sort_by_key(|file| file.used);
        for file in files {
            if all_bytes <= most_bytes {
                break;
            }
            let _ = fs::remove_file(&file.path);
            all_bytes -= file.bytes;
        }
    }
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn files(folder: &Path) -> impl Iterator<Item = Kept> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(Kept {
            path: entry.path(),
            bytes: metadata.len(),
            used: metadata.modified().ok()?,
        })
    })
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
    files(folder)
        .filter(|file| file.used < unused_since && fs::remove_file(&file.path).is_ok())
        .map(|file| file.bytes)
        .sum()
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

    #[test]
    fn what_is_too_much_goes_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LayerFolder::new(folder.path().to_owned());
        for (age, name) in [(30, "b"), (40, "a"), (10, "c")] {
            cache.put(name, &[0; 100]);
            let used = SystemTime::now() - std::time::Duration::from_secs(age);
            let file = File::options()
                .write(true)
                .open(folder.path().join(name))
                .unwrap();
            file.set_modified(used).unwrap();
        }
        cache.trim(300);
        assert!(folder.path().join("a").exists());
        cache.trim(250);
        let left = ["a", "b", "c"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, true, true]);
    }
}
