//! The libraries of a jar: which entries they are, and what their names tell.

use std::io;

use headstart_digest::Hasher;

use super::zip::{Zip, ZipEntry};
use crate::{ContentId, ImageError};

/// Where libraries are.
const LIBRARY_FOLDERS: [&str; 3] = ["BOOT-INF/lib/", "WEB-INF/lib/", "WEB-INF/lib-provided/"];

/// A library in a jar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its file name without version and `.jar`.
    pub name: String,
    /// The rest of the file name; empty where there is none.
    pub version: String,
    /// Digest of its bytes.
    pub content: ContentId,
    /// Their number.
    pub size_bytes: u64,
}

impl Library {
    /// The libraries of a jar, sorted by path.
    pub(super) fn all_of(zip: &Zip) -> Result<Vec<Self>, ImageError> {
        let mut entries: Vec<_> = zip.files().filter(|entry| is_library(&entry.path)).collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.into_iter().map(|entry| Self::read(zip, entry)).collect()
    }

    fn read(zip: &Zip, entry: &ZipEntry) -> Result<Self, ImageError> {
        let mut hasher = Hasher::new();
        let read = io::copy(&mut zip.open_entry(entry)?, &mut hasher);
        let size_bytes = read.map_err(|source| ImageError::Read {
            what: entry.path.clone(),
            source,
        })?;
        let (name, version) = split_version(&entry.path);
        Ok(Library {
            name: name.to_owned(),
            version: version.to_owned(),
            content: hasher.finish().into(),
            size_bytes,
        })
    }
}

pub(super) fn is_library(path: &str) -> bool {
    LIBRARY_FOLDERS.iter().any(|folder| path.starts_with(folder)) && path.ends_with(".jar")
}

pub(super) fn is_snapshot(path: &str) -> bool {
    path.contains("-SNAPSHOT")
}

/// `BOOT-INF/lib/spring-core-6.1.2.jar` is `spring-core` of version `6.1.2`.
pub(super) fn split_version(path: &str) -> (&str, &str) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let file = file.strip_suffix(".jar").unwrap_or(file);
    let dash = file
        .match_indices('-')
        .find(|(at, _)| file[at + 1..].starts_with(|digit: char| digit.is_ascii_digit()));
    match dash {
        Some((at, _)) => (&file[..at], &file[at + 1..]),
        None => (file, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_begins_with_a_digit() {
        for (path, name, version) in [
            ("BOOT-INF/lib/spring-core-6.1.2.jar", "spring-core", "6.1.2"),
            ("WEB-INF/lib/guava-33.0-jre.jar", "guava", "33.0-jre"),
            ("a-1-SNAPSHOT.jar", "a", "1-SNAPSHOT"),
            ("bcprov-jdk18on-1.77.jar", "bcprov-jdk18on", "1.77"),
            ("model.jar", "model", ""),
        ] {
            assert_eq!(split_version(path), (name, version));
        }
    }
}
