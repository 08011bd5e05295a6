//! One file per family of package managers: which lockfiles and settings make its keys, which folders it keeps.

pub(crate) mod bun;
pub(crate) mod cargo;
pub(crate) mod go;
mod jvm;
pub(crate) mod npm;
pub(crate) mod pnpm;
mod pnpm_tree;
mod python;
pub(crate) mod yarn_berry;
pub(crate) mod yarn_classic;

use crate::{
    DepsError, Manager,
    project::{Draft, Project},
};

/// The names of all caches that can be found.
pub(crate) const CACHES: [&str; 18] = [
    "bun-cache",
    "bun-node_modules",
    "cargo-registry",
    "go-modules",
    "gradle-caches",
    "maven-repository",
    "npm-cache",
    "npm-node_modules",
    "pip-cache",
    "pnpm-node_modules",
    "pnpm-store",
    "poetry-cache",
    "uv-cache",
    "yarn-berry-cache",
    "yarn-berry-node_modules",
    "yarn-berry-pnp",
    "yarn-classic-cache",
    "yarn-classic-node_modules",
];

/// The caches of every manager that is at home in a project's folder.
pub(crate) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let mut drafts = match node_manager(project)? {
        Some(Manager::Npm) => npm::find(project)?,
        Some(Manager::YarnClassic) => yarn_classic::find(project)?,
        Some(Manager::YarnBerry) => yarn_berry::find(project)?,
        Some(Manager::Pnpm) => pnpm::find(project)?,
        Some(Manager::Bun) => bun::find(project)?,
        _ => Vec::new(),
    };
    drafts.extend(cargo::find(project)?);
    drafts.extend(python::find(project)?);
    drafts.extend(go::find(project)?);
    drafts.extend(jvm::find(project)?);
    debug_assert!(
        drafts.iter().all(|draft| CACHES.contains(&draft.name.as_str())),
        "every cache is listed: {drafts:?}"
    );
    Ok(drafts)
}

/// Which one of the managers of `node_modules` is in charge: that of `packageManager`, if its lockfile is there, or
/// else that of the lockfile. Several lockfiles without a word from the manifest: the first of pnpm, Yarn, bun, npm, in
/// which order migrations usually leave the old one behind.
fn node_manager(project: &Project<'_>) -> Result<Option<Manager>, DepsError> {
    let at = project.at;
    if !at.has("package.json") {
        return Ok(None);
    }
    let mut present = Vec::new();
    if at.has("pnpm-lock.yaml") {
        present.push(Manager::Pnpm);
    }
    if at.has("yarn.lock") {
        present.push(match yarn_berry::is_berry(project)? {
            true => Manager::YarnBerry,
            false => Manager::YarnClassic,
        });
    }
    if at.has("bun.lock") || at.has("bun.lockb") {
        present.push(Manager::Bun);
    }
    if at.has("package-lock.json") || at.has("npm-shrinkwrap.json") {
        present.push(Manager::Npm);
    }
    if present.len() > 1 {
        let node = crate::node::NodeProject::load(project, Some(Vec::new()))?;
        let named = node.package_manager().and_then(|(name, _)| {
            present.iter().find(|manager| match name {
                "yarn" => matches!(manager, Manager::YarnClassic | Manager::YarnBerry),
                name => manager.name() == name,
            })
        });
        if let Some(named) = named {
            return Ok(Some(*named));
        }
    }
    Ok(present.first().copied())
}

#[cfg(test)]
mod tests {
    use crate::testing::Sandbox;

    #[test]
    fn the_manifest_decides_between_two_lockfiles() {
        let sandbox = Sandbox::new();
        sandbox.write("package-lock.json", "{}");
        sandbox.write("yarn.lock", "# yarn lockfile v1\n");
        sandbox.write("package.json", r#"{"packageManager": "npm@10.0.0"}"#);
        sandbox.cache("npm-node_modules");
        sandbox.write("package.json", "{}");
        sandbox.cache("yarn-classic-node_modules");
    }

    #[test]
    fn a_lockfile_without_a_manifest_is_not_a_project() {
        let sandbox = Sandbox::new();
        sandbox.write("package-lock.json", "{}");
        assert!(sandbox.caches().is_empty());
    }
}
