//! Seeds as folders of packs beside the local store, where clones link them from.
//!
//! ```text
//! seeds/<digest of the key>/<time>/tip/       checked, with the manifest
//! seeds/<digest of the key>/<time>/history/   checked; may come later
//! seeds/<digest of the key>/<time>.refused    turned out to be of no use
//! seeds/<digest of the key>/.arriving-XXXXXX  not complete
//! ```
//!
//! Folders appear whole, by a rename, and readers need no lock: what they have linked stays theirs when a folder goes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use headstart_digest::Digest;
use headstart_fs::{AtPath as _, PathError};
use headstart_git::{
    Seed, SeedKey,
    seed::{SeedManifest, SeedPart},
};
use jiff::Timestamp;
use tempfile::TempDir;

const ARRIVING: &str = ".arriving-";
const REFUSED: &str = ".refused";
const TIP: &str = "tip";
const HISTORY: &str = "history";
/// Kept of each key: the newest, and the one before it, which a clone may be linking just now.
const KEPT: usize = 2;
/// After this, a folder that is not complete was left by a killed run.
const DEBRIS_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// All unpacked seeds of a local store.
#[derive(Debug)]
pub(crate) struct UnpackedSeeds {
    folder: PathBuf,
}

impl UnpackedSeeds {
    pub(crate) fn new(folder: PathBuf) -> Self {
        UnpackedSeeds { folder }
    }

    /// The newest of `key` that is here.
    pub(crate) fn newest(&self, key: &SeedKey) -> Option<Seed> {
        let times = self.times(key);
        let newest = times.iter().rev().find_map(|time| self.load(key, time))?;
        // Noted for eviction; that it cannot be is no reason to fail.
        let used = fs::File::open(self.folder_of(key).join(&newest.manifest.created_at));
        let _ = used.and_then(|folder| folder.set_modified(SystemTime::now()));
        Some(newest)
    }

    /// The seed of `key` that was made at `time`, if its tip is here.
    pub(super) fn load(&self, key: &SeedKey, time: &str) -> Option<Seed> {
        let tip = self.folder_of(key).join(time).join(TIP);
        let manifest = SeedManifest::load(&tip).ok()?;
        super::is_of(&manifest, key, time).then(|| Seed {
            label: format!("the seed of {time}"),
            tip: SeedPart::tip_in(&tip, &manifest),
            manifest,
        })
    }

    /// The folder of the history, if it is here.
    pub(super) fn history(&self, key: &SeedKey, time: &str) -> Option<PathBuf> {
        let folder = self.folder_of(key).join(time).join(HISTORY);
        folder.is_dir().then_some(folder)
    }

    /// A folder for a part that is to come; it goes away when dropped.
    pub(crate) fn begin(&self, key: &SeedKey) -> Result<TempDir, PathError> {
        let folder = self.folder_of(key);
        fs::create_dir_all(&folder).at("create", &folder)?;
        tempfile::Builder::new()
            .prefix(ARRIVING)
            .tempdir_in(&folder)
            .at("create a folder in", &folder)
    }

    pub(super) fn publish_tip(&self, part: TempDir, key: &SeedKey, time: &str) -> Result<(), PathError> {
        self.publish(part.path(), key, time, TIP)?;
        self.keep_newest(key);
        Ok(())
    }

    pub(super) fn publish_history(&self, part: TempDir, key: &SeedKey, time: &str) -> Result<(), PathError> {
        self.publish(part.path(), key, time, HISTORY)
    }

    /// Takes over the folders of a seed that was built here.
    pub(crate) fn adopt(
        &self,
        key: &SeedKey,
        time: &str,
        tip: &Path,
        history: &Path,
    ) -> Result<(), PathError> {
        self.publish(history, key, time, HISTORY)?;
        self.publish(tip, key, time, TIP)?;
        self.keep_newest(key);
        Ok(())
    }

    fn publish(&self, part: &Path, key: &SeedKey, time: &str, name: &str) -> Result<(), PathError> {
        let folder = self.folder_of(key).join(time);
        fs::create_dir_all(&folder).at("create", &folder)?;
        let target = folder.join(name);
        match fs::rename(part, &target) {
            // Another run was as quick, and has brought the same.
            Err(error) if is_occupied(&error) => Ok(()),
            renamed => renamed.at("rename a folder to", &target),
        }
    }

    /// Sees to it that a seed is not offered again.
    pub(crate) fn refuse(&self, key: &SeedKey, time: &str) {
        if is_time(time) {
            let folder = self.folder_of(key);
            // If not, it costs the next clone time again.
            let _ = fs::create_dir_all(&folder);
            let _ = fs::write(folder.join(format!("{time}{REFUSED}")), "");
            self.remove(key, time);
        }
    }

    pub(super) fn is_refused(&self, key: &SeedKey, time: &str) -> bool {
        self.folder_of(key).join(format!("{time}{REFUSED}")).exists()
    }

    /// Removes the folders of a seed.
    pub(crate) fn remove(&self, key: &SeedKey, time: &str) {
        let _ = fs::remove_dir_all(self.folder_of(key).join(time));
    }

    fn keep_newest(&self, key: &SeedKey) {
        for old in self.times(key).iter().rev().skip(KEPT) {
            self.remove(key, old);
        }
    }

    /// The times of the seeds that are here, oldest first.
    fn times(&self, key: &SeedKey) -> Vec<String> {
        let mut times: Vec<String> = names(&self.folder_of(key)).filter(|name| is_time(name)).collect();
        times.sort();
        times
    }

    fn folder_of(&self, key: &SeedKey) -> PathBuf {
        self.folder
            .join(Digest::of(key.to_string().as_bytes()).to_string())
    }
}

/// Whether a text is a time as seeds have it, and so a plain name for a folder.
pub(crate) fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok() && !text.contains('/')
}

/// Removes unpacked seeds in `folder` that no clone was made from since `unused_since`, and what killed runs left there; the
/// bytes that were freed. They can be brought again from the store.
pub(crate) fn evict_unpacked(folder: &Path, unused_since: Timestamp) -> u64 {
    let unused_since = SystemTime::from(unused_since);
    let debris_before = SystemTime::now() - DEBRIS_AFTER;
    let mut freed = 0;
    for key in names(folder) {
        let key = folder.join(key);
        for name in names(&key) {
            let path = key.join(&name);
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let is_older = |than| modified.as_ref().is_ok_and(|modified| *modified < than);
            let goes = match name.starts_with(ARRIVING) {
                true => is_older(debris_before),
                false => is_older(unused_since),
            };
            if goes {
                freed += unshared_bytes(&path);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        // Only if it is empty now.
        let _ = fs::remove_dir(&key);
    }
    freed
}

/// Bytes of the files below `path` that have no other name.
fn unshared_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => names(path).map(|name| unshared_bytes(&path.join(name))).sum(),
        Ok(metadata) if metadata.nlink() == 1 => metadata.len(),
        _ => 0,
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    )
}
