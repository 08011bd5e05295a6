//! A note of the commit whose files are being written: whoever is killed meanwhile leaves it, and files of that commit.
//!
//! The note is `headstart/pull` in the git directory: the name of the commit. The next pull first finishes that one, for the
//! origin may have moved on, and files of a commit in between are neither those of the old nor of the new one.

use std::{fs, path::PathBuf};

use gix::ObjectId;
use headstart_fs::{AtPath as _, PathError};

use crate::local::LocalRepository;

const FOLDER: &str = "headstart";
const NOTE: &str = "pull";

/// The note of one working tree.
pub(super) struct Begun {
    folder: PathBuf,
}

impl Begun {
    pub(super) fn of(repository: &LocalRepository<'_>) -> Self {
        Begun {
            folder: repository.git_dir.join(FOLDER),
        }
    }

    /// The commit; none where no pull was killed, or before its first file.
    pub(super) fn load(&self) -> Option<ObjectId> {
        let text = fs::read(self.folder.join(NOTE)).ok()?;
        ObjectId::from_hex(text.trim_ascii()).ok()
    }

    pub(super) fn write(&self, tip: ObjectId) -> Result<(), PathError> {
        fs::create_dir_all(&self.folder).at("create", &self.folder)?;
        let note = self.folder.join(NOTE);
        fs::write(&note, format!("{tip}\n")).at("write", &note)
    }

    pub(super) fn remove(&self) {
        fs::remove_file(self.folder.join(NOTE)).ok();
    }
}
