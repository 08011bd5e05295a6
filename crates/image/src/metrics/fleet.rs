//! Many images: what they share, and what they could.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{Duplicates, EntrySetId, image::sum};
use crate::{BlobDigest, DiffId, Layer, LoadedImage};

/// What a set of images shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetMetrics {
    /// How many images there are.
    pub images: u64,
    /// Layers of all images; one that two images have counts twice.
    pub layer_refs: u64,
    /// Layers that differ as stored.
    pub unique_layers: u64,
    /// Layers that differ as tars.
    pub unique_diff_ids: u64,
    /// Stored bytes of all layers of all images.
    pub compressed_bytes: u64,
    /// Stored bytes, each layer once.
    pub unique_compressed_bytes: u64,
    /// Layers that two images or more have.
    pub shared_layers: u64,
    /// Their stored bytes, each once.
    pub shared_layer_bytes: u64,
    /// Stored bytes that need no second place because images share layers.
    pub saved_by_sharing_bytes: u64,
    /// Content stored more than once.
    pub duplicates: Duplicates,
    /// Layers that are one tar, compressed in different ways: pulled once for each.
    pub recompressed_twins: Vec<Vec<BlobDigest>>,
    /// Tars that differ in times, owners, modes and order only.
    pub near_twins: Vec<Vec<DiffId>>,
}

/// The different tars of a set of images, in the order they are met.
pub fn distinct_layers(images: &[LoadedImage]) -> Vec<Arc<Layer>> {
    let mut seen = HashSet::new();
    let layers = images.iter().flat_map(|image| &image.layers);
    layers
        .filter_map(|stored| stored.layer.clone())
        .filter(|layer| seen.insert(layer.diff_id()))
        .collect()
}

impl FleetMetrics {
    /// Counts a set of images; names the `most` heaviest contents that layers have in common.
    pub fn of(images: &[LoadedImage], most: usize) -> Self {
        /// A layer, and the images that have it.
        struct Use {
            bytes: u64,
            images: BTreeSet<usize>,
        }
        let mut uses: HashMap<BlobDigest, Use> = HashMap::new();
        let mut diff_ids = BTreeSet::new();
        // Of tars that were read: what a config says of a layer that is elsewhere proves nothing.
        let mut digests: BTreeMap<DiffId, BTreeSet<BlobDigest>> = BTreeMap::new();
        for (number, image) in images.iter().enumerate() {
            for stored in &image.layers {
                let layer = uses.entry(stored.digest).or_insert_with(|| Use {
                    bytes: stored.compressed_bytes,
                    images: BTreeSet::new(),
                });
                layer.images.insert(number);
                diff_ids.insert(stored.diff_id);
                if stored.layer.is_some() {
                    digests.entry(stored.diff_id).or_default().insert(stored.digest);
                }
            }
        }
        let shared = || uses.values().filter(|layer| layer.images.len() >= 2);
        let refs = || images.iter().flat_map(|image| &image.layers);
        let layers = distinct_layers(images);
        let layers: Vec<&Layer> = layers.iter().map(|layer| &**layer).collect();
        let mut sets: BTreeMap<EntrySetId, Vec<DiffId>> = BTreeMap::new();
        for layer in &layers {
            sets.entry(EntrySetId::of(layer))
                .or_default()
                .push(layer.diff_id());
        }
        let mut near_twins: Vec<_> = sets.into_values().filter(|twins| twins.len() >= 2).collect();
        near_twins.iter_mut().for_each(|twins| twins.sort_unstable());
        near_twins.sort_unstable();
        FleetMetrics {
            images: images.len() as u64,
            layer_refs: refs().count() as u64,
            unique_layers: uses.len() as u64,
            unique_diff_ids: diff_ids.len() as u64,
            compressed_bytes: sum(refs().map(|stored| stored.compressed_bytes)),
            unique_compressed_bytes: sum(uses.values().map(|layer| layer.bytes)),
            shared_layers: shared().count() as u64,
            shared_layer_bytes: sum(shared().map(|layer| layer.bytes)),
            saved_by_sharing_bytes: sum(
                shared().map(|layer| layer.bytes.saturating_mul(layer.images.len() as u64 - 1))
            ),
            duplicates: Duplicates::of(&layers, most),
            recompressed_twins: digests
                .into_values()
                .filter(|twins| twins.len() >= 2)
                .map(|twins| twins.into_iter().collect())
                .collect(),
            near_twins,
        }
    }
}
