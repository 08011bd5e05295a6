//! `headstart cache`: looking after the local store.

mod gc;
mod status;
mod verify;

use clap::Subcommand;

use crate::{context::Context, error::CommandError, ui::Ui};

/// Look after the local store
///
/// A server's store is looked after on the server, with --store and its data folder.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    Status(status::StatusArgs),
    Verify(verify::VerifyArgs),
    Gc(gc::GcArgs),
}

pub(super) fn run(ui: &Ui, context: &Context, command: CacheCommand) -> Result<(), CommandError> {
    match command {
        CacheCommand::Status(args) => status::run(ui, context, args),
        CacheCommand::Verify(args) => verify::run(ui, context, args),
        CacheCommand::Gc(args) => gc::run(ui, context, args),
    }
}
