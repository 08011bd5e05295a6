//! What `layers analyze --json` prints: schema `headstart.layers/1`, described in `docs/guide/layers.md`.

use headstart_image::{
    BlobDigest, ChainId, ContentId, DiffId, HiddenHow, LoadedImage,
    metrics::{FleetMetrics, ImageMetrics, Pull},
};
use serde::Serialize;

use super::analyze::{Analysis, Given};

/// Wasted files that are named; the sums count all.
const NAMED_FILES: usize = 100;
/// What a page names of them, and of contents that several layers have; of each content it names as many places.
const NAMED_ON_PAGE: usize = 30;
/// Bytes of a step on a page; scripts of many lines can be one.
const STEP_ON_PAGE: usize = 400;

#[derive(Debug, Serialize)]
pub(super) struct Document {
    schema: &'static str,
    images: Vec<ImageRow>,
    /// What the node of `--have` has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    have: Vec<HaveRow>,
    fleet: FleetRow,
    /// Left out of a page, which computes them, whatever a node has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pulls: Vec<PullRow>,
    /// The images pulled one after the other by one node.
    rollout: Vec<RolloutRow>,
}

#[derive(Debug, Serialize)]
struct ImageRow {
    reference: String,
    digest: BlobDigest,
    compressed_bytes: u64,
    /// Manifest and config: they are pulled beside the layers.
    document_bytes: u64,
    file_bytes: u64,
    visible_bytes: u64,
    wasted_bytes: u64,
    efficiency: f64,
    dive_efficiency: f64,
    dive_wasted_bytes: u64,
    dive_user_wasted_ratio: f64,
    foreign_layers: u64,
    foreign_bytes: u64,
    layers: Vec<LayerRow>,
    /// How many files are wasted.
    wasted_file_count: u64,
    /// The largest of them.
    wasted_files: Vec<WastedRow>,
}

#[derive(Debug, Serialize)]
struct HaveRow {
    reference: String,
    /// Digests of its layers.
    layers: Vec<BlobDigest>,
}

#[derive(Debug, Serialize)]
struct LayerRow {
    digest: BlobDigest,
    diff_id: DiffId,
    chain_id: ChainId,
    media_type: String,
    compressed_bytes: u64,
    tar_bytes: u64,
    file_bytes: u64,
    files: u64,
    whiteouts: u64,
    /// The step that made it, where the config tells.
    created_by: Option<String>,
    /// Whether its bytes are elsewhere: nothing is known of its files.
    foreign: bool,
}

#[derive(Debug, Serialize)]
struct WastedRow {
    path: String,
    bytes: u64,
    added_by: usize,
    hidden_by: usize,
    how: &'static str,
}

#[derive(Debug, Serialize)]
struct FleetRow {
    images: u64,
    layer_refs: u64,
    unique_layers: u64,
    unique_diff_ids: u64,
    compressed_bytes: u64,
    unique_compressed_bytes: u64,
    shared_layers: u64,
    shared_layer_bytes: u64,
    saved_by_sharing_bytes: u64,
    cross_layer_duplicate_bytes: u64,
    within_layer_duplicate_bytes: u64,
    unique_content_bytes: u64,
    recompressed_twins: Vec<Vec<BlobDigest>>,
    near_twins: Vec<Vec<DiffId>>,
    /// The contents that cost most by being in several layers.
    duplicates: Vec<DuplicateRow>,
}

#[derive(Debug, Serialize)]
struct DuplicateRow {
    content: ContentId,
    size_bytes: u64,
    extra_bytes: u64,
    layers: u64,
    places: Vec<PlaceRow>,
}

#[derive(Debug, Serialize)]
struct PlaceRow {
    diff_id: DiffId,
    path: String,
}

#[derive(Debug, Serialize)]
struct PullRow {
    image: String,
    have: Vec<String>,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct RolloutRow {
    image: String,
    bytes: u64,
}

impl Document {
    pub(super) fn new(analysis: &Analysis) -> Self {
        let name = |number: usize| analysis.images[number].image.reference.clone();
        let pull = |pull: &Pull| PullRow {
            image: name(pull.image),
            have: pull.have.iter().map(|&number| name(number)).collect(),
            bytes: pull.bytes,
        };
        let mut pulls: Vec<_> = analysis.pulls.iter().map(pull).collect();
        if let Some(given) = &analysis.given {
            let given = given.bytes.iter().enumerate().map(|(number, &bytes)| PullRow {
                image: name(number),
                have: given.names(),
                bytes,
            });
            pulls.extend(given);
        }
        let images = analysis.images.iter().zip(&analysis.metrics);
        let rollout = analysis.rollout.iter().enumerate();
        Document {
            schema: "headstart.layers/1",
            images: images
                .map(|(image, metrics)| ImageRow::new(image, metrics))
                .collect(),
            have: analysis.given.iter().flat_map(have_rows).collect(),
            fleet: FleetRow::new(&analysis.fleet),
            pulls,
            rollout: rollout
                .map(|(number, &bytes)| RolloutRow {
                    image: name(number),
                    bytes,
                })
                .collect(),
        }
    }

