//! Which projects a change affects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headstart_fs::RelPath;

use crate::{
    global::Reach,
    project::{Project, Projects},
};

/// What some changed files affect.
#[derive(Debug, PartialEq, Eq)]
pub struct Affected<'a> {
    /// The projects, sorted by path.
    pub projects: Vec<AffectedProject<'a>>,
    /// Changed files that are in no project.
    pub outside: Vec<&'a RelPath>,
    /// Changed files that affect more than the project they are in.
    pub global: Vec<&'a RelPath>,
}

/// A project that is affected, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct AffectedProject<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its own changed files.
    pub files: Vec<&'a RelPath>,
    /// Changed files elsewhere that affect it: a lockfile, a shared configuration.
    pub global: Vec<&'a RelPath>,
    /// The projects it depends on that are affected.
    pub dependencies: Vec<&'a Project>,
}

impl AffectedProject<'_> {
    /// Whether it is affected by itself, and not only by what it depends on.
    pub fn is_changed(&self) -> bool {
        !self.files.is_empty() || !self.global.is_empty() || self.project.is_unclear
    }
}

#[derive(Default)]
struct Reasons<'a> {
    files: Vec<&'a RelPath>,
    global: Vec<&'a RelPath>,
}

impl Projects {
    /// The projects that a change of `files` affects. One whose manifest is not understood always is.
    pub fn affected_by<'a>(&'a self, files: impl IntoIterator<Item = &'a RelPath>) -> Affected<'a> {
        let mut reasons: BTreeMap<usize, Reasons<'a>> = BTreeMap::new();
        let mut outside = Vec::new();
        let mut global = Vec::new();
        let unclear = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, project)| project.is_unclear);
        reasons.extend(unclear.map(|(number, _)| (number, Reasons::default())));
        for file in files {
            let owners = self.owners(file);
            for owner in owners {
                reasons.entry(*owner).or_default().files.push(file);
            }
            if owners.is_empty() {
                outside.push(file);
            }
            let reaches = self.global.reach(file);
            if !reaches.is_empty() {
                global.push(file);
            }
            for (number, project) in self.list.iter().enumerate() {
                let is_reached = reaches.iter().any(|reach| match reach {
                    Reach::All => true,
                    Reach::Workspace(workspace) => project.workspace == Some(*workspace),
                });
                if is_reached {
                    reasons.entry(number).or_default().global.push(file);
                }
            }
        }
        let affected = self.with_dependents(reasons.keys().copied());
        let projects = affected
            .iter()
            .map(|&number| {
                let project = &self.list[number];
                let Reasons { files, global } = reasons.remove(&number).unwrap_or_default();
                let dependencies = project.depends_on.intersection(&affected);
                AffectedProject {
                    project,
                    files,
                    global,
                    dependencies: dependencies.map(|number| &self.list[*number]).collect(),
                }
            })
            .collect();
        Affected {
            projects,
            outside,
            global,
        }
    }

    /// Some projects, and all that depend on them directly or by others.
    fn with_dependents(&self, changed: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let dependents = self.dependents();
        let mut affected: BTreeSet<usize> = changed.collect();
        let mut next: VecDeque<usize> = affected.iter().copied().collect();
        while let Some(number) = next.pop_front() {
            for &dependent in &dependents[number] {
                if affected.insert(dependent) {
                    next.push_back(dependent);
                }
            }
        }
        affected
    }
}

#[cfg(test)]
mod tests;
