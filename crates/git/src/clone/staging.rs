//! The place beside the destination where a clone is made, so that it appears whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, FileLock, PathError};

use crate::error::CloneError;

const LOCK: &str = "lock";
const CONTENT: &str = "clone";

/// `.<name>.headstart-XXXXXX/` with a lock that its maker holds, and the clone in it.
///
/// Removed when dropped. One that a killed run left behind has no holder of its lock, and the next clone to the same
/// destination removes it.
#[derive(Debug)]
pub(super) struct Staging {
    destination: PathBuf,
    folder: PathBuf,
    content: PathBuf,
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
        refuse_occupied(&destination)?;
        let name = destination.file_name().unwrap_or(OsStr::new("clone"));
        let parent = destination.parent().unwrap_or(Path::new("/")).to_owned();
        let made_parent = parent
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .last()
            .map(Path::to_owned);
        fs::create_dir_all(&parent).at("create", &parent)?;
        let prefix: OsString = [OsStr::new("."), name, OsStr::new(".headstart-")]
            .into_iter()
            .collect();
        remove_debris(&parent, &prefix);
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
        // Also replaces an empty folder, and nothing else.
        match fs::rename(&self.content, &self.destination) {
            Ok(()) => {
                self.made_parent = None;
                Ok(self.destination.clone())
            }
            Err(error) if is_occupied(&error) => Err(CloneError::DestinationExists {
                path: self.destination.clone(),
            }),
            Err(source) => Err(PathError {
                action: "rename the clone to",
                path: self.destination.clone(),
                source,
            }
            .into()),
        }
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

fn refuse_occupied(destination: &Path) -> Result<(), CloneError> {
    let occupied = || CloneError::DestinationExists {
        path: destination.to_owned(),
    };
    match fs::read_dir(destination) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(occupied()),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && destination.exists() => Err(occupied()),
        Err(source) => Err(PathError {
            action: "read",
            path: destination.to_owned(),
            source,
        }
        .into()),
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
    )
}

/// Removes what killed runs left for the same destination. Nothing here is worth failing for.
fn remove_debris(parent: &Path, prefix: &OsStr) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let folder = entry.path();
        if let Ok(Some(_held)) = FileLock::try_exclusive(folder.join(LOCK)) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
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
        fs::create_dir(&destination).unwrap();
        let late = Staging::create(&destination).unwrap();
        Staging::create(&destination).unwrap().publish().unwrap();
        fs::write(destination.join("file"), "").unwrap();
        for refused in [Staging::create(&destination).err(), late.publish().err()] {
            assert!(matches!(refused, Some(CloneError::DestinationExists { .. })));
        }
        let file = Staging::create(&destination.join("file"));
        assert!(matches!(file, Err(CloneError::DestinationExists { .. })));
        assert_eq!(listing(dir.path()), ["repo"]);
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
