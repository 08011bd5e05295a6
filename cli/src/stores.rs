//! The stores of a run: the local one, and the remote behind it if one is named.

use std::{
    error::Error,
    fs,
    ops::Sub,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use headstart_fs::AtPath as _;
use headstart_protocol::Token;
use headstart_store::{
    ChunkIndex, Credentials, EntryName, LocalStore, Location, Namespace, Problem, ProblemKind, PruneStore,
    Pushed, Repaired, Runtime, Store, StoreError, TieredStore, repair_entry,
};
use tempfile::TempDir;

use crate::{
    config::Setting,
    context::Context,
    env_vars,
    error::{CommandError, Kind},
    seeds::{clones_dir, unpacked_dir},
    ui::Ui,
};

/// Opened stores and what they need to run.
#[derive(Debug)]
pub(crate) struct Stores {
    runtime: Runtime,
    local: LocalStore,
    tiers: Option<TieredStore>,
    /// Where there is no local store to be had, one for this run; it goes with it.
    _stand_in: Option<TempDir>,
}

/// What a restore looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) exact: &'a str,
    pub(crate) restore_keys: &'a [String],
    pub(crate) interrupt: &'a AtomicBool,
}

/// Stored bytes read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// From the local store, in which they were before this run.
    pub(crate) local_bytes: u64,
    /// From the remote.
    pub(crate) remote_bytes: u64,
    /// Questions put to the remote.
    pub(crate) remote_requests: u64,
}

impl Context {
    /// Opens the local store and, if one is named, the remote.
    pub(crate) fn open_stores(&self, ui: &Ui) -> Result<Stores, CommandError> {
        let remote = self.remote().map(|remote| self.open_remote(&remote));
        self.open_stores_before(ui, remote.transpose()?)
    }

    /// Opens the local store and the remote, for work that can do without: a remote that cannot be used costs a warning.
    pub(crate) fn open_usable_stores(&self, ui: &Ui) -> Result<Stores, CommandError> {
        let remote = self.remote().map(|remote| self.open_remote(&remote));
        let remote = remote.transpose().unwrap_or_else(|error| {
            ui.warn(format_args!(
                "{}; the local store is used alone",
                error.one_line()
            ));
            None
        });
        self.open_stores_before(ui, remote)
    }

    /// Opens the local store, and puts it in front of `remote`.
    fn open_stores_before(&self, ui: &Ui, remote: Option<Arc<dyn Store>>) -> Result<Stores, CommandError> {
        let (local, stand_in) = match self.open_local_store() {
            Ok(local) => (local, None),
            Err(error) if remote.is_some() => {
                let Some((local, folder)) = stand_in() else {
                    return Err(error);
                };
                ui.warn(format_args!(
                    "{}; the remote is used alone, and nothing is kept here",
                    error.one_line()
                ));
                (local, Some(folder))
            }
            Err(error) => return Err(error),
        };
        if let (None, Some(Setting { value, origin })) = (self.remote(), &self.settings.proposed_remote) {
            ui.status(format_args!(
                "{origin} proposes the remote {value}; --remote {value} uses it."
            ));
        }
        let tiers = remote.map(|remote| {
            let bars = ui.progress();
            let warn = move |warning| {
                bars.warn(&CommandError::from_error(Kind::Failed, &warning).one_line());
            };
            TieredStore::new(Arc::new(local.clone()), remote, warn)
        });
        Ok(Stores {
            runtime: new_runtime()?,
            local,
            tiers,
            _stand_in: stand_in,
        })
    }

    /// Opens the local store, making it where there is none.
    pub(crate) fn open_local_store(&self) -> Result<LocalStore, CommandError> {
        let dir = self.store_dir()?;
        LocalStore::open_or_create(&dir.value).map_err(|error| {
            let sentence = format!(
                "cannot use the local store {} ({})",
                dir.value.display(),
                dir.origin
            );
            CommandError::from(error)
                .context(sentence)
                .hint("name another folder with --store or $HEADSTART_STORE")
        })
    }

