//! Which layers lines of a Dockerfile can make, each `COPY` of one path of a stage that has the finished file system.
//!
//! What Docker's builders (BuildKit and the one before it) and buildah agree on: a file keeps its mode and owner; a folder is
//! copied with all it holds, which keeps theirs, and names of one file stay so; the folder itself and those above it become
//! root's, with mode 755, also where the image has them already. A symbolic link that is named itself is followed. Devices,
//! pipes, extended attributes, and a symbolic link in the place of another get lost with one or the other of them. Of the times
//! nothing is promised.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    LayersPlan, PlannedEntry, PlannedKind, PlannedLayer, layers::Fleet, places::ancestors, view::View,
};
use crate::{
    ContentId, EntryKind, Metadata, Tree,
    build::{IMPLIED, join},
    layer::split_last,
};

/// A new layer as lines of a Dockerfile make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedLayer {
    /// Its number in the plan.
    pub layer: usize,
    /// What to copy to where it was: files, and folders with all they hold. Clean; the root is empty.
    pub paths: Vec<Vec<u8>>,
}

impl Fleet<'_> {
    /// Of each image the layers that copies make of it, lowest first; nothing where they would not make its file system.
    pub fn copies(&self, plan: &LayersPlan) -> Vec<Option<Vec<CopiedLayer>>> {
        let views = self.views.iter().zip(&plan.images);
        let contents: Vec<_> = views
            .map(|(view, image)| contents(view, plan, &image.layers))
            .collect();
        let layers: Vec<_> = (0..plan.layers.len())
            .map(|layer| self.copies_of_layer(plan, layer, &contents))
            .collect();
        let images = plan.images.iter().enumerate();
        images
            .map(|(image, planned)| {
                let copied = planned.layers.iter().map(|&layer| {
                    let paths = layers[layer].clone()?;
                    Some(CopiedLayer { layer, paths })
                });
                let mut copied = copied.collect::<Option<Vec<_>>>()?;
                let view = &self.views[image];
                let empty = empty_folders(view, &contents[image], &copied);
                if !empty.is_empty() {
                    let last = copied.last_mut()?;
                    if plan.layers[last.layer].images != [image] {
                        return None;
                    }
                    last.paths.extend(empty);
                }
                copied.retain(|layer| !layer.paths.is_empty());
                folders_come_right(view, &copied).then_some(copied)
            })
            .collect()
    }

    /// The paths that make a layer, the same for all its images.
    fn copies_of_layer(
        &self,
        plan: &LayersPlan,
        layer: usize,
        contents: &[HashMap<Vec<u8>, Content>],
    ) -> Option<Vec<Vec<u8>>> {
        let PlannedLayer { images, entries } = &plan.layers[layer];
        let is_whole = |folder: &[u8]| {
            let mut of_images = images.iter().map(|&image| contents[image].get(folder));
            of_images.all(|content| content == Some(&Content::Of(layer)))
        };
        let whole_folder = |path: &[u8]| {
            let whole = above(path).filter(|folder| is_whole(folder));
            whole.last().map(<[u8]>::to_vec)
        };
        let mut paths = BTreeSet::new();
        for entry in entries {
            let folder = whole_folder(&entry.path);
            let is_made = match &entry.kind {
                // Whether these come right, each image says.
                PlannedKind::Folder => continue,
                PlannedKind::File { .. } => true,
                PlannedKind::Symlink { .. } => folder.is_some(),
                PlannedKind::HardLink { target } => folder.is_some() && folder == whole_folder(target),
                PlannedKind::CharDevice { .. }
                | PlannedKind::BlockDevice { .. }
                | PlannedKind::Fifo
                | PlannedKind::Whiteout => false,
            };
            let is_free = images
                .iter()
                .all(|&image| can_be_put(entry, &self.views[image].below));
            if !is_made || !is_free || entry.meta.attributes.is_some() {
                return None;
            }
            paths.insert(folder.unwrap_or_else(|| entry.path.clone()));
        }
        // Folders are copied as each image has them: where they differ, so would the layers.
        let same = paths.iter().all(|path| {
            let mut held = images
                .iter()
                .map(|&image| folders_below(&self.views[image].finished, path));
            let first = held.next();
            held.all(|other| Some(other) == first)
        });
        same.then(|| paths.into_iter().collect())
    }
}

/// What is below a folder of a finished file system, but for folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    /// All of it is in this new layer.
    Of(usize),
    Mixed,
}

impl Content {
    fn and(self, other: Content) -> Content {
        match (self, other) {
            (Content::Nothing, content) | (content, Content::Nothing) => content,
            (one, other) if one == other => one,
            _ => Content::Mixed,
        }
    }
}

