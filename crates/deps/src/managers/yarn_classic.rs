//! Yarn 1: `node_modules`, and the unpacked packages of the lockfile in its cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use headstart_fs::RelPath;
use serde_json::Value;

use crate::{
    DepsError, Host, Manager,
    content::{Content, entries_with_prefixes},
    files::{self, MAX_CONFIG_BYTES, MAX_LOCKFILE_BYTES},
    freshness::{Freshness, why_missing},
    lockfile::Keeps,
    node::NodeProject,
    npmrc::Npmrc,
    project::{Draft, Project},
};

const TREE: &str = "yarn-classic-node_modules";
/// Settings Yarn 1 takes from `.npmrc` and the environment.
const LAYOUT: [&str; 4] = ["ignore-scripts", "ignore-optional", "production", "bin-links"];
/// The layout of the cache folder this file knows; part of its name.
const CACHE_VERSION: &str = "v6";

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let lockfile = project.path("yarn.lock");
    let node = NodeProject::load(project, None)?;
    let npmrc = Npmrc::load(project)?;
    let install: &[&str] = &["install", "--frozen-lockfile", "--non-interactive"];
    let tree = Draft::installed(
        TREE,
        Manager::YarnClassic,
        project.folder(),
        Freshness::YarnIntegrity(lockfile.clone()),
    )
    .paths(node.node_modules())
    .inputs(project.lockfile_input("yarn.lock", Keeps::Tree)?)
    .inputs(project.file_input(".yarnrc")?)
    .inputs(node.inputs(project)?)
    .inputs(npmrc.inputs(&LAYOUT))
    .inputs(super::npm::node_env(project))
    .platform(project.host)
    .tool(project.tools, "node", "node")
    .install("yarn", install, project.folder());

    let cache = cache_folder(project.host).join(CACHE_VERSION);
    let packages = Draft::downloads(
        "yarn-classic-cache",
        Manager::YarnClassic,
        cache,
        Content::YarnClassicPackages(lockfile),
    )
    .paths([RelPath::root()])
    .inputs(project.lockfile_input("yarn.lock", Keeps::Downloads)?)
    .superseded_by(TREE)
    .install("yarn", install, project.folder());
    Ok(vec![tree, packages])
}

/// Where Yarn 1 keeps its cache; for root on Linux that is not in the home.
fn cache_folder(host: &Host) -> PathBuf {
    if let Some(folder) = host.var_folder("YARN_CACHE_FOLDER") {
        return folder;
    }
    let is_roots = host.home.metadata().is_ok_and(|metadata| metadata.uid() == 0);
    if host.is_mac() {
        host.cache_home().join("Yarn")
    } else if is_roots && host.var("XDG_CACHE_HOME").is_none() {
        PathBuf::from("/usr/local/share/.cache/yarn")
    } else {
        host.cache_home().join("yarn")
    }
}

/// A package of a lockfile.
struct Locked {
    patterns: Vec<String>,
    version: String,
    resolved: Option<String>,
}

/// Parses the parts of a version 1 lockfile we need: its own format, by lines and indentation.
fn parse_lockfile(text: &str) -> Vec<Locked> {
    let mut packages: Vec<Locked> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(patterns) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            packages.push(Locked {
                patterns: patterns
                    .split(", ")
                    .map(|pattern| unquoted(pattern).to_owned())
                    .collect(),
                version: String::new(),
                resolved: None,
            });
        } else if let (Some(field), Some(package)) = (line.strip_prefix("  "), packages.last_mut()) {
            match field.split_once(' ') {
                Some(("version", value)) => package.version = unquoted(value).to_owned(),
                Some(("resolved", value)) => package.resolved = Some(unquoted(value).to_owned()),
                _ => {}
            }
        }
    }
    packages
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

/// `@babel/core@^7.0.0` is `@babel/core`; `alias@npm:real@^1` is both names.
fn names(pattern: &str) -> Vec<&str> {
    let split = |text| match str::rfind(text, '@') {
        Some(at) if at > 0 => text.split_at(at).0,
        _ => text,
    };
    match pattern.split_once("@npm:") {
        Some((alias, real)) => vec![alias, split(real)],
        None => vec![split(pattern)],
    }
}

