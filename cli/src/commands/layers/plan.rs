//! `headstart layers plan`.

use clap::Args;
use headstart_image::{
    LoadedImage, Source,
    build::Times,
    metrics::{Pull, pull_bytes, pulls, rollout},
    plan::{
        LayersPlan, PlanOptions, PlannedBuild, PlannedKind, ignore_rules, measure_plan, places, plan_layers,
    },
};
use serde::Serialize;

use super::{
    build::{MakeArgs, TimesArg},
    document::text,
    sources::SourceArgs,
};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, bytes, count},
};

/// Places that the report names of a layer; the JSON document has all.
const MOST_PLACES: usize = 5;
/// Beyond so many paths a line of a Dockerfile helps nobody.
const MOST_COPIED: usize = 20;

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
}

/// Shared layers, unless told otherwise: with those of the base and the image's own far below what runtimes stack.
const MAX_SHARED_LAYERS: usize = 16;

/// Bytes that other options would save, of which a user should hear.
const WORTH_SAYING: u64 = 1 << 20;

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
        let plan = plan_layers(&images, &have, options)?;
        hint_at_times(ui, &images, &have, options, &plan)?;
        Ok(Planned {
            sources,
            images,
            have,
            plan,
        })
    }
}

/// Package managers give files the time of their installation: says so where that keeps much apart.
fn hint_at_times(
    ui: &Ui,
    images: &[LoadedImage],
    have: &[LoadedImage],
    options: PlanOptions,
    plan: &LayersPlan,
) -> Result<(), CommandError> {
    if options.times == Times::Keep {
        let times = Times::Fixed(0);
        let fixed = plan_layers(images, have, PlanOptions { times, ..options })?;
        let more = fixed.saved_bytes().saturating_sub(plan.saved_bytes());
        if more >= WORTH_SAYING {
            ui.status(format_args!(
                "Hint: {} of files are the same in several images but for their times; --times fixed shares them",
                bytes(more)
            ));
        }
    }
    Ok(())
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

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    images: Vec<ImageDocument<'a>>,
    layers: Vec<LayerDocument>,
    pulls: Vec<PullDocument<'a>>,
    /// All images one after the other to one node that has nothing.
    rollout: Change,
}

#[derive(Serialize)]
struct ImageDocument<'a> {
    reference: &'a str,
    digest_before: String,
    digest_after: String,
    kept_layers: usize,
    /// Numbers in `layers`.
    new_layers: &'a [usize],
    /// Lines that make such layers of a stage `files`, one for each; none where a layer is scattered too widely for one.
    dockerfile: Vec<String>,
    /// Rules for `.dockerignore`, with what they save.
    ignore: Vec<IgnoreDocument>,
}

#[derive(Serialize)]
struct IgnoreDocument {
    path: String,
    /// The line that means the path; null where none can.
    pattern: Option<String>,
    wasted_bytes: u64,
}

#[derive(Serialize)]
struct LayerDocument {
    digest: String,
    diff_id: String,
    compressed_bytes: u64,
    file_bytes: u64,
    files: u64,
    /// Numbers in `images`.
    images: Vec<usize>,
    places: Vec<PlaceDocument>,
}

#[derive(Serialize)]
struct PlaceDocument {
    path: String,
    folder: bool,
    files: u64,
    file_bytes: u64,
}

#[derive(Serialize)]
struct PullDocument<'a> {
    image: &'a str,
    have: Vec<&'a str>,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct Change {
    bytes_before: u64,
    bytes_after: u64,
}

impl Planned {
    /// Shows the plan, whose images were built as `measured`.
    pub(super) fn report(&self, ui: &Ui, measured: &[LoadedImage]) -> Result<(), CommandError> {
        let document = self.document(measured)?;
        match ui.is_json() {
            true => ui.answer_json(&document),
            false => print(ui, &document),
        }
    }

