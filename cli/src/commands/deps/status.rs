//! `headstart deps status`.

use clap::Args;
use headstart_deps::{DependencyCache, Difference, Explanation, InStore, KeyInput, OnDisk, explain, status};
use serde::Serialize;

use super::{ProjectArgs, environment};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui},
};

/// Show which dependency caches there are, on disk and in the store
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart deps status --inputs")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Show what went into each key
    #[arg(long)]
    inputs: bool,
    /// Say of each cache whose exact key is a miss what differs from the nearest entry
    #[arg(long)]
    explain: bool,
}

/// What `--json` prints: schema `headstart.deps-status/1`.
#[derive(Debug, Serialize)]
struct StatusReport {
    schema: &'static str,
    caches: Vec<CacheState>,
}

#[derive(Debug, Serialize)]
struct CacheState {
    name: String,
    project: String,
    manager: &'static str,
    key: String,
    restore_keys: Vec<String>,
    /// `exact`, `older` or `miss`.
    in_store: &'static str,
    /// The older key that a restore would take; null otherwise.
    older_key: Option<String>,
    /// `present`, `absent`, or `stale`: installed from another lockfile.
    on_disk: &'static str,
    stale_reason: Option<String>,
    /// The folder the cache is in.
    root: String,
    /// The record behind the key.
    inputs: Vec<KeyInput>,
    /// With `--explain`, of a cache whose exact key is a miss.
    explanation: Option<ExplainedMiss>,
}

/// Why a key is a miss.
#[derive(Debug, Serialize)]
struct ExplainedMiss {
    /// The key that differs least; null when the store has no entry of that cache.
    nearest_key: Option<String>,
    /// In what it differs; null when the entry does not tell.
    differences: Option<Vec<Difference>>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: StatusArgs) -> Result<(), CommandError> {
    let (dir, context) = args.project.open(context)?;
    let caches = environment::caches(&context, &dir)?;
    let stores = context.open_stores(ui)?;
    let states = status(&caches, stores.store(), stores.runtime())?;
    let mut report = StatusReport {
        schema: "headstart.deps-status/1",
        caches: caches
            .iter()
            .zip(states)
            .map(|(cache, state)| CacheState::new(cache, state))
            .collect(),
    };
    if args.explain {
        for (cache, state) in caches.iter().zip(&mut report.caches) {
            if state.in_store != "exact" {
                let Explanation { nearest, differences } = explain(cache, stores.store(), stores.runtime())?;
                state.explanation = Some(ExplainedMiss {
                    nearest_key: nearest,
                    differences,
                });
            }
        }
    }
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    if report.caches.is_empty() {
        ui.status("No lockfile of a known package manager was found.");
        return Ok(());
    }
    let mut table = Table::new(["cache", "project", "in the store", "on disk", "key"]);
    for cache in &report.caches {
        table.row([
            cache.name.clone(),
            cache.project.clone(),
            cache.in_store.to_owned(),
            cache.on_disk.to_owned(),
            cache.key.clone(),
        ]);
    }
    ui.answer_table(&table)?;
    if args.inputs {
        for cache in &report.caches {
            ui.answer(format_args!("\n{}", cache.key))?;
            for KeyInput { kind, name, value } in &cache.inputs {
                ui.answer(format_args!("  {kind:?} {name}: {value}"))?;
            }
        }
    }
    for cache in &report.caches {
        if let Some(explanation) = &cache.explanation {
            ui.answer(format_args!("\n{} is a miss", cache.key))?;
            explanation.print(ui)?;
        }
    }
    Ok(())
}

impl ExplainedMiss {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        let Some(nearest) = &self.nearest_key else {
            return ui.answer("  the store has no entry of this cache");
        };
        ui.answer(format_args!("  nearest entry: {nearest}"))?;
        let Some(differences) = &self.differences else {
            return ui.answer("  it does not tell what it was made of");
        };
        for Difference {
            kind,
            name,
            saved,
            now,
        } in differences
        {
            let [saved, now] = [saved, now].map(|value| value.as_deref().map_or("absent", shorten));
            ui.answer(format_args!("  {kind:?} {name}: {saved} there, {now} here"))?;
        }
        Ok(())
    }
}

/// Digests by their first digits.
fn shorten(value: &str) -> &str {
    match value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => &value[..12],
        false => value,
    }
}

impl CacheState {
    fn new(cache: &DependencyCache, state: headstart_deps::CacheStatus) -> Self {
        let (in_store, older_key) = match state.in_store {
            InStore::Exact(_) => ("exact", None),
            InStore::Older(info) => ("older", Some(info.name.key().to_owned())),
            InStore::Miss => ("miss", None),
        };
        let (on_disk, stale_reason) = match state.on_disk {
            OnDisk::Present => ("present", None),
            OnDisk::Absent => ("absent", None),
            OnDisk::Stale { reason } => ("stale", Some(reason)),
        };
        CacheState {
            name: cache.name.clone(),
            project: cache.project.to_string(),
            manager: cache.manager.name(),
            key: cache.key.clone(),
            restore_keys: cache.restore_keys.clone(),
            in_store,
            older_key,
            on_disk,
            stale_reason,
            root: cache.root.to_string_lossy().into_owned(),
            inputs: cache.inputs.clone(),
            explanation: None,
        }
    }
}
