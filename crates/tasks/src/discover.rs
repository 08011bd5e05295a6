//! Finding all projects of a repository.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::Path,
};

use headstart_fs::RelPath;

use crate::{
    TasksError, cargo,
    config::{ProjectConfig, TasksConfig},
    global::{GlobalFiles, Workspace},
    npm,
    project::{Project, ProjectKind, Projects},
    source::SourceTree,
};

/// What was found.
#[derive(Debug)]
pub struct Discovered {
    /// The projects.
    pub projects: Projects,
    /// What is not as it should be, yet leaves an answer.
    pub warnings: Vec<DiscoverWarning>,
}

/// Something about a manifest that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverWarning {
    /// The file.
    pub path: RelPath,
    /// What is the matter with it.
    pub reason: String,
}

impl DiscoverWarning {
    pub(crate) fn not_understood(path: RelPath, reason: &str) -> Self {
        DiscoverWarning {
            path,
            reason: format!("it is not understood ({reason}), so its project counts as changed"),
        }
    }
}

impl fmt::Display for DiscoverWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A project whose dependencies are not looked up yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) project: Project,
    pub(crate) manifest: RelPath,
    pub(crate) wants: Vec<Wanted>,
}

/// A dependency as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The package of that name in an npm, Yarn or pnpm workspace.
    Package(String),
    /// What is in that folder.
    Folder(RelPath),
}

/// What one workspace consists of.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) is_workspace: bool,
    pub(crate) warnings: Vec<DiscoverWarning>,
}

/// Finds the projects in `tree`.
pub fn discover(tree: &mut dyn SourceTree, config: &TasksConfig) -> Result<Discovered, TasksError> {
    let mut global = GlobalFiles::parse(&config.affected.global)?;
    let mut drafts = Vec::new();
    let mut warnings = Vec::new();
    let mut lone = Vec::new();
    for root in workspace_roots(config)? {
        let npm = npm::find(tree, &root)?;
        let cargo = cargo::find(tree, &root)?;
        for (kind, members) in [(ProjectKind::Npm, npm), (ProjectKind::Cargo, cargo)] {
            warnings.extend(members.warnings);
            if !members.is_workspace {
                lone.extend(members.drafts);
                continue;
            }
            let number = global.workspaces.len();
            let path = root.clone();
            global.workspaces.push(Workspace { path, kind });
            drafts.extend(members.drafts.into_iter().map(|mut draft| {
                draft.project.workspace = Some(number);
                draft
            }));
        }
    }
    // A repository without workspaces is one project. Beside the workspace of another manager, a package is there for its tools.
    if drafts.is_empty() {
        drafts = lone;
    }
    let mut seen = BTreeSet::new();
    drafts.retain(|draft| seen.insert((draft.project.path.clone(), draft.project.kind)));
    add_configured(tree, config, &mut drafts)?;
    drafts.sort_by(|left, right| {
        let key = |draft: &Draft| (draft.project.path.clone(), draft.project.kind);
        key(left).cmp(&key(right))
    });
    warnings.extend(duplicates(&drafts));
    let mut by_path: HashMap<RelPath, Vec<usize>> = HashMap::new();
    for (number, draft) in drafts.iter().enumerate() {
        by_path
            .entry(draft.project.path.clone())
            .or_default()
            .push(number);
    }
    let list = look_up(drafts, &by_path, config)?;
    Ok(Discovered {
        projects: Projects {
            list,
            by_path,
            global,
        },
        warnings,
    })
}

fn workspace_roots(config: &TasksConfig) -> Result<Vec<RelPath>, TasksError> {
    match &config.affected.workspaces {
        None => Ok(vec![RelPath::root()]),
        Some(folders) => folders
            .iter()
            .map(|folder| parse_path("affected.workspaces", folder))
            .collect(),
    }
}

