//! From images to a plan.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    LayersPlan, PlanOptions, PlannedEntry, PlannedImage, PlannedKind, PlannedLayer,
    choice::{ImageSet, choose, split},
    kept::kept_layers,
    units::{Unit, UnitId, timed, units},
};
use crate::{
    EntryKind, ImageError, LoadedImage, Metadata, NodeId, Tree,
    build::{IMPLIED, Times, join},
    layer::split_last,
};

/// Proposes layers for `images`. Leading layers that one of `have` has stay as they are too.
pub fn plan_layers(
    images: &[LoadedImage],
    have: &[LoadedImage],
    options: PlanOptions,
) -> Result<LayersPlan, ImageError> {
    let kept = kept_layers(images, have);
    let views = images
        .iter()
        .zip(&kept)
        .map(|(image, &kept)| View::of(image, kept))
        .collect::<Result<Vec<_>, _>>()?;
    let found = find_units(&views, options.times)?;
    let mut bytes_of_sets: HashMap<ImageSet, u64> = HashMap::new();
    for unit in found.values() {
        *bytes_of_sets.entry(unit.images.clone()).or_default() += unit.unit.bytes();
    }
    let chosen = choose(&bytes_of_sets, options.max_shared_layers);
    let mut shared: Vec<Contents> = chosen.iter().map(|_| Contents::new()).collect();
    let mut own: Vec<Contents> = images.iter().map(|_| Contents::new()).collect();
    for FoundUnit { unit, images } in found.into_values() {
        let (parts, rest) = split(&images, &chosen);
        let takers = parts.iter().map(|&part| (true, part));
        let takers = takers.chain(rest.iter().map(|&image| (false, image as usize)));
        for (is_shared, number) in takers {
            let contents = if is_shared {
                &mut shared[number]
            } else {
                &mut own[number]
            };
            for entry in &unit.entries {
                let mut entry = entry.clone();
                entry.meta = timed(entry.meta, options.times);
                contents.insert(entry.path.clone(), entry);
            }
        }
    }
    for (set, contents) in chosen.iter().zip(&mut shared) {
        add_parents(contents, |path| shared_folder(&views, set, path, options.times));
    }
    let mut plan = LayersPlan {
        layers: Vec::new(),
        images: Vec::new(),
        times: options.times,
    };
    let mut numbers = HashMap::new();
    for (number, (set, contents)) in chosen.iter().zip(&shared).enumerate() {
        if !contents.is_empty() {
            numbers.insert(number, plan.layers.len());
            plan.layers.push(PlannedLayer {
                images: set.iter().map(|&image| image as usize).collect(),
                entries: contents.values().cloned().collect(),
            });
        }
    }
    for (image, (view, mut contents)) in views.iter().zip(own).enumerate() {
        let is_ours = |number: &usize| chosen[*number].binary_search(&(image as u32)).is_ok();
        let below: Vec<usize> = (0..chosen.len()).filter(is_ours).collect();
        let shared_below: Vec<_> = below.iter().map(|&number| &shared[number]).collect();
        add_folders(&mut contents, view, &shared_below, options.times);
        add_parents(&mut contents, |path| view.folder(path, options.times));
        let mut entries = view.hidden(options.times);
        entries.extend(contents.into_values());
        let mut layers: Vec<_> = below
            .iter()
            .filter_map(|number| numbers.get(number).copied())
            .collect();
        if !entries.is_empty() {
            layers.push(plan.layers.len());
            plan.layers.push(PlannedLayer {
                images: vec![image],
                entries,
            });
        }
        plan.images.push(PlannedImage {
            kept: view.kept,
            layers,
        });
    }
    Ok(plan)
}

/// Entries of a layer by their path.
type Contents = BTreeMap<Vec<u8>, PlannedEntry>;

/// An image: what it is in the end, and what the layers that stay make of it.
struct View<'a> {
    kept: usize,
    finished: Tree<'a>,
    below: Tree<'a>,
}

/// A unit and the images that have it.
struct FoundUnit {
    unit: Unit,
    images: ImageSet,
}