    fn open_remote(&self, remote: &Setting<String>) -> Result<Arc<dyn Store>, CommandError> {
        let sentence = || format!("cannot use the remote ({})", remote.origin);
        let location: Location = remote
            .value
            .parse()
            .map_err(|error| CommandError::from_error(Kind::Usage, &error).context(sentence()))?;
        if let Location::Folder(path) = &location {
            return Err(CommandError::usage(format!("{} is not a URL", path.display()))
                .context(sentence())
                .hint("for a folder give file:///folder"));
        }
        location
            .open(&self.credentials()?)
            .map_err(|error| CommandError::from(error).context(sentence()))
    }

    /// Asks `remote` for an entry that nobody has: who answers can be used. Answers where it is.
    pub(crate) fn reach_remote(&self, remote: &Setting<String>) -> Result<String, CommandError> {
        let store = self.open_remote(remote)?;
        let namespace: Namespace = "doctor".parse().expect("a plain word is a namespace");
        new_runtime()?.run(&self.interrupt, store.find_entries(&namespace, "", 1))?;
        Ok(store.location().to_owned())
    }

    /// The remote, for taking entries away, where there is one that is not a server: those look after themselves.
    pub(crate) fn open_remote_for_pruning(&self) -> Option<Result<Arc<dyn PruneStore>, CommandError>> {
        let remote = self.remote()?;
        let location: Location = remote.value.parse().ok()?;
        if !matches!(location, Location::Bucket(_)) {
            return None;
        }
        let opened = self
            .credentials()
            .and_then(|credentials| location.open_prune(&credentials).map_err(CommandError::from));
        Some(opened)
    }

    fn credentials(&self) -> Result<Credentials, CommandError> {
        let options = self
            .environment
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
            .collect();
        Ok(Credentials {
            options,
            token: self.token()?,
        })
    }

    fn token(&self) -> Result<Option<Token>, CommandError> {
        let Some(text) = self.var(env_vars::TOKEN) else {
            return Ok(None);
        };
        Token::parse(&text.to_string_lossy()).map(Some).map_err(|error| {
            CommandError::from_error(Kind::Usage, &error)
                .context(format!("${} cannot be used", env_vars::TOKEN))
        })
    }
}

/// A local store for one run, in the folder for temporary files.
fn stand_in() -> Option<(LocalStore, TempDir)> {
    let folder = tempfile::Builder::new()
        .prefix("headstart-store-")
        .tempdir()
        .ok()?;
    let local = LocalStore::open_or_create(folder.path().join("store")).ok()?;
    Some((local, folder))
}

/// Starts what stores run on.
pub(crate) fn new_runtime() -> Result<Runtime, CommandError> {
    Runtime::new().map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))
}

/// Where a local store keeps expanded files.
pub(crate) fn pool_dir(local: &LocalStore) -> PathBuf {
    local.folder().join("pool")
}

/// Where a local store keeps images of snapshots.
pub(crate) fn images_dir(local: &LocalStore) -> PathBuf {
    local.folder().join("images")
}

