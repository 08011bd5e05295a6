//! bun: `node_modules`, and its cache of unpacked packages.

use std::path::Path;

use headstart_fs::RelPath;
use serde_json::Value;

use crate::{
    DepsError, Manager,
    content::Content,
    files::{self, MAX_CONFIG_BYTES, MAX_LOCKFILE_BYTES},
    freshness::Freshness,
    node::NodeProject,
    npmrc::Npmrc,
    project::{Draft, Project, rel},
};

const TREE: &str = "bun-node_modules";
const INSTALL: &[&str] = &["install", "--frozen-lockfile"];
const LAYOUT: [&str; 3] = ["ignore-scripts", "omit", "production"];

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let node = NodeProject::load(project, None)?;
    let npmrc = Npmrc::load(project)?;
    let tree = Draft::installed(
        TREE,
        Manager::Bun,
        project.folder(),
        Freshness::BunPackages(project.path("bun.lock")),
    )
    .paths(node.node_modules())
    .inputs(project.file_inputs(["bun.lock", "bun.lockb", "bunfig.toml"])?)
    .inputs(node.inputs(project)?)
    .inputs(npmrc.inputs(&LAYOUT))
    .inputs(super::npm::node_env(project))
    .platform(project.host)
    // Native packages are built for Node's ABI.
    .tool(project.tools, "node", "node")
    .install("bun", INSTALL, project.folder());

    let host = project.host;
    let folder = host
        .var_folder("BUN_INSTALL_CACHE_DIR")
        .or_else(|| Some(host.var_folder("BUN_INSTALL")?.join("install/cache")))
        .or_else(|| Some(host.var_folder("XDG_CACHE_HOME")?.join(".bun/install/cache")))
        .unwrap_or_else(|| host.home.join(".bun/install/cache"));
    let cache = Draft::downloads(
        "bun-cache",
        Manager::Bun,
        folder,
        Content::BunPackages(project.path("bun.lock")),
    )
    .paths([RelPath::root()])
    .inputs(project.file_inputs(["bun.lock", "bun.lockb"])?)
    .platform(project.host)
    .superseded_by(TREE)
    .install("bun", INSTALL, project.folder());
    Ok(vec![tree, cache])
}

/// The packages of `bun.lock` as their place in `node_modules` and `name@version`. None of a binary lockfile.
fn load_packages(lockfile: &Path) -> Result<Vec<(String, String)>, DepsError> {
    let Some(text) = files::read_text(lockfile, MAX_LOCKFILE_BYTES)? else {
        return Ok(Vec::new());
    };
    let lock: Value = serde_json::from_str(&without_trailing_commas(&text))
        .map_err(|error| files::malformed(lockfile, error))?;
    let packages = lock.get("packages").and_then(Value::as_object);
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|(place, package)| Some((place.clone(), package.get(0)?.as_str()?.to_owned())))
        .collect())
}

/// Takes away commas before a closing bracket, outside strings.
fn without_trailing_commas(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_string = false;
    let mut is_escaped = false;
    for char in text.chars() {
        if !in_string && matches!(char, '}' | ']') {
            let end = kept.trim_end().len();
            if kept[..end].ends_with(',') {
                kept.truncate(end - 1);
            }
        }
        if char == '"' && !is_escaped {
            in_string = !in_string;
        }
        is_escaped = in_string && char == '\\' && !is_escaped;
        kept.push(char);
    }
    kept
}

/// `@a/b@1.0.0` is `@a/b` and `1.0.0`.
fn split(package: &str) -> Option<(&str, &str)> {
    let at = package.rfind('@').filter(|at| *at > 0)?;
    Some((&package[..at], &package[at + 1..]))
}

/// The packages of the lockfile in the cache folder `root`: `name@version@@@1`, and for registries other than the default
/// one `name@version@@host@@@1`. All files are kept as a package's folder.
pub(crate) fn packages(lockfile: &Path, root: &Path) -> Result<Vec<RelPath>, DepsError> {
    let mut paths = Vec::new();
    for (_, package) in load_packages(lockfile)? {
        let Some((name, _)) = split(&package) else {
            continue;
        };
        let scope = name.rsplit_once('/').map_or(RelPath::root(), |(scope, _)| {
            RelPath::parse(scope).unwrap_or_default()
        });
        let base = package.rsplit('/').next().unwrap_or(&package);
        let prefixes = [format!("{base}@@")].into();
        paths.extend(crate::content::entries_with_prefixes(root, &scope, &prefixes)?);
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// bun keeps no record of what it installed, so the packages at the top of `node_modules` are compared with the lockfile.
pub(crate) fn why_stale(lockfile: &Path, folder: &Path) -> Result<Option<String>, DepsError> {
    let modules = rel("node_modules").join_to(folder);
    for (place, package) in load_packages(lockfile)? {
        let Some((name, version)) = split(&package).filter(|(name, _)| *name == place) else {
            continue;
        };
        let Ok(place) = RelPath::parse(name) else { continue };
        // Workspaces are links, and packages for other platforms are not installed: both have nothing to compare.
        let manifest = place.join_to(&modules).join("package.json");
        let Some(manifest) = files::read_json(&manifest, MAX_CONFIG_BYTES)? else {
            continue;
        };
        let installed = manifest
            .get("version")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if installed != version && version.starts_with(|char: char| char.is_ascii_digit()) {
            return Ok(Some(format!(
                "{name} {installed} is installed, {version} is locked"
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = r#"{
  "lockfileVersion": 1,
  "packages": {
    "@scope/is": ["@scope/is@4.6.0", "", {}, "sha512-x"],
    "is-odd": ["is-odd@3.0.1", "", { "dependencies": { "is-number": "^6.0.0", }, }, "a,\"}"],

    "is-odd/is-number": ["is-number@6.0.0", "", {}, "sha512-z"],
  },
}
"#;

    fn sandbox() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", "{}");
        sandbox.write("bun.lock", LOCK);
        sandbox
    }

    #[test]
    fn the_cache_is_narrowed_to_the_packages_of_the_lockfile() {
        let sandbox = sandbox();
        for name in [
            "@scope/is@4.6.0@@@1",
            "is-odd@3.0.1@@@1",
            "is-odd@3.0.2@@@1",
            "is-number@6.0.0@@@1",
        ] {
            sandbox.write_home(&format!(".bun/install/cache/{name}/package.json"), "{}");
        }
        let cache = sandbox.cache("bun-cache");
        let found = packages(&sandbox.folder().join("bun.lock"), &cache.root).unwrap();
        let found: Vec<String> = found.iter().map(RelPath::to_string).collect();
        assert_eq!(
            found,
            ["@scope/is@4.6.0@@@1", "is-number@6.0.0@@@1", "is-odd@3.0.1@@@1"]
        );
    }

    #[test]
    fn an_old_tree_is_not_taken_for_a_new_one() {
        let sandbox = sandbox();
        let lockfile = sandbox.folder().join("bun.lock");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        sandbox.write("node_modules/is-odd/package.json", r#"{"version": "3.0.0"}"#);
        assert_eq!(reason().unwrap(), "is-odd 3.0.0 is installed, 3.0.1 is locked");
        sandbox.write("node_modules/is-odd/package.json", r#"{"version": "3.0.1"}"#);
        assert_eq!(reason(), None);
    }
}
