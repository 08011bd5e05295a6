//! Seeds in the store, on this machine's disk, and in the clones that were made here.
//!
//! A seed is two entries of the same key: in the namespace `seed` its tip with the manifest, in `seed-history` the rest. What
//! is brought to this machine is kept unpacked beside the local store, where clones link it from.

use std::{
    path::Path,
    sync::{OnceLock, atomic::AtomicBool},
};

use headstart_git::{
    GitEnvironment, Seed, SeedKey, SeedSource,
    seed::{self, SeedError, SeedManifest, SeedPart},
};
use headstart_store::{
    EntryInfo, EntryName, LinkMode, LocalStore, Namespace, RestoreError, RestoreOptions, RestoreOutcome,
    StoreError, Xattrs, restore,
};
use parking_lot::Mutex;

mod clones;
mod progress;
mod unpacked;

use clones::KnownClones;
pub(crate) use clones::forget_gone;
use progress::FetchOnly;
pub(crate) use unpacked::{UnpackedSeeds, evict_unpacked};

use crate::{
    context::Context,
    error::CommandError,
    stores::{Keys, Stores},
    ui::Ui,
};

/// Entries looked at to find the newest.
const RECENT: usize = 16;

/// The namespace of tips and manifests.
pub(crate) fn tip_namespace() -> Namespace {
    "seed".parse().expect("a plain word is a namespace")
}

/// The namespace of histories.
pub(crate) fn history_namespace() -> Namespace {
    "seed-history".parse().expect("plain words are a namespace")
}

/// Where a local store keeps seeds unpacked.
pub(crate) fn unpacked_dir(local: &LocalStore) -> std::path::PathBuf {
    local.folder().join("seeds")
}

/// Where a local store remembers the clones of this machine.
pub(crate) fn clones_dir(local: &LocalStore) -> std::path::PathBuf {
    local.folder().join("clones")
}

/// Whether clones on this machine serve as seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    Use,
    Ignore,
}

/// The seeds that a clone can reach.
pub(crate) struct StoreSeeds<'a> {
    ui: &'a Ui,
    context: &'a Context,
    environment: &'a GitEnvironment,
    neighbours: Neighbours,
    /// Opened when the first seed is looked for; none where that failed, which the user was told.
    opened: OnceLock<Option<Opened>>,
    /// What was looked for.
    asked: Mutex<Option<SeedKey>>,
}

/// What became of bringing a part of a seed here.
enum Arrival {
    /// It is here and as it should be.
    Good,
    /// It is here and not as it should be.
    Bad,
    /// It is not here, this time.
    None,
}

struct Opened {
    stores: Stores,
    unpacked: UnpackedSeeds,
    clones: KnownClones,
}

impl<'a> StoreSeeds<'a> {
    pub(crate) fn new(
        ui: &'a Ui,
        context: &'a Context,
        environment: &'a GitEnvironment,
        neighbours: Neighbours,
    ) -> Self {
        StoreSeeds {
            ui,
            context,
            environment,
            neighbours,
            opened: OnceLock::new(),
            asked: Mutex::default(),
        }
    }

    /// The same over stores that are open already.
    pub(crate) fn over(mut self, stores: Stores) -> Self {
        self.opened = OnceLock::from(Some(Opened::new(stores)));
        self
    }

    /// The stores, given back.
    pub(crate) fn into_stores(self) -> Option<Stores> {
        Some(self.opened.into_inner()??.stores)
    }

    /// Remembers the clone in `directory`, so that the next one on this machine is made from it.
    pub(crate) fn remember_clone(&self, directory: &Path) {
        if let (Some(key), Some(opened)) = (&*self.asked.lock(), self.opened.get().and_then(Option::as_ref)) {
            opened.clones.remember(key, &directory.join(".git"));
        }
    }

    fn opened(&self) -> Option<&Opened> {
        let open = || {
            // A home that is not there is not made for the sake of seeds.
            if !self.context.has_home_for_store() {
                return None;
            }
            match self.context.open_usable_stores(self.ui) {
                Ok(stores) => Some(Opened::new(stores)),
                Err(error) => {
                    self.ui
                        .warn(format_args!("no seed is looked for: {}", error.one_line()));
                    None
                }
            }
        };
        self.opened.get_or_init(open).as_ref()
    }

    /// Brings the part of a seed that is saved as `name` into a folder of its own, and checks it there.
    fn fetch_part(
        &self,
        opened: &Opened,
        name: &EntryName,
        folder: &Path,
        check: impl FnOnce() -> Result<(), SeedError>,
        interrupt: &AtomicBool,
    ) -> Arrival {
        let stores = &opened.stores;
        let options = RestoreOptions {
            images: None,
            within: None,
            namespace: name.namespace().clone(),
            key: name.key().to_owned(),
            restore_keys: Vec::new(),
            root: folder.to_owned(),
            // Packs of the seed before are files of this one too.
            link: LinkMode::Hardlink,
            pool: Some(stores.pool_dir()),
            xattrs: Xattrs::Drop,
            keep: None,
        };
        let keys = Keys {
            namespace: &options.namespace,
            exact: &options.key,
            restore_keys: &[],
            interrupt,
        };
        let bars = self.ui.progress();
        let restored = stores.restore_or_mend(self.ui, keys, RestoreError::is_like_a_miss, || {
            restore(
                stores.store(),
                stores.runtime(),
                &options,
                &FetchOnly(&bars),
                interrupt,
            )
        });
        let failed = match restored {
            Ok(Some(RestoreOutcome::Restored(_))) => match check() {
                Ok(()) => return Arrival::Good,
                Err(error) if error.is_interrupted() => return Arrival::None,
                Err(error @ SeedError::Invalid { .. }) => (Arrival::Bad, CommandError::from(error)),
                Err(error) => (Arrival::None, CommandError::from(error)),
            },
            // Said already, or gone in the meantime.
            Ok(_) | Err(RestoreError::Interrupted) => return Arrival::None,
            Err(error) => (Arrival::None, error.into()),
        };
        let (arrival, failed) = failed;
        self.ui.warn(format_args!(
            "the seed {} is not used: {}",
            name.key(),
            failed.one_line()
        ));
        arrival
    }

