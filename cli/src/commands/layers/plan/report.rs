//! A plan for people.

use super::{
    dockerfile::Dockerfile,
    document::{Document, ImageDocument},
};
use crate::{
    error::CommandError,
    ui::{Table, Ui, bytes, clean, count},
};

/// Places that the report names of a layer; the JSON document has all.
const MOST_PLACES: usize = 5;

pub(super) fn print(ui: &Ui, document: &Document<'_>) -> Result<(), CommandError> {
    for image in &document.images {
        ui.answer(format_args!(
            "{}: {} layers stay, then new layers {}",
            clean(image.reference),
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
    let without = document.images.iter().filter(|image| image.dockerfile.is_none());
    let without: Vec<_> = without
        .filter(|image| !image.new_layers.is_empty())
        .map(|image| image.reference)
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    ui.answer(format_args!(
        "\nNo lines of a Dockerfile make these layers, headstart layers build --plan does: {}",
        clean(&without.join(", "))
    ))
}

/// What to change where the image is built.
fn advise(ui: &Ui, image: &ImageDocument<'_>) -> Result<(), CommandError> {
    let name = clean(image.reference);
    if let Some(Dockerfile { stages, copies }) = &image.dockerfile {
        let lines = |lines: &[String]| lines.iter().try_for_each(|line| ui.answer(line));
        ui.answer(format_args!(
            "\nDockerfile of {name}: stages, after one that is the image as it is, AS files"
        ))?;
        lines(stages)?;
        ui.answer(match image.kept_layers {
            0 => "and in the stage of the new image, FROM scratch".to_owned(),
            layers => format!(
                "and in the stage of the new image, FROM one that has just the {layers} layers that stay"
            ),
        })?;
        lines(copies)?;
    }
    if !image.ignore.is_empty() {
        let wasted = image.ignore.iter().map(|rule| rule.wasted_bytes).sum();
        ui.answer(format_args!(
            "\n.dockerignore of {name}, if its COPY . is of the build context: copied and deleted again, {}",
            bytes(wasted)
        ))?;
        for rule in &image.ignore {
            match &rule.pattern {
                Some(pattern) => ui.answer(clean(pattern))?,
                None => ui.answer(format_args!("# no rule can mean {}", clean(&rule.path)))?,
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
