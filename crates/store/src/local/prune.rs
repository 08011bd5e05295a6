//! Taking content away: eviction, quarantine, debris.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use headstart_fs::{AtPath as _, PathError};
use jiff::Timestamp;

use super::Inner;
use crate::{ContentId, StoreError, range::check_size};

/// Corrupt content waits here for somebody who wants to look at it, until the next eviction.
const QUARANTINE: &str = "quarantine";

impl Inner {
    /// Moves corrupt content aside.
    pub(super) fn quarantine(&self, id: ContentId) -> Result<PathBuf, StoreError> {
        let folder = self.folder.join(QUARANTINE);
        let aside = folder.join(format!("{}-{}", id.kind().plural(), id.digest()));
        let path = self.content_path(id);
        fs::create_dir_all(&folder)
            .at("create", &folder)
            .and_then(|()| fs::rename(&path, &aside).at("move aside", &path))
            .map_err(|error| self.write_error(error))?;
        Ok(aside)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.write_error(PathError {
                action: "remove",
                path: path.to_owned(),
                source: error,
            })),
            _ => Ok(()),
        }
    }

    /// Takes content out of sight first and looks at its last use then: a use before is seen and the content put back, a
    /// use after finds it missing. Neither is lost.
    pub(super) fn evict(&self, id: ContentId, unused_since: Timestamp) -> Result<bool, StoreError> {
        let path = self.content_path(id);
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
        let is_unused =
            |modified: std::time::SystemTime| modified < std::time::SystemTime::from(unused_since);
        match modified(&path) {
            Ok(time) if is_unused(time) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).at("look at", &path).map_err(StoreError::from),
        }
        let aside = self
            .tmp
            .move_in(&path, &format!("evict-{}-{}", id.kind().plural(), id.digest()))
            .map_err(|error| self.write_error(error))?;
        let Some(aside) = aside else {
            return Ok(false);
        };
        match modified(&aside) {
            Ok(time) if is_unused(time) => {
                self.remove(&aside)?;
                return Ok(true);
            }
            Ok(_) => {}
            // Another process swept it with the debris, which takes only what is old.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error).at("look at", &aside).map_err(StoreError::from),
        }
        fs::rename(&aside, &path).at("put back", &path)?;
        Ok(false)
    }

    /// Reads content without a trace.
    pub(super) fn inspect(&self, id: ContentId) -> Result<Bytes, StoreError> {
        let path = self.content_path(id);
        let bytes = fs::metadata(&path)
            .map_err(|error| self.open_error(id, &path, error))?
            .len();
        check_size(id, bytes)?;
        let bytes = fs::read(&path).map_err(|error| self.open_error(id, &path, error))?;
        Ok(bytes.into())
    }

    pub(super) fn clear_quarantine(&self) -> Result<u64, StoreError> {
        let folder = self.folder.join(QUARANTINE);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            other => other.at("list", &folder)?,
        };
        let mut freed = 0;
        for entry in entries {
            let path = entry.at("list", &folder)?.path();
            freed += fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            self.remove(&path)?;
        }
        Ok(freed)
    }
}