    fn newest_entry(&self, opened: &Opened, key: &SeedKey, interrupt: &AtomicBool) -> Option<EntryInfo> {
        let (namespace, prefix) = (tip_namespace(), key.prefix());
        let find = opened.stores.store().find_entries(&namespace, &prefix, RECENT);
        let found = match opened.stores.runtime().run(interrupt, find) {
            Ok(found) => found,
            Err(StoreError::Interrupted) => return None,
            Err(error) => {
                let error = CommandError::from(error);
                self.ui
                    .warn(format_args!("no seed is looked for: {}", error.one_line()));
                return None;
            }
        };
        let is_good =
            |info: &EntryInfo| time_of(&info.name).is_some_and(|time| !opened.unpacked.is_refused(key, time));
        let good = found.into_iter().filter(is_good);
        good.max_by(|a, b| a.name.key().cmp(b.name.key()))
    }

    fn bring_tip(
        &self,
        opened: &Opened,
        key: &SeedKey,
        interrupt: &AtomicBool,
        known: &[Seed],
    ) -> Option<Seed> {
        let newest = self.newest_entry(opened, key, interrupt)?;
        let time = time_of(&newest.name)?;
        if known
            .iter()
            .any(|known| known.manifest.created_at.as_str() >= time)
        {
            return None;
        }
        let arriving = self.or_warn(opened.unpacked.begin(key))?;
        let check = || {
            let manifest = SeedManifest::load(arriving.path())?;
            seed::check_tip(arriving.path(), &manifest, interrupt)?;
            is_of(&manifest, key, time)
                .then_some(())
                .ok_or_else(|| SeedError::Invalid {
                    path: seed::MANIFEST_FILE.into(),
                    what: "it is of another seed".to_owned(),
                })
        };
        match self.fetch_part(opened, &newest.name, arriving.path(), check, interrupt) {
            Arrival::Good => {}
            Arrival::Bad => {
                opened.unpacked.refuse(key, time);
                return None;
            }
            Arrival::None => return None,
        }
        self.or_warn(opened.unpacked.publish_tip(arriving, key, time))?;
        opened.unpacked.load(key, time)
    }

    fn or_warn<T>(&self, result: Result<T, headstart_fs::PathError>) -> Option<T> {
        result
            .map_err(|error| self.ui.warn(CommandError::from(error).one_line()))
            .ok()
    }
}

impl Opened {
    fn new(stores: Stores) -> Self {
        Opened {
            unpacked: UnpackedSeeds::new(stores.seeds_dir()),
            clones: KnownClones::new(stores.clones_dir()),
            stores,
        }
    }
}

impl SeedSource for StoreSeeds<'_> {
    fn find_local(&self, key: &SeedKey) -> Vec<Seed> {
        *self.asked.lock() = Some(key.clone());
        let Some(opened) = self.opened() else {
            return Vec::new();
        };
        let mut seeds: Vec<Seed> = opened.unpacked.newest(key).into_iter().collect();
        if self.neighbours == Neighbours::Use {
            seeds.extend(opened.clones.newest(key, self.environment));
        }
        seeds
    }

    fn fetch_newest(&self, key: &SeedKey, known: &[Seed], interrupt: &AtomicBool) -> Option<Seed> {
        self.bring_tip(self.opened()?, key, interrupt, known)
    }

    fn fetch_history(&self, seed: &Seed, interrupt: &AtomicBool) -> Option<SeedPart> {
        let manifest = &seed.manifest;
        if manifest.history_packs.is_empty() {
            return Some(SeedPart::default());
        }
        let (opened, key) = (self.opened()?, self.asked.lock().clone()?);
        let time = &manifest.created_at;
        if let Some(folder) = opened.unpacked.history(&key, time) {
            return Some(SeedPart::history_in(&folder, manifest));
        }
        let arriving = self.or_warn(opened.unpacked.begin(&key))?;
        let name = EntryName::new(history_namespace(), key.name_at(time)).ok()?;
        let check = || seed::check_history(arriving.path(), manifest, interrupt);
        match self.fetch_part(opened, &name, arriving.path(), check, interrupt) {
            Arrival::Good => {}
            Arrival::Bad => {
                opened.unpacked.refuse(&key, time);
                return None;
            }
            Arrival::None => return None,
        }
        self.or_warn(opened.unpacked.publish_history(arriving, &key, time))?;
        let folder = opened.unpacked.history(&key, time)?;
        Some(SeedPart::history_in(&folder, manifest))
    }

    fn refuse(&self, seed: &Seed) {
        if let (Some(opened), Some(key)) = (self.opened(), self.asked.lock().as_ref()) {
            match clones::git_dir_of(seed) {
                Some(git_dir) => opened.clones.forget(key, git_dir),
                None => opened.unpacked.refuse(key, &seed.manifest.created_at),
            }
        }
    }
}

/// The time in the name of a seed.
fn time_of(name: &EntryName) -> Option<&str> {
    let (_, _, time) = SeedKey::split_name(name.key())?;
    unpacked::is_time(time).then_some(time)
}

/// Whether a manifest is the one that its key promises.
fn is_of(manifest: &SeedManifest, key: &SeedKey, time: &str) -> bool {
    !manifest.history_packs.is_empty()
        && manifest.repository == key.repository()
        && manifest.filter == *key.filter()
        && manifest.created_at == time
}
