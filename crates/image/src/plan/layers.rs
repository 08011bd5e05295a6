//! From images to a plan.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use super::{
    LayersPlan, PlanOptions, PlannedEntry, PlannedImage, PlannedKind, PlannedLayer,
    choice::{Group, ImageSet, MIN_SAVED_BYTES, choose, split},
    kept::kept_layers,
    units::{Unit, UnitId, timed},
    view::{View, folder_entry},
};
use crate::{
    EntryKind, ImageError, LoadedImage, Tree,
    build::{IMPLIED, Times},
    layer::split_last,
};

/// Images that are deployed together, each as a plan sees it.
pub struct Fleet<'a> {
    pub(super) views: Vec<View<'a>>,
}

impl<'a> Fleet<'a> {
    /// Merges the layers of `images`. Leading layers that one of `have` has are to stay as they are, as those of a family are.
    pub fn of(images: &'a [LoadedImage], have: &[LoadedImage]) -> Result<Self, ImageError> {
        let kept = kept_layers(images, have);
        let views = images
            .iter()
            .zip(&kept)
            .map(|(image, &kept)| View::of(image, kept));
        Ok(Fleet {
            views: views.collect::<Result<_, _>>()?,
        })
    }

    /// Bytes of files that a plan with these options would have pulled once instead of once for each image.
    pub fn saved_bytes(&self, options: PlanOptions) -> u64 {
        let found = find_units(&self.views, options.times);
        let chosen = choose_groups(&found, options);
        let saved = found.iter().map(|(unit, group)| {
            let (parts, _) = split(group, &chosen);
            let spared: usize = parts.iter().map(|&part| chosen[part].images.len() - 1).sum();
            let bytes: u64 = unit.entries.iter().map(PlannedEntry::size_bytes).sum();
            bytes.saturating_mul(spared as u64)
        });
        saved.fold(0, u64::saturating_add)
    }

    /// Proposes layers.
    pub fn plan(&self, options: PlanOptions) -> LayersPlan {
        plan_layers(&self.views, options)
    }
}