impl Stores {
    /// The local store, with the remote behind it.
    pub(crate) fn store(&self) -> &dyn Store {
        match &self.tiers {
            Some(tiers) => tiers,
            None => &self.local,
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Gives the remote what the local store has under `name` and the remote lacks: saved while there was no remote, or
    /// none that answered. True when it was uploaded now.
    pub(crate) fn push(&self, name: &EntryName, interrupt: &AtomicBool) -> Result<bool, CommandError> {
        let Some(tiers) = &self.tiers else {
            return Ok(false);
        };
        match self.runtime.run(interrupt, tiers.push_entry(name)) {
            Ok(pushed) => Ok(pushed == Pushed::New),
            // Only the remote has it.
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs `restore`. When the store fails it, and the tree is untouched, what is damaged is taken out of the local store,
    /// so that the remote is asked, or the next save stores it anew; then it is tried once more. `None` when there is
    /// nothing to be had: whoever asked goes on without it.
    pub(crate) fn restore_or_mend<T, E: Error + Into<CommandError>>(
        &self,
        ui: &Ui,
        keys: Keys<'_>,
        is_like_a_miss: impl Fn(&E) -> bool,
        restore: impl Fn() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let error = match restore() {
            Err(error) if is_like_a_miss(&error) => error,
            done => return done.map(Some),
        };
        ui.warn(error.into().one_line());
        if !self.mend(ui, keys) {
            return Ok(None);
        }
        match restore() {
            Err(error) if is_like_a_miss(&error) => Ok(None),
            done => done.map(Some),
        }
    }

    /// True when there was damage.
    fn mend(&self, ui: &Ui, keys: Keys<'_>) -> bool {
        match self.runtime.block_on(self.repair_entries(keys)) {
            Ok(problems) => {
                for problem in &problems {
                    // That a store in front of a remote has a part only is usual, and why the rest did not come was said.
                    let is_usual = matches!(
                        problem.kind,
                        ProblemKind::IncompleteSnapshot { .. } | ProblemKind::DanglingEntry { .. }
                    );
                    if self.tiers.is_some() && is_usual {
                        continue;
                    }
                    match problem.repair {
                        Repaired::No => ui.warn(&problem.kind),
                        _ => ui.warn(format_args!("{}; taken out of the local store", problem.kind)),
                    }
                }
                problems.iter().any(|problem| problem.repair != Repaired::No)
            }
            Err(error) => {
                ui.warn(CommandError::from(error).one_line());
                false
            }
        }
    }

    async fn repair_entries(&self, keys: Keys<'_>) -> Result<Vec<Problem>, StoreError> {
        let Keys {
            namespace,
            exact,
            restore_keys,
            interrupt,
        } = keys;
        let mut names: Vec<EntryName> = EntryName::new(namespace.clone(), exact).into_iter().collect();
        for prefix in restore_keys {
            let newest = self.local.find_entries(namespace, prefix, 1).await?;
            names.extend(newest.into_iter().map(|info| info.name));
        }
        let mut problems = Vec::new();
        for name in &names {
            problems.extend(repair_entry(&self.local, name, interrupt).await?.problems);
        }
        Ok(problems)
    }

    /// The chunks the local store has.
    pub(crate) fn chunk_index(&self) -> Result<ChunkIndex, CommandError> {
        let cache_file = self.local.folder().join("chunk-index");
        Ok(ChunkIndex::load(&cache_file, &self.local, &self.runtime)?)
    }

    /// The folder of the local store, absolute and without symlinks.
    pub(crate) fn folder_on_disk(&self) -> Result<PathBuf, CommandError> {
        let folder = self.local.root();
        Ok(folder.canonicalize().at("find", folder)?)
    }

    /// Where the local store keeps expanded files.
    pub(crate) fn pool_dir(&self) -> PathBuf {
        pool_dir(&self.local)
    }

    /// Where the local store keeps images of snapshots until the system is started anew, since they are not synced; `None`
    /// where the system does not tell.
    pub(crate) fn images_dir(&self) -> Option<PathBuf> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(images_dir(&self.local).join(boot.trim()))
    }

    /// Where saves note what they saw on disk.
    pub(crate) fn stat_cache_dir(&self) -> PathBuf {
        self.local.folder().join("stat-cache")
    }

    /// Where the local store keeps seeds unpacked.
    pub(crate) fn seeds_dir(&self) -> PathBuf {
        unpacked_dir(&self.local)
    }

    /// Where the local store remembers the clones of this machine.
    pub(crate) fn clones_dir(&self) -> PathBuf {
        clones_dir(&self.local)
    }

    /// The local store alone.
    pub(crate) fn local(&self) -> &LocalStore {
        &self.local
    }

    /// What came from which tier so far; nothing where there is one tier only.
    pub(crate) fn traffic(&self) -> Traffic {
        let counts = self.tiers.as_ref().map(TieredStore::counts).unwrap_or_default();
        Traffic {
            local_bytes: counts.local_bytes,
            remote_bytes: counts.remote_bytes,
            remote_requests: counts.remote_requests,
        }
    }

    /// Where `fetched_bytes`, read since `before`, came from: without a remote all of it is local.
    pub(crate) fn traffic_since(&self, before: Traffic, fetched_bytes: u64) -> Traffic {
        match self.tiers {
            Some(_) => self.traffic() - before,
            None => Traffic {
                local_bytes: fetched_bytes,
                remote_bytes: 0,
                remote_requests: 0,
            },
        }
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, before: Traffic) -> Traffic {
        Traffic {
            local_bytes: self.local_bytes - before.local_bytes,
            remote_bytes: self.remote_bytes - before.remote_bytes,
            remote_requests: self.remote_requests - before.remote_requests,
        }
    }
}
