//! Restoring, installing and saving dependency caches one after the other, and what is told about each.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use headstart_deps::{
    DependencyCache, DepsError, InstallOutput, RestoreOutcome, RestoreSettings, SaveOutcome, SaveSettings,
    ThenInstall,
};
use headstart_store::{EntryName, LinkMode, Restored};
use jiff::Timestamp;
use serde::Serialize;

use super::environment;
use crate::{
    context::Context,
    error::CommandError,
    stores::{Keys, Stores, Traffic},
    ui::{Ui, bytes, count, seconds},
};

/// A cache and what became of it in this run.
#[derive(Debug)]
pub(crate) struct CacheRun {
    pub(super) cache: DependencyCache,
    pub(crate) report: CacheReport,
}

/// What `--json` tells about one cache.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct CacheReport {
    /// `npm-node_modules`, `cargo-registry`, ...
    name: String,
    /// The project's folder below the one that was searched.
    project: String,
    pub(crate) outcome: Outcome,
    pub(crate) key: String,
    /// The older key that was restored; null otherwise.
    pub(crate) matched_key: Option<String>,
    pub(crate) files_written: u64,
    /// Files that were right already.
    files_kept: u64,
    files_removed: u64,
    /// Stored bytes read from the local store and from the remote.
    local_bytes: u64,
    pub(crate) remote_bytes: u64,
    /// Whether the package manager's own install ran, and whether the result was saved.
    pub(crate) installed: bool,
    pub(crate) saved: bool,
    pub(crate) seconds: f64,
    /// Why it is not as it should be, where there is a reason to tell.
    reason: Option<String>,
}

/// What became of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The exact key: what is on disk is what the lockfile asks for.
    Exact,
    /// An older version, for the package manager to complete.
    Older,
    /// Nothing in the store.
    #[default]
    Miss,
    /// Not needed: a cache that holds the installed result was hit.
    Superseded,
    /// Something on disk must not be replaced.
    LeftAlone,
    /// The store or the disk failed.
    Failed,
}

/// Restores all caches of the project in `folder`. A cache that cannot be restored is told in its report; only an
/// interruption, or a project that cannot be understood, is an error.
pub(crate) fn restore_all(
    ui: &Ui,
    context: &Context,
    folder: &Path,
    then: ThenInstall,
    link: LinkMode,
) -> Result<Vec<CacheRun>, CommandError> {
    let caches = environment::caches(context, folder)?;
    if caches.is_empty() {
        return Ok(Vec::new());
    }
    let stores = match context.open_usable_stores(ui) {
        Ok(stores) => Some(stores),
        Err(error) => {
            ui.warn(error.one_line());
            None
        }
    };
    let mut runs: Vec<CacheRun> = Vec::with_capacity(caches.len());
    for cache in caches {
        let mut run = CacheRun::new(cache);
        if run.is_superseded(&runs) {
            run.report.outcome = Outcome::Superseded;
        } else if let Some(stores) = &stores {
            run.restore(ui, context, stores, then, link)?;
        }
        runs.push(run);
    }
    Ok(runs)
}

/// Runs each frozen install that a cache without an exact hit asks for, once, and saves what it made. Returns the
/// failures; the other installs still ran.
pub(crate) fn install_missing(
    ui: &Ui,
    context: &Context,
    folder: &Path,
    runs: &mut [CacheRun],
) -> Result<Vec<CommandError>, CommandError> {
    let host = environment::host(context)?;
    // The caches were found in the staging folder of the clone; the final folder has the same keys and other paths.
    let caches = environment::caches(context, folder)?;
    let mut failures = Vec::new();
    let mut done = Vec::new();
    for (run, cache) in runs.iter_mut().zip(caches) {
        run.cache = cache;
        let Some(install) = run.cache.install.clone().filter(|_| run.wants_install()) else {
            continue;
        };
        let started = Instant::now();
        if !done.contains(&install) {
            ui.status(format_args!(
                "Running {} in {}",
                install.display(),
                install.folder.display()
            ));
            let output = if ui.is_json() {
                InstallOutput::Capture
            } else {
                InstallOutput::Inherit
            };
            match headstart_deps::install(&install, &host, output, &context.interrupt) {
                Ok(_) => {}
                Err(DepsError::Interrupted) => return Err(CommandError::interrupted()),
                Err(error) => {
                    run.report.reason = Some(error.to_string());
                    failures.push(error.into());
                    continue;
                }
            }
            done.push(install);
        }
        run.report.installed = true;
        run.report.seconds += started.elapsed().as_secs_f64();
    }
    let stores = context.open_stores(ui)?;
    for run in runs.iter_mut().filter(|run| run.report.installed) {
        let started = Instant::now();
        let outcome = save_one(ui, context, &stores, &run.cache)?;
        run.report.seconds += started.elapsed().as_secs_f64();
        run.report.saved = matches!(outcome, SaveOutcome::Saved(_));
    }
    context.collect_in_background();
    Ok(failures)
}

