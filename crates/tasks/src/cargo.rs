//! Cargo workspaces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headstart_fs::RelPath;
use toml::{Table, Value};

use crate::{
    TasksError,
    discover::{DiscoverWarning, Draft, Members, Wanted, file_in, join},
    pattern::Patterns,
    project::{Project, ProjectKind},
    source::SourceTree,
};

const MANIFEST: &str = "Cargo.toml";
const DEPENDENCIES: &[&str] = &[
    "dependencies",
    "dev-dependencies",
    "dev_dependencies",
    "build-dependencies",
    "build_dependencies",
];

/// Where the workspace says packages are that members only name.
#[derive(Debug, Default)]
struct Shared {
    /// `workspace.dependencies` with a path.
    dependencies: BTreeMap<String, RelPath>,
    /// `[patch]` entries with a path, which replace packages of that name.
    patches: BTreeMap<String, RelPath>,
}

/// The packages of the workspace in `root`: members, and what they depend on by path. None where there is no manifest.
pub(crate) fn find(tree: &mut dyn SourceTree, root: &RelPath) -> Result<Members, TasksError> {
    let manifest_path = file_in(root, MANIFEST);
    let read = tree
        .read(std::slice::from_ref(&manifest_path))
        .map_err(TasksError::Source)?;
    let Some(bytes) = read.into_iter().next().flatten() else {
        return Ok(Members::default());
    };
    let malformed = |reason: String| TasksError::Malformed {
        path: manifest_path.clone(),
        reason,
    };
    let manifest = parse(&bytes).map_err(malformed)?;
    let workspace = manifest.get("workspace").and_then(Value::as_table);
    let list = |key: &str| workspace.map_or_else(Vec::new, |workspace| strings(workspace.get(key)));
    let excluded: Vec<RelPath> = list("exclude")
        .iter()
        .filter_map(|path| join(root, path))
        .collect();
    let patterns = Patterns::parse(&list("members")).map_err(malformed)?;
    let mut folders = patterns.expand(tree, root, &manifest_path)?;
    folders.retain(|folder| !excluded.iter().any(|excluded| folder.starts_with(excluded)));
    if manifest.contains_key("package") {
        folders.push(root.clone());
    }
    let shared = Shared {
        dependencies: paths(
            root,
            workspace.and_then(|workspace| workspace.get("dependencies")),
        ),
        patches: patches(root, &manifest),
    };
    let mut members = Members {
        is_workspace: true,
        ..Members::default()
    };
    let mut seen: BTreeSet<RelPath> = BTreeSet::new();
    let mut next: VecDeque<RelPath> = folders.into();
    while !next.is_empty() {
        let folders: Vec<RelPath> = next
            .drain(..)
            .filter(|folder| seen.insert(folder.clone()))
            .collect();
        let manifests: Vec<RelPath> = folders.iter().map(|folder| file_in(folder, MANIFEST)).collect();
        let contents = tree.read(&manifests).map_err(TasksError::Source)?;
        for ((folder, path), content) in folders.iter().zip(manifests).zip(contents) {
            let Some(content) = content else { continue };
            let (draft, warning) = match parse(&content) {
                // A workspace within, which has no package itself.
                Ok(manifest) if !manifest.contains_key("package") => continue,
                Ok(manifest) => (draft(folder, &manifest, &shared), None),
                Err(reason) => {
                    let mut draft = draft(folder, &Table::new(), &shared);
                    draft.project.is_unclear = true;
                    (draft, Some(DiscoverWarning::not_understood(path, &reason)))
                }
            };
            // What is depended on by path is part of the build, member or not.
            next.extend(draft.wants.iter().filter_map(|wanted| match wanted {
                Wanted::Folder(folder) => Some(folder.clone()),
                Wanted::Package(_) => None,
            }));
            members.drafts.push(draft);
            members.warnings.extend(warning);
        }
    }
    Ok(members)
}

fn draft(folder: &RelPath, manifest: &Table, shared: &Shared) -> Draft {
    let package = manifest.get("package").and_then(Value::as_table);
    let name = package
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str);
    let mut wants = Vec::new();
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for table in std::iter::once(manifest).chain(targets) {
        for field in DEPENDENCIES {
            let dependencies = table.get(*field).and_then(Value::as_table).into_iter().flatten();
            wants.extend(
                dependencies.filter_map(|(name, dependency)| wanted(folder, name, dependency, shared)),
            );
        }
    }
    Draft {
        project: Project::new(folder.clone(), ProjectKind::Cargo, name.map(str::to_owned)),
        manifest: file_in(folder, MANIFEST),
        wants: wants.into_iter().map(Wanted::Folder).collect(),
    }
}

/// The folder a dependency is in, where it is one of this repository.
fn wanted(folder: &RelPath, name: &str, dependency: &Value, shared: &Shared) -> Option<RelPath> {
    let text = |key: &str| dependency.get(key).and_then(Value::as_str);
    if let Some(path) = text("path") {
        return join(folder, path);
    }
    let by_workspace = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
    let inherited = shared.dependencies.get(name).filter(|_| by_workspace);
    inherited
        .or_else(|| shared.patches.get(text("package").unwrap_or(name)))
        .cloned()
}

/// The entries of a table of dependencies that have a path.
fn paths(root: &RelPath, table: Option<&Value>) -> BTreeMap<String, RelPath> {
    let entries = table.and_then(Value::as_table).into_iter().flatten();
    entries
        .filter_map(|(name, dependency)| {
            let path = dependency.get("path")?.as_str()?;
            Some((name.clone(), join(root, path)?))
        })
        .collect()
}

fn patches(root: &RelPath, manifest: &Table) -> BTreeMap<String, RelPath> {
    let sources = manifest.get("patch").and_then(Value::as_table).into_iter();
    sources
        .flat_map(Table::values)
        .flat_map(|source| {
            let entries = source.as_table().into_iter().flatten();
            entries.filter_map(|(name, dependency)| {
                let path = join(root, dependency.get("path")?.as_str()?)?;
                let package = dependency.get("package").and_then(Value::as_str);
                Some((package.unwrap_or(name).to_owned(), path))
            })
        })
        .collect()
}

fn parse(bytes: &[u8]) -> Result<Table, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
