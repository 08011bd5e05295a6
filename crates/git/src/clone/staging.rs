//! The place where a clone is made before it appears whole, or not at all.
//!
//! That is beside the destination, which one rename then makes. Where the destination is there already, an empty folder, it
//! is in that folder: it may be where a disk is mounted, the only place we may write to, or where the user's shell is.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use headstart_fs::{AtPath as _, FileLock, PathError};

use crate::error::CloneError;

const LOCK: &str = "lock";
const CONTENT: &str = "clone";
/// How often the removal of debris is tried, and the time between.
const REMOVALS: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);
/// How folders for a clone into the folder around them start.
const PREFIX_INSIDE: &str = ".headstart-clone-";

/// `.<name>.headstart-XXXXXX/`, or `.headstart-clone-XXXXXX/` in the destination, with a lock that its maker holds, and the
/// clone in it.
///
/// Removed when dropped. One that a killed run left behind has no holder of its lock, and the next clone to the same
/// destination removes it.
#[derive(Debug)]
pub(super) struct Staging {
    destination: PathBuf,
    folder: PathBuf,
    content: PathBuf,
    /// Whether the destination was there before.
    inside: bool,
    /// The topmost folder that was made to hold the destination, to be taken away again if it stays empty.
    made_parent: Option<PathBuf>,
    _lock: FileLock,
}

