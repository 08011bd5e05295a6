//! Finds the dependency caches of a tree: every folder with a lockfile is a project, `[[deps.cache]]` adds its own.

use std::path::Path;

use headstart_fs::RelPath;

use crate::{
    DependencyCache, DepsConfig, DepsError, Host, Manager, Tools,
    config::CacheConfig,
    custom, managers,
    project::{Draft, Project},
    search::{Folder, search},
};

/// Finds the caches of the projects in `folder` and below, in the order of their folders. Reads lockfiles and settings,
/// and asks `tools`; changes nothing.
pub fn find_caches(
    folder: &Path,
    host: &Host,
    tools: &dyn Tools,
    config: &DepsConfig,
) -> Result<Vec<DependencyCache>, DepsError> {
    check_disabled_names(config)?;
    let folders = search(folder)?;
    let ignored = ignored_folders(config)?;
    let mut drafts: Vec<(RelPath, Draft)> = Vec::new();
    for at in &folders {
        if ignored.iter().any(|ignored| at.path.starts_with(ignored)) {
            continue;
        }
        let project = Project {
            base: folder,
            folders: &folders,
            at,
            host,
            tools,
        };
        let found = managers::find(&project)?;
        drafts.extend(found.into_iter().map(|draft| (at.path.clone(), draft)));
    }
    drafts.retain(|(_, draft)| !is_disabled(draft, config));
    for cache in config
        .cache
        .iter()
        .filter(|cache| !config.disable.contains(&cache.name))
    {
        add(cache, folder, &folders, host, tools, &mut drafts)?;
    }
    drafts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let scope = config.scope.as_deref();
    Ok(drafts
        .into_iter()
        .map(|(path, draft)| draft.finish(&path, scope))
        .collect())
}

fn ignored_folders(config: &DepsConfig) -> Result<Vec<RelPath>, DepsError> {
    config
        .ignore
        .iter()
        .map(|path| {
            RelPath::parse_lenient(path).map_err(|error| DepsError::Refused {
                name: "ignore".to_owned(),
                reason: error.to_string(),
            })
        })
        .collect()
}

/// A name need not be of this project, for the setting may be for several; it must be one, though.
fn check_disabled_names(config: &DepsConfig) -> Result<(), DepsError> {
    let managers = Manager::FOUND.map(Manager::name);
    let is_known = |name: &str| {
        managers.contains(&name)
            || managers::CACHES.contains(&name)
            || config.cache.iter().any(|cache| cache.name == name)
    };
    match config.disable.iter().find(|name| !is_known(name)) {
        Some(name) => Err(DepsError::DisablesNothing {
            name: name.clone(),
            managers: managers.join(", "),
        }),
        None => Ok(()),
    }
}

fn is_disabled(draft: &Draft, config: &DepsConfig) -> bool {
    config
        .disable
        .iter()
        .any(|name| *name == draft.name || name == draft.manager.name())
}

/// Adds to the cache that `config` names, or makes a new one.
fn add(
    config: &CacheConfig,
    base: &Path,
    folders: &[Folder],
    host: &Host,
    tools: &dyn Tools,
    drafts: &mut Vec<(RelPath, Draft)>,
) -> Result<(), DepsError> {
    let path = custom::project_folder(config, base)?;
    let empty = Folder {
        path: path.clone(),
        files: Default::default(),
    };
    let project = Project {
        base,
        folders,
        at: folders
            .iter()
            .find(|folder| folder.path == path)
            .unwrap_or(&empty),
        host,
        tools,
    };
    let found = drafts
        .iter_mut()
        .find(|(at, draft)| *at == path && draft.name == config.name);
    match found {
        Some((_, draft)) => custom::extend(draft, config, &project),
        None => {
            drafts.push((path, custom::create(config, &project)?));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{DependencyCache, find_caches, testing::Sandbox};

    fn titles(sandbox: &Sandbox) -> Vec<String> {
        sandbox.caches().iter().map(DependencyCache::title).collect()
    }

    #[test]
    fn every_folder_with_a_lockfile_is_a_project() {
        let sandbox = Sandbox::new();
        for path in [
            "Cargo.lock",
            "tools/x/Cargo.lock",
            "node_modules/y/Cargo.lock",
            "py/uv.lock",
        ] {
            sandbox.write(path, "");
        }
        assert_eq!(
            titles(&sandbox),
            ["cargo-registry", "uv-cache (py)", "cargo-registry (tools/x)"]
        );
    }

    #[test]
    fn caches_and_managers_can_be_disabled_and_folders_ignored() {
        let mut sandbox = Sandbox::new();
        for path in ["Cargo.lock", "uv.lock", "fixtures/one/Cargo.lock"] {
            sandbox.write(path, "");
        }
        sandbox.config.disable = vec!["uv".to_owned()];
        sandbox.config.ignore = vec!["./fixtures".into()];
        assert_eq!(titles(&sandbox), ["cargo-registry"]);
    }

    #[test]
    fn a_name_to_disable_that_means_nothing_is_refused() {
        let mut sandbox = Sandbox::new();
        sandbox.write("Cargo.lock", "");
        sandbox.config = toml::from_str(
            "disable = [\"maven\", \"npm-cache\", \"target\"]\n[[cache]]\nname = \"target\"\npaths = \
             [\"target\"]\nkey-files = [\"Cargo.lock\"]",
        )
        .unwrap();
        assert_eq!(titles(&sandbox), ["cargo-registry"]);
        sandbox.config.disable = vec!["crago".to_owned()];
        let error =
            find_caches(&sandbox.folder(), &sandbox.host, &sandbox.tools, &sandbox.config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "deps.disable names \"crago\", which is no cache and none of the managers bun, cargo, go, gradle, maven, \
             npm, pip, pnpm, poetry, uv, yarn-berry, yarn-classic"
        );
    }

    #[test]
    fn a_scope_keeps_repositories_apart() {
        let mut sandbox = Sandbox::new();
        sandbox.write("Cargo.lock", "");
        let before = sandbox.cache("cargo-registry").restore_keys;
        sandbox.config.scope = Some("shop".to_owned());
        assert_ne!(before, sandbox.cache("cargo-registry").restore_keys);
    }
}
