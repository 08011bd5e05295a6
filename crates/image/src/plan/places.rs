//! Where a layer's files are, in few words.

use std::collections::{BTreeMap, HashMap};

use super::{LayersPlan, PlannedEntry, PlannedImage, PlannedKind};
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

/// The paths of each new layer: the topmost folders that no other new layer of its images has anything in, and what is left,
/// heaviest first.
pub fn places(plan: &LayersPlan) -> Vec<Vec<Place>> {
    let mut folders = Folders::of(plan);
    folders.share_out(&plan.images);
    (0..plan.layers.len())
        .map(|layer| folders.places(layer))
        .collect()
}

/// The folders that layers have something below, by numbers: what is above a folder has a smaller one.
struct Folders<'p> {
    plan: &'p LayersPlan,
    paths: Vec<&'p [u8]>,
    /// The folder above each; the root is above itself.
    above: Vec<usize>,
    /// Those of each layer, ascending, without the root.
    of_layers: Vec<Vec<OfLayer>>,
}

/// A folder that a layer has something below.
struct OfLayer {
    folder: usize,
    /// Whether no layer that it meets in an image has something there too.
    is_own: bool,
}

const ROOT: usize = 0;

impl<'p> Folders<'p> {
    fn of(plan: &'p LayersPlan) -> Self {
        let mut folders = Folders {
            plan,
            paths: vec![b""],
            above: vec![ROOT],
            of_layers: Vec::with_capacity(plan.layers.len()),
        };
        let mut numbers = HashMap::from([(&b""[..], ROOT)]);
        // The last layer that each folder was noted for.
        let mut noted = vec![usize::MAX];
        for (number, layer) in plan.layers.iter().enumerate() {
            let mut found = Vec::new();
            for entry in leaves(&layer.entries) {
                let mut folder = folders.intern(&mut numbers, split_last(&entry.path).0);
                noted.resize(folders.paths.len(), usize::MAX);
                while folder != ROOT && noted[folder] != number {
                    noted[folder] = number;
                    found.push(folder);
                    folder = folders.above[folder];
                }
            }
            found.sort_unstable();
            let found = found.into_iter().map(|folder| OfLayer { folder, is_own: true });
            folders.of_layers.push(found.collect());
        }
        folders
    }

    fn intern(&mut self, numbers: &mut HashMap<&'p [u8], usize>, path: &'p [u8]) -> usize {
        let mut missing = Vec::new();
        let mut known = path;
        let mut above = loop {
            match numbers.get(known) {
                Some(&number) => break number,
                None => missing.push(known),
            }
            known = split_last(known).0;
        };
        for path in missing.into_iter().rev() {
            self.paths.push(path);
            self.above.push(above);
            above = self.paths.len() - 1;
            numbers.insert(path, above);
        }
        above
    }

    /// Finds out what is no layer's own in its images.
    fn share_out(&mut self, images: &[PlannedImage]) {
        /// The layer of an image that has something below a folder.
        #[derive(Clone, Copy, PartialEq)]
        enum Owner {
            Nobody,
            One(usize),
            Several,
        }
        let mut owners = vec![(usize::MAX, Owner::Nobody); self.paths.len()];
        for (number, image) in images.iter().enumerate() {
            for &layer in &image.layers {
                for of_layer in &self.of_layers[layer] {
                    let (of_image, owner) = &mut owners[of_layer.folder];
                    *owner = match owner {
                        Owner::One(_) | Owner::Several if *of_image == number => Owner::Several,
                        _ => Owner::One(layer),
                    };
                    *of_image = number;
                }
            }
            for &layer in &image.layers {
                for of_layer in &mut self.of_layers[layer] {
                    of_layer.is_own &= owners[of_layer.folder].1 == Owner::One(layer);
                }
            }
        }
    }

    fn places(&self, layer: usize) -> Vec<Place> {
        // The topmost own folder at or above each.
        let mut topmost: HashMap<&[u8], usize> = HashMap::new();
        for &OfLayer { folder, is_own } in &self.of_layers[layer] {
            if is_own {
                let above = topmost.get(self.paths[self.above[folder]]);
                let at = above.copied().unwrap_or(folder);
                topmost.insert(self.paths[folder], at);
            }
        }
        let mut places: BTreeMap<&[u8], Place> = BTreeMap::new();
        for entry in leaves(&self.plan.layers[layer].entries) {
            let topmost = topmost.get(split_last(&entry.path).0);
            let path = topmost.map_or(&entry.path[..], |&folder| self.paths[folder]);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{ContentId, Metadata, build::Times, plan::PlannedLayer};

    fn plan(layers: &[BTreeSet<String>], images: &[BTreeSet<usize>]) -> LayersPlan {
        let entry = |path: &String| PlannedEntry {
            path: path.clone().into_bytes(),
            kind: match path.ends_with('f') {
                true => PlannedKind::File {
                    size_bytes: path.len() as u64,
                    content: ContentId::of(b""),
                },
                false => PlannedKind::Folder,
            },
            meta: Metadata::default(),
        };
        let layers = layers.iter().map(|paths| PlannedLayer {
            images: Vec::new(),
            entries: paths.iter().map(entry).collect(),
        });
        let images = images.iter().map(|layers| PlannedImage {
            kept: 0,
            layers: layers.iter().copied().collect(),
        });
        LayersPlan {
            layers: layers.collect(),
            images: images.collect(),
            times: Times::Keep,
        }
    }

    /// The same, folder by folder and layer by layer.
    fn slowly(plan: &LayersPlan, layer: usize) -> BTreeMap<Vec<u8>, (bool, u64, u64)> {
        let mut places: BTreeMap<Vec<u8>, (bool, u64, u64)> = BTreeMap::new();
        let is_met = |other: usize| {
            let has = |image: &PlannedImage, layer| image.layers.contains(&layer);
            other != layer
                && plan
                    .images
                    .iter()
                    .any(|image| has(image, layer) && has(image, other))
        };
        let is_foreign = |folder: &[u8]| {
            let others = plan.layers.iter().enumerate().filter(|&(other, _)| is_met(other));
            let below = [folder, b"/"].concat();
            others
                .flat_map(|(_, other)| leaves(&other.entries))
                .any(|entry| entry.path.starts_with(&below))
        };
        for entry in leaves(&plan.layers[layer].entries) {
            let slashes = entry.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let mut folders = slashes.map(|(at, _)| &entry.path[..at]);
            let own = folders.find(|folder| !is_foreign(folder));
            let place = places.entry(own.unwrap_or(&entry.path).to_vec()).or_default();
            *place = (own.is_some(), place.1 + 1, place.2 + entry.size_bytes());
        }
        places
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn places_are_those_of_a_slow_computation(
            layers in proptest::collection::vec(proptest::collection::btree_set("[ab](/[ab]){0,2}/?[f]?", 0..6), 4),
            images in proptest::collection::vec(proptest::collection::btree_set(0..4_usize, 0..4), 0..4),
        ) {
            let plan = plan(&layers, &images);
            for (layer, found) in places(&plan).iter().enumerate() {
                prop_assert!(found.is_sorted_by_key(|place| std::cmp::Reverse(place.file_bytes)));
                let found = found.iter().map(|place| {
                    (place.path.clone(), (place.is_folder, place.files, place.file_bytes))
                });
                prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), slowly(&plan, layer));
            }
        }
    }
}
