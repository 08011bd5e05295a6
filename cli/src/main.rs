//! `headstart`: parse the command line, run one command, end with its exit code.

use std::{panic, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

mod commands;
mod config;
mod context;
mod env_vars;
mod error;
mod housekeeping;
mod interrupt;
mod seeds;
mod stores;
mod ui;

use error::{CommandError, EXIT_BUG};
use ui::{OutputMode, Ui};

fn main() -> ExitCode {
    // A panic is a bug of ours: say so, and end with the code that scripts can tell from an ordinary failure.
    let outcome = panic::catch_unwind(run);
    outcome.unwrap_or_else(|_| ExitCode::from(EXIT_BUG))
}

fn run() -> ExitCode {
    let matches = match commands::Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match commands::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let ui = Ui::new(cli.global.output_mode());
    error::report_panics_as_bugs();
    match commands::run(&ui, cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints help, a version or a usage error as clap words it, and for `--json` callers the error as a last JSON line.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        let message = text
            .trim_start_matches("error: ")
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Ui::new(OutputMode::Json).error(&CommandError::usage(message).hint("headstart --help"));
        return ExitCode::from(error::EXIT_USAGE);
    }
    // A closed stdout or stderr leaves nobody to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { error::EXIT_USAGE } else { 0 })
}
