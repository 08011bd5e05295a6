//! What a first machine saved, and what a second one makes of it.

use std::{
    collections::BTreeMap, os::unix::fs::symlink, path::PathBuf, process::Command, sync::atomic::AtomicBool,
};

use headstart_deps::{
    DependencyCache, Holds, OnDisk, RestoreOutcome, RestoreSettings, SaveOutcome, SaveSettings, ThenInstall,
    restore, save, status,
};
use headstart_store::{LinkMode, MemoryStore, NoProgress, Runtime};
use headstart_testkit::{Manifest, skipped};
use tempfile::TempDir;

use crate::{Case, Machine, OverATree};

/// A store with what a first machine saved, and the lockfile it made. That machine is gone.
pub(crate) struct Saved<'a> {
    case: &'a Case,
    lock: Option<(&'static str, Vec<u8>)>,
    store: MemoryStore,
    runtime: Runtime,
    /// What was saved, by the names of the caches.
    trees: BTreeMap<String, Tree>,
    root: TempDir,
}

/// A second machine, without a network, on which caches were restored.
pub(crate) struct Second<'a> {
    pub(crate) machine: Machine<'a>,
    caches: Vec<DependencyCache>,
    _root: TempDir,
}

impl<'a> Saved<'a> {
    /// Installs on a first machine and saves its caches, which are `expected`. `None` where the manager is not installed.
    pub(crate) fn by(case: &'a Case, expected: &[&str]) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        if let Some(variable) = case.variable {
            let Some(program) = std::env::var_os(variable) else {
                skipped(&format!(
                    "{} is not installed ({variable} is not set; tests/run installs it)",
                    case.program
                ));
                return None;
            };
            symlink(program, programs.join(case.program)).unwrap();
        } else if Command::new(case.program).arg("--version").output().is_err() {
            skipped(&format!(
                "{} is not installed (tests/run installs it)",
                case.program
            ));
            return None;
        }
        let checkout = root.path().join("first");
        let first = Machine::new(case, root.path().join("home"), checkout, &programs);
        first.must_run(case.setup);
        let store = MemoryStore::new();
        let runtime = Runtime::new().unwrap();
        let mut trees = BTreeMap::new();
        for cache in first.caches() {
            save_once(&cache, &store, &runtime);
            trees.insert(cache.name.clone(), Tree::of(&cache));
        }
        let found: Vec<&str> = trees.keys().map(String::as_str).collect();
        assert_eq!(found, expected);
        let lock = case
            .lockfile
            .map(|name| (name, std::fs::read(first.folder().join(name)).unwrap()));
        for gone in [first.folder(), &root.path().join("home")] {
            std::fs::remove_dir_all(gone).unwrap();
        }
        Some(Saved {
            case,
            lock,
            store,
            runtime,
            trees,
            root,
        })
    }

    /// A second machine where the caches that hold one of `holds` are restored and are what was saved.
    pub(crate) fn restored(&self, holds: &[Holds]) -> Second<'a> {
        let root = tempfile::tempdir().unwrap();
        let home = match self.case.needs_the_same_home {
            true => self.root.path().join("home"),
            false => root.path().join("home"),
        };
        // Of a machine before this one.
        let _ = std::fs::remove_dir_all(&home);
        let programs = self.root.path().join("programs");
        let checkout = root.path().join("elsewhere/second");
        let mut machine = Machine::new(self.case, home, checkout, &programs);
        if let Some((name, content)) = &self.lock {
            machine.write(name, content);
        }
        let caches = machine.caches();
        machine.unplug();
        for cache in caches.iter().filter(|cache| holds.contains(&cache.holds)) {
            restore_exactly(cache, &self.store, &self.runtime);
            let saved = without(&self.trees[&cache.name].listing, self.case.settled);
            saved.assert_same(&without(&Tree::of(cache).listing, self.case.settled));
        }
        Second {
            machine,
            caches,
            _root: root,
        }
    }

    /// The frozen install needs the restored downloads alone, and leaves them as they are.
    pub(crate) fn installs_from_the_downloads(&self) {
        let second = self.restored(&[Holds::Downloads]);
        second.machine.install(&second.caches);
        second.machine.must_run(self.case.check);
        for cache in second.caches_that_hold(Holds::Downloads) {
            let saved = &self.trees[&cache.name];
            saved
                .listing
                .assert_same(&Manifest::of_parts(&cache.root, &saved.parts));
        }
    }

    /// The restored tree works without an install.
    pub(crate) fn works_from_the_tree(&self) {
        let second = self.restored(&[Holds::Installed]);
        second.machine.must_run(self.case.check);
        let trees: Vec<_> = second.caches_that_hold(Holds::Installed).cloned().collect();
        for found in status(&trees, &self.store, &self.runtime).unwrap() {
            assert_eq!(found.on_disk, OnDisk::Present);
        }
    }

    /// An install over everything restored has nothing to fetch and nothing to do.
    pub(crate) fn installs_over_everything(&self) {
        let second = self.restored(&[Holds::Downloads, Holds::Installed]);
        let trees = || -> Vec<Manifest> {
            let trees = second.caches_that_hold(Holds::Installed).map(Tree::of);
            let comparable = |tree: Tree| match self.case.over_a_tree {
                OverATree::KeepsAllBut(paths) => without(&tree.listing, paths),
                OverATree::StartsOver => tree.listing.without_mtimes(),
            };
            trees.map(comparable).collect()
        };
        let before = trees();
        second.machine.install(&second.caches);
        for (before, after) in before.iter().zip(trees()) {
            before.assert_same(&after);
        }
        second.machine.must_run(self.case.check);
    }
}

