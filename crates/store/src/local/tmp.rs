//! Files being written. Each is locked by its writer, so debris of killed processes can be told from work.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, SystemTime},
};

use headstart_fs::{AtPath as _, FileLock, PathError};
use tempfile::NamedTempFile;

/// Unlocked files younger than this are left alone: their writer may be between making and locking them.
const GRACE: Duration = Duration::from_secs(600);

/// The folder of files being written.
#[derive(Debug)]
pub(super) struct Tmp {
    folder: PathBuf,
    swept: Once,
}

/// One of them; removed when dropped.
#[derive(Debug)]
pub(super) struct TmpFile(NamedTempFile);

impl Tmp {
    pub(super) fn new(folder: PathBuf) -> Self {
        Tmp {
            folder,
            swept: Once::new(),
        }
    }

    /// Makes a locked file. The first one of a process also clears debris.
    pub(super) fn create(&self) -> Result<TmpFile, PathError> {
        let make = || {
            tempfile::Builder::new()
                .prefix("write-")
                .tempfile_in(&self.folder)
        };
        let file = match make() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_folder(&self.folder)?;
                make()
            }
            other => other,
        }
        .at("create a file in", &self.folder)?;
        file.as_file().lock_shared().at("lock", file.path())?;
        // The file system's own clock, so that a skewed one cannot make young files look old.
        if let Ok(now) = file.as_file().metadata().and_then(|metadata| metadata.modified()) {
            self.swept.call_once(|| {
                sweep(&self.folder, now);
            });
        }
        Ok(TmpFile(file))
    }

    /// Clears debris now; the bytes that were freed.
    pub(super) fn sweep(&self) -> Result<u64, PathError> {
        if !self.folder.exists() {
            return Ok(0);
        }
        let file = self.create()?;
        let now = file
            .0
            .as_file()
            .metadata()
            .and_then(|metadata| metadata.modified());
        Ok(sweep(&self.folder, now.at("look at", &self.folder)?))
    }

    /// Moves a published file back here under `name`; `None` when it is gone.
    pub(super) fn move_in(&self, path: &Path, name: &str) -> Result<Option<PathBuf>, PathError> {
        create_folder(&self.folder)?;
        let aside = self.folder.join(name);
        match fs::rename(path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("move aside", path),
        }
    }
}

/// Removes old files nobody has locked; the bytes that were freed. What cannot be removed is left for the next time.
fn sweep(folder: &Path, now: SystemTime) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let mut freed = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let is_old = metadata
            .modified()
            .is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > GRACE));
        if is_old
            && matches!(FileLock::try_exclusive(entry.path()), Ok(Some(_)))
            && fs::remove_file(entry.path()).is_ok()
        {
            freed += metadata.len();
        }
    }
    freed
}

impl TmpFile {
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> Result<(), PathError> {
        // Not through the temporary file's own `write_all`, whose errors name the path once more.
        let result = self.0.as_file_mut().write_all(bytes);
        result.at("write", self.0.path())
    }

    pub(super) fn sync(&self) -> Result<(), PathError> {
        self.0.as_file().sync_data().at("sync", self.0.path())
    }

    /// Publishes it as `path`, whatever is there.
    pub(super) fn rename_to(self, path: &Path) -> Result<(), PathError> {
        self.persist(path, |file, path| file.persist(path).map(drop))
            .map(drop)
    }

    /// Publishes it as `path`; false when something is there.
    pub(super) fn link_to(self, path: &Path) -> Result<bool, PathError> {
        self.persist(path, |file, path| file.persist_noclobber(path).map(drop))
    }

    fn persist(
        self,
        path: &Path,
        publish: impl Fn(NamedTempFile, &Path) -> Result<(), tempfile::PersistError>,
    ) -> Result<bool, PathError> {
        let error = match publish(self.0, path) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let error = match (error.error.kind(), path.parent()) {
            (ErrorKind::NotFound, Some(folder)) => {
                create_folder(folder)?;
                match publish(error.file, path) {
                    Ok(()) => return Ok(true),
                    Err(error) => error,
                }
            }
            _ => error,
        };
        if error.error.kind() == ErrorKind::AlreadyExists {
            return Ok(false);
        }
        Err(error.error).at("publish", path)
    }
}

fn create_folder(folder: &Path) -> Result<(), PathError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .at("create", folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debris_goes_and_work_stays() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - GRACE * 2;
        let make = |name: &str, time| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(time).unwrap();
            file
        };
        make("debris", old);
        make("young", SystemTime::now());
        let working = make("working", old);
        working.lock_shared().unwrap();
        drop(Tmp::new(dir.path().to_owned()).create().unwrap());
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["working", "young"]);
    }
}
