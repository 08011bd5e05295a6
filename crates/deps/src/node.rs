//! What npm, Yarn, pnpm and bun have in common: `package.json`, workspaces, `.npmrc`, `node_modules`.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use headstart_digest::{Digest, Hasher};
use headstart_fs::{AtPath as _, RelPath};
use serde_json::Value;

use crate::{
    DepsError, KeyInput,
    files::{self, MAX_CONFIG_BYTES, malformed},
    key::InputKind,
    project::{Project, rel},
};

/// Parts of a `package.json` that decide what an install writes. Others (scripts to run by hand, descriptions) change
/// often and decide nothing.
const FIELDS: [&str; 16] = [
    "bin",
    "bundleDependencies",
    "bundledDependencies",
    "catalog",
    "catalogs",
    "dependencies",
    "dependenciesMeta",
    "devDependencies",
    "name",
    "optionalDependencies",
    "overrides",
    "patchedDependencies",
    "peerDependencies",
    "pnpm",
    "resolutions",
    "trustedDependencies",
];
/// Scripts an install runs by itself; they may write into `node_modules` (patch-package).
const LIFECYCLE: [&str; 7] = [
    "preinstall",
    "install",
    "postinstall",
    "prepublish",
    "preprepare",
    "prepare",
    "postprepare",
];
/// Folders whose files install scripts apply to packages.
const PATCH_FOLDERS: [&str; 2] = ["patches", ".yarn/patches"];
/// The most patches taken into a key.
const MAX_PATCHES: usize = 4096;

/// A Node project: its root manifest and the folders of its workspaces.
pub(crate) struct NodeProject {
    pub(crate) manifest: Value,
    /// Folders of the workspaces relative to the project, without the root, in the order of paths.
    pub(crate) workspaces: Vec<RelPath>,
}

impl NodeProject {
    /// Loads the manifest; `patterns` are the workspaces when they are not in the manifest.
    pub(crate) fn load(project: &Project<'_>, patterns: Option<Vec<String>>) -> Result<Self, DepsError> {
        let path = project.path("package.json");
        let manifest = files::read_json(&path, MAX_CONFIG_BYTES)?.unwrap_or(Value::Null);
        let patterns = patterns.unwrap_or_else(|| manifest_workspaces(&manifest));
        let matcher = Workspaces::new(&patterns).map_err(|error| malformed(&path, error))?;
        let workspaces = project
            .folders_below()
            .filter(|(path, folder)| !path.is_root() && folder.has("package.json") && matcher.contain(path))
            .map(|(path, _)| path)
            .collect();
        Ok(NodeProject { manifest, workspaces })
    }

    /// `node_modules` of the root and of every workspace.
    pub(crate) fn node_modules(&self) -> Vec<RelPath> {
        let mut paths = vec![rel("node_modules")];
        for workspace in &self.workspaces {
            let mut path = workspace.clone();
            path.push(b"node_modules").expect("one plain component");
            paths.push(path);
        }
        paths
    }

    /// The inputs all Node managers share: what matters in every manifest, and patches.
    pub(crate) fn inputs(&self, project: &Project<'_>) -> Result<Vec<KeyInput>, DepsError> {
        let mut inputs = vec![manifest_input("package.json", &self.manifest)];
        for workspace in &self.workspaces {
            let path = workspace.join_to(&project.folder()).join("package.json");
            if let Some(manifest) = files::read_json(&path, MAX_CONFIG_BYTES)? {
                inputs.push(manifest_input(&format!("{workspace}/package.json"), &manifest));
            }
        }
        for folder in PATCH_FOLDERS {
            inputs.extend(patches_input(project, folder)?);
        }
        Ok(inputs)
    }

    /// `packageManager` as name and major version: `pnpm@9.1.0+sha512...` is `("pnpm", "9")`.
    pub(crate) fn package_manager(&self) -> Option<(&str, &str)> {
        let (name, version) = self.manifest.get("packageManager")?.as_str()?.split_once('@')?;
        let major = version.split(['.', '-', '+']).next()?;
        Some((name, major))
    }

    /// The major version `packageManager` asks of `manager`, or else that of the `tool` on PATH.
    pub(crate) fn major(&self, project: &Project<'_>, manager: &str) -> String {
        match self.package_manager() {
            Some((name, major)) if name == manager => major.to_owned(),
            _ => project
                .tools
                .version(manager)
                .and_then(|version| version.split('.').next().map(str::to_owned))
                .unwrap_or_else(|| "none".to_owned()),
        }
    }
}

/// `workspaces` of a manifest: a list, or a table with `packages`.
fn manifest_workspaces(manifest: &Value) -> Vec<String> {
    let workspaces = manifest.get("workspaces").unwrap_or(&Value::Null);
    strings(workspaces.get("packages").unwrap_or(workspaces))
}

