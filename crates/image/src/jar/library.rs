//! The libraries of a jar: which entries they are, and what their names tell.

use std::{io, sync::atomic::AtomicBool};

use headstart_digest::Hasher;

use super::zip::{Zip, ZipEntry};
use crate::{
    ContentId, ImageError,
    interrupt::{self, Interruptible},
};

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
    pub(super) fn all_of(zip: &Zip, interrupt: &AtomicBool) -> Result<Vec<Self>, ImageError> {
        let mut entries: Vec<_> = zip.files().filter(|entry| is_library(&entry.path)).collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let libraries = entries.into_iter().map(|entry| Self::read(zip, entry, interrupt));
        libraries.collect()
    }

    fn read(zip: &Zip, entry: &ZipEntry, interrupt: &AtomicBool) -> Result<Self, ImageError> {
        let mut hasher = Hasher::new();
        let mut body = Interruptible::new(zip.open_entry(entry)?, interrupt);
        let size_bytes = io::copy(&mut body, &mut hasher).map_err(|source| {
            let what = entry.path.clone();
            interrupt::reason(interrupt, ImageError::Read { what, source })
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

/// Whether a library may change under one version: it is called so, or by the time at which Maven deployed it.
pub(super) fn is_snapshot(path: &str) -> bool {
    let stem = stem(path);
    let parts: Vec<_> = stem.split('-').collect();
    let is_number =
        |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_deployed = |pair: &[&str]| {
        let time = pair[0].split_once('.');
        time.is_some_and(|(date, time)| is_number(date, 8) && is_number(time, 6))
            && is_number(pair[1], pair[1].len().max(1))
    };
    stem.ends_with("SNAPSHOT") || parts.contains(&"SNAPSHOT") || parts.windows(2).any(is_deployed)
}

/// `BOOT-INF/lib/spring-core-6.1.2.jar` is `spring-core` of version `6.1.2`. What is an interface of something may have the
/// version of that in its name: `log4j-1.2-api-2.20.0` is of version `2.20.0`.
pub(super) fn split_version(path: &str) -> (&str, &str) {
    let stem = stem(path);
    let numbers = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .filter(|&at| stem[at + 1..].starts_with(|digit: char| digit.is_ascii_digit()));
    let numbers: Vec<_> = numbers.collect();
    let part = |at: usize| stem[at + 1..].split('-').next().unwrap_or_default();
    // A word stands between the versions, and both have a dot: that of `1.0-beta-2` has none.
    let is_api = |at: usize, next: usize| {
        next > at + 1 + part(at).len() && part(at).contains('.') && part(next).contains('.')
    };
    let dash = match numbers[..] {
        [] => return (stem, ""),
        [at, next, ..] if is_api(at, next) => next,
        [at, ..] => at,
    };
    (&stem[..dash], &stem[dash + 1..])
}

/// The file name without `.jar`.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".jar").unwrap_or(file)
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
            ("a-1.0-beta-2.jar", "a", "1.0-beta-2"),
            ("servlet-api-2.5-20081211.jar", "servlet-api", "2.5-20081211"),
            (
                "epoll-4.1.9.Final-linux-x86_64.jar",
                "epoll",
                "4.1.9.Final-linux-x86_64",
            ),
            // Names of what they are an interface of, with its version.
            ("BOOT-INF/lib/log4j-1.2-api-2.20.0.jar", "log4j-1.2-api", "2.20.0"),
            (
                "hibernate-jpa-2.1-api-1.0.2.Final.jar",
                "hibernate-jpa-2.1-api",
                "1.0.2.Final",
            ),
        ] {
            assert_eq!(split_version(path), (name, version));
        }
    }

    #[test]
    fn snapshots_are_known_by_name_and_by_the_time_they_were_deployed() {
        for (path, expected) in [
            ("BOOT-INF/lib/a-1.0-SNAPSHOT.jar", true),
            ("a-1.0.0.BUILD-SNAPSHOT.jar", true),
            ("a-1.0-SNAPSHOT-tests.jar", true),
            ("a-1.0.SNAPSHOT.jar", true),
            ("a-1.0-20240131.123456-7.jar", true),
            ("a-1.0-20240131.123456-7-tests.jar", true),
            ("a-1.0.jar", false),
            ("a-1.0-20240131.jar", false),
            ("the-SNAPSHOTTER-1.0.jar", false),
            ("servlet-api-2.5-20081211-3.jar", false),
        ] {
            assert_eq!(is_snapshot(path), expected, "{path}");
        }
    }
}
