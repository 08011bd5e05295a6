//! Where a layer's files are, in few words.

use std::collections::BTreeMap;

use super::{LayersPlan, PlannedEntry, PlannedKind};
use crate::layer::split_last;

/// A path of which a layer has everything that no layer that stays has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Clean; the root is empty.
    pub path: Vec<u8>,
    /// Whether it is a folder with all it holds.
    pub is_folder: bool,
    /// Files at or below it.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

/// The paths of a new layer: the topmost folders that no other new layer of its images has anything in, and what is left,
/// heaviest first.
pub fn places(plan: &LayersPlan, layer: usize) -> Vec<Place> {
    let mut folders: BTreeMap<&[u8], bool> = BTreeMap::new();
    for (number, other) in plan.layers.iter().enumerate() {
        let meets = number != layer
            && plan
                .images
                .iter()
                .any(|image| image.layers.contains(&layer) && image.layers.contains(&number));
        if number == layer || meets {
            for entry in leaves(&other.entries) {
                for folder in ancestors(&entry.path) {
                    let is_ours = folders.entry(folder).or_insert(true);
                    *is_ours &= number == layer;
                }
            }
        }
    }
    let mut places: BTreeMap<&[u8], Place> = BTreeMap::new();
    for entry in leaves(&plan.layers[layer].entries) {
        let topmost = ancestors(&entry.path)
            .filter(|folder| folders.get(folder) == Some(&true))
            .last();
        let path = topmost.unwrap_or(&entry.path);
        let place = places.entry(path).or_insert_with(|| Place {
            path: path.to_vec(),
            is_folder: topmost.is_some(),
            files: 0,
            file_bytes: 0,
        });
        place.files += 1;
        place.file_bytes += entry.size_bytes();
    }
    let mut places: Vec<_> = places.into_values().collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.file_bytes));
    places
}

fn leaves(entries: &[PlannedEntry]) -> impl Iterator<Item = &PlannedEntry> {
    let is_leaf = |entry: &&PlannedEntry| !matches!(entry.kind, PlannedKind::Folder | PlannedKind::Whiteout);
    entries.iter().filter(is_leaf)
}

/// The folders above a path, the nearest first; not the root.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |folder| parent(folder))
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    let (folder, _) = split_last(path);
    (!folder.is_empty()).then_some(folder)
}
