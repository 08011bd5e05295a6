//! Reading files that came with a clone: regular files only, bounded in size, absent ones are no error.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
};

use headstart_fs::AtPath as _;

use crate::DepsError;

/// The largest lockfile taken; the largest seen in public monorepos have some 5 MB.
pub(crate) const MAX_LOCKFILE_BYTES: u64 = 128 << 20;
/// The largest configuration file taken.
pub(crate) const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Reads a regular file of at most `limit` bytes; `None` when there is none. Symlinks count as none: they could point
/// anywhere.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DepsError> {
    let metadata = match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        metadata => metadata.at("look at", path)?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .at("read", path)?;
    if bytes.len() as u64 > limit {
        return Err(DepsError::TooLarge {
            path: path.to_owned(),
            bytes: metadata.len(),
            limit,
        });
    }
    Ok(Some(bytes))
}

/// Like [`read`], as text.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<Option<String>, DepsError> {
    read(path, limit)?
        .map(|bytes| String::from_utf8(bytes).map_err(|_| malformed(path, "it is not UTF-8")))
        .transpose()
}

/// Reads JSON; a UTF-8 byte order mark is skipped as Node does.
pub(crate) fn read_json(path: &Path, limit: u64) -> Result<Option<serde_json::Value>, DepsError> {
    read(path, limit)?
        .map(|bytes| {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            serde_json::from_slice(bytes).map_err(|error| malformed(path, error))
        })
        .transpose()
}

/// Reads YAML.
pub(crate) fn read_yaml(path: &Path) -> Result<Option<serde_json::Value>, DepsError> {
    read_text(path, MAX_CONFIG_BYTES)?
        .map(|text| match text.trim().is_empty() {
            true => Ok(serde_json::Value::Null),
            false => serde_saphyr::from_str(&text).map_err(|error| malformed(path, error)),
        })
        .transpose()
}

/// Reads TOML.
pub(crate) fn read_toml(path: &Path, limit: u64) -> Result<Option<toml::Table>, DepsError> {
    read_text(path, limit)?
        .map(|text| toml::from_str(&text).map_err(|error| malformed(path, error.message())))
        .transpose()
}

pub(crate) fn malformed(path: &Path, reason: impl ToString) -> DepsError {
    DepsError::Malformed {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_folders_count_as_absent_and_large_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(read(&path, 1 << 20).unwrap().is_none());
        assert!(read(dir.path(), 1).unwrap().is_none());
        assert!(read(&path.join("x"), 1).unwrap().is_none());
        let path = dir.path().join("lock");
        std::fs::write(&path, "12345").unwrap();
        assert!(matches!(
            read(&path, 4),
            Err(DepsError::TooLarge { bytes: 5, .. })
        ));
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"12345");
    }

    #[test]
    fn a_yaml_bomb_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bomb.yaml");
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let below = level - 1;
            let list = vec![format!("*a{below}"); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        std::fs::write(&path, bomb).unwrap();
        assert!(matches!(read_yaml(&path), Err(DepsError::Malformed { .. })));
    }
}
