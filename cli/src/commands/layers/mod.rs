//! `headstart layers`: what container images share, and what they should.

mod analyze;
mod build;
mod document;
mod limits;
mod plan;
mod report;
mod sources;

use clap::Subcommand;

use crate::{context::Context, error::CommandError, ui::Ui};

/// See what container images share, waste and pull, and build better ones
#[derive(Debug, Subcommand)]
pub(crate) enum LayersCommand {
    Analyze(analyze::AnalyzeArgs),
    Build(build::BuildArgs),
    Plan(plan::PlanArgs),
}

pub(super) fn run(ui: &Ui, context: &Context, command: LayersCommand) -> Result<(), CommandError> {
    match command {
        LayersCommand::Analyze(args) => analyze::run(ui, context, args),
        LayersCommand::Build(args) => build::run(ui, context, args),
        LayersCommand::Plan(args) => plan::run(ui, context, args),
    }
}
