//! What was built, for people and programs.

use headstart_image::LoadedImage;
use serde::Serialize;

use crate::{
    error::CommandError,
    ui::{Table, Ui, bytes, count},
};

/// What was built.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    output: &'a str,
    digest: String,
    layers: Vec<LayerDocument>,
}

#[derive(Serialize)]
struct LayerDocument {
    /// Nothing for a layer of the base.
    name: Option<String>,
    digest: String,
    diff_id: String,
    compressed_bytes: u64,
    files: u64,
}

pub(super) fn report(
    ui: &Ui,
    output: &str,
    image: &LoadedImage,
    kept: usize,
    names: &[&str],
) -> Result<(), CommandError> {
    let layers: Vec<_> = image
        .layers
        .iter()
        .enumerate()
        .map(|(number, stored)| LayerDocument {
            name: number.checked_sub(kept).map(|new| names[new].to_owned()),
            digest: stored.digest.to_string(),
            diff_id: stored.diff_id.to_string(),
            compressed_bytes: stored.compressed_bytes,
            files: stored.layer.as_ref().map_or(0, |layer| layer.file_count()),
        })
        .collect();
    if ui.is_json() {
        return ui.answer_json(&Document {
            schema: "headstart.layers-build/1",
            output,
            digest: image.image.digest.to_string(),
            layers,
        });
    }
    let mut table = Table::new(["layer", "digest", "stored", "files"])
        .right(2)
        .right(3);
    for layer in layers {
        table.row([
            layer.name.unwrap_or_else(|| "base".to_owned()),
            layer.digest,
            bytes(layer.compressed_bytes),
            count(layer.files),
        ]);
    }
    ui.answer_table(&table)?;
    ui.answer(format_args!(
        "{}: {}",
        crate::ui::clean(output),
        image.image.digest
    ))
}
