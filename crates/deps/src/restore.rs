//! Restoring a dependency cache: the exact key, then what a restore key is good for, then nothing.

use std::{path::PathBuf, sync::atomic::AtomicBool};

use headstart_fs::{AtPath as _, RelPath};
use headstart_store::{
    LinkMode, Progress, RestoreError, RestoreOptions, Restored, Runtime, Store, Within, Xattrs,
};

use crate::{
    DependencyCache, DepsError, OnRestoreKey,
    managers::pnpm,
    namespace,
    status::{InStore, look_up},
};

/// What a restore needs besides the cache.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// How files are made.
    pub link: LinkMode,
    /// The pool of expanded files, for `link` modes that use one.
    pub pool: Option<PathBuf>,
    /// Whether the frozen install runs afterwards. Only then is an older installed tree restored.
    pub then: ThenInstall,
}

/// Whether the manager's frozen install follows a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThenInstall {
    /// It runs in any case that is not an exact hit.
    Yes,
    /// It does not.
    No,
}

/// What a restored tree is told of the machine it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Nothing: it holds nothing of the machine it was saved on.
    Nothing,
    /// Where pnpm's store is.
    PnpmStore(PathBuf),
}

/// What became of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The exact key: what is on disk is what the lockfile asks for.
    Exact(Restored),
    /// An older version, for the manager to complete.
    Older {
        /// Its key.
        key: String,
        /// The numbers.
        restored: Restored,
    },
    /// No key matched; nothing was touched.
    Miss,
    /// The store has an older installed tree, which is of no use without the install; nothing was touched.
    OlderUnused {
        /// Its key.
        key: String,
    },
    /// A file was there that must not be replaced; nothing was touched.
    LeftAlone {
        /// The file.
        because_of: PathBuf,
    },
}