/// Saves one cache.
pub(crate) fn save_one(
    ui: &Ui,
    context: &Context,
    stores: &Stores,
    cache: &DependencyCache,
) -> Result<SaveOutcome, CommandError> {
    let settings = SaveSettings {
        facts: Default::default(),
        now: Timestamp::now(),
        stat_cache: Some(stores.stat_cache_dir()),
    };
    let index = stores.chunk_index()?;
    let outcome = headstart_deps::save(
        cache,
        stores.store(),
        Some(&index),
        stores.runtime(),
        &settings,
        &*ui.progress(),
        &context.interrupt,
    )?;
    if matches!(outcome, SaveOutcome::KeyExists(_)) {
        let name = EntryName::new(headstart_deps::namespace(), &cache.key)?;
        stores.push(&name, &context.interrupt)?;
    }
    Ok(outcome)
}

impl CacheRun {
    fn new(cache: DependencyCache) -> Self {
        let report = CacheReport {
            name: cache.name.clone(),
            project: cache.project.to_string(),
            key: cache.key.clone(),
            ..CacheReport::default()
        };
        CacheRun { cache, report }
    }

    fn wants_install(&self) -> bool {
        !matches!(self.report.outcome, Outcome::Exact | Outcome::Superseded)
    }

    fn is_superseded(&self, before: &[CacheRun]) -> bool {
        before.iter().any(|other| {
            other.report.outcome == Outcome::Exact
                && other.cache.project == self.cache.project
                && Some(&other.cache.name) == self.cache.superseded_by.as_ref()
        })
    }

    fn restore(
        &mut self,
        ui: &Ui,
        context: &Context,
        stores: &Stores,
        then: ThenInstall,
        link: LinkMode,
    ) -> Result<(), CommandError> {
        let started = Instant::now();
        let before = stores.traffic();
        let settings = RestoreSettings {
            link,
            pool: Some(stores.pool_dir()),
            then,
        };
        let keys = Keys {
            namespace: &headstart_deps::namespace(),
            exact: &self.cache.key,
            restore_keys: &self.cache.restore_keys,
            interrupt: &context.interrupt,
        };
        let outcome = stores.restore_or_mend(ui, keys, DepsError::is_like_a_miss, || {
            headstart_deps::restore(
                &self.cache,
                stores.store(),
                stores.runtime(),
                &settings,
                &*ui.progress(),
                &context.interrupt,
            )
        });
        let outcome = outcome.map(|found| found.unwrap_or(RestoreOutcome::Miss));
        self.report.seconds = started.elapsed().as_secs_f64();
        let fetched_bytes = match &outcome {
            Ok(RestoreOutcome::Exact(restored) | RestoreOutcome::Older { restored, .. }) => {
                restored.fetched_bytes
            }
            _ => 0,
        };
        self.report
            .count_traffic(stores.traffic_since(before, fetched_bytes));
        match outcome {
            Ok(RestoreOutcome::Exact(restored)) => self.report.count_files(Outcome::Exact, &restored),
            Ok(RestoreOutcome::Older { key, restored }) => {
                self.report.count_files(Outcome::Older, &restored);
                self.report.matched_key = Some(key);
            }
            Ok(RestoreOutcome::Miss) => {}
            Ok(RestoreOutcome::OlderUnused { key }) => {
                self.report.reason = Some(format!(
                    "an older version, {key}, is of no use without the install"
                ));
            }
            Ok(RestoreOutcome::LeftAlone { because_of }) => {
                self.report.outcome = Outcome::LeftAlone;
                self.report.reason = Some(format!("{} is there and is not replaced", because_of.display()));
            }
            Err(DepsError::Interrupted) => return Err(CommandError::interrupted()),
            Err(error) => {
                let error = CommandError::from(error);
                ui.warn(format_args!(
                    "{} was not restored: {}",
                    self.cache.title(),
                    error.one_line()
                ));
                self.report.outcome = Outcome::Failed;
                self.report.reason = Some(error.one_line());
            }
        }
        Ok(())
    }
}

impl CacheReport {
    fn count_files(&mut self, outcome: Outcome, restored: &Restored) {
        self.outcome = outcome;
        self.files_written = restored.files_written;
        self.files_kept = restored.files_kept;
        self.files_removed = restored.files_removed;
    }

    fn count_traffic(&mut self, traffic: Traffic) {
        self.local_bytes = traffic.local_bytes;
        self.remote_bytes = traffic.remote_bytes;
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.outcome, Outcome::Exact | Outcome::Superseded) || self.installed
    }

    /// Stored bytes that did not have to come over the network.
    pub(crate) fn avoided_bytes(&self) -> u64 {
        self.local_bytes
    }

    fn title(&self) -> String {
        match self.project.as_str() {
            "." => self.name.clone(),
            project => format!("{} ({project})", self.name),
        }
    }

    fn outcome_text(&self) -> &'static str {
        match (self.installed, self.saved, self.outcome) {
            (true, true, _) => "installed, saved",
            (true, false, _) => "installed",
            (false, _, Outcome::Exact) if self.files_written == 0 => "there already",
            (false, _, Outcome::Exact) => "restored",
            (false, _, Outcome::Older) => "older restored",
            (false, _, Outcome::Miss) => "miss",
            (false, _, Outcome::Superseded) => "not needed",
            (false, _, Outcome::LeftAlone) => "left alone",
            (false, _, Outcome::Failed) => "failed",
        }
    }

    /// Step, outcome, files, fetched, avoided, time.
    pub(crate) fn row(&self) -> [String; 6] {
        [
            self.title(),
            self.outcome_text().to_owned(),
            count(self.files_written),
            bytes(self.remote_bytes),
            bytes(self.avoided_bytes()),
            seconds(Duration::from_secs_f64(self.seconds)),
        ]
    }
}
