//! `headstart layers plan`.

mod dockerfile;
mod document;
mod report;

use clap::Args;
use headstart_image::{
    LoadedImage, Source,
    build::Times,
    plan::{CopiedLayer, Fleet, LayersPlan, PlanOptions, PlannedBuild, measure_plan},
};

use super::{
    build::{MakeArgs, TimesArg},
    sources::{SourceArgs, WORTH_SAYING},
};
use crate::{
    context::Context,
    error::CommandError,
    interrupt,
    ui::{Ui, bytes},
};

/// Propose better layers for images that are deployed together
///
/// Leading layers that all images of a family share, or that an image of --have has, stay as they are. Files that several
/// images have beyond them go into layers of their own, the most useful first; the rest is each image's own. Finished file
/// systems stay the same, path by path; what was overwritten or deleted is gone. The new layers are built for real, to
/// nowhere, so that sizes and pulls are those that `headstart layers build --plan` gets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart layers plan oci:web oci:api oci:jobs\n  \
    headstart layers plan oci:web oci:api --have oci:node --times fixed --json")]
pub(crate) struct PlanArgs {
    /// Images that are deployed together
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    make: MakeArgs,
    #[command(flatten)]
    sources: SourceArgs,
}

/// What a plan takes into account.
#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// Images that nodes have already, such as the base: their layers stay as they are
    #[arg(long, value_name = "IMAGE")]
    have: Vec<String>,
    /// The most layers to make for sharing, over all images [default: 16]
    #[arg(long, value_name = "N")]
    max_layers: Option<usize>,
}

/// Images, where their bytes are, and what is to become of them.
pub(super) struct Planned {
    pub(super) sources: Vec<Box<dyn Source>>,
    pub(super) images: Vec<LoadedImage>,
    have: Vec<LoadedImage>,
    pub(super) plan: LayersPlan,
    /// What lines of a Dockerfile can make of each image.
    copies: Vec<Option<Vec<CopiedLayer>>>,
}

/// Shared layers, unless told otherwise: with those of the base and the image's own far below what runtimes stack.
const MAX_SHARED_LAYERS: usize = 16;

impl FleetArgs {
    /// Whether anything was said.
    pub(super) fn is_given(&self) -> bool {
        !self.have.is_empty() || self.max_layers.is_some()
    }

    pub(super) fn plan(
        &self,
        ui: &Ui,
        context: &Context,
        images: &[String],
        sources: &SourceArgs,
        make: &MakeArgs,
    ) -> Result<Planned, CommandError> {
        let names: Vec<_> = images.iter().chain(&self.have).cloned().collect();
        let count = images.len();
        let (mut sources, mut images) = sources.open(ui, context, &names)?;
        let have = images.split_off(count);
        sources.truncate(count);
        let options = PlanOptions {
            max_shared_layers: self.max_layers.unwrap_or(MAX_SHARED_LAYERS),
            times: make.times(context, TimesArg::Keep)?,
        };
        let (planned, by_times) = interrupt::compute(&context.interrupt, move || {
            let (plan, copies, by_times);
            {
                let fleet = Fleet::of(&images, &have)?;
                plan = fleet.plan(options);
                copies = fleet.copies(&plan);
                by_times = kept_apart_by_times(&fleet, options, &plan);
            }
            let planned = Planned {
                sources,
                images,
                have,
                plan,
                copies,
            };
            Ok((planned, by_times))
        })?;
        if by_times >= WORTH_SAYING {
            ui.status(format_args!(
                "Hint: {} of files are the same in several images but for their times; --times fixed shares them",
                bytes(by_times)
            ));
        }
        Ok(planned)
    }
}

/// Bytes that times keep from being shared: package managers give files the time of their installation.
fn kept_apart_by_times(fleet: &Fleet<'_>, options: PlanOptions, plan: &LayersPlan) -> u64 {
    match options.times {
        Times::Keep => {
            let times = Times::Fixed(0);
            let fixed = fleet.saved_bytes(PlanOptions { times, ..options });
            fixed.saturating_sub(plan.saved_bytes())
        }
        Times::Fixed(_) => 0,
    }
}

pub(super) fn run(ui: &Ui, context: &Context, args: PlanArgs) -> Result<(), CommandError> {
    let planned = args
        .fleet
        .plan(ui, context, &args.images, &args.sources, &args.make)?;
    let scratch = std::env::temp_dir();
    let build = PlannedBuild {
        plan: &planned.plan,
        images: &planned.images,
        sources: &planned.sources,
        scratch: &scratch,
    };
    let measured = measure_plan(build, args.make.options(context))?;
    planned.report(ui, &measured)
}

impl Planned {
    /// Shows the plan, whose images were built as `measured`.
    pub(super) fn report(&self, ui: &Ui, measured: &[LoadedImage]) -> Result<(), CommandError> {
        let document = self.document(measured)?;
        match ui.is_json() {
            true => ui.answer_json(&document),
            false => report::print(ui, &document),
        }
    }
}