impl Second<'_> {
    pub(crate) fn caches_that_hold(&self, holds: Holds) -> impl Iterator<Item = &DependencyCache> {
        self.caches.iter().filter(move |cache| cache.holds == holds)
    }
}

/// What a save of a cache keeps.
struct Tree {
    parts: Vec<PathBuf>,
    listing: Manifest,
}

impl Tree {
    fn of(cache: &DependencyCache) -> Self {
        let paths = cache.find_paths_to_save().unwrap();
        let parts: Vec<PathBuf> = paths.iter().map(|path| path.as_path().to_owned()).collect();
        Tree {
            listing: Manifest::of_parts(&cache.root, &parts),
            parts,
        }
    }
}

/// `tree` without some files, and as if they had not been replaced.
fn without(tree: &Manifest, paths: &[&str]) -> Manifest {
    paths.iter().fold(tree.clone(), |tree, path| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        tree.without(path).without_mtime_of(folder)
    })
}

/// Saves a cache that was not there, and then is.
fn save_once(cache: &DependencyCache, store: &MemoryStore, runtime: &Runtime) {
    let settings = SaveSettings {
        stat_cache: None,
        facts: BTreeMap::new(),
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    let never = AtomicBool::new(false);
    let save = || save(cache, store, None, runtime, &settings, &NoProgress, &never).unwrap();
    let outcome = save();
    assert!(
        matches!(outcome, SaveOutcome::Saved(_)),
        "{}: {outcome:?}",
        cache.name
    );
    assert!(matches!(save(), SaveOutcome::KeyExists(_)));
}

fn restore_exactly(cache: &DependencyCache, store: &MemoryStore, runtime: &Runtime) {
    let settings = RestoreSettings {
        link: LinkMode::Copy,
        pool: None,
        then: ThenInstall::No,
    };
    let never = AtomicBool::new(false);
    let outcome = restore(cache, store, runtime, &settings, &NoProgress, &never).unwrap();
    assert!(
        matches!(outcome, RestoreOutcome::Exact(_)),
        "{}: {outcome:?}",
        cache.name
    );
}