/// The packages of the lockfile in the cache folder `root`.
pub(crate) fn packages(lockfile: &Path, root: &Path) -> Result<Vec<RelPath>, DepsError> {
    let text = files::read_text(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let prefixes: BTreeSet<String> = parse_lockfile(&text)
        .iter()
        .flat_map(|package| {
            package
                .patterns
                .iter()
                .flat_map(|pattern| names(pattern))
                .map(|name| format!("npm-{}-{}-", name.replace('/', "-"), package.version))
                .collect::<Vec<_>>()
        })
        .collect();
    entries_with_prefixes(root, &RelPath::root(), &prefixes)
}

/// Compares `node_modules/.yarn-integrity`, Yarn's record of what it installed, with the lockfile.
pub(crate) fn why_stale(lockfile: &Path, folder: &Path) -> Result<Option<String>, DepsError> {
    let record = folder.join("node_modules/.yarn-integrity");
    let Some(record) = files::read_json(&record, MAX_LOCKFILE_BYTES)? else {
        return Ok(Some(
            "Yarn 1 did not make this node_modules (it has no .yarn-integrity)".to_owned(),
        ));
    };
    let empty = serde_json::Map::new();
    let installed = record
        .get("lockfileEntries")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let text = files::read_text(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let packages = parse_lockfile(&text);
    let locked: BTreeMap<&str, &str> = packages
        .iter()
        .flat_map(|package| {
            let resolved = package.resolved.as_deref().unwrap_or_default();
            package
                .patterns
                .iter()
                .map(move |pattern| (pattern.as_str(), resolved))
        })
        .collect();
    let other = locked
        .iter()
        .find(|(pattern, resolved)| installed.get(**pattern).and_then(Value::as_str) != Some(resolved));
    if let Some((pattern, _)) = other {
        return Ok(Some(format!(
            "{pattern} is not installed as the lockfile asks for"
        )));
    }
    let extra = installed
        .keys()
        .find(|pattern| !locked.contains_key(pattern.as_str()));
    if let Some(pattern) = extra {
        return Ok(Some(format!("{pattern} is installed and not in the lockfile")));
    }
    let folders = folders(&record, folder)?;
    Ok(why_missing(folder, folders.iter().map(String::as_str)))
}

/// What must be in the `node_modules` that Yarn recorded: the project's own dependencies. Yarn records no folders of
/// others, and optional ones may be for other platforms.
fn folders(record: &Value, folder: &Path) -> Result<Vec<String>, DepsError> {
    let manifest = files::read_json(&folder.join("package.json"), MAX_CONFIG_BYTES)?.unwrap_or_default();
    let flags = record.get("flags").and_then(Value::as_array);
    let is_production = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "production"));
    let groups: &[&str] = match is_production {
        true => &["dependencies"],
        false => &["dependencies", "devDependencies"],
    };
    let group = |name: &str| manifest.get(name).and_then(Value::as_object);
    let is_optional =
        |name: &str| group("optionalDependencies").is_some_and(|group| group.contains_key(name));
    Ok(groups
        .iter()
        .filter_map(|name| group(name))
        .flat_map(|group| group.keys())
        .filter(|name| !is_optional(name))
        .map(|name| format!("node_modules/{name}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = "# yarn lockfile v1\n\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.2.0\"\n  \
        resolved \"https://r/core-7.2.0.tgz#abc\"\n  dependencies:\n    is-odd \"3\"\n\n\"old@npm:new@1\":\n  version \
        \"1.0.0\"\n";

    #[test]
    fn the_cache_is_narrowed_to_the_packages_of_the_lockfile() {
        let sandbox = Sandbox::new();
        sandbox.write("yarn.lock", LOCK);
        for name in [
            "npm-@babel-core-7.2.0-abc-integrity",
            "npm-new-1.0.0-x",
            "npm-new-1.0.1-x",
            ".tmp",
        ] {
            sandbox.write_home(&format!("v6/{name}/file"), "");
        }
        let found = packages(&sandbox.folder().join("yarn.lock"), &sandbox.host.home.join("v6")).unwrap();
        let found: Vec<String> = found.iter().map(RelPath::to_string).collect();
        assert_eq!(found, ["npm-@babel-core-7.2.0-abc-integrity", "npm-new-1.0.0-x"]);
    }

    #[test]
    fn an_old_tree_is_not_taken_for_a_new_one() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "yarn.lock",
            "is-odd@3:\n  version \"3.0.1\"\n  resolved \"https://r/x.tgz#1\"\n",
        );
        let lockfile = sandbox.folder().join("yarn.lock");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        assert!(reason().unwrap().contains("did not make"));
        sandbox.write(
            "node_modules/.yarn-integrity",
            r#"{"lockfileEntries": {"is-odd@3": "https://r/x.tgz#0"}}"#,
        );
        assert!(reason().unwrap().contains("is-odd@3"));
        sandbox.write(
            "node_modules/.yarn-integrity",
            r#"{"flags": [], "lockfileEntries": {"is-odd@3": "https://r/x.tgz#1"}}"#,
        );
        assert_eq!(reason(), None);
        sandbox.write(
            "package.json",
            r#"{"devDependencies": {"is-odd": "3", "o": "1"}, "optionalDependencies": {"o": "1"}}"#,
        );
        assert_eq!(reason().unwrap(), "node_modules/is-odd is missing");
        sandbox.write("node_modules/is-odd/package.json", "{}");
        assert_eq!(reason(), None);
        std::fs::remove_dir_all(sandbox.folder().join("node_modules/is-odd")).unwrap();
        sandbox.write(
            "node_modules/.yarn-integrity",
            r#"{"flags": ["production"], "lockfileEntries": {"is-odd@3": "https://r/x.tgz#1"}}"#,
        );
        assert_eq!(reason(), None);
    }

    #[test]
    fn an_older_tree_is_offered_to_an_install() {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", "{}");
        sandbox.write("yarn.lock", LOCK);
        let cache = sandbox.cache(TREE);
        assert_eq!(cache.on_restore_key, crate::OnRestoreKey::NeedsInstall);
        assert_eq!(cache.restore_keys.len(), 1);
    }
}
