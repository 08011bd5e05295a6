//! npm: `node_modules`, and the tarballs of the lockfile in `~/.npm/_cacache`.
//!
//! `npm ci` deletes `node_modules` before it installs, so an older tree is of no use; older tarballs are.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use headstart_fs::RelPath;
use serde_json::Value;

use crate::{
    DepsError, InputKind, KeyInput, Manager, OnRestoreKey,
    content::Content,
    files::{self, MAX_LOCKFILE_BYTES, malformed},
    freshness::{Freshness, why_missing},
    lockfile::Keeps,
    node::NodeProject,
    npmrc::Npmrc,
    project::{Draft, Project, rel},
};

/// In the order npm prefers them.
const LOCKFILES: [&str; 2] = ["npm-shrinkwrap.json", "package-lock.json"];
/// Settings that change what `npm ci` writes.
const LAYOUT: [&str; 17] = [
    "bin-links",
    "cpu",
    "global-style",
    "ignore-scripts",
    "include",
    "install-links",
    "install-strategy",
    "legacy-bundling",
    "legacy-peer-deps",
    "libc",
    "omit",
    "only",
    "optional",
    "os",
    "production",
    "strict-peer-deps",
    "workspaces",
];
const TREE: &str = "npm-node_modules";

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let Some(name) = LOCKFILES.into_iter().find(|name| project.at.has(name)) else {
        return Ok(Vec::new());
    };
    let lockfile = project.path(name);
    let node = NodeProject::load(project, None)?;
    let npmrc = Npmrc::load(project)?;
    let mut tree = Draft::installed(
        TREE,
        Manager::Npm,
        project.folder(),
        Freshness::NpmHiddenLockfile(lockfile.clone()),
    )
    .paths(node.node_modules())
    .inputs(project.lockfile_input(name, Keeps::Tree)?)
    .inputs(node.inputs(project)?)
    .inputs(npmrc.inputs(&LAYOUT))
    .inputs(node_env(project))
    .platform(project.host)
    .tool(project.tools, "node", "node")
    .install("npm", &["ci"], project.folder());
    tree.on_restore_key = OnRestoreKey::Useless;

    let cache = npmrc
        .get_trusted("cache")
        .map(|cache| project.host.resolve(cache, &project.host.home))
        .unwrap_or_else(|| project.host.home.join(".npm"));
    let tarballs = Draft::downloads("npm-cache", Manager::Npm, cache, Content::NpmTarballs(lockfile))
        .paths([rel("_cacache/content-v2")])
        .inputs(project.lockfile_input(name, Keeps::Downloads)?)
        .superseded_by(TREE)
        .install("npm", &["ci"], project.folder());
    Ok(vec![tree, tarballs])
}

/// `NODE_ENV=production` leaves out development dependencies.
pub(super) fn node_env(project: &Project<'_>) -> Option<KeyInput> {
    let value = project.host.var("NODE_ENV")?.to_str()?;
    (value == "production").then(|| KeyInput::new(InputKind::Setting, "NODE_ENV", value))
}

