//! `headstart cache status`.

use clap::Args;
use headstart_store::{EntryInfo, PruneStore, Store as _, StoreError, load_status};
use serde::Serialize;

use crate::{
    config::Setting,
    context::Context,
    error::CommandError,
    stores::new_runtime,
    ui::{Table, Ui, bytes, count},
};

/// Show where the local store is and what it holds
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart cache status --entries")]
pub(crate) struct StatusArgs {
    /// List the entries too, newest first
    #[arg(long)]
    entries: bool,
}

/// What `--json` prints: schema `headstart.cache-status/1`.
#[derive(Debug, Serialize)]
struct StatusReport {
    schema: &'static str,
    /// The folder of the local store.
    store: String,
    /// The remote behind it; null where none is named.
    remote: Option<String>,
    packs: u64,
    snapshots: u64,
    /// Bytes of packs and snapshots.
    stored_bytes: u64,
    entry_count: u64,
    /// The entries, with `--entries`.
    entries: Vec<EntryRow>,
}

#[derive(Debug, Serialize)]
struct EntryRow {
    namespace: String,
    key: String,
    created_at: String,
    files: u64,
    content_bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: StatusArgs) -> Result<(), CommandError> {
    let dir = context.store_dir()?;
    let remote = context.remote();
    let store = context.open_local_store()?;
    let runtime = new_runtime()?;
    let status = runtime.run(&context.interrupt, load_status(&store))?;
    let entries = match args.entries {
        true => runtime.run(&context.interrupt, load_entries(&store))?,
        false => Vec::new(),
    };
    let report = StatusReport {
        schema: "headstart.cache-status/1",
        store: store.location(),
        remote: remote.as_ref().map(|remote| remote.value.clone()),
        packs: status.packs,
        snapshots: status.snapshots,
        stored_bytes: status.stored_bytes(),
        entry_count: status.entry_count(),
        entries,
    };
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    let Setting { value, origin } = dir;
    ui.answer(format_args!("store    {} ({origin})", value.display()))?;
    match remote {
        Some(Setting { value, origin }) => ui.answer(format_args!("remote   {value} ({origin})"))?,
        None => ui.answer("remote   none")?,
    }
    ui.answer(format_args!(
        "holds    {} entries, {} snapshots, {} packs, {}",
        count(report.entry_count),
        count(report.snapshots),
        count(report.packs),
        bytes(report.stored_bytes)
    ))?;
    if !report.entries.is_empty() {
        let mut table = Table::new(["namespace", "key", "created", "files", "content"])
            .right(3)
            .right(4);
        for entry in &report.entries {
            table.row([
                entry.namespace.clone(),
                entry.key.clone(),
                entry.created_at.clone(),
                count(entry.files),
                bytes(entry.content_bytes),
            ]);
        }
        ui.answer_table(&table)?;
    }
    Ok(())
}

/// All entries, newest first in each namespace.
async fn load_entries(store: &dyn PruneStore) -> Result<Vec<EntryRow>, StoreError> {
    let mut rows = Vec::new();
    for namespace in store.list_namespaces().await? {
        for EntryInfo { name, .. } in store.find_entries(&namespace, "", usize::MAX).await? {
            let entry = match store.read_entry(&name).await {
                Ok(entry) => entry,
                // Gone since it was listed, or damaged: `cache verify` tells.
                Err(StoreError::Missing { .. } | StoreError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            rows.push(EntryRow {
                namespace: namespace.to_string(),
                key: name.key().to_owned(),
                created_at: entry.created_at.to_string(),
                files: entry.files,
                content_bytes: entry.content_bytes,
            });
        }
    }
    Ok(rows)
}