/// Of every folder of an image with these new layers, the root too, what is below.
fn contents(view: &View<'_>, plan: &LayersPlan, layers: &[usize]) -> HashMap<Vec<u8>, Content> {
    let mut layer_of: HashMap<&[u8], usize> = HashMap::new();
    for &layer in layers {
        let entries = plan.layers[layer].entries.iter();
        let entries = entries.filter(|entry| !matches!(entry.kind, PlannedKind::Folder));
        layer_of.extend(entries.map(|entry| (&*entry.path, layer)));
    }
    let mut contents = HashMap::from([(Vec::new(), Content::Nothing)]);
    let mut folders = Vec::new();
    let add = |contents: &mut HashMap<Vec<u8>, Content>, path: &[u8], content: Content| {
        let folder = contents
            .entry(split_last(path).0.to_vec())
            .or_insert(Content::Nothing);
        *folder = folder.and(content);
    };
    view.finished.walk(|path, id| match view.finished.node(id) {
        node if node.kind != EntryKind::Folder => {
            let layer = layer_of.get(path);
            add(
                &mut contents,
                path,
                layer.map_or(Content::Mixed, |&layer| Content::Of(layer)),
            );
        }
        // Nobody copies it.
        node if node.meta.is_some_and(|meta| meta.attributes.is_some()) => {
            add(&mut contents, path, Content::Mixed);
            folders.push(path.to_vec());
        }
        _ => folders.push(path.to_vec()),
    });
    // What is in a folder comes after it.
    for folder in folders.iter().rev() {
        let content = *contents.entry(folder.clone()).or_insert(Content::Nothing);
        add(&mut contents, folder, content);
    }
    contents
}

/// Whether a copy puts the entry where layers that stay have something else, or nothing.
fn can_be_put(entry: &PlannedEntry, below: &Tree<'_>) -> bool {
    let kind_of = |path: &[u8]| below.find(path).map(|id| below.node(id).kind);
    let is_free = match kind_of(&entry.path) {
        Some(EntryKind::Folder) => false,
        Some(EntryKind::Symlink { .. }) => !matches!(entry.kind, PlannedKind::Symlink { .. }),
        _ => true,
    };
    is_free
        && ancestors(&entry.path).all(|folder| kind_of(folder).is_none_or(|kind| kind == EntryKind::Folder))
}

/// The topmost folders that hold no file, and that neither the layers that stay nor copied folders have.
fn empty_folders(
    view: &View<'_>,
    contents: &HashMap<Vec<u8>, Content>,
    copied: &[CopiedLayer],
) -> Vec<Vec<u8>> {
    let copied = paths_of(copied);
    let mut empty: HashSet<Vec<u8>> = HashSet::new();
    view.finished.walk(|path, _| {
        if contents.get(path) == Some(&Content::Nothing)
            && view.below.find(path).is_none()
            && !above(path).any(|folder| copied.contains(folder) || empty.contains(folder))
        {
            empty.insert(path.to_vec());
        }
    });
    let mut empty: Vec<_> = empty.into_iter().collect();
    empty.sort();
    empty
}

/// Whether all folders become what they are in the finished file system.
fn folders_come_right(view: &View<'_>, copied: &[CopiedLayer]) -> bool {
    let copied = paths_of(copied);
    let made: HashSet<&[u8]> = copied.iter().flat_map(|path| ancestors(path)).collect();
    let mut are_right = said(view.finished.node(Tree::ROOT).meta) == said(view.below.node(Tree::ROOT).meta);
    view.finished.walk(|path, id| {
        let node = view.finished.node(id);
        if node.kind != EntryKind::Folder {
            return;
        }
        let below = view.below.find(path).map(|id| view.below.node(id));
        are_right &= match below {
            Some(below) if below.kind != EntryKind::Folder => false,
            _ if copied.contains(path) || made.contains(path) => said(node.meta) == said(None),
            _ if above(path).any(|folder| copied.contains(folder)) => true,
            Some(below) => said(node.meta) == said(below.meta),
            None => false,
        };
    });
    are_right
}

fn paths_of(copied: &[CopiedLayer]) -> HashSet<&[u8]> {
    let paths = copied.iter().flat_map(|layer| &layer.paths);
    paths.map(Vec::as_slice).collect()
}

/// The folders above a path, the root too.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root: &[u8] = b"";
    ancestors(path).chain([root])
}

/// The folders in a folder of an image, with what is said of them.
fn folders_below(tree: &Tree<'_>, folder: &[u8]) -> Vec<(Vec<u8>, Said)> {
    let mut folders = Vec::new();
    let mut stack = vec![];
    stack.extend(tree.find(folder).map(|id| (folder.to_vec(), id)));
    while let Some((folder, id)) = stack.pop() {
        for child in tree.children(id) {
            let node = tree.node(child);
            if node.kind == EntryKind::Folder {
                let path = join(&folder, node.name);
                folders.push((path.clone(), said(node.meta)));
                stack.push((path, child));
            }
        }
    }
    folders
}

/// Mode, owner, group and attributes.
type Said = (u32, u32, u32, Option<ContentId>);

fn said(meta: Option<Metadata>) -> Said {
    let meta = meta.unwrap_or(IMPLIED);
    (meta.mode, meta.uid, meta.gid, meta.attributes)
}