/// Adds folders that `headstart.toml` names; where a package is, gives it that name.
fn add_configured(
    tree: &mut dyn SourceTree,
    config: &TasksConfig,
    drafts: &mut Vec<Draft>,
) -> Result<(), TasksError> {
    let mut folders = Vec::new();
    for (name, ProjectConfig { path, .. }) in &config.projects {
        folders.push(parse_path(&format!("projects.{name}.path"), path)?);
    }
    let lists = tree.list(&folders).map_err(TasksError::Source)?;
    let mut taken: BTreeMap<RelPath, &String> = BTreeMap::new();
    for ((name, folder), list) in config.projects.keys().zip(folders).zip(lists) {
        let refuse = |reason: String| TasksError::Config {
            key: format!("projects.{name}.path"),
            reason,
        };
        if list.is_empty() {
            return Err(refuse(format!("{folder} is not a folder with files")));
        }
        if let Some(other) = taken.insert(folder.clone(), name) {
            return Err(refuse(format!("{folder} is that of projects.{other} already")));
        }
        let mut here = drafts
            .iter_mut()
            .filter(|draft| draft.project.path == folder)
            .peekable();
        if here.peek().is_none() {
            let mut project = Project::new(folder, ProjectKind::Folder, None);
            project.name.clone_from(name);
            drafts.push(Draft {
                project,
                manifest: RelPath::parse("headstart.toml").expect("a plain name"),
                wants: Vec::new(),
            });
            continue;
        }
        here.for_each(|draft| draft.project.name.clone_from(name));
    }
    Ok(())
}

/// Names that several projects have: whoever depends on one depends on all of them.
fn duplicates(drafts: &[Draft]) -> Vec<DiscoverWarning> {
    let mut first: HashMap<(ProjectKind, &str), &RelPath> = HashMap::new();
    let mut warnings = Vec::new();
    for draft in drafts {
        let Some(package) = &draft.project.package else {
            continue;
        };
        match first.entry((draft.project.kind, package)) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(&draft.manifest);
            }
            std::collections::hash_map::Entry::Occupied(other) => warnings.push(DiscoverWarning {
                path: draft.manifest.clone(),
                reason: format!(
                    "its name, {package:?}, is that of {} too; whoever depends on one counts for both",
                    other.get()
                ),
            }),
        }
    }
    warnings
}

/// Turns what manifests name into numbers.
fn look_up(
    drafts: Vec<Draft>,
    by_path: &HashMap<RelPath, Vec<usize>>,
    config: &TasksConfig,
) -> Result<Vec<Project>, TasksError> {
    let mut by_package: HashMap<String, Vec<usize>> = HashMap::new();
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, draft) in drafts.iter().enumerate() {
        let project = &draft.project;
        if let Some(package) = &project.package {
            by_name.entry(package.clone()).or_default().push(number);
            if project.kind == ProjectKind::Npm {
                by_package.entry(package.clone()).or_default().push(number);
            }
        }
        by_name.entry(project.name.clone()).or_default().push(number);
    }
    let mut list = Vec::new();
    for (number, draft) in drafts.into_iter().enumerate() {
        let mut project = draft.project;
        for wanted in &draft.wants {
            let numbers = match wanted {
                Wanted::Package(name) => by_package.get(name),
                Wanted::Folder(path) => by_path.get(path),
            };
            project.depends_on.extend(numbers.into_iter().flatten());
        }
        let configured = config.projects.get(&project.name);
        for name in configured.iter().flat_map(|configured| &configured.depends_on) {
            let numbers = by_name.get(name).ok_or_else(|| TasksError::Config {
                key: format!("projects.{}.depends-on", project.name),
                reason: format!("there is no project {name:?}"),
            })?;
            project.depends_on.extend(numbers);
        }
        project.depends_on.remove(&number);
        list.push(project);
    }
    Ok(list)
}

fn parse_path(key: &str, path: &Path) -> Result<RelPath, TasksError> {
    RelPath::parse_lenient(path).map_err(|error| TasksError::Config {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

/// `relative` as seen from `folder`; `None` where it leaves the tree.
pub(crate) fn join(folder: &RelPath, relative: &str) -> Option<RelPath> {
    if relative.starts_with('/') {
        return None;
    }
    let mut path = folder.clone();
    for component in relative.split('/') {
        match component {
            "" | "." => {}
            ".." => path = path.parent()?,
            component => path.push(component.as_bytes()).ok()?,
        }
    }
    Some(path)
}

/// The file called `name` in `folder`.
pub(crate) fn file_in(folder: &RelPath, name: &str) -> RelPath {
    join(folder, name).expect("a plain name leads nowhere else")
}

#[cfg(test)]
mod tests;