fn find_units(views: &[View<'_>], times: Times) -> Result<HashMap<UnitId, FoundUnit>, ImageError> {
    let mut found: HashMap<UnitId, FoundUnit> = HashMap::new();
    for (number, view) in views.iter().enumerate() {
        let below = units(&view.below)?;
        let below: HashSet<_> = below.iter().map(|unit| unit.id(Times::Keep)).collect();
        for unit in units(&view.finished)? {
            if !below.contains(&unit.id(Times::Keep)) {
                let entry = found.entry(unit.id(times)).or_insert(FoundUnit {
                    unit,
                    images: Vec::new(),
                });
                entry.images.push(number as u32);
            }
        }
    }
    Ok(found)
}

impl<'a> View<'a> {
    fn of(image: &'a LoadedImage, kept: usize) -> Result<Self, ImageError> {
        let reference = &image.image.reference;
        if let Some(layer) = image.layers.iter().find(|layer| layer.layer.is_none()) {
            let reason = format!("its layer {} is kept elsewhere by its publisher", layer.digest);
            return Err(ImageError::unsupported(reference, reason));
        }
        let merge = |layers: usize| {
            let layers = image.layers[..layers].iter().map(|layer| layer.layer.as_deref());
            Tree::merge(layers).map_err(|error| ImageError::unsupported(reference, error.to_string()))
        };
        Ok(View {
            kept,
            finished: merge(image.layers.len())?,
            below: merge(kept)?,
        })
    }

    /// The entry of a folder of the finished file system.
    fn folder(&self, path: &[u8], times: Times) -> Option<PlannedEntry> {
        let meta = folder_meta(&self.finished, path)?;
        Some(PlannedEntry {
            path: path.to_vec(),
            kind: PlannedKind::Folder,
            meta: timed(meta.unwrap_or(IMPLIED), times),
        })
    }

    /// Markers for what the layers that stay have and the finished file system has not.
    fn hidden(&self, times: Times) -> Vec<PlannedEntry> {
        let mut hidden = Vec::new();
        let mut stack = vec![(Vec::new(), Tree::ROOT)];
        while let Some((folder, id)) = stack.pop() {
            for child in self.below.children(id) {
                let node = self.below.node(child);
                let path = join(&folder, node.name);
                match self.finished.find(&path).map(|id| self.finished.node(id).kind) {
                    None => hidden.push(PlannedEntry {
                        path,
                        kind: PlannedKind::Whiteout,
                        meta: timed(IMPLIED, times),
                    }),
                    Some(EntryKind::Folder) if node.kind == EntryKind::Folder => stack.push((path, child)),
                    Some(_) => {}
                }
            }
        }
        hidden.sort_by(|one, other| one.path.cmp(&other.path));
        hidden
    }
}

/// Of a folder: what its entry says, if one does.
fn folder_meta(tree: &Tree<'_>, path: &[u8]) -> Option<Option<Metadata>> {
    let node = tree.node(tree.find(path)?);
    (node.kind == EntryKind::Folder).then_some(node.meta)
}

/// Where images do not agree on a folder, one of them is taken, whatever their order: the others mend it in their own layer.
fn shared_folder(views: &[View<'_>], set: &[u32], path: &[u8], times: Times) -> Option<PlannedEntry> {
    let entries = set
        .iter()
        .filter_map(|&image| views[image as usize].folder(path, times));
    entries.min_by_key(|PlannedEntry { meta, .. }| {
        let times = (meta.mtime_seconds, meta.mtime_nanoseconds);
        (meta.mode, meta.uid, meta.gid, times, meta.attributes)
    })
}

/// The folders that the layers below leave out, or have otherwise.
fn add_folders(contents: &mut Contents, view: &View<'_>, shared: &[&Contents], times: Times) {
    let mut add = |path: &[u8], id: NodeId| {
        let node = view.finished.node(id);
        if node.kind != EntryKind::Folder {
            return;
        }
        let of_shared = shared.iter().rev().find_map(|contents| contents.get(path));
        let present = match of_shared {
            Some(entry) if entry.kind == PlannedKind::Folder => Some(entry.meta),
            _ => folder_meta(&view.below, path).map(|meta| meta.unwrap_or(IMPLIED)),
        };
        let is_right = match (present, node.meta) {
            (None, _) => false,
            // Nobody says what it should be.
            (Some(_), None) => true,
            (Some(present), Some(wanted)) => present == wanted || present == timed(wanted, times),
        };
        if !is_right {
            contents.extend(view.folder(path, times).map(|entry| (entry.path.clone(), entry)));
        }
    };
    // The root is there in any case.
    if view.finished.node(Tree::ROOT).meta.is_some() {
        add(b"", Tree::ROOT);
    }
    view.finished.walk(&mut add);
}

/// Some runtimes forget what a folder was when a layer has something in it and not the folder itself.
fn add_parents(contents: &mut Contents, entry_of: impl Fn(&[u8]) -> Option<PlannedEntry>) {
    let paths: Vec<_> = contents.keys().cloned().collect();
    for path in paths {
        let mut folder = split_last(&path).0;
        while !folder.is_empty() && !contents.contains_key(folder) {
            let Some(entry) = entry_of(folder) else { break };
            contents.insert(folder.to_vec(), entry);
            folder = split_last(folder).0;
        }
    }
}
