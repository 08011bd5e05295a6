//! The clones that were made on this machine, remembered beside the local store: `clones/<digest of the key>/<digest of the
//! path>` holds the path of a git directory.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use headstart_digest::Digest;
use headstart_git::{GitEnvironment, Seed, SeedKey, seed::find_in_repository};
use jiff::Timestamp;

/// A path is no longer than systems take.
const MAX_PATH_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct KnownClones {
    folder: PathBuf,
}

impl KnownClones {
    pub(super) fn new(folder: PathBuf) -> Self {
        KnownClones { folder }
    }

    /// The clone of `key` that was made last, of those that are still there and can serve as a seed.
    pub(super) fn newest(&self, key: &SeedKey, environment: &GitEnvironment) -> Option<Seed> {
        let entries = fs::read_dir(self.folder_of(key)).ok()?.flatten();
        let mut known: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                let is_one = metadata.is_file() && metadata.len() <= MAX_PATH_BYTES;
                is_one.then_some((metadata.modified().ok()?, entry.path()))
            })
            .collect();
        known.sort();
        for (_, note) in known.into_iter().rev() {
            let Ok(path) = fs::read(&note) else { continue };
            let git_dir = Path::new(OsStr::from_bytes(&path));
            // What was made of it since then, or that it is gone, is no error.
            if let Ok(Some(mut seed)) = find_in_repository(git_dir, key, environment) {
                seed.label = git_dir.display().to_string();
                seed.manifest.created_at = last_fetch(git_dir).unwrap_or_default();
                return Some(seed);
            }
            let _ = fs::remove_file(note);
        }
        None
    }

    pub(super) fn remember(&self, key: &SeedKey, git_dir: &Path) {
        let folder = self.folder_of(key);
        // If not, the next clone takes longer.
        let _ = fs::create_dir_all(&folder);
        let _ = fs::write(self.note(key, git_dir), git_dir.as_os_str().as_bytes());
    }

    pub(super) fn forget(&self, key: &SeedKey, git_dir: &Path) {
        let _ = fs::remove_file(self.note(key, git_dir));
    }

    fn note(&self, key: &SeedKey, git_dir: &Path) -> PathBuf {
        let name = Digest::of(git_dir.as_os_str().as_bytes()).to_string();
        self.folder_of(key).join(name)
    }

    fn folder_of(&self, key: &SeedKey) -> PathBuf {
        self.folder
            .join(Digest::of(key.to_string().as_bytes()).to_string())
    }
}

/// The git directory, for a seed that is a clone.
pub(super) fn git_dir_of(seed: &Seed) -> Option<&Path> {
    let is_clone = seed.manifest.history_packs.is_empty();
    is_clone.then(|| Path::new(&seed.label))
}

/// When the refs of a repository last came from its origin, in RFC 3339.
fn last_fetch(git_dir: &Path) -> Option<String> {
    let modified = |name: &str| fs::metadata(git_dir.join(name)).ok()?.modified().ok();
    let time = modified("FETCH_HEAD").max(modified("packed-refs"))?;
    let time = Timestamp::try_from(time).ok()?;
    Some(format!("{time:.3}"))
}
