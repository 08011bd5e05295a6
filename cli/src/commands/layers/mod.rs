//! `headstart layers`: what container images share, and what they should.

mod analyze;
mod build;
mod cache;
mod credentials;
mod diff;
mod document;
mod jar;
mod limits;
mod plan;
mod report;
mod report_html;
mod sources;

use clap::Subcommand;

pub(crate) use cache::{evict_layers, layers_dir};

use crate::{context::Context, error::CommandError, ui::Ui};

/// See what container images share, waste and pull, and build better ones
#[derive(Debug, Subcommand)]
pub(crate) enum LayersCommand {
    Analyze(analyze::AnalyzeArgs),
    Build(Box<build::BuildArgs>),
    Jar(jar::JarArgs),
    Plan(plan::PlanArgs),
    Diff(diff::DiffArgs),
}

pub(super) fn run(ui: &Ui, context: &Context, command: LayersCommand) -> Result<(), CommandError> {
    match command {
        LayersCommand::Analyze(args) => analyze::run(ui, context, args),
        LayersCommand::Build(args) => build::run(ui, context, *args),
        LayersCommand::Jar(args) => jar::run(ui, context, args),
        LayersCommand::Plan(args) => plan::run(ui, context, args),
        LayersCommand::Diff(args) => diff::run(ui, context, args),
    }
}
