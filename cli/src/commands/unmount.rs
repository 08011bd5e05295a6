//! `headstart unmount`.

use std::path::PathBuf;

use clap::Args;
use headstart_store::unmount;
use serde::Serialize;

use crate::{error::CommandError, ui::Ui};

/// Take away trees that `restore --mount` mounted, with all changes in them
///
/// The folders stay, empty. Fails where a process has a file in one of them open, or works in it.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart unmount node_modules")]
pub(crate) struct UnmountArgs {
    /// The mounted folders
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
}

/// What `--json` prints: schema `headstart.unmount/1`.
#[derive(Debug, Serialize)]
struct UnmountReport {
    schema: &'static str,
    folders: Vec<String>,
}

pub(super) fn run(ui: &Ui, args: UnmountArgs) -> Result<(), CommandError> {
    for folder in &args.folders {
        unmount(folder)?;
        ui.status(format_args!("Unmounted {}.", folder.display()));
    }
    if ui.is_json() {
        return ui.answer_json(&UnmountReport {
            schema: "headstart.unmount/1",
            folders: args
                .folders
                .iter()
                .map(|folder| folder.to_string_lossy().into_owned())
                .collect(),
        });
    }
    Ok(())
}