fn plan_layers(views: &[View<'_>], options: PlanOptions) -> LayersPlan {
    let times = options.times;
    let found = find_units(views, times);
    let chosen = choose_groups(&found, options);
    let mut shared: Vec<Contents> = chosen.iter().map(|_| Contents::new()).collect();
    let mut own: Vec<OwnContents> = views.iter().map(|_| OwnContents::new()).collect();
    let mut splits: HashMap<&Group, (Vec<usize>, ImageSet)> = HashMap::new();
    for (unit, group) in &found {
        let (parts, rest) = splits.entry(group).or_insert_with(|| split(group, &chosen));
        for &mut part in parts {
            add_unit(&mut shared[part], unit, times);
        }
        for &mut image in rest {
            let of_depth = own[image as usize].entry(Reverse(group.depth)).or_default();
            add_unit(of_depth, unit, times);
        }
    }
    let mut plan = LayersPlan {
        layers: Vec::new(),
        images: Vec::new(),
        times,
    };
    for (Group { depth, images }, contents) in chosen.iter().zip(&mut shared) {
        add_parents(contents, |path| shared_folder(views, images, path, *depth, times));
        plan.layers.push(PlannedLayer {
            images: images.iter().map(|&image| image as usize).collect(),
            entries: contents.values().cloned().collect(),
        });
    }
    for (image, (view, own)) in views.iter().zip(own).enumerate() {
        let is_ours = |group: &Group| group.images.binary_search(&(image as u32)).is_ok();
        let shared = chosen.iter().zip(&shared).enumerate();
        let shared = shared.filter(|(_, (group, _))| is_ours(group));
        let mut stack: Vec<_> = shared
            .map(|(number, (group, contents))| (Reverse(group.depth), number, contents))
            .collect();
        let (mut top, mut own) = apart(own);
        for (depth, contents) in &mut own {
            add_parents(contents, |path| view.folder_below(path, depth.0, times));
        }
        for (&depth, contents) in &own {
            stack.push((depth, plan.layers.len(), contents));
            plan.layers.push(PlannedLayer {
                images: vec![image],
                entries: contents.values().cloned().collect(),
            });
        }
        stack.sort_by_key(|&(depth, number, _)| (depth, number));
        let below: Vec<_> = stack.iter().map(|&(_, _, contents)| contents).collect();
        add_folders(&mut top, view, &below, times);
        add_parents(&mut top, |path| view.folder(path, times));
        let mut entries = view.hidden(times);
        entries.extend(top.into_values());
        let mut layers: Vec<_> = stack.iter().map(|&(_, number, _)| number).collect();
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
    plan
}

/// Entries of a layer by their path.
type Contents = BTreeMap<Vec<u8>, PlannedEntry>;

/// What only one image has, the deepest first.
type OwnContents = BTreeMap<Reverse<u32>, Contents>;

fn add_unit(contents: &mut Contents, unit: &Unit, times: Times) {
    for entry in &unit.entries {
        let mut entry = entry.clone();
        entry.meta = timed(entry.meta, times);
        contents.insert(entry.path.clone(), entry);
    }
}

fn choose_groups(found: &[(&Unit, Group)], options: PlanOptions) -> Vec<Group> {
    let mut bytes_of_groups: HashMap<Group, u64> = HashMap::new();
    for (unit, group) in found {
        *bytes_of_groups.entry(group.clone()).or_default() += unit.bytes();
    }
    choose(&bytes_of_groups, options.max_shared_layers)
}

/// All units, each with the images that have it.
fn find_units<'a>(views: &'a [View<'_>], times: Times) -> Vec<(&'a Unit, Group)> {
    let mut found: HashMap<UnitId, (&Unit, Group)> = HashMap::new();
    for (number, view) in views.iter().enumerate() {
        for unit in &view.units {
            let (_, group) = found.entry(unit.id(times)).or_insert_with(|| {
                let group = Group {
                    depth: 0,
                    images: ImageSet::new(),
                };
                (unit, group)
            });
            group.images.push(number as u32);
            group.depth = group.depth.max(view.depth_of(unit));
        }
    }
    found.into_values().collect()
}

/// What goes into the image's last layer, which changes with its code, and the layers of its own below. What is too little for
/// one goes into the next above.
fn apart(own: OwnContents) -> (Contents, OwnContents) {
    let mut layers = OwnContents::new();
    let mut rest = Contents::new();
    for (depth, mut contents) in own {
        contents.append(&mut rest);
        let bytes: u64 = contents.values().map(|entry| entry.size_bytes() + 512).sum();
        if depth.0 == 0 || bytes < MIN_SAVED_BYTES {
            rest = contents;
        } else {
            layers.insert(depth, contents);
        }
    }
    (rest, layers)
}

/// Where images do not agree on a folder, one of them is taken, whatever their order: the others mend it in their last layer.
fn shared_folder(
    views: &[View<'_>],
    images: &[u32],
    path: &[u8],
    depth: u32,
    times: Times,
) -> Option<PlannedEntry> {
    let entries = images
        .iter()
        .filter_map(|&image| views[image as usize].folder_below(path, depth, times));
    entries.min_by_key(|PlannedEntry { meta, .. }| {
        let times = (meta.mtime_seconds, meta.mtime_nanoseconds);
        (meta.mode, meta.uid, meta.gid, times, meta.attributes)
    })
}

/// The folders that the layers below leave out, or have otherwise.
fn add_folders(contents: &mut Contents, view: &View<'_>, below: &[&Contents], times: Times) {
    let _: ControlFlow<()> = view.finished.walk_both(&view.below, |path, (id, id_below)| {
        let Some(node) = id.map(|id| view.finished.node(id)) else {
            return ControlFlow::Continue(());
        };
        // The root is there in any case.
        let is_implied_root = id == Some(Tree::ROOT) && node.meta.is_none();
        if node.kind != EntryKind::Folder || is_implied_root {
            return ControlFlow::Continue(());
        }
        let of_new = below.iter().rev().find_map(|contents| contents.get(path));
        let of_kept = id_below.map(|id| view.below.node(id));
        let present = match (of_new, of_kept) {
            (Some(entry), _) if entry.kind == PlannedKind::Folder => Some(entry.meta),
            (_, Some(kept)) if kept.kind == EntryKind::Folder => Some(kept.meta.unwrap_or(IMPLIED)),
            _ => None,
        };
        let is_right = match (present, node.meta) {
            (None, _) => false,
            // Nobody says what it should be.
            (Some(_), None) => true,
            (Some(present), Some(wanted)) => present == wanted || present == timed(wanted, times),
        };
        if !is_right {
            let entry = folder_entry(path, node.meta.unwrap_or(IMPLIED), times);
            contents.insert(entry.path.clone(), entry);
        }
        ControlFlow::Continue(())
    });
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
