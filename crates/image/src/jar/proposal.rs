//! An index for a jar that has none.

use std::collections::{BTreeMap, HashSet};

use super::{defaults::APPLICATION, index::IndexedLayer, library::is_library};

/// The layer of the project's own libraries: they change more often than other people's, and less than the classes.
const OWN_MODULES: &str = "own-modules";
/// Deeper files are named one by one.
const MAX_DEPTH: usize = 8;

/// The layers of `defaults`, with the libraries of `own` in a layer of their own, and with folders in place of all that is in
/// them. Libraries are named one by one: which layer a folder of libraries goes to, the next version of one may change.
pub(super) fn propose(defaults: &[IndexedLayer], own: &HashSet<&str>, index_path: &str) -> Vec<IndexedLayer> {
    let mut names: Vec<&str> = defaults.iter().map(|layer| &*layer.name).collect();
    let own_at = names
        .iter()
        .position(|name| *name == APPLICATION)
        .unwrap_or(names.len());
    if !own.is_empty() {
        names.insert(own_at, OWN_MODULES);
    }
    let number = |name: &str| names.iter().position(|known| *known == name).unwrap_or_default();
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in defaults {
        for path in &layer.paths {
            let name = if own.contains(&**path) {
                OWN_MODULES
            } else {
                &layer.name
            };
            files.insert(path, number(name));
        }
    }
    // The index is part of the jar that it describes.
    files.insert(index_path, number(APPLICATION));
    let files: Vec<_> = files.into_iter().collect();
    let mut paths = vec![Vec::new(); names.len()];
    describe(&files, 0, 0, &mut paths);
    let layers = names.into_iter().zip(paths);
    layers
        .map(|(name, paths)| IndexedLayer::new(name, paths))
        .collect()
}

/// Names sorted files that have the first `prefix` bytes in common, a folder of `depth`.
fn describe(files: &[(&str, usize)], prefix: usize, depth: usize, into: &mut [Vec<String>]) {
    let folder_end = |path: &str| path[prefix..].find('/').map(|slash| prefix + slash + 1);
    let mut rest = files;
    while let Some(&(path, layer)) = rest.first() {
        let end = folder_end(path).filter(|_| depth < MAX_DEPTH);
        let Some(end) = end else {
            into[layer].push(path.to_owned());
            rest = &rest[1..];
            continue;
        };
        let folder = &path[..end];
        let count = rest.partition_point(|(path, _)| path.starts_with(folder));
        let (inside, behind) = rest.split_at(count);
        let is_one = inside
            .iter()
            .all(|(path, other)| *other == layer && !is_library(path));
        match is_one {
            true => into[layer].push(folder.to_owned()),
            false => describe(inside, end, depth + 1, into),
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use crate::jar::{
        index,
        testing::{MANIFEST, Made, library, report},
    };

    #[test]
    fn an_index_is_proposed_that_has_every_entry_once() {
        let entries = [
            Made::deflated(
                "META-INF/MANIFEST.MF",
                format!("{MANIFEST}Implementation-Version: 1.4\r\n").as_bytes(),
            ),
            Made::deflated("org/springframework/boot/loader/launch/JarLauncher.class", b"x"),
            Made::deflated("BOOT-INF/classes/com/acme/shop/Main.class", b"main"),
            Made::deflated("BOOT-INF/classes/static/page.html", b"page"),
            Made::deflated("BOOT-INF/classpath.idx", b""),
            Made::stored("BOOT-INF/lib/a-1.2.jar", &library("org/other")),
            Made::stored("BOOT-INF/lib/b-1-SNAPSHOT.jar", &library("org/b")),
            Made::stored("BOOT-INF/lib/shop-model-1.4.jar", &library("com/acme/model")),
        ];
        let (jar, report) = report(&entries);
        let text = report.proposed_index.unwrap();
        let expected = "- \"dependencies\":\n  - \"BOOT-INF/lib/a-1.2.jar\"\n\
            - \"spring-boot-loader\":\n  - \"org/\"\n\
            - \"snapshot-dependencies\":\n  - \"BOOT-INF/lib/b-1-SNAPSHOT.jar\"\n\
            - \"own-modules\":\n  - \"BOOT-INF/lib/shop-model-1.4.jar\"\n\
            - \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/classpath.idx\"\n\
            \x20 - \"BOOT-INF/layers.idx\"\n  - \"META-INF/\"\n";
        assert_eq!(text, expected);
        let layers = index::parse(&text).unwrap();
        for entry in &jar.zip.entries {
            let count = layers.iter().filter(|layer| layer.has(&entry.path)).count();
            assert_eq!(count, 1, "{}", entry.path);
        }
    }
}
