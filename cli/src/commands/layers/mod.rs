//! `headstart layers`: what container images share, and what they should.

mod analyze;
mod cache;
mod credentials;
mod diff;
mod document;
mod limits;
mod report;
mod report_html;
mod sources;

use clap::Subcommand;

pub(crate) use cache::{evict_layers, layers_dir};

use crate::{context::Context, error::CommandError, ui::Ui};

/// See what container images share, waste and pull
#[derive(Debug, Subcommand)]
pub(crate) enum LayersCommand {
    Analyze(analyze::AnalyzeArgs),
    Diff(diff::DiffArgs),
}

pub(super) fn run(ui: &Ui, context: &Context, command: LayersCommand) -> Result<(), CommandError> {
    match command {
        LayersCommand::Analyze(args) => analyze::run(ui, context, args),
        LayersCommand::Diff(args) => diff::run(ui, context, args),
    }
}
