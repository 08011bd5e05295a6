//! Which folders of `node_modules` pnpm's copy of the lockfile, `node_modules/.pnpm/lock.yaml`, speaks of.
//!
//! Read by lines: pnpm writes one layout, and the lockfiles of large monorepos have megabytes.

use std::path::Path;

use crate::{
    DepsError,
    files::{self, MAX_LOCKFILE_BYTES},
    freshness::why_missing,
};

/// The longest name of a package folder that is surely not shortened to a digest.
const MAX_PLAIN_NAME: usize = 60;

/// A folder of the lockfile that is missing below `folder`. Only of a layout with links into `node_modules/.pnpm`, and
/// not of optional packages, which may be for other platforms.
pub(super) fn why_incomplete(lockfile: &str, folder: &Path) -> Result<Option<String>, DepsError> {
    let modules = folder.join("node_modules/.modules.yaml");
    let modules = files::read_text(&modules, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let is_set = |setting: &str| {
        modules
            .lines()
            .any(|line| line.replace('"', "").trim().trim_end_matches(',') == setting)
    };
    if !is_set("nodeLinker: isolated") || !is_set("virtualStoreDir: .pnpm") {
        return Ok(None);
    }
    Ok(why_missing(folder, folders(lockfile).iter().map(String::as_str)))
}

/// The links of each importer's own dependencies, and the folders of the packages with plain names.
fn folders(lockfile: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let (mut section, mut entry, mut group) = ("", "", "");
    for line in lockfile.lines() {
        let text = line.trim_start();
        let (key, value) = match text.split_once(": ") {
            Some((key, value)) => (unquoted(key), value),
            None => (unquoted(text.strip_suffix(':').unwrap_or(text)), ""),
        };
        match (line.len() - text.len(), section) {
            (0, _) if !text.is_empty() => (section, entry, group) = (key, "", ""),
            (2, "importers") => (entry, group) = (key, ""),
            (4, "importers") => group = key,
            (6, "importers") if matches!(group, "dependencies" | "devDependencies") => {
                folders.push(match entry {
                    "." => format!("node_modules/{key}"),
                    importer => format!("{importer}/node_modules/{key}"),
                });
            }
            (2, "snapshots") if is_plain(key) => {
                entry = key;
                folders.push(format!("node_modules/.pnpm/{}", key.replace('/', "+")));
            }
            (2, "snapshots") => entry = "",
            (4, "snapshots") if key == "optional" && value == "true" && !entry.is_empty() => {
                folders.pop();
            }
            _ => {}
        }
    }
    folders
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('\'')
}

/// Whether pnpm names the folder of this package as the lockfile does, but for the slash of a scope.
fn is_plain(package: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'@' | b'/' | b'.' | b'-' | b'_')
    };
    package.len() <= MAX_PLAIN_NAME && package.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      ms:\n        \
        specifier: 2.1.3\n        version: 2.1.3\n    optionalDependencies:\n      fsevents:\n        \
        specifier: 2.3.3\n        version: 2.3.3\n\n  packages/a:\n    devDependencies:\n      '@s/b':\n        \
        specifier: 1.0.0\n        version: 1.0.0(ms@2.1.3)\n\npackages:\n\n  ms@2.1.3:\n    resolution: \
        {integrity: sha512-x}\n\nsnapshots:\n\n  '@s/b@1.0.0(ms@2.1.3)':\n    dependencies:\n      ms: 2.1.3\n\n  \
        '@s/c@1.0.0': {}\n\n  fsevents@2.3.3:\n    optional: true\n\n  ms@2.1.3: {}\n";

    #[test]
    fn the_folders_of_a_lockfile_are_known() {
        assert_eq!(
            folders(LOCK),
            [
                "node_modules/ms",
                "packages/a/node_modules/@s/b",
                "node_modules/.pnpm/@s+c@1.0.0",
                "node_modules/.pnpm/ms@2.1.3"
            ]
        );
    }

    #[test]
    fn a_tree_that_lacks_a_package_is_incomplete() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "node_modules/.modules.yaml",
            "nodeLinker: isolated\nvirtualStoreDir: .pnpm\n",
        );
        for path in &folders(LOCK)[..3] {
            sandbox.write(&format!("{path}/package.json"), "{}");
        }
        let reason = || why_incomplete(LOCK, &sandbox.folder()).unwrap();
        assert_eq!(reason().unwrap(), "node_modules/.pnpm/ms@2.1.3 is missing");
        sandbox.write("node_modules/.pnpm/ms@2.1.3/node_modules/ms/package.json", "{}");
        assert_eq!(reason(), None);
        sandbox.write(
            "node_modules/.modules.yaml",
            "nodeLinker: pnp\nvirtualStoreDir: .pnpm\n",
        );
        std::fs::remove_dir_all(sandbox.folder().join("node_modules/ms")).unwrap();
        assert_eq!(reason(), None);
    }
}
