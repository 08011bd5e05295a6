//! Write once, publish atomically: temp file, (sync,) rename. Readers see the whole file or none.

use std::{io::Write as _, path::Path};

use tempfile::NamedTempFile;

use crate::{AtPath, PathError};

/// Whether the bytes must survive a power cut before they become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fsync` before the rename.
    Synced,
    /// Leave it to the kernel: for what is verified when read and can be made again.
    Cached,
}

/// What became of a [`create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The file is new.
    New,
    /// A file of that name was there and was left alone.
    Existed,
}

/// Replaces `path` by a file with `bytes`. The folder must exist.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), PathError> {
    let temp = write_temp(path, bytes, durability)?;
    temp.persist(path)
        .map_err(|error| error.error)
        .at("rename a temporary file to", path)?;
    Ok(())
}

/// Makes `path` with `bytes` unless it exists: of two writers exactly one creates it. The folder must exist.
pub fn create(path: &Path, bytes: &[u8], durability: Durability) -> Result<Created, PathError> {
    let temp = write_temp(path, bytes, durability)?;
    match temp.persist_noclobber(path) {
        Ok(_) => Ok(Created::New),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Created::Existed),
        Err(error) => Err(error.error).at("link a temporary file to", path),
    }
}

/// Makes an unnamed-to-others temporary file beside `path`, for a caller that streams into it and persists it.
pub fn temp_beside(path: &Path) -> Result<NamedTempFile, PathError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(folder)
        .at("create a temporary file in", folder)
}

fn write_temp(path: &Path, bytes: &[u8], durability: Durability) -> Result<NamedTempFile, PathError> {
    let mut temp = temp_beside(path)?;
    temp.write_all(bytes).at("write", temp.path())?;
    if durability == Durability::Synced {
        temp.as_file().sync_data().at("sync", temp.path())?;
    }
    Ok(temp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_keeps_what_was_there_and_leaves_no_debris() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entry");
        assert_eq!(create(&path, b"one", Durability::Cached).unwrap(), Created::New);
        assert_eq!(
            create(&path, b"two", Durability::Cached).unwrap(),
            Created::Existed
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn replace_swaps_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"one", Durability::Synced).unwrap();
        replace(&path, b"two", Durability::Cached).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn errors_name_the_folder_that_is_missing() {
        let error = create(Path::new("/nonexistent/x"), b"", Durability::Cached).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot create a temporary file in /nonexistent"
        );
    }
}
