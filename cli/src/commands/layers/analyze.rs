//! `headstart layers analyze`.

use std::{fs, path::PathBuf};

use clap::Args;
use headstart_fs::AtPath as _;
use headstart_image::{
    LoadedImage,
    metrics::{FleetMetrics, ImageMetrics, Pull, pull_bytes, pulls, rollout},
};

use super::{document::Document, limits::LimitArgs, report, report_html, sources::SourceArgs};
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
    headstart layers analyze app:new --have app:old --max-pull 50MB --json\n  \
    headstart layers analyze oci:web oci:api --html report.html")]
pub(crate) struct AnalyzeArgs {
    /// Images to measure
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Images a node has already: what it pulls for each of the others is told too
    #[arg(long, value_name = "IMAGE")]
    have: Vec<String>,
    /// Also write a page for the browser: what images share, a map of their bytes, waste, and rollouts to try
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    pub(super) have: Vec<LoadedImage>,
    /// One for each image that was analysed.
    pub(super) bytes: Vec<u64>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: AnalyzeArgs) -> Result<(), CommandError> {
    let limits = args.limits.load()?;
    let names: Vec<_> = args.images.iter().chain(&args.have).cloned().collect();
    let mut images = args.sources.read(ui, context, &names)?;
    let have = images.split_off(args.images.len());
    let analysis = Analysis::of(images, have)?;
    if let Some(path) = &args.html {
        let page = report_html::render(&analysis)?;
        fs::write(path, page).at("write", path)?;
        ui.status(format_args!("Wrote {}", path.display()));
    }
    match ui.is_json() {
        true => ui.answer_json(&Document::new(&analysis))?,
        false => report::print(ui, &analysis)?,
    }
    limits.check(&analysis)
}

impl Given {
    /// What the images are called.
    pub(super) fn names(&self) -> Vec<String> {
        self.have
            .iter()
            .map(|image| image.image.reference.clone())
            .collect()
    }
}

impl Analysis {
    pub(super) fn of(images: Vec<LoadedImage>, have: Vec<LoadedImage>) -> Result<Self, CommandError> {
        let metrics = images
            .iter()
            .map(ImageMetrics::of)
            .collect::<Result<Vec<_>, _>>()?;
        let given = (!have.is_empty()).then(|| Given {
            bytes: images.iter().map(|image| pull_bytes(image, &have)).collect(),
            have,
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
            None => self.cold_pull_bytes(image),
        }
    }

    /// What an image pulls to an empty node.
    pub(super) fn cold_pull_bytes(&self, image: usize) -> u64 {
        let cold = |pull: &&Pull| pull.image == image && pull.have.is_empty();
        self.pulls.iter().find(cold).map_or(0, |pull| pull.bytes)
    }
}
