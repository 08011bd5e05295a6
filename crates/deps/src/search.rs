//! Finds the folders that hold files of package managers.

use std::{collections::BTreeSet, os::unix::ffi::OsStrExt as _, path::Path};

use headstart_fs::{AtPath as _, RelPath};

use crate::DepsError;

/// The most files and folders looked at.
const MAX_ENTRIES: usize = 10_000_000;
/// The deepest folder looked into.
const MAX_DEPTH: usize = 64;
/// Folders that managers and builds fill. Folders with a leading dot are skipped as well.
const SKIPPED: [&str; 6] = [
    "node_modules",
    "target",
    "venv",
    "__pycache__",
    "bower_components",
    "vendor",
];
/// Files that make a folder interesting.
const NAMES: [&str; 25] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "bun.lock",
    "bun.lockb",
    "Cargo.lock",
    "uv.lock",
    "poetry.lock",
    "go.mod",
    "go.sum",
    "go.work",
    "go.work.sum",
    "pom.xml",
    "gradlew",
    "gradle.properties",
    "gradle.lockfile",
    "buildscript-gradle.lockfile",
    "settings-gradle.lockfile",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
];

/// A folder and the files in it that interest a package manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Relative to where the search began.
    pub(crate) path: RelPath,
    /// Names of regular files.
    pub(crate) files: BTreeSet<String>,
}

impl Folder {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }
}

/// Searches `base`, in the order of paths. Symlinks are not followed; a folder that may not be read is passed over.
pub(crate) fn search(base: &Path) -> Result<Vec<Folder>, DepsError> {
    let mut found = Vec::new();
    let mut seen = 0;
    // The folder to search itself must be there; below it, whatever can be read counts.
    std::fs::read_dir(base).at("list", base)?;
    let mut pending = vec![(RelPath::root(), 0)];
    while let Some((path, depth)) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(path.join_to(base)) else {
            continue;
        };
        let mut files = BTreeSet::new();
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(DepsError::TooMany {
                    path: base.to_owned(),
                    limit: MAX_ENTRIES,
                });
            }
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            if kind.is_dir() && depth < MAX_DEPTH && !is_skipped(name.as_bytes()) {
                let mut below = path.clone();
                if below.push(name.as_bytes()).is_ok() {
                    pending.push((below, depth + 1));
                }
            } else if kind.is_file()
                && let Some(name) = name.to_str().filter(|name| is_interesting(name))
            {
                files.insert(name.to_owned());
            }
        }
        if !files.is_empty() {
            found.push(Folder { path, files });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn is_skipped(name: &[u8]) -> bool {
    name.starts_with(b".") || SKIPPED.iter().any(|skipped| skipped.as_bytes() == name)
}

fn is_interesting(name: &str) -> bool {
    NAMES.contains(&name) || is_requirements(name) || is_pylock(name)
}

/// `requirements.txt`, `requirements-dev.txt`, `requirements_test.txt`.
pub(crate) fn is_requirements(name: &str) -> bool {
    name.starts_with("requirements") && name.ends_with(".txt")
}

/// `pylock.toml` and `pylock.<name>.toml` (PEP 751).
pub(crate) fn is_pylock(name: &str) -> bool {
    name == "pylock.toml" || (name.starts_with("pylock.") && name.ends_with(".toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_hidden_folders_and_links_are_not_searched() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        for path in ["a", "node_modules/x", ".hidden", "b/c", "target/d"] {
            std::fs::create_dir_all(base.join(path)).unwrap();
            std::fs::write(base.join(path).join("package.json"), "{}").unwrap();
        }
        std::os::unix::fs::symlink("a", base.join("linked")).unwrap();
        std::os::unix::fs::symlink("a/package.json", base.join("b/yarn.lock")).unwrap();
        std::fs::write(base.join("README"), "").unwrap();
        let found: Vec<String> = search(base)
            .unwrap()
            .iter()
            .map(|folder| folder.path.to_string())
            .collect();
        assert_eq!(found, ["a", "b/c"]);
    }
}
