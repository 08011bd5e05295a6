//! One file per subcommand, one folder per group; this file lists them.

mod affected;
mod backfill;
mod bootstrap;
mod cache;
mod ci;
mod clone;
mod completions;
mod deps;
mod doctor;
mod layers;
mod pull;
mod restore;
mod save;
mod seed;
mod try_;
mod unmount;

use clap::{Args, Parser, Subcommand};
use headstart_store::Namespace;

use crate::{
    config::parse_age,
    context::{Context, StoreArgs},
    error::CommandError,
    ui::{OutputMode, Ui},
};

/// Clone and build big repositories fast
#[derive(Debug, Parser)]
#[command(
    name = "headstart",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Start here: `headstart try` makes a sample repository and shows what there is to gain.\n\
    Exit codes: 0 done, 1 failed, 2 wrong command line or settings, 3 done in part, 130 interrupted, 255 a bug."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Flags every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Print only answers, warnings and errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Print one JSON document (schema named inside) instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bootstrap(bootstrap::BootstrapArgs),
    Clone(clone::CloneArgs),
    Affected(affected::AffectedArgs),
    Pull(pull::PullArgs),
    Backfill(backfill::BackfillArgs),
    #[command(subcommand)]
    Seed(seed::SeedCommand),
    #[command(subcommand)]
    Deps(deps::DepsCommand),
    #[command(subcommand)]
    Ci(ci::CiCommand),
    Save(save::SaveArgs),
    Restore(restore::RestoreArgs),
    Unmount(unmount::UnmountArgs),
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    #[command(subcommand)]
    Layers(layers::LayersCommand),
    Doctor(doctor::DoctorArgs),
    Try(try_::TryArgs),
    Completions(completions::CompletionsArgs),
}

impl GlobalArgs {
    pub(crate) fn output_mode(&self) -> OutputMode {
        match (self.json, self.quiet) {
            // Which is quiet too.
            (true, _) => OutputMode::Json,
            (false, true) => OutputMode::Quiet,
            (false, false) => OutputMode::Human,
        }
    }
}

/// Runs the command that was asked for.
pub(crate) fn run(ui: &Ui, cli: Cli) -> Result<(), CommandError> {
    if let Command::Completions(args) = cli.command {
        return completions::run(ui, args);
    }
    let mut context = Context::without_settings(cli.global.store)?;
    match (context.load_settings(), &cli.command) {
        // Settings that are not understood cost a job its cache, never its result.
        (Err(error), Command::Ci(command)) => {
            return ci::run_without_settings(ui, &context, command, error);
        }
        (loaded, _) => loaded?,
    }
    match cli.command {
        Command::Bootstrap(args) => bootstrap::run(ui, context, args),
        Command::Clone(args) => clone::run(ui, &context, args),
        Command::Seed(command) => seed::run(ui, &context, command),
        Command::Affected(args) => affected::run(ui, &context, args),
        Command::Pull(args) => pull::run(ui, &context, args),
        Command::Backfill(args) => backfill::run(ui, &context, args),
        Command::Deps(command) => deps::run(ui, context, command),
        Command::Ci(command) => ci::run(ui, &context, command),
        Command::Save(args) => save::run(ui, &context, args),
        Command::Restore(args) => restore::run(ui, &context, args),
        Command::Unmount(args) => unmount::run(ui, args),
        Command::Cache(command) => cache::run(ui, &context, command),
        Command::Layers(command) => layers::run(ui, &context, command),
        Command::Doctor(args) => doctor::run(ui, &context, args),
        Command::Try(args) => try_::run(ui, &context, args),
        Command::Completions(_) => unreachable!("handled above, before settings are read"),
    }
}

/// The namespace of `save` and `restore`.
fn files_namespace() -> Namespace {
    "files".parse().expect("a plain word is a namespace")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn first_help_lines_are_short_sentences_without_a_full_stop() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(
                    !about.is_empty() && about.len() <= 72 && !about.ends_with('.'),
                    "{}: {about:?}",
                    sub.get_name()
                );
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
