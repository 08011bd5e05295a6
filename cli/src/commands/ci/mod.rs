//! `headstart ci`: the cache steps of a CI job.
//!
//! A job must never fail because of its cache: what goes wrong with the store, the remote or the settings is a warning
//! and a miss. Only a wrong command line, an asked-for failure on a miss and an interruption end it.

mod exclusions;
mod keyed;
mod outcome;
mod paths;
mod report;
mod restore;
mod save;
mod system;

use std::path::Path;

use clap::{Args, Subcommand};
use headstart_store::EntryName;

use self::{
    keyed::KeyedCache,
    outcome::Outcome,
    paths::{CachePaths, Places},
    report::Reporter,
};
use crate::{
    context::Context,
    error::{CommandError, EXIT_INTERRUPTED},
    ui::Ui,
};

/// Restore and save caches as steps of a CI job
///
/// Without --key: the dependency caches found by lockfiles, as `headstart deps` has them. GitHub Actions, GitLab,
/// CircleCI and Buildkite are told outcomes in their own ways; docs/guide/ci.md has a snippet for each.
#[derive(Debug, Subcommand)]
pub(crate) enum CiCommand {
    Restore(restore::RestoreArgs),
    Save(save::SaveArgs),
}

/// Which cache. Names and meanings are those of actions/cache.
#[derive(Debug, Args)]
struct CacheArgs {
    /// What to cache: folders, files and patterns, one a line; may be repeated
    ///
    /// Relative to the current folder, below `~/`, or absolute; `*`, `?`, `[...]` and `**` are patterns, and a line that begins
    /// with `!` takes away what it matches.
    #[arg(long = "path", value_name = "PATHS", requires = "key")]
    paths: Vec<String>,
    /// The exact key [default: caches found by lockfiles]
    #[arg(long, requires = "paths")]
    key: Option<String>,
}

pub(super) fn run(ui: &Ui, context: &Context, command: CiCommand) -> Result<(), CommandError> {
    match command {
        CiCommand::Restore(args) => restore::run(ui, context, &args),
        CiCommand::Save(args) => save::run(ui, context, &args),
    }
}

/// What is left to do when the user's settings are not understood: a warning, and a miss. Where the store is to be is not
/// known then.
pub(super) fn run_without_settings(
    ui: &Ui,
    context: &Context,
    command: &CiCommand,
    error: CommandError,
) -> Result<(), CommandError> {
    ui.warn(error.one_line());
    match command {
        CiCommand::Restore(args) => restore::run_without_settings(ui, context, args, error),
        CiCommand::Save(args) => save::run_without_settings(ui, context, args),
    }
}

impl CacheArgs {
    /// The cache that the command line names. An error is a wrong command line.
    fn keyed(&self, context: &Context, restore_keys: &[String]) -> Result<Option<KeyedCache>, CommandError> {
        let Some(key) = self.key.as_deref().map(str::trim) else {
            return Ok(None);
        };
        let workspace = std::env::current_dir().and_then(|folder| folder.canonicalize());
        let workspace = workspace
            .map_err(|error| CommandError::failed(format!("cannot find the current folder: {error}")))?;
        let places = Places {
            workspace,
            home: context.home().ok(),
        };
        let paths = CachePaths::parse(&self.paths, &places)
            .map_err(|error| CommandError::usage(format!("--path: {error}")))?;
        EntryName::new(keyed::namespace(), format!("{}{key}", paths.key_prefix(0)))
            .map_err(|error| CommandError::usage(format!("--key: {error}")))?;
        let restore_keys = restore_keys
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        Ok(Some(KeyedCache {
            key: key.to_owned(),
            restore_keys,
            paths,
            places,
        }))
    }
}

/// The settings with those of the repository in the current folder, as far as they are understood.
fn with_repository(ui: &Ui, context: &Context) -> Context {
    context.for_repository(Path::new(".")).unwrap_or_else(|error| {
        ui.warn(error.one_line());
        context.clone()
    })
}

/// Makes an error a warning, unless it is an interruption.
fn warned<T>(ui: &Ui, result: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.exit_code() == EXIT_INTERRUPTED => Err(error),
        Err(error) => {
            ui.warn(error.one_line());
            Ok(None)
        }
    }
}
