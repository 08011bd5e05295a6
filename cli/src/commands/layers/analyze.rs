//! `headstart layers analyze`.

use clap::Args;
use headstart_image::{
    LoadedImage,
    metrics::{FleetMetrics, ImageMetrics, Pull, pull_bytes, pulls, rollout},
};

use super::{document::Document, limits::LimitArgs, report, sources::SourceArgs};
use crate::{context::Context, error::CommandError, ui::Ui};

/// Contents that several layers have which the JSON document names.
const NAMED_DUPLICATES: usize = 100;

/// Measure what images hold, waste, share and pull
///
/// IMAGE is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], docker-daemon:NAME, registry://HOST/NAME or
/// just NAME[:TAG], as with docker pull. Every layer is read once and compared with its digests.
///
/// With a limit, ends with exit code 1 when an image is beyond it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart layers analyze oci:web oci:api docker-archive:jobs.tar\n  \
    headstart layers analyze registry.example/web:1.4 --min-efficiency 0.95 --max-wasted 20MB\n  \
    headstart layers analyze app:new --have app:old --max-pull 50MB --json")]
pub(crate) struct AnalyzeArgs {
    /// Images to measure
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Images a node has already: what it pulls for each of the others is told too
    #[arg(long, value_name = "IMAGE")]
    have: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Analysis {
    pub(super) images: Vec<LoadedImage>,
    /// One for each image.
    pub(super) metrics: Vec<ImageMetrics>,
    pub(super) fleet: FleetMetrics,
    pub(super) pulls: Vec<Pull>,
    /// One after the other to one node: what each image adds.
    pub(super) rollout: Vec<u64>,
    pub(super) given: Option<Given>,
}

/// Pulls to a node that has certain images.
#[derive(Debug)]
pub(super) struct Given {
    /// What these images are called.
    pub(super) have: Vec<String>,
    /// One for each image that was analysed.
    pub(super) bytes: Vec<u64>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: AnalyzeArgs) -> Result<(), CommandError> {
    let limits = args.limits.load()?;
    let names: Vec<_> = args.images.iter().chain(&args.have).cloned().collect();
    let mut images = args.sources.read(ui, context, &names)?;
    let have = images.split_off(args.images.len());
    let analysis = Analysis::of(images, &have)?;
    match ui.is_json() {
        true => ui.answer_json(&Document::new(&analysis))?,
        false => report::print(ui, &analysis)?,
    }
    limits.check(&analysis)
}

impl Analysis {
    fn of(images: Vec<LoadedImage>, have: &[LoadedImage]) -> Result<Self, CommandError> {
        let metrics = images
            .iter()
            .map(ImageMetrics::of)
            .collect::<Result<Vec<_>, _>>()?;
        let given = (!have.is_empty()).then(|| Given {
            have: have.iter().map(|image| image.image.reference.clone()).collect(),
            bytes: images.iter().map(|image| pull_bytes(image, have)).collect(),
        });
        Ok(Analysis {
            metrics,
            fleet: FleetMetrics::of(&images, NAMED_DUPLICATES),
            pulls: pulls(&images),
            rollout: rollout(&images),
            given,
            images,
        })
    }

    /// What an image pulls: to a node that has what the user said, else to an empty one.
    pub(super) fn pull_bytes(&self, image: usize) -> u64 {
        match &self.given {
            Some(given) => given.bytes[image],
            None => self
                .pulls
                .iter()
                .find(|pull| pull.image == image && pull.have.is_empty())
                .map_or(0, |pull| pull.bytes),
        }
    }
}
