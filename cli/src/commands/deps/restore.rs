//! `headstart deps restore`.

use clap::Args;
use headstart_deps::ThenInstall;
use serde::Serialize;

use super::{CacheReport, ProjectArgs, install_missing, restore_all};
use crate::{
    commands::restore::Link,
    context::Context,
    error::CommandError,
    ui::{Table, Ui},
};

/// Restore the dependency caches that fit the lockfiles
///
/// The exact key first, then older versions where the package manager can complete them. A miss is no failure.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart deps restore --remote http://cache.example:7460")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// How files are made where the store's pool of expanded files has them
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Link::Auto)]
    link: Link,
    /// Where no cache fits, run the package manager's own frozen install and save the result
    #[arg(long)]
    install: bool,
}

/// What `--json` prints: schema `headstart.deps-restore/1`.
#[derive(Debug, Serialize)]
struct DepsRestoreReport {
    schema: &'static str,
    caches: Vec<CacheReport>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: RestoreArgs) -> Result<(), CommandError> {
    let (dir, context) = args.project.open(context)?;
    let then = if args.install {
        ThenInstall::Yes
    } else {
        ThenInstall::No
    };
    let mut runs = restore_all(ui, &context, &dir, then, args.link.into())?;
    let mut failures = Vec::new();
    if args.install {
        failures = install_missing(ui, &context, &dir, &mut runs)?;
    }
    let report = DepsRestoreReport {
        schema: "headstart.deps-restore/1",
        caches: runs.into_iter().map(|run| run.report).collect(),
    };
    report.print(ui)?;
    match failures.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

impl DepsRestoreReport {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        if self.caches.is_empty() {
            ui.status("No lockfile of a known package manager was found.");
            return Ok(());
        }
        let mut table = Table::new([
            "cache",
            "outcome",
            "files",
            "from the remote",
            "from the local store",
            "time",
        ])
        .right(2)
        .right(3)
        .right(4)
        .right(5);
        for cache in &self.caches {
            table.row(cache.row());
        }
        ui.summary_table(&table)
    }
}
