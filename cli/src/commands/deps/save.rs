//! `headstart deps save`.

use clap::Args;
use headstart_deps::SaveOutcome;
use serde::Serialize;

use super::{ProjectArgs, cache_run::save_one, environment};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, bytes, count},
};

/// Save the dependency caches under the keys of the lockfiles
///
/// What is saved already is left alone. An installed tree that does not match its lockfile is not saved.
#[derive(Debug, Args)]
#[command(after_help = "Example: npm ci && headstart deps save")]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    project: ProjectArgs,
}

/// What `--json` prints: schema `headstart.deps-save/1`.
#[derive(Debug, Serialize)]
struct DepsSaveReport {
    schema: &'static str,
    caches: Vec<SavedCache>,
}

#[derive(Debug, Serialize)]
struct SavedCache {
    name: String,
    project: String,
    key: String,
    /// `saved`, `exists`, `nothing` on disk, or `stale`: what is installed does not match the lockfile.
    outcome: &'static str,
    files: u64,
    content_bytes: u64,
    /// Bytes added to the store.
    stored_bytes: u64,
    reason: Option<String>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: SaveArgs) -> Result<(), CommandError> {
    let (dir, context) = args.project.open(context)?;
    let caches = environment::caches(&context, &dir)?;
    let stores = context.open_stores(ui)?;
    let mut report = DepsSaveReport {
        schema: "headstart.deps-save/1",
        caches: Vec::new(),
    };
    for cache in caches {
        let outcome = save_one(ui, &context, &stores, &cache)?;
        let (outcome, files, content_bytes, stored_bytes, reason) = match outcome {
            SaveOutcome::Saved(saved) => (
                "saved",
                saved.files,
                saved.content_bytes,
                saved.stored_bytes,
                None,
            ),
            SaveOutcome::KeyExists(entry) => ("exists", entry.files, entry.content_bytes, 0, None),
            SaveOutcome::Nothing => ("nothing", 0, 0, 0, None),
            SaveOutcome::Stale { reason } => ("stale", 0, 0, 0, Some(reason)),
        };
        if let Some(reason) = &reason {
            ui.warn(format_args!("{} is not saved: {reason}", cache.title()));
        }
        report.caches.push(SavedCache {
            name: cache.name,
            project: cache.project.to_string(),
            key: cache.key,
            outcome,
            files,
            content_bytes,
            stored_bytes,
            reason,
        });
    }
    context.collect_in_background();
    report.print(ui)
}

impl DepsSaveReport {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        if self.caches.is_empty() {
            ui.status("No lockfile of a known package manager was found.");
            return Ok(());
        }
        let mut table = Table::new(["cache", "project", "outcome", "files", "content", "stored", "key"])
            .right(3)
            .right(4)
            .right(5);
        for cache in &self.caches {
            table.row([
                cache.name.clone(),
                cache.project.clone(),
                cache.outcome.to_owned(),
                count(cache.files),
                bytes(cache.content_bytes),
                bytes(cache.stored_bytes),
                cache.key.clone(),
            ]);
        }
        ui.summary_table(&table)
    }
}
