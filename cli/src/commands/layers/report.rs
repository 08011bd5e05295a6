//! What `layers analyze` prints for people.

use std::{collections::HashMap, hash::Hash};

use headstart_image::{LoadedImage, metrics::ImageMetrics};

use super::{
    analyze::{Analysis, Given},
    document::{how, text},
};
use crate::{
    error::CommandError,
    ui::{Table, Ui, bytes, count},
};

/// Rows of a table of the heaviest.
const MOST_ROWS: usize = 10;
/// A fleet beyond this many images has more pairs than anybody reads; the JSON document has all.
const MOST_PAIRED: usize = 6;

pub(super) fn print(ui: &Ui, analysis: &Analysis) -> Result<(), CommandError> {
    images(ui, analysis)?;
    for (image, metrics) in analysis.images.iter().zip(&analysis.metrics) {
        if analysis.images.len() == 1 {
            layers(ui, image)?;
        }
        waste(ui, image, metrics)?;
    }
    if analysis.images.len() > 1 {
        fleet(ui, analysis)?;
    }
    duplicates(ui, analysis)?;
    pulls(ui, analysis)
}

fn images(ui: &Ui, analysis: &Analysis) -> Result<(), CommandError> {
    let mut table = Table::new([
        "image",
        "layers",
        "stored",
        "files",
        "visible",
        "wasted",
        "efficiency",
        "by dive",
    ]);
    for column in 1..8 {
        table = table.right(column);
    }
    for (image, metrics) in analysis.images.iter().zip(&analysis.metrics) {
        let [layers, stored, files, visible, wasted, efficiency, by_dive] = numbers(image, metrics);
        let name = image.image.reference.clone();
        table.row([name, layers, stored, files, visible, wasted, efficiency, by_dive]);
    }
    ui.answer_table(&table)?;
    for (image, metrics) in analysis.images.iter().zip(&analysis.metrics) {
        if metrics.foreign_layers > 0 {
            ui.answer(format_args!(
                "{}: {} layers ({}) are kept elsewhere by their publisher; their files are not counted",
                crate::ui::clean(&image.image.reference),
                count(metrics.foreign_layers),
                bytes(metrics.foreign_bytes)
            ))?;
        }
    }
    Ok(())
}

/// The numbers of an image: layers, bytes stored, of files, visible and wasted, efficiency and dive's.
pub(super) fn numbers(image: &LoadedImage, metrics: &ImageMetrics) -> [String; 7] {
    [
        count(image.layers.len() as u64),
        bytes(metrics.compressed_bytes),
        bytes(metrics.file_bytes),
        bytes(metrics.visible_bytes),
        bytes(metrics.wasted_bytes()),
        percent(metrics.efficiency()),
        percent(metrics.dive.efficiency),
    ]
}

fn layers(ui: &Ui, image: &LoadedImage) -> Result<(), CommandError> {
    let mut table = Table::new(["layer", "digest", "stored", "files", "", "whiteouts", "made by"])
        .right(0)
        .right(2)
        .right(3)
        .right(4)
        .right(5);
    for (number, stored) in image.layers.iter().enumerate() {
        let layer = stored.layer.as_deref();
        let step = image.image.config.step_of(number);
        table.row([
            number.to_string(),
            short(&stored.digest.to_hex()),
            bytes(stored.compressed_bytes),
            layer.map_or_else(|| "elsewhere".to_owned(), |layer| count(layer.file_count())),
            layer.map_or_else(String::new, |layer| bytes(layer.file_bytes())),
            layer.map_or_else(String::new, |layer| count(layer.whiteout_count())),
            step.map_or_else(String::new, |step| step.created_by.chars().take(60).collect()),
        ]);
    }
    section(ui, "Layers, lowest first")?;
    ui.answer_table(&table)
}

fn waste(ui: &Ui, image: &LoadedImage, metrics: &ImageMetrics) -> Result<(), CommandError> {
    if metrics.wasted_files.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["wasted", "file", "added by", "hidden by", "how"])
        .right(0)
        .right(2)
        .right(3);
    for file in metrics.wasted_files.iter().take(MOST_ROWS) {
        table.row([
            bytes(file.size_bytes),
            text(&file.path),
            format!("layer {}", file.added_by),
            format!("layer {}", file.hidden_by),
            how(file.how).to_owned(),
        ]);
    }
    section(
        ui,
        format_args!(
            "Wasted in {}: {} in {} files",
            crate::ui::clean(&image.image.reference),
            bytes(metrics.wasted_bytes()),
            count(metrics.wasted_files.len() as u64)
        ),
    )?;
    ui.answer_table(&table)
}

