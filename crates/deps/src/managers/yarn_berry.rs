//! Yarn 2 and later: the zips of the lockfile, and what an install makes of them: `node_modules`, or `.pnp.cjs` with
//! `.yarn/unplugged`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use headstart_fs::RelPath;
use serde_json::Value;

use crate::{
    DepsError, KeyInput, Manager,
    content::{Content, entries_with_prefixes},
    files::{self, MAX_LOCKFILE_BYTES},
    freshness::{Freshness, why_missing},
    key::InputKind,
    lockfile::Keeps,
    node::NodeProject,
    project::{Draft, Project, rel},
};

const NODE_MODULES: &str = "yarn-berry-node_modules";
const PNP: &str = "yarn-berry-pnp";
const INSTALL: &[&str] = &["install", "--immutable"];
/// Settings that change the zips.
const OF_ZIPS: [&str; 2] = ["compressionLevel", "cacheMigrationMode"];
/// Settings that change what an install makes.
const OF_TREE: [&str; 15] = [
    "enableScripts",
    "installStatePath",
    "nmHoistingLimits",
    "nmMode",
    "nmSelfReferences",
    "nodeLinker",
    "packageExtensions",
    "pnpDataPath",
    "pnpEnableEsmLoader",
    "pnpEnableInlining",
    "pnpFallbackMode",
    "pnpIgnorePatterns",
    "pnpMode",
    "pnpUnpluggedFolder",
    "supportedArchitectures",
];

/// Whether a `yarn.lock` is Yarn 2's or later: those are YAML and begin with `__metadata`.
pub(super) fn is_berry(project: &Project<'_>) -> Result<bool, DepsError> {
    let text = files::read_text(&project.path("yarn.lock"), MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    Ok(text.lines().any(|line| line == "__metadata:"))
}

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let lockfile = project.path("yarn.lock");
    let node = NodeProject::load(project, None)?;
    let rc = files::read_yaml(&project.path(".yarnrc.yml"))?.unwrap_or(Value::Null);
    let major = node.major(project, "yarn");
    let linker = rc.get("nodeLinker").and_then(Value::as_str).unwrap_or("pnp");
    let folder = ZipFolder::of(project, &rc, &major);

    let zips = Draft::downloads(
        "yarn-berry-cache",
        Manager::YarnBerry,
        folder.root.clone(),
        Content::YarnZips {
            lockfile: lockfile.clone(),
            folder: folder.path.clone(),
        },
    )
    .paths([folder.path.clone()])
    .inputs(project.lockfile_input("yarn.lock", Keeps::Downloads)?)
    .inputs(settings(&rc, &OF_ZIPS))
    .inputs([KeyInput::new(InputKind::Setting, "yarn major", &major)])
    .install("yarn", INSTALL, project.folder());

    let tree = |name, freshness| -> Result<Draft, DepsError> {
        Ok(
            Draft::installed(name, Manager::YarnBerry, project.folder(), freshness)
                .inputs(project.lockfile_input("yarn.lock", Keeps::Tree)?)
                .inputs(node.inputs(project)?)
                .inputs(settings(&rc, &OF_TREE))
                .inputs([KeyInput::new(InputKind::Setting, "yarn major", &major)])
                .platform(project.host)
                .tool(project.tools, "node", "node")
                .install("yarn", INSTALL, project.folder()),
        )
    };
    match linker {
        "pnp" if folder.is_local => {
            let tree = tree(PNP, Freshness::NotChecked)?.paths(
                [
                    ".pnp.cjs",
                    ".pnp.data.json",
                    ".pnp.loader.mjs",
                    ".yarn/build-state.yml",
                    ".yarn/install-state.gz",
                    ".yarn/unplugged",
                ]
                .map(rel),
            );
            // The install's result refers to the zips, so both are always needed.
            Ok(vec![tree, zips])
        }
        // `.pnp.cjs` would hold the way from this project to this home.
        "pnp" => Ok(vec![zips]),
        _ => {
            let tree = tree(NODE_MODULES, Freshness::YarnState(lockfile))?
                .paths(node.node_modules())
                .paths([rel(".yarn/install-state.gz")]);
            Ok(vec![tree, zips.superseded_by(NODE_MODULES)])
        }
    }
}

fn settings<'a>(rc: &'a Value, names: &'a [&str]) -> impl Iterator<Item = KeyInput> + 'a {
    names.iter().filter_map(|name| {
        Some(KeyInput::new(
            InputKind::Setting,
            *name,
            rc.get(name)?.to_string(),
        ))
    })
}

/// Where the zips are.
struct ZipFolder {
    root: PathBuf,
    path: RelPath,
    /// In the project, at a place a checkout elsewhere has as well.
    is_local: bool,
}

