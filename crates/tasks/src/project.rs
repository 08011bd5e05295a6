//! Projects and what they depend on.

use std::collections::{BTreeSet, HashMap};

use headstart_fs::RelPath;

use crate::global::GlobalFiles;

/// Who manages a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectKind {
    /// A package of npm, Yarn or pnpm.
    Npm,
    /// A Cargo package.
    Cargo,
    /// A folder named in `headstart.toml`.
    Folder,
}

impl ProjectKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ProjectKind::Npm => "npm",
            ProjectKind::Cargo => "cargo",
            ProjectKind::Folder => "folder",
        }
    }
}

/// A part of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name `headstart.toml` or its manifest gives it; its path where neither does.
    pub name: String,
    /// Its folder.
    pub path: RelPath,
    /// Who manages it.
    pub kind: ProjectKind,
    /// The name in its manifest, which others depend on.
    pub(crate) package: Option<String>,
    /// The number of the workspace it was found by.
    pub(crate) workspace: Option<usize>,
    /// What it depends on is not known, because its manifest is not understood.
    pub(crate) is_unclear: bool,
    /// Numbers of projects it depends on.
    pub(crate) depends_on: BTreeSet<usize>,
}

impl Project {
    pub(crate) fn new(path: RelPath, kind: ProjectKind, package: Option<String>) -> Self {
        Project {
            name: package.clone().unwrap_or_else(|| path.to_string()),
            path,
            kind,
            package,
            workspace: None,
            is_unclear: false,
            depends_on: BTreeSet::new(),
        }
    }
}

/// All projects of a repository.
#[derive(Debug, Default)]
pub struct Projects {
    /// Sorted by path.
    pub(crate) list: Vec<Project>,
    /// The numbers of the projects in each folder: a package of npm and one of Cargo may share it.
    pub(crate) by_path: HashMap<RelPath, Vec<usize>>,
    pub(crate) global: GlobalFiles,
}

impl Projects {
    /// All of them, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Project> {
        self.list.iter()
    }

    /// The numbers of the projects a file belongs to: those in the deepest folder around it.
    pub(crate) fn owners(&self, file: &RelPath) -> &[usize] {
        let mut folder = file.parent();
        while let Some(path) = folder {
            if let Some(projects) = self.by_path.get(&path) {
                return projects;
            }
            folder = path.parent();
        }
        &[]
    }

    /// For each project, the numbers of those that depend on it.
    pub(crate) fn dependents(&self) -> Vec<Vec<usize>> {
        let mut dependents = vec![Vec::new(); self.list.len()];
        for (number, project) in self.list.iter().enumerate() {
            for dependency in &project.depends_on {
                dependents[*dependency].push(number);
            }
        }
        dependents
    }
}
