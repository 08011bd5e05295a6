//! Which paths of a cache folder are saved.
//!
//! A folder in the home serves every project of its user. Of such a folder only what the lockfile names is kept, where a
//! lockfile can tell, and a restore takes nothing away that another project put there.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, RelPath};

use crate::{
    DependencyCache, DepsError,
    managers::{bun, cargo, go, npm, yarn_berry, yarn_classic},
};

/// How the paths to save are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// The cache's paths as they are: the project's own.
    Paths,
    /// Every file below the cache's paths but locks and the like.
    Files,
    /// The tarballs a `package-lock.json` names.
    NpmTarballs(PathBuf),
    /// The packages a `yarn.lock` of Yarn 1 names.
    YarnClassicPackages(PathBuf),
    /// The zips a `yarn.lock` of later Yarns names.
    YarnZips { lockfile: PathBuf, folder: RelPath },
    /// The packages a `bun.lock` names.
    BunPackages(PathBuf),
    /// The crates a `Cargo.lock` names.
    Crates(PathBuf),
    /// The modules these `go.sum` files name.
    GoModules(Vec<PathBuf>),
}

impl DependencyCache {
    /// Whether others keep things in the same folders, which a restore must leave alone.
    pub(crate) fn is_shared(&self) -> bool {
        self.content != Content::Paths
    }

    /// Which of the cache's paths hold `parts`.
    pub(crate) fn find_roots_of(&self, parts: &[RelPath]) -> Vec<RelPath> {
        let holds = |path: &&RelPath| parts.iter().any(|part| part.starts_with(path));
        self.paths.iter().filter(holds).cloned().collect()
    }

    /// The paths that a save keeps, relative to the root; none where nothing is on disk.
    pub fn find_paths_to_save(&self) -> Result<Vec<RelPath>, DepsError> {
        match &self.content {
            Content::Paths => Ok(self
                .paths
                .iter()
                .filter(|path| is_reached(&self.root, path))
                .cloned()
                .collect()),
            Content::Files => self.files_below(),
            Content::NpmTarballs(lockfile) => {
                let paths = npm::tarballs(lockfile)?;
                Ok(paths
                    .into_iter()
                    .filter(|path| is_reached(&self.root, path))
                    .collect())
            }
            Content::YarnClassicPackages(lockfile) => yarn_classic::packages(lockfile, &self.root),
            Content::YarnZips { lockfile, folder } => yarn_berry::zips(lockfile, &self.root, folder),
            Content::BunPackages(lockfile) => bun::packages(lockfile, &self.root),
            Content::Crates(lockfile) => cargo::crates(lockfile, &self.root),
            Content::GoModules(sums) => go::modules(sums, &self.root),
        }
    }