    fn document<'a>(&'a self, measured: &[LoadedImage]) -> Result<Document<'a>, CommandError> {
        let name = |image: usize| &*self.images[image].image.reference;
        let images = self.images.iter().zip(measured).zip(&self.plan.images);
        let images = images.map(|((before, after), planned)| {
            Ok(ImageDocument {
                reference: &before.image.reference,
                digest_before: before.image.digest.to_string(),
                digest_after: after.image.digest.to_string(),
                kept_layers: planned.kept,
                new_layers: &planned.layers,
                dockerfile: planned
                    .layers
                    .iter()
                    .map(|&layer| self.copy_line(layer))
                    .collect::<Option<_>>()
                    .unwrap_or_default(),
                ignore: ignore_rules(before)?
                    .into_iter()
                    .map(|rule| IgnoreDocument {
                        path: text(&rule.path),
                        pattern: rule.pattern(),
                        wasted_bytes: rule.wasted_bytes,
                    })
                    .collect(),
            })
        });
        let layers = (0..self.plan.layers.len()).map(|number| self.layer(number, measured));
        let before = pulls(&self.images);
        let between = before.into_iter().zip(pulls(measured));
        let between = between.map(|(Pull { image, have, bytes }, after)| PullDocument {
            image: name(image),
            have: have.into_iter().map(name).collect(),
            change: Change {
                bytes_before: bytes,
                bytes_after: after.bytes,
            },
        });
        let given = self.images.iter().zip(measured).filter(|_| !self.have.is_empty());
        let given = given.map(|(before, after)| PullDocument {
            image: &before.image.reference,
            have: self.have.iter().map(|have| &*have.image.reference).collect(),
            change: Change {
                bytes_before: pull_bytes(before, &self.have),
                bytes_after: pull_bytes(after, &self.have),
            },
        });
        Ok(Document {
            schema: "headstart.layers-plan/1",
            images: images.collect::<Result<_, CommandError>>()?,
            layers: layers.collect(),
            pulls: between.chain(given).collect(),
            rollout: Change {
                bytes_before: rollout(&self.images).into_iter().fold(0, u64::saturating_add),
                bytes_after: rollout(measured).into_iter().fold(0, u64::saturating_add),
            },
        })
    }

    /// The line of a Dockerfile that takes a layer's files from the stage that has them all; none that deletes something.
    fn copy_line(&self, layer: usize) -> Option<String> {
        let places = places(&self.plan, layer);
        let mut entries = self.plan.layers[layer].entries.iter();
        let hides = entries.any(|entry| entry.kind == PlannedKind::Whiteout);
        let is_plain = |path: &[u8]| {
            path.iter()
                .all(|byte| byte.is_ascii_graphic() && !b"\"'\\$*?[]".contains(byte))
        };
        if hides
            || places.is_empty()
            || places.len() > MOST_COPIED
            || !places.iter().all(|place| is_plain(&place.path))
        {
            return None;
        }
        let paths: Vec<_> = places
            .iter()
            .map(|place| format!("/{}", text(&place.path)))
            .collect();
        Some(format!(
            "COPY --link --parents --from=files {} /",
            paths.join(" ")
        ))
    }

    fn layer(&self, number: usize, measured: &[LoadedImage]) -> LayerDocument {
        let planned = &self.plan.layers[number];
        let image = planned.images[0];
        let plan = &self.plan.images[image];
        let at = plan.layers.iter().position(|&layer| layer == number).unwrap_or(0);
        let built = &measured[image].layers[plan.kept + at];
        let places = places(&self.plan, number).into_iter().map(|place| PlaceDocument {
            path: text(&place.path),
            folder: place.is_folder,
            files: place.files,
            file_bytes: place.file_bytes,
        });
        LayerDocument {
            digest: built.digest.to_string(),
            diff_id: built.diff_id.to_string(),
            compressed_bytes: built.compressed_bytes,
            file_bytes: planned.file_bytes(),
            files: planned.file_count(),
            images: planned.images.clone(),
            places: places.collect(),
        }
    }
}

fn print(ui: &Ui, document: &Document<'_>) -> Result<(), CommandError> {
    for image in &document.images {
        ui.answer(format_args!(
            "{}: {} layers stay, then new layers {}",
            crate::ui::clean(image.reference),
            image.kept_layers,
            list(image.new_layers)
        ))?;
    }
    let mut table = Table::new(["layer", "images", "stored", "files", "where"])
        .right(0)
        .right(1)
        .right(2)
        .right(3);
    for (number, layer) in document.layers.iter().enumerate() {
        let places = layer.places.iter().take(MOST_PLACES);
        let mut places: Vec<_> = places
            .map(|place| format!("/{}{}", place.path, if place.folder { "/" } else { "" }))
            .collect();
        if layer.places.len() > MOST_PLACES {
            places.push(format!("and {} more", layer.places.len() - MOST_PLACES));
        }
        table.row([
            number.to_string(),
            layer.images.len().to_string(),
            bytes(layer.compressed_bytes),
            count(layer.files),
            places.join(" "),
        ]);
    }
    ui.answer("\nNew layers")?;
    ui.answer_table(&table)?;
    let mut table = Table::new(["pull of", "by a node that has", "before", "after"])
        .right(2)
        .right(3);
    for pull in &document.pulls {
        let have = match pull.have[..] {
            [] => "nothing".to_owned(),
            ref have => have.join(", "),
        };
        table.row([
            pull.image.to_owned(),
            have,
            bytes(pull.change.bytes_before),
            bytes(pull.change.bytes_after),
        ]);
    }
    table.row([
        "all of them".to_owned(),
        "nothing".to_owned(),
        bytes(document.rollout.bytes_before),
        bytes(document.rollout.bytes_after),
    ]);
    ui.answer("\nRollouts")?;
    ui.answer_table(&table)?;
    document.images.iter().try_for_each(|image| advise(ui, image))?;
    let without = document.images.iter().filter(|image| image.dockerfile.is_empty());
    let without: Vec<_> = without
        .filter(|image| !image.new_layers.is_empty())
        .map(|image| image.reference)
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    ui.answer(format_args!(
        "\nNo lines of a Dockerfile make these layers, headstart layers build --plan does: {}",
        crate::ui::clean(&without.join(", "))
    ))
}

/// What to change where the image is built.
fn advise(ui: &Ui, image: &ImageDocument<'_>) -> Result<(), CommandError> {
    let name = crate::ui::clean(image.reference);
    if !image.dockerfile.is_empty() {
        ui.answer(format_args!(
            "\nDockerfile of {name}, of a stage `files` (COPY --parents needs docker/dockerfile:1.7-labs or later)"
        ))?;
        image
            .dockerfile
            .iter()
            .try_for_each(|line| ui.answer(crate::ui::clean(line)))?;
    }
    if !image.ignore.is_empty() {
        let wasted = image.ignore.iter().map(|rule| rule.wasted_bytes).sum();
        ui.answer(format_args!(
            "\n.dockerignore of {name}, if its COPY . is of the build context: copied and deleted again, {}",
            bytes(wasted)
        ))?;
        for rule in &image.ignore {
            match &rule.pattern {
                Some(pattern) => ui.answer(crate::ui::clean(pattern))?,
                None => ui.answer(format_args!(
                    "# no rule can mean {}",
                    crate::ui::clean(&rule.path)
                ))?,
            }
        }
    }
    Ok(())
}

fn list(numbers: &[usize]) -> String {
    match numbers {
        [] => "none".to_owned(),
        numbers => numbers
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