impl ZipFolder {
    fn of(project: &Project<'_>, rc: &Value, major: &str) -> Self {
        let local = |path: &str| {
            Some(ZipFolder {
                root: project.folder(),
                path: RelPath::parse_lenient(Path::new(path)).ok()?,
                is_local: true,
            })
        };
        // Yarn 4 turned the global cache on by default.
        let is_global_by_default = !matches!(major, "2" | "3");
        let is_global = match project.host.var("YARN_ENABLE_GLOBAL_CACHE") {
            Some(value) => value == "true" || value == "1",
            None => rc
                .get("enableGlobalCache")
                .and_then(Value::as_bool)
                .unwrap_or(is_global_by_default),
        };
        if is_global {
            let global = project
                .host
                .var_folder("YARN_GLOBAL_FOLDER")
                .unwrap_or_else(|| project.host.home.join(".yarn/berry"));
            return ZipFolder {
                root: global,
                path: rel("cache"),
                is_local: false,
            };
        }
        if let Some(folder) = project.host.var_folder("YARN_CACHE_FOLDER") {
            return ZipFolder {
                root: folder,
                path: RelPath::root(),
                is_local: false,
            };
        }
        // A folder outside the project is not taken from a repository's word: the default then has nothing to save.
        rc.get("cacheFolder")
            .and_then(Value::as_str)
            .and_then(local)
            .or_else(|| local(".yarn/cache"))
            .expect("our own path is plain")
    }
}

