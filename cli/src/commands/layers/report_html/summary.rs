//! The key numbers as plain HTML, for whoever runs no scripts, and to be there before any does.

use headstart_image::metrics::ImageMetrics;

use super::{
    super::report::{numbers, percent},
    Escaped,
};
use crate::{
    commands::layers::analyze::Analysis,
    ui::{bytes, count},
};

pub(super) fn title(analysis: &Analysis) -> String {
    match &analysis.images[..] {
        [one] => format!("What {} holds, wastes and pulls", Escaped(&one.image.reference)),
        many => format!("What {} images share, waste and pull", count(many.len() as u64)),
    }
}

pub(super) fn figures(analysis: &Analysis) -> String {
    let fleet = &analysis.fleet;
    let sum = |part: fn(&ImageMetrics) -> u64| {
        analysis
            .metrics
            .iter()
            .fold(0, |sum: u64, metrics| sum.saturating_add(part(metrics)))
    };
    let (files, wasted) = (sum(|metrics| metrics.file_bytes), sum(ImageMetrics::wasted_bytes));
    let efficiency = match files {
        0 => 1.0,
        files => 1.0 - wasted as f64 / files as f64,
    };
    let figure = |name: &str, value: &str, about: &str| {
        format!("<div><dt>{name}</dt><dd>{value}</dd><dd class=\"about\">{about}</dd></div>\n")
    };
    [
        figure(
            "images",
            &count(fleet.images),
            &format!("{} layers", count(fleet.layer_refs)),
        ),
        figure(
            "compressed",
            &bytes(fleet.compressed_bytes),
            "as stored, each image by itself",
        ),
        figure(
            "unique",
            &bytes(fleet.unique_compressed_bytes),
            &format!("in {} different layers", count(fleet.unique_layers)),
        ),
        figure(
            "saved by sharing",
            &bytes(fleet.saved_by_sharing_bytes),
            &format!("{} shared layers", count(fleet.shared_layers)),
        ),
        figure("wasted", &bytes(wasted), &format!("of {} of files", bytes(files))),
        figure("efficiency", &percent(efficiency), "files that can be reached"),
    ]
    .concat()
}

pub(super) fn images(analysis: &Analysis) -> String {
    let rows = analysis.images.iter().zip(&analysis.metrics);
    rows.map(|(image, metrics)| row(&image.image.reference, &numbers(image, metrics)))
        .collect()
}

pub(super) fn fleet(analysis: &Analysis) -> String {
    let fleet = &analysis.fleet;
    let duplicates = &fleet.duplicates;
    [
        ("layers that differ as stored", count(fleet.unique_layers)),
        ("layers that differ as tars", count(fleet.unique_diff_ids)),
        ("layers that two images or more have", count(fleet.shared_layers)),
        ("their bytes, each once", bytes(fleet.shared_layer_bytes)),
        (
            "the same files in several layers",
            bytes(duplicates.cross_layer_bytes),
        ),
        (
            "the same files twice in one layer",
            bytes(duplicates.within_layer_bytes),
        ),
        ("all different files", bytes(duplicates.unique_content_bytes)),
    ]
    .map(|(name, value)| row(name, &[value]))
    .concat()
}

pub(super) fn pulls(analysis: &Analysis) -> String {
    let rows = analysis.images.iter().enumerate().zip(&analysis.rollout);
    rows.map(|((number, image), &added)| {
        let alone = bytes(analysis.cold_pull_bytes(number));
        row(&image.image.reference, &[alone, bytes(added)])
    })
    .collect()
}

fn row(name: &str, numbers: &[String]) -> String {
    let cells: String = numbers
        .iter()
        .map(|number| format!("<td>{number}</td>"))
        .collect();
    format!(
        "<tr><th scope=\"row\"><bdi>{}</bdi></th>{cells}</tr>\n",
        Escaped(name)
    )
}
