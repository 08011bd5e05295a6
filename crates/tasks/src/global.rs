//! Files that affect more than the project they are in.

use globset::{GlobBuilder, GlobSet};
use headstart_fs::RelPath;

use crate::{TasksError, pattern, project::ProjectKind};

/// What decides how all packages of an npm, Yarn or pnpm workspace are installed.
const NPM: &[&str] = &[
    ".npmrc",
    ".pnpmfile.cjs",
    ".yarnrc",
    ".yarnrc.yml",
    "bun.lock",
    "bun.lockb",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "yarn.lock",
];
/// What decides how all packages of a Cargo workspace are built.
const CARGO: &[&str] = &[
    ".cargo/config",
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// A folder with the manifest of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) path: RelPath,
    pub(crate) kind: ProjectKind,
}

/// Which projects a file affects, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the workspace with this number.
    Workspace(usize),
    All,
}

/// The rules.
#[derive(Debug, Default)]
pub(crate) struct GlobalFiles {
    pub(crate) workspaces: Vec<Workspace>,
    /// Globs, and whether what matches counts; the last that matches decides.
    rules: Vec<(bool, GlobSet)>,
}

impl GlobalFiles {
    /// Adds the globs of `affected.global`.
    pub(crate) fn parse(globs: &[String]) -> Result<Self, TasksError> {
        let refuse = |reason: String| TasksError::Config {
            key: "affected.global".to_owned(),
            reason,
        };
        pattern::check_size(globs).map_err(refuse)?;
        let mut rules = Vec::new();
        for text in globs {
            let (counts, glob) = match text.strip_prefix('!') {
                Some(glob) => (false, glob),
                None => (true, text.as_str()),
            };
            let glob = GlobBuilder::new(glob.trim_start_matches("./"))
                .literal_separator(true)
                .build()
                .and_then(pattern::compile)
                .map_err(|error| refuse(error.to_string()))?;
            rules.push((counts, glob));
        }
        Ok(GlobalFiles {
            workspaces: Vec::new(),
            rules,
        })
    }

    /// How far a file reaches beyond its own project.
    pub(crate) fn reach(&self, file: &RelPath) -> Vec<Reach> {
        match self.rules.iter().rfind(|(_, glob)| glob.is_match(file.as_path())) {
            Some((true, _)) => vec![Reach::All],
            Some((false, _)) => Vec::new(),
            None => {
                let of_workspaces = self.workspaces.iter().enumerate();
                of_workspaces
                    .filter(|(_, workspace)| workspace.is_decided_by(file))
                    .map(|(number, _)| Reach::Workspace(number))
                    .collect()
            }
        }
    }
}

impl Workspace {
    fn is_decided_by(&self, file: &RelPath) -> bool {
        let names = match self.kind {
            ProjectKind::Npm => NPM,
            ProjectKind::Cargo => CARGO,
            ProjectKind::Folder => return false,
        };
        let Some(rest) = file.as_bytes().strip_prefix(self.path.as_bytes()) else {
            return false;
        };
        let rest = match self.path.is_root() {
            true => Some(rest),
            false => rest.strip_prefix(b"/"),
        };
        rest.is_some_and(|rest| names.iter().any(|name| name.as_bytes() == rest))
    }
}