/// Where npm's cache keeps the tarballs a lockfile names: by digest alone, which is also how `npm ci` finds them.
pub(crate) fn tarballs(lockfile: &Path) -> Result<Vec<RelPath>, DepsError> {
    let Some(lock) = files::read_json(lockfile, MAX_LOCKFILE_BYTES)? else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<RelPath> = packages(&lock)
        .ok_or_else(|| malformed(lockfile, "it has no packages"))?
        .into_iter()
        .filter_map(|package| package.get("integrity")?.as_str())
        .flat_map(str::split_whitespace)
        .filter_map(content_path)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Every package of a lockfile: a flat table since version 2, nested tables in version 1.
fn packages(lock: &Value) -> Option<Vec<&Value>> {
    if let Some(packages) = lock.get("packages").and_then(Value::as_object) {
        return Some(packages.values().collect());
    }
    let mut found = Vec::new();
    let mut pending = vec![lock.get("dependencies")?];
    while let Some(table) = pending.pop() {
        for package in table.as_object().into_iter().flat_map(|table| table.values()) {
            found.push(package);
            pending.extend(package.get("dependencies"));
        }
    }
    Some(found)
}

/// `sha512-<base64>` as a path in the cache.
fn content_path(integrity: &str) -> Option<RelPath> {
    let (algorithm, digest) = integrity.split_once('-')?;
    if !matches!(algorithm, "sha512" | "sha384" | "sha256" | "sha1") {
        return None;
    }
    let digest = digest.split('?').next()?;
    let digest = STANDARD.decode(digest).ok().filter(|digest| digest.len() >= 20)?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!(
        "_cacache/content-v2/{algorithm}/{}/{}/{}",
        &hex[..2],
        &hex[2..4],
        &hex[4..]
    );
    RelPath::parse(path).ok()
}

/// Compares `node_modules/.package-lock.json`, npm's record of what it installed, with the lockfile and the disk.
pub(crate) fn why_stale(lockfile: &Path, folder: &Path) -> Result<Option<String>, DepsError> {
    let record = folder.join("node_modules/.package-lock.json");
    let Some(installed) = files::read_json(&record, MAX_LOCKFILE_BYTES)? else {
        return Ok(Some(
            "npm did not make this node_modules (it has no .package-lock.json)".to_owned(),
        ));
    };
    let empty = serde_json::Map::new();
    let installed = installed
        .get("packages")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let in_modules = |path: &&str| path.contains("node_modules/");
    let why_incomplete = || why_missing(folder, installed.keys().map(String::as_str).filter(in_modules));
    let lock = files::read_json(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or(Value::Null);
    // A lockfile of version 1 is not laid out by path: only the manager itself can compare it.
    let Some(locked) = lock.get("packages").and_then(Value::as_object) else {
        return Ok(why_incomplete());
    };
    for (path, package) in installed {
        let same = |field| locked.get(path).and_then(|locked| locked.get(field)) == package.get(field);
        // The version of one of the project's own packages changes nothing that is installed.
        if (path.contains("node_modules/") && !same("version")) || !same("integrity") {
            return Ok(Some(format!("{path} is not what the lockfile asks for")));
        }
    }
    let left_out = |package: &Value| {
        ["optional", "dev", "devOptional", "peer", "extraneous"]
            .iter()
            .any(|flag| package.get(flag) == Some(&Value::Bool(true)))
    };
    let missing = locked.iter().find(|(path, package)| {
        path.contains("node_modules/") && !left_out(package) && !installed.contains_key(*path)
    });
    Ok(missing
        .map(|(path, _)| format!("{path} is not installed"))
        .or_else(why_incomplete))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = r#"{
        "name": "demo", "lockfileVersion": 3,
        "packages": {
            "": {"name": "demo"},
            "packages/a": {"name": "a"},
            "node_modules/a": {"resolved": "packages/a", "link": true},
            "node_modules/is-odd": {
                "version": "3.0.1",
                "integrity": "sha512-CQpnWPrDwmP1+SMHXZhtLtJv90yiyVfluGsX5iNCVkrhQtU3TQHsUWPG9wkdk9Lgd5yNpAg9jQEo90CBaXgWMA=="
            },
            "node_modules/fsevents": {"version": "2.3.3", "optional": true, "integrity": "sha512-x"}
        }
    }"#;

    fn sandbox() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", r#"{"workspaces": ["packages/*"]}"#);
        sandbox.write("packages/a/package.json", "{}");
        sandbox.write("package-lock.json", LOCK);
        sandbox
    }

    #[test]
    fn the_tree_is_kept_for_its_platform_and_never_restored_by_prefix() {
        let cache = sandbox().cache(TREE);
        assert!(
            cache.key.starts_with("npm-node_modules-linux-x64-glibc-node127-"),
            "{}",
            cache.key
        );
        assert!(cache.restore_keys.is_empty());
        let paths: Vec<String> = cache.paths.iter().map(RelPath::to_string).collect();
        assert_eq!(paths, ["node_modules", "packages/a/node_modules"]);
    }

    #[test]
    fn the_tarballs_fit_every_platform() {
        let mut sandbox = sandbox();
        let cache = sandbox.cache("npm-cache");
        sandbox.host.os = "macos".to_owned();
        assert_eq!(cache.key, sandbox.cache("npm-cache").key);
        assert_eq!(cache.root, sandbox.host.home.join(".npm"));
        assert_eq!(cache.superseded_by.as_deref(), Some(TREE));
        assert!(cache.key.starts_with(&cache.restore_keys[0]));
    }

    #[test]
    fn settings_that_change_the_tree_change_its_key() {
        let sandbox = sandbox();
        let before = sandbox.cache(TREE).key;
        sandbox.write(".npmrc", "omit=dev\n");
        assert_ne!(before, sandbox.cache(TREE).key);
        sandbox.write(".npmrc", "color=always\n");
        assert_eq!(before, sandbox.cache(TREE).key);
    }

    #[test]
    fn a_repository_cannot_move_the_cache_folder() {
        let sandbox = sandbox();
        sandbox.write(".npmrc", "cache=/etc\n");
        assert_eq!(sandbox.cache("npm-cache").root, sandbox.host.home.join(".npm"));
    }

    #[test]
    fn tarballs_are_found_by_their_integrity() {
        let sandbox = sandbox();
        let paths = tarballs(&sandbox.folder().join("package-lock.json")).unwrap();
        assert_eq!(paths.len(), 1, "{paths:?}");
        assert!(
            paths[0]
                .to_string()
                .starts_with("_cacache/content-v2/sha512/09/0a/6758fac3c263f5f9")
        );
    }

    #[test]
    fn an_old_tree_is_not_taken_for_a_new_one() {
        let sandbox = sandbox();
        let lockfile = sandbox.folder().join("package-lock.json");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        assert!(reason().unwrap().contains("npm did not make"));
        sandbox.write("node_modules/.package-lock.json", r#"{"packages": {}}"#);
        assert_eq!(reason().unwrap(), "node_modules/a is not installed");
        sandbox.write(
            "node_modules/.package-lock.json",
            r#"{"packages": {"node_modules/is-odd": {"version": "3.0.0"}}}"#,
        );
        assert_eq!(
            reason().unwrap(),
            "node_modules/is-odd is not what the lockfile asks for"
        );
        sandbox.write("node_modules/.package-lock.json", LOCK);
        for name in ["a", "fsevents", "is-odd"] {
            assert_eq!(reason().unwrap(), format!("node_modules/{name} is missing"));
            sandbox.write(&format!("node_modules/{name}/package.json"), "{}");
        }
        assert_eq!(reason(), None);
    }

    #[test]
    fn a_package_that_was_deleted_is_missed_with_a_lockfile_of_version_1() {
        let sandbox = sandbox();
        sandbox.write(
            "package-lock.json",
            r#"{"lockfileVersion": 1, "dependencies": {}}"#,
        );
        sandbox.write(
            "node_modules/.package-lock.json",
            r#"{"packages": {"node_modules/ms": {"version": "2.1.3"}}}"#,
        );
        let lockfile = sandbox.folder().join("package-lock.json");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        assert_eq!(reason().unwrap(), "node_modules/ms is missing");
        sandbox.write("node_modules/ms/package.json", "{}");
        assert_eq!(reason(), None);
    }
}
