//! Workspaces of npm, Yarn and pnpm.

use headstart_fs::RelPath;
use serde_json::Value;

use crate::{
    TasksError,
    discover::{DiscoverWarning, Draft, Members, Wanted, file_in, join},
    pattern::Patterns,
    project::{Project, ProjectKind},
    source::SourceTree,
};

const MANIFEST: &str = "package.json";
const PNPM: &str = "pnpm-workspace.yaml";
/// Where a manifest names other packages. Whatever it needs them for, a change of them may matter.
const DEPENDENCIES: &[&str] = &[
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
];
/// What begins a version that is a path.
const PATH_PROTOCOLS: &[&str] = &["file:", "link:", "portal:", "workspace:"];

/// The packages of the workspace in `root`, or the one package there; none where there is no manifest.
pub(crate) fn find(tree: &mut dyn SourceTree, root: &RelPath) -> Result<Members, TasksError> {
    let (manifest_path, pnpm_path) = (file_in(root, MANIFEST), file_in(root, PNPM));
    let read = tree
        .read(&[manifest_path.clone(), pnpm_path.clone()])
        .map_err(TasksError::Source)?;
    let mut read = read.into_iter();
    let (manifest, pnpm) = (read.next().flatten(), read.next().flatten());
    let malformed = |path: &RelPath, reason: String| TasksError::Malformed {
        path: path.clone(),
        reason,
    };
    let manifest = manifest
        .map(|bytes| parse(&bytes).map_err(|reason| malformed(&manifest_path, reason)))
        .transpose()?;
    let mut patterns = None;
    let mut says_so = &manifest_path;
    if let Some(workspaces) = manifest.as_ref().and_then(|manifest| manifest.get("workspaces")) {
        patterns = Some(strings(workspaces.get("packages").unwrap_or(workspaces)));
    }
    if let Some(bytes) = pnpm {
        let of_pnpm = parse_pnpm(&bytes).map_err(|reason| malformed(&pnpm_path, reason))?;
        patterns = of_pnpm.or(patterns);
        says_so = &pnpm_path;
    }
    let Some(patterns) = patterns else {
        return Ok(Members {
            drafts: manifest
                .map(|manifest| draft(root, &manifest))
                .into_iter()
                .collect(),
            ..Members::default()
        });
    };
    let patterns = Patterns::parse(&patterns).map_err(|reason| malformed(says_so, reason))?;
    let folders = patterns.expand(tree, root, says_so)?;
    let manifests: Vec<RelPath> = folders.iter().map(|folder| file_in(folder, MANIFEST)).collect();
    let contents = tree.read(&manifests).map_err(TasksError::Source)?;
    let mut members = Members {
        is_workspace: true,
        ..Members::default()
    };
    // The package around the workspace, where it is one: what belongs to no other is its own.
    let around = manifest.filter(|manifest| manifest.get("name").is_some_and(Value::is_string));
    members
        .drafts
        .extend(around.map(|manifest| draft(root, &manifest)));
    for ((folder, path), content) in folders.iter().zip(manifests).zip(contents) {
        match content.as_deref().map(parse) {
            None => {}
            Some(Ok(manifest)) => members.drafts.push(draft(folder, &manifest)),
            Some(Err(reason)) => {
                let mut draft = draft(folder, &Value::Null);
                draft.project.is_unclear = true;
                members.drafts.push(draft);
                members
                    .warnings
                    .push(DiscoverWarning::not_understood(path, &reason));
            }
        }
    }
    Ok(members)
}

fn draft(folder: &RelPath, manifest: &Value) -> Draft {
    let name = manifest.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut wants = Vec::new();
    for field in DEPENDENCIES {
        let Some(dependencies) = manifest.get(field).and_then(Value::as_object) else {
            continue;
        };
        for (name, version) in dependencies {
            wants.extend(wanted(folder, name, version.as_str().unwrap_or_default()));
        }
    }
    Draft {
        project: Project::new(folder.clone(), ProjectKind::Npm, name),
        manifest: file_in(folder, MANIFEST),
        wants,
    }
}

/// What `"name": "version"` may stand for. Whether the version fits is not asked: which one a lockfile chose may change with it.
fn wanted(folder: &RelPath, name: &str, version: &str) -> Vec<Wanted> {
    let mut wanted = vec![Wanted::Package(name.to_owned())];
    for protocol in PATH_PROTOCOLS {
        let path = version.strip_prefix(protocol);
        wanted.extend(path.and_then(|path| join(folder, path)).map(Wanted::Folder));
    }
    let alias = version
        .strip_prefix("workspace:")
        .or(version.strip_prefix("npm:"));
    // `alias: workspace:real-name@^1`; the name itself may start with an `@`.
    let real = alias.and_then(|alias| Some(&alias[..alias.rfind('@').filter(|at| *at > 0)?]));
    wanted.extend(real.map(|real| Wanted::Package(real.to_owned())));
    wanted
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    // Node skips a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match value.is_object() {
        true => Ok(value),
        false => Err("it is not an object".to_owned()),
    }
}

/// `packages` of `pnpm-workspace.yaml`, which may lack it: since pnpm 10 the file holds settings too.
fn parse_pnpm(bytes: &[u8]) -> Result<Option<Vec<String>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(value.get("packages").map(strings))
}

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
