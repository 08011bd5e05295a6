//! An image as a plan sees it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    PlannedEntry, PlannedKind,
    units::{Unit, timed, units},
};
use crate::{
    EntryKind, FoundNode, ImageError, LoadedImage, Metadata, Tree,
    build::{IMPLIED, Times, join},
};

/// The most that the paths of one file system may take. The largest images in use have 100 MB of them.
const MAX_PATH_BYTES: u64 = 1 << 30;

/// Deeper than so many layers nothing is told apart: an image needs no more layers of its own.
const MAX_DEPTH: usize = 7;

/// An image: what it is in the end, and what the layers that stay make of it.
pub(super) struct View<'a> {
    pub(super) kept: usize,
    pub(super) finished: Tree<'a>,
    pub(super) below: Tree<'a>,
    /// What it has beyond the layers that stay.
    pub(super) units: Vec<Unit>,
    /// The layers that units come from, the topmost first.
    origins: Vec<u32>,
    /// What each layer says of a folder, lowest first.
    folders: HashMap<&'a [u8], Vec<(u32, Metadata)>>,
}

impl<'a> View<'a> {
    pub(super) fn of(image: &'a LoadedImage, kept: usize) -> Result<Self, ImageError> {
        let reference = &image.image.reference;
        if let Some(layer) = image.layers.iter().find(|layer| layer.layer.is_none()) {
            let reason = format!("its layer {} is kept elsewhere by its publisher", layer.digest);
            return Err(ImageError::unsupported(reference, reason));
        }
        let merge = |layers: usize| {
            let layers = image.layers[..layers].iter().map(|layer| layer.layer.as_deref());
            Tree::merge(layers).map_err(|error| ImageError::unsupported(reference, error.to_string()))
        };
        let (finished, below) = (merge(image.layers.len())?, merge(kept)?);
        let of_below: HashSet<_> = units(reference, &below, MAX_PATH_BYTES)?
            .iter()
            .map(|unit| unit.id(Times::Keep))
            .collect();
        let mut units = units(reference, &finished, MAX_PATH_BYTES)?;
        units.retain(|unit| !of_below.contains(&unit.id(Times::Keep)));
        let origins: BTreeSet<_> = units.iter().map(|unit| unit.layer).collect();
        Ok(View {
            kept,
            finished,
            below,
            units,
            origins: origins.into_iter().rev().collect(),
            folders: folders(image),
        })
    }

    /// How many layers are above the one that a unit comes from; those that nothing is left of do not count.
    pub(super) fn depth_of(&self, unit: &Unit) -> u32 {
        let above = self.origins.iter().take_while(|&&layer| layer > unit.layer);
        above.take(MAX_DEPTH).count() as u32
    }

    /// The entry of a folder of the finished file system.
    pub(super) fn folder(&self, path: &[u8], times: Times) -> Option<PlannedEntry> {
        let meta = folder_meta(&self.finished, path)?.unwrap_or(IMPLIED);
        Some(folder_entry(path, meta, times))
    }

    /// Such an entry as it was before the layers above this depth, which may change it with every change of code; what nobody
    /// said of it by then, the image's last layer mends.
    pub(super) fn folder_below(&self, path: &[u8], depth: u32, times: Times) -> Option<PlannedEntry> {
        let _ = folder_meta(&self.finished, path)?;
        let top = self.origins.get(depth as usize).copied().unwrap_or(0);
        let mut said = self.folders.get(path).into_iter().flatten().rev();
        let meta = said.find(|(layer, _)| *layer <= top).map(|&(_, meta)| meta);
        Some(folder_entry(path, meta.unwrap_or(IMPLIED), times))
    }

    /// Markers for what the layers that stay have and the finished file system has not.
    pub(super) fn hidden(&self, times: Times) -> Vec<PlannedEntry> {
        let is_folder = |node: &FoundNode<'_>| node.kind == EntryKind::Folder;
        let mut hidden = Vec::new();
        let mut stack = vec![(Vec::new(), Tree::ROOT, Tree::ROOT)];
        while let Some((folder, below, finished)) = stack.pop() {
            for child in self.below.children(below) {
                let node = self.below.node(child);
                let path = join(&folder, node.name);
                match self.finished.child(finished, node.name) {
                    None => hidden.push(PlannedEntry {
                        path,
                        kind: PlannedKind::Whiteout,
                        meta: timed(IMPLIED, times),
                    }),
                    Some(id) if [node, self.finished.node(id)].iter().all(is_folder) => {
                        stack.push((path, child, id));
                    }
                    Some(_) => {}
                }
            }
        }
        hidden.sort_by(|one, other| one.path.cmp(&other.path));
        hidden
    }
}

fn folders(image: &LoadedImage) -> HashMap<&[u8], Vec<(u32, Metadata)>> {
    let mut folders: HashMap<_, Vec<_>> = HashMap::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let entries = layer.layer.iter().flat_map(|layer| layer.entries());
        for entry in entries.filter(|entry| entry.kind == EntryKind::Folder) {
            folders
                .entry(entry.path)
                .or_default()
                .push((number as u32, entry.meta));
        }
    }
    folders
}

pub(super) fn folder_entry(path: &[u8], meta: Metadata, times: Times) -> PlannedEntry {
    PlannedEntry {
        path: path.to_vec(),
        kind: PlannedKind::Folder,
        meta: timed(meta, times),
    }
}

/// Of a folder: what its entry says, if one does.
fn folder_meta(tree: &Tree<'_>, path: &[u8]) -> Option<Option<Metadata>> {
    let node = tree.node(tree.find(path)?);
    (node.kind == EntryKind::Folder).then_some(node.meta)
}