    /// Every file and link below the paths.
    fn files_below(&self) -> Result<Vec<RelPath>, DepsError> {
        let mut found = Vec::new();
        let mut pending = self.paths.clone();
        while let Some(path) = pending.pop() {
            let on_disk = path.join_to(&self.root);
            let is_folder = match on_disk.symlink_metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.at("look at", &on_disk)?.is_dir(),
            };
            if !is_folder {
                if !is_passing(&path) {
                    found.push(path);
                }
                continue;
            }
            for name in names_in(&self.root, &path)? {
                let mut below = path.clone();
                if below.push(&name).is_ok() {
                    pending.push(below);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Locks, temporary files and notes of failed downloads. In uv's unpacked packages (`archive-v0`) such names are the
/// packages' own.
fn is_passing(path: &RelPath) -> bool {
    let is_unpacked = path
        .components()
        .next()
        .is_some_and(|first| first.starts_with(b"archive-"));
    let name = path.file_name().unwrap_or_default();
    let suffixes = [&b".lock"[..], b".lastUpdated", b".part", b".tmp"];
    !is_unpacked && suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether `path` exists and every folder on the way to it is one, not a link.
fn is_reached(root: &Path, path: &RelPath) -> bool {
    let mut folder = path.parent();
    while let Some(parent) = folder.filter(|parent| !parent.is_root()) {
        let is_folder = parent
            .join_to(root)
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir());
        if !is_folder {
            return false;
        }
        folder = parent.parent();
    }
    path.join_to(root).symlink_metadata().is_ok()
}

/// `below`, which may come from a lockfile, in `folder`, if it is a plain path and exists.
pub(crate) fn existing(root: &Path, folder: &RelPath, below: &str) -> Option<RelPath> {
    let below = RelPath::parse(below).ok().filter(|below| !below.is_root())?;
    let path = join(folder, &below);
    is_reached(root, &path).then_some(path)
}

/// The folders in a folder, in order; none when it does not exist.
pub(crate) fn folders_in(root: &Path, folder: &RelPath) -> Result<Vec<RelPath>, DepsError> {
    let paths = names_in(root, folder)?
        .into_iter()
        .filter_map(|name| RelPath::parse(name).ok())
        .map(|name| join(folder, &name));
    Ok(paths
        .filter(|path| {
            path.join_to(root)
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_dir())
        })
        .collect())
}

/// What in a folder begins with one of `prefixes`, in order; nothing when it does not exist.
pub(crate) fn entries_with_prefixes(
    root: &Path,
    folder: &RelPath,
    prefixes: &BTreeSet<String>,
) -> Result<Vec<RelPath>, DepsError> {
    let is_named = |name: &[u8]| {
        (1..=name.len())
            .any(|length| std::str::from_utf8(&name[..length]).is_ok_and(|start| prefixes.contains(start)))
    };
    let mut names = names_in(root, folder)?;
    names.retain(|name| is_named(name));
    Ok(names
        .into_iter()
        .filter_map(|name| RelPath::parse(name).ok())
        .map(|name| join(folder, &name))
        .collect())
}

/// Names in a folder, in order; none when it does not exist or is reached through a link.
fn names_in(root: &Path, folder: &RelPath) -> Result<Vec<Vec<u8>>, DepsError> {
    let on_disk = folder.join_to(root);
    let is_link = || {
        on_disk
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_symlink())
    };
    if !folder.is_root() && (!is_reached(root, folder) || is_link()) {
        return Ok(Vec::new());
    }
    let entries = match std::fs::read_dir(&on_disk) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.at("list", &on_disk)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.at("list", &on_disk)?.file_name().into_vec());
    }
    names.sort();
    Ok(names)
}

/// `below` in `folder`.
pub(crate) fn join(folder: &RelPath, below: &RelPath) -> RelPath {
    let mut path = folder.clone();
    for component in below.components() {
        path.push(component)
            .expect("a component of a plain path is plain");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{project::rel, testing::Sandbox};

    #[test]
    fn locks_and_other_passing_files_are_left_out() {
        let sandbox = Sandbox::new();
        sandbox.write("requirements.txt", "");
        for path in ["wheels/ab/x.whl", "http-v2/a/b/c", "http-v2/a/b/c.lock", "other"] {
            sandbox.write_home(&format!(".cache/pip/{path}"), "");
        }
        let found = sandbox.cache("pip-cache").find_paths_to_save().unwrap();
        assert_eq!(found, [rel("http-v2/a/b/c"), rel("wheels/ab/x.whl")]);
    }

    #[test]
    fn unpacked_packages_of_uv_are_whole() {
        let sandbox = Sandbox::new();
        sandbox.write("uv.lock", "");
        for path in [
            "archive-v0/id/poetry.lock",
            "wheels-v5/pypi/x/1.msgpack",
            "wheels-v5/pypi/x/1.lock",
            ".lock",
        ] {
            sandbox.write_home(&format!(".cache/uv/{path}"), "");
        }
        let found = sandbox.cache("uv-cache").find_paths_to_save().unwrap();
        assert_eq!(
            found,
            [
                rel("archive-v0/id/poetry.lock"),
                rel("wheels-v5/pypi/x/1.msgpack")
            ]
        );
    }

    #[test]
    fn paths_behind_links_are_left_out() {
        let sandbox = Sandbox::new();
        sandbox.write_home("real/x/file", "");
        std::os::unix::fs::symlink("real", sandbox.host.home.join("link")).unwrap();
        let home = &sandbox.host.home;
        assert_eq!(existing(home, &rel("link"), "x"), None);
        assert_eq!(existing(home, &rel("real"), "x"), Some(rel("real/x")));
        assert_eq!(folders_in(home, &rel("link")).unwrap(), []);
        assert_eq!(
            entries_with_prefixes(home, &rel("real"), &["x".to_owned()].into()).unwrap(),
            [rel("real/x")]
        );
    }
}
