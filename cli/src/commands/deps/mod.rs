//! `headstart deps`: dependency caches of the project in the current folder.

mod cache_run;
mod environment;
mod restore;
mod save;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use cache_run::{CacheReport, CacheRun, Outcome, install_missing, restore_all, save_one};
pub(super) use environment::caches;

use crate::{context::Context, error::CommandError, ui::Ui};

/// Show, save and restore dependency caches of package managers
///
/// npm, Yarn, pnpm, bun, cargo, uv, pip, Poetry, Go, Maven and Gradle are found by their lockfiles.
/// docs/guide/dependency-caches.md says what is in each key and what is kept.
#[derive(Debug, Subcommand)]
pub(crate) enum DepsCommand {
    Status(status::StatusArgs),
    Save(save::SaveArgs),
    Restore(restore::RestoreArgs),
}

/// Which project.
#[derive(Debug, Args)]
pub(crate) struct ProjectArgs {
    /// Folder of the project or monorepo [default: the current folder]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

pub(super) fn run(ui: &Ui, context: Context, command: DepsCommand) -> Result<(), CommandError> {
    match command {
        DepsCommand::Status(args) => status::run(ui, &context, args),
        DepsCommand::Save(args) => save::run(ui, &context, args),
        DepsCommand::Restore(args) => restore::run(ui, &context, args),
    }
}

impl ProjectArgs {
    /// The folder without symlinks on the way, and the settings of the repository in it.
    fn open(&self, context: &Context) -> Result<(PathBuf, Context), CommandError> {
        use headstart_fs::AtPath as _;
        let dir = std::fs::canonicalize(&self.dir).at("open", &self.dir)?;
        let context = context.for_repository(&dir)?;
        Ok((dir, context))
    }
}