/// The zips of the lockfile in `folder` below `root`.
pub(crate) fn zips(lockfile: &Path, root: &Path, folder: &RelPath) -> Result<Vec<RelPath>, DepsError> {
    let text = files::read_text(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let prefixes = resolutions(&text)
        .filter_map(|(_, resolution)| zip_prefix(resolution))
        .collect();
    entries_with_prefixes(root, folder, &prefixes)
}

/// `is-odd@npm:3.0.1` lives in `is-odd-npm-3.0.1-<hash>-<checksum>.zip`; of other protocols, whose versions are long,
/// the name has only a hash.
fn zip_prefix(resolution: &str) -> Option<String> {
    let (name, reference) = split_locator(resolution)?;
    let name = name.replace('/', "-");
    let (protocol, version) = reference.split_once(':')?;
    match protocol {
        "workspace" | "link" | "portal" => None,
        "npm" => {
            // A tarball elsewhere is noted as `npm:1.0.0::__archiveUrl=...`.
            let version = version.split("::").next()?;
            Some(format!("{name}-npm-{version}-"))
        }
        protocol => Some(format!("{name}-{protocol}-")),
    }
}

/// `@a/b@npm:1` is `@a/b` and `npm:1`.
fn split_locator(locator: &str) -> Option<(&str, &str)> {
    let at = locator.get(1..)?.find('@')? + 1;
    Some((&locator[..at], &locator[at + 1..]))
}

/// The resolutions of a lockfile, and whether each is only for some platforms. By lines: Yarn writes one layout.
fn resolutions(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split("\n\n").filter_map(|block| {
        let value = block
            .lines()
            .find_map(|line| line.strip_prefix("  resolution: "))?;
        let is_conditional = block.lines().any(|line| line.starts_with("  conditions: "));
        Some((is_conditional, value.trim_matches('"')))
    })
}

/// Compares `node_modules/.yarn-state.yml`, Yarn's record of what it installed, with the packages from registries in the
/// lockfile.
pub(crate) fn why_stale(lockfile: &Path, folder: &Path) -> Result<Option<String>, DepsError> {
    let record = folder.join("node_modules/.yarn-state.yml");
    let Some(record) = files::read_text(&record, MAX_LOCKFILE_BYTES)? else {
        return Ok(Some(
            "Yarn did not make this node_modules (it has no .yarn-state.yml)".to_owned(),
        ));
    };
    let text = files::read_text(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let is_from_registry =
        |locator: &str| split_locator(locator).is_some_and(|(_, reference)| reference.starts_with("npm:"));
    let installed: BTreeSet<String> = record
        .lines()
        .filter_map(|line| line.strip_suffix(':').filter(|line| !line.starts_with(' ')))
        .map(|locator| devirtualized(locator.trim_matches('"')))
        .filter(|locator| is_from_registry(locator))
        .collect();
    let mut unmet = installed.clone();
    for (is_conditional, resolution) in
        resolutions(&text).filter(|(_, resolution)| is_from_registry(resolution))
    {
        unmet.remove(resolution);
        if !is_conditional && !installed.contains(resolution) {
            return Ok(Some(format!("{resolution} is not installed")));
        }
    }
    if let Some(locator) = unmet.first() {
        return Ok(Some(format!("{locator} is installed and not in the lockfile")));
    }
    let locations = locations(&record);
    let in_modules = |path: &&str| path.contains("node_modules/");
    Ok(why_missing(
        folder,
        locations.iter().map(String::as_str).filter(in_modules),
    ))
}

/// The folders of all packages in Yarn's record.
fn locations(record: &str) -> Vec<String> {
    let mut locations = Vec::new();
    let mut is_within = false;
    for line in record.lines() {
        match line.strip_prefix("    - ") {
            Some(path) if is_within => locations.extend(serde_json::from_str::<String>(path)),
            Some(_) => {}
            None => is_within = line == "  locations:",
        }
    }
    locations
}

/// `a@virtual:0123#npm:1` is a copy of `a@npm:1` for one set of peers.
fn devirtualized(locator: &str) -> String {
    match split_locator(locator) {
        Some((name, reference)) if reference.starts_with("virtual:") => {
            let real = reference.split_once('#').map_or(reference, |(_, real)| real);
            format!("{name}@{real}")
        }
        _ => locator.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = r#"# This file is generated by running "yarn install" inside your project.

__metadata:
  version: 8
  cacheKey: 10c0

"@scope/is@npm:^4, @scope/is@npm:4.6.0":
  version: 4.6.0
  resolution: "@scope/is@npm:4.6.0"
  checksum: 10c0/33b6
  languageName: node
  linkType: hard

"fsevents@npm:2.3.3":
  version: 2.3.3
  resolution: "fsevents@npm:2.3.3"
  conditions: os=darwin
  languageName: node
  linkType: hard

"fsevents@patch:fsevents@npm%3A2.3.3#optional!builtin<compat/fsevents>":
  version: 2.3.3
  resolution: "fsevents@patch:fsevents@npm%3A2.3.3#optional!builtin<compat/fsevents>::version=2.3.3&hash=df0bf1"
  conditions: os=darwin
  languageName: node
  linkType: hard

"demo@workspace:.":
  version: 0.0.0-use.local
  resolution: "demo@workspace:."
  languageName: unknown
  linkType: soft
"#;

    fn sandbox(rc: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", r#"{"packageManager": "yarn@4.1.0"}"#);
        sandbox.write("yarn.lock", LOCK);
        sandbox.write(".yarnrc.yml", rc);
        sandbox
    }

    fn names(sandbox: &Sandbox) -> Vec<String> {
        sandbox.caches().iter().map(|cache| cache.name.clone()).collect()
    }

    #[test]
    fn the_linker_decides_what_is_kept() {
        assert_eq!(names(&sandbox("")), ["yarn-berry-cache"]);
        assert_eq!(
            names(&sandbox("enableGlobalCache: false")),
            [PNP, "yarn-berry-cache"]
        );
        assert_eq!(
            names(&sandbox("nodeLinker: node-modules")),
            [NODE_MODULES, "yarn-berry-cache"]
        );
    }

    #[test]
    fn the_zips_are_where_yarn_says() {
        let folder = |rc: &str| {
            let sandbox = sandbox(rc);
            let cache = sandbox.cache("yarn-berry-cache");
            let root = cache
                .root
                .strip_prefix(sandbox.host.home.parent().unwrap())
                .unwrap()
                .to_owned();
            cache.paths[0].join_to(&root).display().to_string()
        };
        assert_eq!(folder(""), "home/.yarn/berry/cache");
        assert_eq!(folder("enableGlobalCache: false"), "project/.yarn/cache");
        assert_eq!(
            folder("enableGlobalCache: false\ncacheFolder: ./.zips"),
            "project/.zips"
        );
        assert_eq!(
            folder("enableGlobalCache: false\ncacheFolder: ../../../.ssh"),
            "project/.yarn/cache"
        );
    }

    #[test]
    fn zips_are_found_by_the_lockfile() {
        let sandbox = sandbox("enableGlobalCache: false");
        for name in [
            "@scope-is-npm-4.6.0-7cad05c55e-33b6.zip",
            "@scope-is-npm-4.6.1-7cad05c55e-33b6.zip",
            "fsevents-patch-6b67494872-10c0.zip",
        ] {
            sandbox.write(&format!(".yarn/cache/{name}"), "");
        }
        let cache = sandbox.cache("yarn-berry-cache");
        let found = zips(&sandbox.folder().join("yarn.lock"), &cache.root, &cache.paths[0]).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn an_old_tree_is_not_taken_for_a_new_one() {
        let sandbox = sandbox("nodeLinker: node-modules");
        let lockfile = sandbox.folder().join("yarn.lock");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        assert!(reason().unwrap().contains("did not make"));
        sandbox.write(
            "node_modules/.yarn-state.yml",
            "\"demo@workspace:.\":\n  locations:\n    - \"\"\n",
        );
        assert_eq!(reason().unwrap(), "@scope/is@npm:4.6.0 is not installed");
        sandbox.write(
            "node_modules/.yarn-state.yml",
            "\"@scope/is@virtual:00#npm:4.6.0\":\n  locations:\n",
        );
        assert_eq!(reason(), None);
        sandbox.write(
            "node_modules/.yarn-state.yml",
            "\"@scope/is@npm:4.6.0\":\n  locations:\n\"x@npm:1.0.0\":\n  locations:\n",
        );
        assert_eq!(
            reason().unwrap(),
            "x@npm:1.0.0 is installed and not in the lockfile"
        );
        sandbox.write(
            "node_modules/.yarn-state.yml",
            "\"@scope/is@npm:4.6.0\":\n  locations:\n    - \"node_modules/@scope/is\"\n  aliases:\n    - \"node_modules/y\"\n",
        );
        assert_eq!(reason().unwrap(), "node_modules/@scope/is is missing");
        sandbox.write("node_modules/@scope/is/package.json", "{}");
        assert_eq!(reason(), None);
    }
}