/// Restores the best match of the cache's keys.
pub fn restore(
    cache: &DependencyCache,
    store: &dyn Store,
    runtime: &Runtime,
    settings: &RestoreSettings,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<RestoreOutcome, DepsError> {
    if let Some(file) = &cache.left_alone_if {
        let file = file.join_to(&cache.root);
        if file.symlink_metadata().is_ok() {
            return Ok(RestoreOutcome::LeftAlone { because_of: file });
        }
    }
    let (key, older) = match runtime.run(interrupt, look_up(cache, store))? {
        InStore::Miss => return Ok(RestoreOutcome::Miss),
        InStore::Exact(_) => (cache.key.clone(), false),
        InStore::Older(info) => {
            let key = info.name.key().to_owned();
            if cache.on_restore_key == OnRestoreKey::NeedsInstall && settings.then == ThenInstall::No {
                return Ok(RestoreOutcome::OlderUnused { key });
            }
            (key, true)
        }
    };
    let owner = cache.clone();
    let options = RestoreOptions {
        namespace: namespace(),
        key: key.clone(),
        restore_keys: Vec::new(),
        root: cache.root.clone(),
        images: None,
        within: Some(Within::new(move |path| owner.may_restore(path))),
        link: settings.link,
        pool: settings.pool.clone(),
        xattrs: Xattrs::Drop,
        keep: None,
    };
    let engine = match cache.is_shared() {
        true => headstart_store::restore_beside,
        false => headstart_store::restore,
    };
    let restored = engine(store, runtime, &options, progress, interrupt).map_err(|error| match error {
        RestoreError::Outside { path } => DepsError::Outside {
            cache: cache.title(),
            path,
        },
        error => error.into(),
    })?;
    let restored = match restored {
        headstart_store::RestoreOutcome::Restored(restored) => restored,
        // Evicted since it was looked up.
        headstart_store::RestoreOutcome::Miss => return Ok(RestoreOutcome::Miss),
    };
    remove_leftovers(cache, &restored.roots)?;
    if let Settle::PnpmStore(folder) = &cache.settle {
        pnpm::note_store(&cache.root, folder)?;
    }
    Ok(match older {
        false => RestoreOutcome::Exact(restored),
        true => RestoreOutcome::Older { key, restored },
    })
}

impl DependencyCache {
    /// Whether a snapshot may restore to `root`. Whoever can write to a store could put anything under a cache's key; it still
    /// reaches only where the cache is: not `.git/hooks` of the project, not `bin` of the cargo home.
    fn may_restore(&self, root: &RelPath) -> bool {
        self.paths.iter().any(|path| root.starts_with(path)) || self.may_hold(root)
    }

    /// Whether an older version of the cache may have had this path: `node_modules` of a workspace that is gone.
    fn may_hold(&self, root: &RelPath) -> bool {
        !self.is_shared()
            && root.file_name() == Some(b"node_modules")
            && self
                .paths
                .iter()
                .any(|path| path.file_name() == Some(b"node_modules"))
            && !root.components().any(|component| component.starts_with(b"."))
    }
}

/// Takes away what is on disk at paths of the cache that the restored tree does not have: a `node_modules` of a
/// workspace that needs none would be found before the root's.
fn remove_leftovers(cache: &DependencyCache, roots: &[RelPath]) -> Result<(), DepsError> {
    if cache.is_shared() {
        return Ok(());
    }
    for path in cache.paths.iter().filter(|path| !roots.contains(path)) {
        let on_disk = path.join_to(&cache.root);
        match on_disk.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&on_disk).at("remove", &on_disk)?,
            Ok(_) => std::fs::remove_file(&on_disk).at("remove", &on_disk)?,
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headstart_store::{MemoryStore, NoProgress, SaveOptions};

    use super::*;
    use crate::{SaveOutcome, SaveSettings, project::rel, save, status::entry_name, testing::Sandbox};

    const LOCK: &str = "a@1:\n  version \"1.0.0\"\n  resolved \"https://r/a.tgz#1\"\n";
    const RECORD: &str = r#"{"lockfileEntries": {"a@1": "https://r/a.tgz#1"}}"#;
    const TREE: &str = "yarn-classic-node_modules";

    struct Bench {
        store: MemoryStore,
        runtime: Runtime,
        never: AtomicBool,
    }

    impl Bench {
        fn new() -> Self {
            Bench {
                store: MemoryStore::new(),
                runtime: Runtime::new().unwrap(),
                never: AtomicBool::new(false),
            }
        }

        fn save(&self, cache: &DependencyCache) -> SaveOutcome {
            let settings = SaveSettings {
                stat_cache: None,
                facts: BTreeMap::new(),
                now: "2026-01-01T00:00:00Z".parse().unwrap(),
            };
            save(
                cache,
                &self.store,
                None,
                &self.runtime,
                &settings,
                &NoProgress,
                &self.never,
            )
            .unwrap()
        }

        fn restore(&self, cache: &DependencyCache, then: ThenInstall) -> Result<RestoreOutcome, DepsError> {
            let settings = RestoreSettings {
                link: LinkMode::Copy,
                pool: None,
                then,
            };
            restore(
                cache,
                &self.store,
                &self.runtime,
                &settings,
                &NoProgress,
                &self.never,
            )
        }
    }

    /// A checkout of a project with one workspace.
    fn checkout() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", r#"{"workspaces": ["packages/*"]}"#);
        sandbox.write("packages/b/package.json", "{}");
        sandbox.write("yarn.lock", LOCK);
        sandbox
    }

    fn installed() -> Sandbox {
        let sandbox = checkout();
        sandbox.write("node_modules/.yarn-integrity", RECORD);
        sandbox.write("node_modules/a/index.js", "1");
        sandbox
    }

    #[test]
    fn an_exact_hit_is_the_saved_tree_and_nothing_else() {
        let bench = Bench::new();
        assert!(matches!(
            bench.save(&installed().cache(TREE)),
            SaveOutcome::Saved(_)
        ));
        let second = checkout();
        second.write("node_modules/stale/index.js", "");
        second.write("packages/b/node_modules/a/index.js", "0");
        let outcome = bench.restore(&second.cache(TREE), ThenInstall::No).unwrap();
        assert!(matches!(outcome, RestoreOutcome::Exact(_)), "{outcome:?}");
        let there = |path: &str| second.folder().join(path).exists();
        assert!(there("node_modules/a/index.js"));
        assert!(
            !there("node_modules/stale"),
            "what the lockfile does not ask for is gone"
        );
        assert!(
            !there("packages/b/node_modules"),
            "it would be found before the root's"
        );
        assert!(there("packages/b/package.json"));
    }

    #[test]
    fn a_tree_of_another_lockfile_is_restored_only_for_an_install() {
        let bench = Bench::new();
        bench.save(&installed().cache(TREE));
        let second = checkout();
        second.write("yarn.lock", &LOCK.replace("1.0.0", "1.0.1"));
        let cache = second.cache(TREE);
        let outcome = bench.restore(&cache, ThenInstall::No).unwrap();
        assert!(
            matches!(outcome, RestoreOutcome::OlderUnused { .. }),
            "{outcome:?}"
        );
        assert!(!second.folder().join("node_modules").exists());
        let outcome = bench.restore(&cache, ThenInstall::Yes).unwrap();
        assert!(matches!(outcome, RestoreOutcome::Older { .. }), "{outcome:?}");
        assert!(second.folder().join("node_modules/a").exists());
    }

    #[test]
    fn a_tree_of_another_lockfile_is_not_saved() {
        let bench = Bench::new();
        let sandbox = installed();
        sandbox.write("yarn.lock", &LOCK.replace("#1", "#2"));
        let cache = sandbox.cache(TREE);
        assert!(matches!(bench.save(&cache), SaveOutcome::Stale { .. }));
        assert_eq!(
            bench.restore(&cache, ThenInstall::Yes).unwrap(),
            RestoreOutcome::Miss
        );
    }

    #[test]
    fn a_snapshot_that_reaches_outside_the_cache_is_refused() {
        let bench = Bench::new();
        let sandbox = checkout();
        let cache = sandbox.cache(TREE);
        sandbox.write(".git/hooks/post-checkout", "#!/bin/sh\n");
        let options = SaveOptions {
            stat_cache: None,
            name: entry_name(&cache.key),
            root: sandbox.folder(),
            paths: vec![rel(".git/hooks")],
            xattrs: Xattrs::Drop,
            leave_out: None,
            facts: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        headstart_store::save(
            &bench.store,
            None,
            &bench.runtime,
            &options,
            &NoProgress,
            &bench.never,
        )
        .unwrap();
        let victim = checkout();
        let error = bench.restore(&victim.cache(TREE), ThenInstall::Yes).unwrap_err();
        assert!(
            matches!(error, DepsError::Outside { .. }) && error.is_like_a_miss(),
            "{error:?}"
        );
        assert!(!victim.folder().join(".git").exists());
    }

    #[test]
    fn a_database_of_other_projects_is_left_alone() {
        let bench = Bench::new();
        let sandbox = Sandbox::new();
        sandbox.write("package.json", r#"{"packageManager": "pnpm@12.0.0"}"#);
        sandbox.write("pnpm-lock.yaml", "lockfileVersion: '9.0'\n");
        sandbox.write_home(".local/share/pnpm/store/v11/index.db", "ours");
        let cache = sandbox.cache("pnpm-store");
        assert!(matches!(bench.save(&cache), SaveOutcome::Saved(_)));
        sandbox.write_home(".local/share/pnpm/store/v11/index.db", "others too");
        let outcome = bench.restore(&cache, ThenInstall::No).unwrap();
        assert!(matches!(outcome, RestoreOutcome::LeftAlone { .. }), "{outcome:?}");
    }

    #[test]
    fn what_others_keep_in_a_shared_folder_stays() {
        let bench = Bench::new();
        let crates = |names: &[&str]| {
            let sandbox = Sandbox::new();
            sandbox.write(
                "Cargo.lock",
                "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n",
            );
            for name in names {
                sandbox.write_home(&format!(".cargo/registry/cache/r/{name}"), name);
            }
            sandbox
        };
        bench.save(&crates(&["a-1.0.0.crate", "z-1.0.0.crate"]).cache("cargo-registry"));
        let second = crates(&["b-1.0.0.crate"]);
        bench
            .restore(&second.cache("cargo-registry"), ThenInstall::No)
            .unwrap();
        let there = |name: &str| {
            second
                .host
                .home
                .join(".cargo/registry/cache/r")
                .join(name)
                .exists()
        };
        assert!(there("a-1.0.0.crate") && there("b-1.0.0.crate"));
        assert!(!there("z-1.0.0.crate"), "the lockfile does not name it");
    }
}