/// The strings of a JSON list.
pub(crate) fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// Workspace patterns: globs, and globs with a leading `!` that take folders out again.
struct Workspaces {
    included: GlobSet,
    excluded: GlobSet,
}

impl Workspaces {
    fn new(patterns: &[String]) -> Result<Self, globset::Error> {
        let mut included = GlobSetBuilder::new();
        let mut excluded = GlobSetBuilder::new();
        for pattern in patterns {
            let (set, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (&mut excluded, pattern),
                None => (&mut included, pattern.as_str()),
            };
            let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
            set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
        }
        Ok(Workspaces {
            included: included.build()?,
            excluded: excluded.build()?,
        })
    }

    fn contain(&self, path: &RelPath) -> bool {
        let path = path.as_path();
        self.included.is_match(path) && !self.excluded.is_match(path)
    }
}

fn manifest_input(name: &str, manifest: &Value) -> KeyInput {
    let mut kept = BTreeMap::new();
    for field in FIELDS {
        if let Some(value) = manifest.get(field) {
            kept.insert(field, canonical(value));
        }
    }
    for script in LIFECYCLE {
        if let Some(line) = manifest.get("scripts").and_then(|scripts| scripts.get(script)) {
            kept.insert(script, canonical(line));
        }
    }
    let text = serde_json::to_string(&kept).expect("text keys and JSON values are JSON");
    KeyInput::new(InputKind::Fields, name, Digest::of(text.as_bytes()).to_string())
}

/// One spelling of a JSON value, whatever order its keys were written in.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let sorted: BTreeMap<&String, String> = table
                .iter()
                .map(|(name, value)| (name, canonical(value)))
                .collect();
            format!("{{{sorted:?}}}")
        }
        Value::Array(list) => format!("{:?}", list.iter().map(canonical).collect::<Vec<_>>()),
        plain => plain.to_string(),
    }
}

/// The files directly in a folder of patches, as one input.
fn patches_input(project: &Project<'_>, folder: &str) -> Result<Option<KeyInput>, DepsError> {
    let path = project.path(folder);
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if !is_folder {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).at("list", &path)? {
        names.push(entry.at("list", &path)?.file_name());
        if names.len() > MAX_PATCHES {
            return Err(DepsError::TooMany {
                path,
                limit: MAX_PATCHES,
            });
        }
    }
    names.sort();
    let mut hasher = Hasher::new();
    for name in names {
        if let Some(bytes) = files::read(&path.join(&name), MAX_CONFIG_BYTES)? {
            hasher.update(Digest::of(name.as_encoded_bytes()).as_bytes());
            hasher.update(Digest::of(&bytes).as_bytes());
        }
    }
    Ok(Some(KeyInput::new(
        InputKind::File,
        folder,
        hasher.finish().to_string(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    #[test]
    fn workspaces_follow_the_globs_of_the_manifest() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "package.json",
            r#"{"workspaces": {"packages": ["packages/*", "./apps/**", "!apps/old/*"]}}"#,
        );
        for folder in [
            "packages/a",
            "packages/a/fixture",
            "apps/x/y",
            "apps/old/z",
            "other",
        ] {
            sandbox.write(&format!("{folder}/package.json"), "{}");
        }
        sandbox.project("", |project| {
            let node = NodeProject::load(project, None).unwrap();
            let found: Vec<String> = node.workspaces.iter().map(RelPath::to_string).collect();
            assert_eq!(found, ["apps/x/y", "packages/a"]);
            assert_eq!(node.node_modules().len(), 3);
        });
    }

    #[test]
    fn a_manifest_counts_by_what_an_install_reads() {
        let of = |text: &str| manifest_input("package.json", &serde_json::from_str(text).unwrap());
        let base = of(r#"{"dependencies": {"a": "1", "b": "2"}, "scripts": {"test": "x"}}"#);
        assert_eq!(
            base,
            of(r#"{"scripts": {"test": "y"}, "dependencies": {"b": "2", "a": "1"}}"#)
        );
        assert_ne!(base, of(r#"{"dependencies": {"a": "1", "b": "3"}}"#));
        assert_ne!(
            base,
            of(r#"{"dependencies": {"a": "1", "b": "2"}, "scripts": {"postinstall": "x"}}"#)
        );
    }

    #[test]
    fn the_package_manager_field_gives_name_and_major() {
        let node = |field: &str| NodeProject {
            manifest: serde_json::json!({ "packageManager": field }),
            workspaces: Vec::new(),
        };
        assert_eq!(
            node("pnpm@9.1.0+sha512.abc").package_manager(),
            Some(("pnpm", "9"))
        );
        assert_eq!(node("yarn@4").package_manager(), Some(("yarn", "4")));
        assert_eq!(node("yarn").package_manager(), None);
    }
}
