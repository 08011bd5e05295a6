//! Write once, publish atomically: temp file, (sync,) rename. Readers see the whole file or none.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{AtPath, PathError};

/// How the names of files begin that are not published yet.
const TEMP_PREFIX: &str = ".tmp-";

/// Whether a file of this name is not published yet.
pub fn is_temp(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes())
}

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
    let mut temp = temp_beside(path)?;
    temp.write_all(bytes).at("write", temp.path())?;
    persist(temp, path, durability)
}

/// Makes `path` with `bytes` unless it exists: of two writers exactly one creates it. The folder must exist.
pub fn create(path: &Path, bytes: &[u8], durability: Durability) -> Result<Created, PathError> {
    let mut temp = temp_beside(path)?;
    temp.write_all(bytes).at("write", temp.path())?;
    sync(&temp, durability)?;
    persist_new(temp, path)
}

/// Gives a temporary file its name, whatever has it.
pub fn persist(temp: NamedTempFile, path: &Path, durability: Durability) -> Result<(), PathError> {
    sync(&temp, durability)?;
    temp.persist(path)
        .map_err(|error| error.error)
        .at("rename a temporary file to", path)?;
    Ok(())
}

/// The same unless the name is taken: of two writers one gives it.
pub fn persist_new(temp: NamedTempFile, path: &Path) -> Result<Created, PathError> {
    match temp.persist_noclobber(path) {
        Ok(_) => Ok(Created::New),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Created::Existed),
        Err(error) => Err(error.error).at("link a temporary file to", path),
    }
}

/// Makes an unnamed-to-others temporary file beside `path`, for a caller that streams into it and persists it.
pub fn temp_beside(path: &Path) -> Result<NamedTempFile, PathError> {
    make_temp(path, &tempfile::Builder::new())
}

/// The same for what users find under the name they gave: it has the rights of the file at `path`, or of any new file.
pub fn temp_in_place_of(path: &Path) -> Result<NamedTempFile, PathError> {
    let mut builder = tempfile::Builder::new();
    // Less what the umask takes away.
    builder.permissions(Permissions::from_mode(0o666));
    let temp = make_temp(path, &builder)?;
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        there => {
            let rights = there.at("look at", path)?.permissions();
            fs::set_permissions(temp.path(), rights).at("set the rights of", temp.path())?;
        }
    }
    Ok(temp)
}

fn make_temp(path: &Path, builder: &tempfile::Builder<'_, '_>) -> Result<NamedTempFile, PathError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    builder
        .clone()
        .prefix(TEMP_PREFIX)
        .tempfile_in(folder)
        .at("create a temporary file in", folder)
}

/// The file that a user names to have it replaced, with the place it really has: a symbolic link to it stays one. `None`
/// where nothing is; devices, pipes and folders are errors.
pub fn existing(path: &Path) -> Result<Option<(PathBuf, File)>, PathError> {
    let there = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.at("look at", path)?,
    };
    if !there.is_file() {
        return Err(io::Error::other("it is no regular file")).at("replace", path);
    }
    let file = File::open(path).at("open", path)?;
    let place = fs::canonicalize(path).at("look up", path)?;
    Ok(Some((place, file)))
}

/// Makes what was renamed within `folder` survive a power cut.
pub fn sync_folder(folder: &Path) -> Result<(), PathError> {
    let opened = File::open(folder).at("open", folder)?;
    opened.sync_all().at("sync", folder)
}

fn sync(temp: &NamedTempFile, durability: Durability) -> Result<(), PathError> {
    match durability {
        Durability::Synced => temp.as_file().sync_data().at("sync", temp.path()),
        Durability::Cached => Ok(()),
    }
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
    fn what_users_find_has_the_rights_of_any_file_or_of_what_it_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (plain, path) = (dir.path().join("plain"), dir.path().join("file"));
        fs::write(&plain, "").unwrap();
        let put = || persist(temp_in_place_of(&path).unwrap(), &path, Durability::Synced).unwrap();
        put();
        assert_eq!(mode(&path), mode(&plain), "what the umask leaves");
        for rights in [0o600, 0o640] {
            fs::set_permissions(&path, Permissions::from_mode(rights)).unwrap();
            put();
            assert_eq!(mode(&path), rights);
        }
    }

    #[test]
    fn only_regular_files_are_there_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert!(existing(&link).unwrap().is_none());
        fs::write(&file, "x").unwrap();
        let (place, _) = existing(&link).unwrap().expect("it is there");
        assert_eq!(place, fs::canonicalize(&file).unwrap());
        for other in ["/dev/null", "/"] {
            let error = existing(Path::new(other)).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot replace {other}"));
        }
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
