//! `headstart completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use crate::{error::CommandError, ui::Ui};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart completions zsh > ~/.zfunc/_headstart")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(ui: &Ui, args: CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "headstart", &mut script);
    ui.answer(String::from_utf8_lossy(&script).trim_end())
}