    /// Less, so that a page of many images stays small.
    pub(super) fn for_page(analysis: &Analysis) -> Self {
        let mut document = Self::new(analysis);
        document.pulls.clear();
        for image in &mut document.images {
            image.wasted_files.truncate(NAMED_ON_PAGE);
            for step in image
                .layers
                .iter_mut()
                .filter_map(|layer| layer.created_by.as_mut())
            {
                step.truncate(step.floor_char_boundary(STEP_ON_PAGE));
            }
        }
        document.fleet.duplicates.truncate(NAMED_ON_PAGE);
        for content in &mut document.fleet.duplicates {
            content.places.truncate(NAMED_ON_PAGE);
        }
        document
    }
}

fn have_rows(given: &Given) -> impl Iterator<Item = HaveRow> {
    given.have.iter().map(|image| HaveRow {
        reference: image.image.reference.clone(),
        layers: image.layers.iter().map(|layer| layer.digest).collect(),
    })
}

impl ImageRow {
    fn new(loaded: &LoadedImage, metrics: &ImageMetrics) -> Self {
        let wasted = metrics.wasted_files.iter().take(NAMED_FILES);
        ImageRow {
            reference: loaded.image.reference.clone(),
            digest: loaded.image.digest,
            compressed_bytes: metrics.compressed_bytes,
            document_bytes: loaded.image.document_bytes,
            file_bytes: metrics.file_bytes,
            visible_bytes: metrics.visible_bytes,
            wasted_bytes: metrics.wasted_bytes(),
            efficiency: metrics.efficiency(),
            dive_efficiency: metrics.dive.efficiency,
            dive_wasted_bytes: metrics.dive.wasted_bytes,
            dive_user_wasted_ratio: metrics.dive.user_wasted_ratio,
            foreign_layers: metrics.foreign_layers,
            foreign_bytes: metrics.foreign_bytes,
            layers: layer_rows(loaded),
            wasted_file_count: metrics.wasted_files.len() as u64,
            wasted_files: wasted
                .map(|file| WastedRow {
                    path: text(&file.path),
                    bytes: file.size_bytes,
                    added_by: file.added_by,
                    hidden_by: file.hidden_by,
                    how: how(file.how),
                })
                .collect(),
        }
    }
}

fn layer_rows(loaded: &LoadedImage) -> Vec<LayerRow> {
    let mut chain = None;
    let layers = loaded.layers.iter().enumerate().map(|(number, stored)| {
        let chain_id = ChainId::stack(chain, stored.diff_id);
        chain = Some(chain_id);
        let layer = stored.layer.as_deref();
        LayerRow {
            digest: stored.digest,
            diff_id: stored.diff_id,
            chain_id,
            media_type: stored.media_type.clone(),
            compressed_bytes: stored.compressed_bytes,
            tar_bytes: layer.map_or(0, |layer| layer.tar_bytes()),
            file_bytes: layer.map_or(0, |layer| layer.file_bytes()),
            files: layer.map_or(0, |layer| layer.file_count()),
            whiteouts: layer.map_or(0, |layer| layer.whiteout_count()),
            created_by: loaded
                .image
                .config
                .step_of(number)
                .map(|step| step.created_by.clone()),
            foreign: layer.is_none(),
        }
    });
    layers.collect()
}

impl FleetRow {
    fn new(fleet: &FleetMetrics) -> Self {
        let duplicates = fleet.duplicates.heaviest.iter().map(|content| DuplicateRow {
            content: content.content,
            size_bytes: content.size_bytes,
            extra_bytes: content.extra_bytes(),
            layers: content.layers,
            places: content
                .places
                .iter()
                .map(|place| PlaceRow {
                    diff_id: place.diff_id,
                    path: text(&place.path),
                })
                .collect(),
        });
        FleetRow {
            images: fleet.images,
            layer_refs: fleet.layer_refs,
            unique_layers: fleet.unique_layers,
            unique_diff_ids: fleet.unique_diff_ids,
            compressed_bytes: fleet.compressed_bytes,
            unique_compressed_bytes: fleet.unique_compressed_bytes,
            shared_layers: fleet.shared_layers,
            shared_layer_bytes: fleet.shared_layer_bytes,
            saved_by_sharing_bytes: fleet.saved_by_sharing_bytes,
            cross_layer_duplicate_bytes: fleet.duplicates.cross_layer_bytes,
            within_layer_duplicate_bytes: fleet.duplicates.within_layer_bytes,
            unique_content_bytes: fleet.duplicates.unique_content_bytes,
            recompressed_twins: fleet.recompressed_twins.clone(),
            near_twins: fleet.near_twins.clone(),
            duplicates: duplicates.collect(),
        }
    }
}

/// How a file was hidden, in one word.
pub(super) fn how(how: HiddenHow) -> &'static str {
    match how {
        HiddenHow::Overwritten => "overwritten",
        HiddenHow::Whiteout => "whiteout",
        HiddenHow::Opaque => "opaque",
        HiddenHow::Replaced => "replaced",
        HiddenHow::Repeated => "repeated",
    }
}

/// A path for people and JSON, which know UTF-8 only.
pub(super) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
