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
            // That it is gone, or of no use just now, is no error.
            if let Ok(Some(mut seed)) = find_in_repository(git_dir, key, environment) {
                seed.label = git_dir.display().to_string();
                seed.manifest.created_at = last_fetch(git_dir).unwrap_or_default();
                return Some(seed);
            }
            remove_if_gone(&note, git_dir);
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

/// Forgets the clones in `folder` that are not there any more.
pub(crate) fn forget_gone(folder: &Path) {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for key in list(folder) {
        for note in list(&key.path()) {
            if let Ok(path) = fs::read(note.path()) {
                remove_if_gone(&note.path(), Path::new(OsStr::from_bytes(&path)));
            }
        }
        // Only if it is empty now.
        let _ = fs::remove_dir(key.path());
    }
}

fn remove_if_gone(note: &Path, git_dir: &Path) {
    if git_dir.try_exists().is_ok_and(|exists| !exists) {
        let _ = fs::remove_file(note);
    }
}

/// When the refs of a repository last came from its origin, in RFC 3339. Others rewrite refs without asking the origin.
fn last_fetch(git_dir: &Path) -> Option<String> {
    let modified = |path: &Path| fs::metadata(path).ok()?.modified().ok();
    let packs = fs::read_dir(git_dir.join("objects/pack")).into_iter();
    let brought = packs.flatten().flatten().map(|entry| entry.path());
    let brought = brought.filter(|path| path.extension().is_some_and(|extension| extension == "promisor"));
    // A clone that has not fetched since has no `FETCH_HEAD`.
    let time =
        modified(&git_dir.join("FETCH_HEAD")).or_else(|| brought.filter_map(|path| modified(&path)).max())?;
    let time = Timestamp::try_from(time).ok()?;
    Some(format!("{time:.3}"))
}