fn fleet(ui: &Ui, analysis: &Analysis) -> Result<(), CommandError> {
    let fleet = &analysis.fleet;
    section(ui, "Together")?;
    let line = |name: &str, value: String| ui.answer(format_args!("{name:<22}{value}"));
    line(
        "layers",
        format!(
            "{} in {} images; {} differ as stored, {} as tars",
            count(fleet.layer_refs),
            count(fleet.images),
            count(fleet.unique_layers),
            count(fleet.unique_diff_ids)
        ),
    )?;
    line(
        "stored",
        format!(
            "{}; {} with shared layers kept once",
            bytes(fleet.compressed_bytes),
            bytes(fleet.unique_compressed_bytes)
        ),
    )?;
    line(
        "shared",
        format!(
            "{} layers of {}, which saves {}",
            count(fleet.shared_layers),
            bytes(fleet.shared_layer_bytes),
            bytes(fleet.saved_by_sharing_bytes)
        ),
    )?;
    let layers = analysis.images.iter().flat_map(|image| &image.layers);
    let (mut stored, mut of_tars) = (HashMap::new(), HashMap::new());
    for layer in layers {
        stored.insert(layer.digest, layer.compressed_bytes);
        of_tars.insert(layer.diff_id, layer.compressed_bytes);
    }
    if !fleet.recompressed_twins.is_empty() {
        let extra = beyond_one(&fleet.recompressed_twins, &stored);
        let what = "the same tars in another compression; push one of each";
        line("recompressed twins", format!("{} of {what}", bytes(extra)))?;
    }
    if !fleet.near_twins.is_empty() {
        let extra = beyond_one(&fleet.near_twins, &of_tars);
        let what = "layers that differ from others in times, owners, modes and order only; fix the times";
        line("near twins", format!("{} of {what}", bytes(extra)))?;
    }
    Ok(())
}

/// What twins take beyond the smallest of each group.
fn beyond_one<I: Eq + Hash>(groups: &[Vec<I>], sizes: &HashMap<I, u64>) -> u64 {
    let extra = groups.iter().map(|twins| {
        let sizes = twins.iter().filter_map(|twin| sizes.get(twin).copied());
        let smallest = sizes.clone().min().unwrap_or_default();
        sizes.fold(0, u64::saturating_add) - smallest
    });
    extra.fold(0, u64::saturating_add)
}

fn duplicates(ui: &Ui, analysis: &Analysis) -> Result<(), CommandError> {
    let duplicates = &analysis.fleet.duplicates;
    if duplicates.cross_layer_bytes + duplicates.within_layer_bytes == 0 {
        return Ok(());
    }
    section(
        ui,
        format_args!(
            "The same files in several layers: {}; twice in one layer: {}; all different files: {}",
            bytes(duplicates.cross_layer_bytes),
            bytes(duplicates.within_layer_bytes),
            bytes(duplicates.unique_content_bytes)
        ),
    )?;
    if duplicates.heaviest.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["costs", "size", "layers", "file"])
        .right(0)
        .right(1)
        .right(2);
    for content in duplicates.heaviest.iter().take(MOST_ROWS) {
        table.row([
            bytes(content.extra_bytes()),
            bytes(content.size_bytes),
            count(content.layers),
            content
                .places
                .first()
                .map_or_else(String::new, |place| text(&place.path)),
        ]);
    }
    ui.answer_table(&table)
}

fn pulls(ui: &Ui, analysis: &Analysis) -> Result<(), CommandError> {
    let name = |number: usize| analysis.images[number].image.reference.clone();
    let mut table = Table::new(["pull of", "by a node that has", "bytes"]).right(2);
    let are_few = analysis.images.len() <= MOST_PAIRED;
    for pull in &analysis.pulls {
        let have = match pull.have[..] {
            [] => "nothing".to_owned(),
            [have] if are_few => name(have),
            _ => continue,
        };
        table.row([name(pull.image), have, bytes(pull.bytes)]);
    }
    if let Some(given) = &analysis.given
        && !(are_few && is_analysed(analysis, given))
    {
        for (number, &pulled) in given.bytes.iter().enumerate() {
            table.row([name(number), given.names().join(", "), bytes(pulled)]);
        }
    }
    if analysis.images.len() > 1 {
        let all = analysis.rollout.iter().copied().fold(0, u64::saturating_add);
        table.row(["all of them".to_owned(), "nothing".to_owned(), bytes(all)]);
    }
    section(ui, "Rollouts")?;
    ui.answer_table(&table)
}

/// Whether the node of `--have` has just one image, which is among those that were analysed: its pulls are in the table.
fn is_analysed(analysis: &Analysis, given: &Given) -> bool {
    let names = given.names();
    let mut images = analysis.images.iter().map(|image| &image.image.reference);
    names.len() == 1 && images.any(|name| *name == names[0])
}

fn section(ui: &Ui, heading: impl std::fmt::Display) -> Result<(), CommandError> {
    ui.answer(format_args!("\n{heading}"))
}

/// A part of one, never rounded up to all of it.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", (part * 1000.0).floor() / 10.0)
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
