//! The libraries of several jars: which they have in common, and which in other versions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use headstart_image::{ContentId, jar::Library};
use serde::Serialize;

/// The libraries of a jar, by its path.
pub(super) type Libraries<'a> = (&'a str, &'a [Library]);

/// A library that several jars have, byte by byte.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SharedLibrary {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) size_bytes: u64,
    pub(super) jars: Vec<String>,
}

/// A library that jars have in several versions, or in one version with other bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Skew {
    pub(super) name: String,
    pub(super) versions: BTreeMap<String, Vec<String>>,
}

/// What several jars have, whatever they call it; the heaviest copies first.
pub(super) fn shared_libraries(jars: &[Libraries<'_>]) -> Vec<SharedLibrary> {
    let mut found: BTreeMap<ContentId, SharedLibrary> = BTreeMap::new();
    for &(path, libraries) in jars {
        for library in libraries {
            let shared = found.entry(library.content).or_insert_with(|| SharedLibrary {
                name: library.name.clone(),
                version: library.version.clone(),
                size_bytes: library.size_bytes,
                jars: Vec::new(),
            });
            // A jar may have it twice.
            if shared.jars.last().is_none_or(|last| last != path) {
                shared.jars.push(path.to_owned());
            }
        }
    }
    let mut shared: Vec<_> = found
        .into_values()
        .filter(|library| library.jars.len() > 1)
        .collect();
    shared.sort_by(|one, other| {
        let weight = |library: &SharedLibrary| library.size_bytes * (library.jars.len() as u64 - 1);
        let key = |library| Reverse(weight(library));
        (key(one), &one.name, &one.version).cmp(&(key(other), &other.name, &other.version))
    });
    shared
}

/// The libraries that not all jars have alike. Several of one name in each jar, such as those for several systems, are none.
pub(super) fn version_skew(jars: &[Libraries<'_>]) -> Vec<Skew> {
    type Versions<'a> = BTreeSet<(&'a str, ContentId)>;
    let mut found: BTreeMap<&str, BTreeMap<&str, Versions<'_>>> = BTreeMap::new();
    for &(path, libraries) in jars {
        for library in libraries {
            let of_jar = found.entry(&library.name).or_default().entry(path).or_default();
            of_jar.insert((&library.version, library.content));
        }
    }
    let skewed = found.into_iter().filter(|(_, jars)| {
        let mut versions = jars.values();
        let first = versions.next();
        versions.any(|other| Some(other) != first)
    });
    skewed
        .map(|(name, jars)| {
            let all: Versions<'_> = jars.values().flatten().copied().collect();
            let named = all.iter().map(|&(version, content)| {
                let is_ambiguous = all.iter().filter(|(other, _)| *other == version).count() > 1;
                let shown = match is_ambiguous {
                    true => format!("{version} ({})", &content.to_hex()[..12]),
                    false => version.to_owned(),
                };
                let with = jars
                    .iter()
                    .filter(|(_, of_jar)| of_jar.contains(&(version, content)));
                (shown, with.map(|(&path, _)| path.to_owned()).collect())
            });
            Skew {
                name: name.to_owned(),
                versions: named.collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use headstart_digest::Digest;

    use super::*;

    fn library(name: &str, version: &str, content: &str) -> Library {
        Library {
            name: name.to_owned(),
            version: version.to_owned(),
            content: Digest::of(content.as_bytes()).into(),
            size_bytes: content.len() as u64,
        }
    }

    #[test]
    fn libraries_are_shared_by_content_and_once_a_jar() {
        let one = [
            library("a", "1.0", "a"),
            library("twice", "1", "twice"),
            library("twice", "", "twice"),
        ];
        let two = [library("renamed", "", "a"), library("b", "1", "bb")];
        let three = [library("b", "1", "bb"), library("c", "1", "cc")];
        let shared = shared_libraries(&[("one", &one), ("two", &two), ("three", &three)]);
        let found: Vec<_> = shared
            .iter()
            .map(|library| (&*library.name, library.jars.join(" ")))
            .collect();
        assert_eq!(
            found,
            [("b", "two three".to_owned()), ("a", "one two".to_owned())]
        );
    }

    #[test]
    fn a_skew_is_between_jars() {
        let epoll = |version: &str| {
            [
                library("epoll", &format!("{version}-x86"), version),
                library("epoll", &format!("{version}-arm"), "arm"),
            ]
        };
        let (old, new) = (epoll("4.1"), epoll("4.2"));
        assert_eq!(version_skew(&[("one", &old)]), []);
        assert_eq!(version_skew(&[("one", &old), ("two", &old)]), []);
        let skew = version_skew(&[("one", &old), ("two", &new), ("three", &[])]);
        let versions: Vec<_> = skew[0].versions.keys().map(String::as_str).collect();
        assert_eq!(versions, ["4.1-arm", "4.1-x86", "4.2-arm", "4.2-x86"]);
        assert_eq!(skew[0].versions["4.2-x86"], ["two"]);
        let rebuilt = [library("x", "1", "other")];
        let skew = version_skew(&[("one", &[library("x", "1", "some")]), ("two", &rebuilt)]);
        assert_eq!(skew[0].versions.len(), 2, "one version, other bytes");
    }
}