impl Staging {
    /// Prepares for a clone to `destination`, an absolute path: it must not exist, or be an empty folder.
    pub(super) fn create(destination: &Path) -> Result<Self, CloneError> {
        let destination = match fs::canonicalize(destination) {
            Ok(existing) => existing,
            Err(_) => destination.to_owned(),
        };
        let inside = destination.is_dir();
        let parent = match inside {
            true => destination.as_path(),
            false => destination.parent().unwrap_or(Path::new("/")),
        };
        let prefix: OsString = match inside {
            true => PREFIX_INSIDE.into(),
            false => {
                let name = destination.file_name().unwrap_or(OsStr::new("clone"));
                [OsStr::new("."), name, OsStr::new(".headstart-")]
                    .into_iter()
                    .collect()
            }
        };
        remove_debris(parent, &prefix);
        refuse_occupied(&destination, |_| false)?;
        let parent = parent.to_owned();
        let made_parent = parent
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .last()
            .map(Path::to_owned);
        fs::create_dir_all(&parent).at("create", &parent)?;
        loop {
            let folder = tempfile::Builder::new()
                .prefix(&prefix)
                .tempdir_in(&parent)
                .at("create a folder in", &parent)?
                .keep();
            let path = folder.join(LOCK);
            // Between the two steps another clone may take the folder for debris: it holds the lock then, or has
            // removed the folder already.
            let lock = match FileLock::try_exclusive(&path) {
                Ok(Some(lock)) if fs::metadata(&path).is_ok_and(|file| file.nlink() > 0) => lock,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let content = folder.join(CONTENT);
            let staging = Staging {
                destination,
                folder,
                content,
                inside,
                made_parent,
                _lock: lock,
            };
            fs::create_dir(&staging.content).at("create", &staging.content)?;
            return Ok(staging);
        }
    }

    /// Where the clone is made.
    pub(super) fn path(&self) -> &Path {
        &self.content
    }

    /// Puts the clone in its place.
    pub(super) fn publish(mut self) -> Result<PathBuf, CloneError> {
        match self.inside {
            true => self.move_in()?,
            false => self.rename(&self.content, &self.destination)?,
        }
        self.made_parent = None;
        Ok(self.destination.clone())
    }

    /// Moves the clone up into the destination, `.git` last: before that nobody takes it for a repository.
    fn move_in(&self) -> Result<(), CloneError> {
        refuse_occupied(&self.destination, |name| {
            name.as_bytes().starts_with(PREFIX_INSIDE.as_bytes())
        })?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.content).at("read", &self.content)? {
            names.push(entry.at("read", &self.content)?.file_name());
        }
        names.sort_by_key(|name| name == ".git");
        for (moved, name) in names.iter().enumerate() {
            let renamed = self.rename(&self.content.join(name), &self.destination.join(name));
            if renamed.is_err() {
                for name in &names[..moved] {
                    // What went one way goes the other; if not, there is nothing better to do.
                    let _ = fs::rename(self.destination.join(name), self.content.join(name));
                }
                return renamed;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), CloneError> {
        fs::rename(from, to).map_err(|source| match is_occupied(&source) {
            true => CloneError::DestinationExists {
                path: self.destination.clone(),
            },
            false => PathError {
                action: "rename the clone to",
                path: to.to_owned(),
                source,
            }
            .into(),
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Whatever cannot be removed now is debris for the next run; the error that brought us here matters more.
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(top) = &self.made_parent {
            let parents = self.destination.ancestors().skip(1);
            for parent in parents.take_while(|parent| parent.starts_with(top)) {
                if fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
    }
}

/// Fails if anything is at `destination` but an empty folder; names in it that `is_ours` do not count.
fn refuse_occupied(destination: &Path, is_ours: impl Fn(&OsStr) -> bool) -> Result<(), CloneError> {
    let occupied = || CloneError::DestinationExists {
        path: destination.to_owned(),
    };
    match fs::read_dir(destination) {
        Ok(entries) => {
            for entry in entries {
                if !is_ours(&entry.at("read", destination)?.file_name()) {
                    return Err(occupied());
                }
            }
            Ok(())
        }
        // A symlink that leads nowhere is something, too.
        Err(_) if destination.is_symlink() || (destination.exists() && !destination.is_dir()) => {
            Err(occupied())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).at("read", destination)?,
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
    )
}

/// Removes what killed runs left for the same destination: folders with a lock that nobody holds, and empty ones, which
/// were to get it. Nothing here is worth failing for.
fn remove_debris(parent: &Path, prefix: &OsStr) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let folder = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || fs::remove_dir(&folder).is_ok() {
            continue;
        }
        if !folder.join(LOCK).is_file() {
            continue;
        }
        if let Ok(Some(_held)) = FileLock::try_exclusive(folder.join(LOCK)) {
            // The lock last: with it, what cannot be removed now is debris for the next run.
            if remove_content(&folder.join(CONTENT)) {
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
}

/// Removes what a killed run was making. A program it had started may still be writing there, though not for long.
fn remove_content(content: &Path) -> bool {
    (0..REMOVALS).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(REMOVAL_PAUSE);
        }
        match fs::remove_dir_all(content) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound && !content.exists(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }

    #[test]
    fn a_clone_appears_in_one_step_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("a/b/repo");
        let staging = Staging::create(&destination).unwrap();
        fs::write(staging.path().join("file"), "x").unwrap();
        assert!(!destination.exists());
        staging.publish().unwrap();
        assert_eq!(listing(&dir.path().join("a/b")), ["repo"]);
        assert!(destination.join("file").exists());
    }

    #[test]
    fn giving_up_leaves_nothing_at_all() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staging::create(&dir.path().join("a/b/repo")).unwrap());
        assert!(listing(dir.path()).is_empty());
    }

    #[test]
    fn only_an_empty_folder_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("repo");
        let late = Staging::create(&destination).unwrap();
        fs::write(late.path().join("file"), "").unwrap();
        fs::create_dir(&destination).unwrap();
        Staging::create(&destination).unwrap().publish().unwrap();
        fs::write(destination.join("file"), "").unwrap();
        for refused in [Staging::create(&destination).err(), late.publish().err()] {
            assert!(matches!(refused, Some(CloneError::DestinationExists { .. })));
        }
        let link = destination.join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for other in [destination.join("file"), link] {
            let error = Staging::create(&other).unwrap_err();
            assert!(matches!(error, CloneError::DestinationExists { .. }), "{error:?}");
        }
        assert_eq!(listing(dir.path()), ["repo"]);
    }

    #[test]
    fn an_empty_folder_stays_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("repo");
        fs::create_dir(&destination).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let before = inode(&destination);
        let debris = destination.join(".headstart-clone-killed");
        fs::create_dir_all(debris.join(CONTENT)).unwrap();
        fs::write(debris.join(LOCK), "").unwrap();
        fs::create_dir(destination.join(".headstart-clone-younger")).unwrap();

        let staging = Staging::create(&destination).unwrap();
        assert_eq!(listing(dir.path()), ["repo"], "nothing is written outside of it");
        fs::create_dir(staging.path().join(".git")).unwrap();
        fs::write(staging.path().join("file"), "x").unwrap();
        assert_eq!(staging.publish().unwrap(), destination.canonicalize().unwrap());
        assert_eq!(inode(&destination), before);
        let mut names = listing(&destination);
        names.sort();
        assert_eq!(names, [".git", "file"]);
    }

    #[test]
    fn giving_up_leaves_an_empty_folder_empty() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staging::create(dir.path()).unwrap());
        let late = Staging::create(dir.path()).unwrap();
        fs::write(late.path().join("new"), "").unwrap();
        fs::write(dir.path().join("mine"), "").unwrap();
        assert!(matches!(
            late.publish(),
            Err(CloneError::DestinationExists { .. })
        ));
        assert_eq!(listing(dir.path()), ["mine"]);
    }

    #[test]
    fn folders_that_only_look_like_debris_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join(".repo.headstart-notes");
        fs::create_dir(&notes).unwrap();
        fs::write(notes.join("mine"), "").unwrap();
        drop(Staging::create(&dir.path().join("repo")).unwrap());
        assert_eq!(listing(&notes), ["mine"]);
    }

    #[test]
    fn debris_of_a_killed_run_is_removed_and_a_running_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("repo");
        let debris = dir.path().join(".repo.headstart-killed");
        fs::create_dir_all(debris.join(CONTENT)).unwrap();
        fs::write(debris.join(LOCK), "").unwrap();
        let running = Staging::create(&destination).unwrap();
        let second = Staging::create(&destination).unwrap();
        assert!(!debris.exists() && running.path().exists() && second.path().exists());
    }
}
