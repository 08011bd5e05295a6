//! `headstart layers analyze`.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use headstart_fs::{
    AtPath as _,
    publish::{self, Durability},
};
use headstart_image::{
    LoadedImage,
    metrics::{FleetMetrics, ImageMetrics, Pull, pull_bytes, pulls, rollout},
};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::{document::Document, limits::LimitArgs, report, report_html, sources::SourceArgs};
use crate::{context::Context, error::CommandError, interrupt, ui::Ui};

/// Contents that several layers have which the JSON document names.
const NAMED_DUPLICATES: usize = 100;
/// How pages for the browser begin.
const PAGE_START: &[u8] = b"<!doctype html";

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
    ///
    /// An earlier page is replaced, any other file of that name is not.
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
    if let Some(path) = &args.html {
        // Told before images are read, not after.
        let _ = page_place(path)?;
    }
    let names: Vec<_> = args.images.iter().chain(&args.have).cloned().collect();
    let mut images = args.sources.read(ui, context, &names)?;
    let have = images.split_off(args.images.len());
    let wants_page = args.html.is_some();
    let (analysis, page) = interrupt::compute(&context.interrupt, move || {
        let analysis = Analysis::of(images, have)?;
        let page = wants_page.then(|| report_html::render(&analysis)).transpose()?;
        Ok((analysis, page))
    })?;
    if let Some((path, page)) = args.html.as_ref().zip(page) {
        write_page(path, &page)?;
        ui.status(format_args!("Wrote {}", path.display()));
    }
    match ui.is_json() {
        true => ui.answer_json(&Document::new(&analysis))?,
        false => report::print(ui, &analysis)?,
    }
    limits.check(&analysis)
}

/// What is there is given up only for being a page, or empty.
fn page_place(path: &Path) -> Result<PathBuf, CommandError> {
    let Some((place, there)) = publish::existing(path)? else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::metadata(folder.unwrap_or(Path::new("."))).at("write to", path)?;
        return Ok(path.to_owned());
    };
    let mut start = Vec::new();
    there
        .take(PAGE_START.len() as u64)
        .read_to_end(&mut start)
        .at("read", path)?;
    match start.is_empty() || start.eq_ignore_ascii_case(PAGE_START) {
        true => Ok(place),
        false => {
            let sentence = format!("{} is there and is no page for the browser", path.display());
            Err(CommandError::failed(sentence).hint("remove it, or name another file with --html"))
        }
    }
}

/// Readers of an earlier page see that or this, never a half.
fn write_page(path: &Path, page: &str) -> Result<(), CommandError> {
    let place = page_place(path)?;
    let mut temp = publish::temp_in_place_of(&place)?;
    temp.write_all(page.as_bytes()).at("write", temp.path())?;
    Ok(publish::persist(temp, &place, Durability::Synced)?)
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
        let (metrics, fleet) = rayon::join(
            || images.par_iter().map(ImageMetrics::of).collect::<Result<_, _>>(),
            || FleetMetrics::of(&images, NAMED_DUPLICATES),
        );
        let given = (!have.is_empty()).then(|| Given {
            bytes: images.iter().map(|image| pull_bytes(image, &have)).collect(),
            have,
        });
        Ok(Analysis {
            metrics: metrics?,
            fleet,
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
