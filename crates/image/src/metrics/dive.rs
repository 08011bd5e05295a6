//! What dive says of an image: for comparison, and for its CI rules.
//!
//! dive compares paths, not files: it follows no links, and counts every copy of a path that is in two layers as wasted. Its
//! score is the sum of each path's smallest size over the sum of all sizes. A path counts in a layer where nothing of the layer
//! is below it. A whiteout of a folder weighs what the folder held, one of a file weighs nothing.

use std::{
    collections::{HashMap, hash_map},
    mem,
};

use crate::{EntryKind, Layer, TreeError, layer::split_last, tree::MAX_NODES};

/// dive's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct DiveMetrics {
    /// Its score, from 0 to 1.
    pub efficiency: f64,
    /// Its wasted bytes: every copy of a path that several layers have.
    pub wasted_bytes: u64,
    /// Those, as a part of the bytes of all layers but the first.
    pub user_wasted_ratio: f64,
    /// The paths behind them, the heaviest first; those without bytes are left out.
    pub wasted_paths: Vec<DiveWaste>,
}

/// A path that several layers have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiveWaste {
    /// Its path.
    pub path: Vec<u8>,
    /// Bytes of all copies.
    pub bytes: u64,
    /// How many there are.
    pub copies: u64,
}

impl DiveMetrics {
    /// Counts a stack of layers, lowest first.
    pub fn of<'a>(layers: impl IntoIterator<Item = Option<&'a Layer>>) -> Result<Self, TreeError> {
        Self::within(MAX_NODES, layers)
    }

    /// The same, with room for so many paths.
    fn within<'a>(
        max_paths: usize,
        layers: impl IntoIterator<Item = Option<&'a Layer>>,
    ) -> Result<Self, TreeError> {
        let mut paths = Paths::new(max_paths);
        let (mut all_bytes, mut first_bytes) = (0_u64, None);
        for (number, layer) in layers.into_iter().enumerate() {
            let layer_bytes = layer.map_or(0, Layer::file_bytes);
            all_bytes = all_bytes.saturating_add(layer_bytes);
            first_bytes.get_or_insert(layer_bytes);
            if let Some(layer) = layer {
                paths.add(number as u32 + 1, layer)?;
            }
        }
        let (mut least, mut all) = (0_u64, 0_u64);
        let mut wasted_bytes = 0_u64;
        let mut wasted_paths = Vec::new();
        for (id, path) in paths.nodes.iter().enumerate() {
            least = least.saturating_add(path.least);
            all = all.saturating_add(path.all);
            if path.copies >= 2 && path.all > 0 {
                wasted_bytes = wasted_bytes.saturating_add(path.all);
                wasted_paths.push(DiveWaste {
                    path: paths.whole(id as u32),
                    bytes: path.all,
                    copies: u64::from(path.copies),
                });
            }
        }
        wasted_paths.sort_by(|one, other| {
            let by_bytes = other.bytes.cmp(&one.bytes);
            by_bytes.then_with(|| split(&one.path).cmp(split(&other.path)))
        });
        let ratio = |part: u64, of: u64, of_nothing: f64| match of {
            0 => of_nothing,
            of => part as f64 / of as f64,
        };
        Ok(DiveMetrics {
            efficiency: ratio(least, all, 1.0),
            wasted_bytes,
            user_wasted_ratio: ratio(wasted_bytes, all_bytes - first_bytes.unwrap_or(0), 0.0),
            wasted_paths,
        })
    }
}

fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
}

/// All paths that layers have something at or below, as a tree of names: however deep they are, each takes the same.
struct Paths<'a> {
    nodes: Vec<Path<'a>>,
    ids: HashMap<(u32, &'a [u8]), u32>,
    max_paths: usize,
}

/// What is known of a path.
#[derive(Debug)]
struct Path<'a> {
    name: &'a [u8],
    parent: u32,
    copies: u32,
    least: u64,
    all: u64,
    /// The last layer that has something below it, from 1.
    folder_of: u32,
    /// In the stack of the layers so far: its length, and what it is.
    stacked_bytes: u64,
    stacked: Stacked,
    /// Neighbours among the paths that the stack has something at or below.
    first_child: u32,
    next: u32,
    previous: u32,
    is_linked: bool,
}

/// What the stack of layers has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stacked {
    Nothing,
    Leaf,
    Folder,
}

const ROOT: u32 = 0;
/// Of a path without a neighbour.
const NONE: u32 = u32::MAX;

impl<'a> Path<'a> {
    fn new(parent: u32, name: &'a [u8]) -> Self {
        Path {
            name,
            parent,
            copies: 0,
            least: 0,
            all: 0,
            folder_of: 0,
            stacked_bytes: 0,
            stacked: Stacked::Nothing,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            is_linked: false,
        }
    }

    fn count(&mut self, bytes: u64) {
        self.least = match self.copies {
            0 => bytes,
            _ => self.least.min(bytes),
        };
        self.all = self.all.saturating_add(bytes);
        self.copies += 1;
    }
}

impl<'a> Paths<'a> {
    fn new(max_paths: usize) -> Self {
        Paths {
            nodes: vec![Path::new(ROOT, b"")],
            ids: HashMap::new(),
            max_paths,
        }
    }

    /// Counts a layer, whose number begins at 1, and puts it on the stack.
    fn add(&mut self, number: u32, layer: &'a Layer) -> Result<(), TreeError> {
        let mut ids = Vec::with_capacity(layer.entry_count());
        let mut folders = Vec::new();
        let mut cursor = Cursor::default();
        for entry in layer.entries() {
            let id = cursor.find(self, entry.path)?;
            ids.push(id);
            // A marker is a leaf beside what it hides, and makes its folder none.
            let mut folder = self.nodes[id as usize].parent;
            while folder != ROOT && self.nodes[folder as usize].folder_of != number {
                self.nodes[folder as usize].folder_of = number;
                folders.push(folder);
                folder = self.nodes[folder as usize].parent;
            }
        }
        self.count_leaves(number, layer, &ids);
        self.stack(layer, &ids, &folders);
        Ok(())
    }

    /// Counts the layer's leaves, as they are before it is stacked.
    fn count_leaves(&mut self, number: u32, layer: &Layer, ids: &[u32]) {
        let mut leaves = Vec::new();
        for (at, (entry, &id)) in layer.entries().zip(ids).enumerate() {
            let is_whiteout = entry.kind == EntryKind::Whiteout;
            let is_leaf = is_whiteout || self.nodes[id as usize].folder_of != number;
            if is_leaf && id != ROOT {
                // An opaque marker makes its folder, and nothing in it.
                let says_what = entry.kind != EntryKind::Opaque;
                leaves.push((id, is_whiteout, says_what, at as u32));
            }
        }
        leaves.sort_unstable();
        // The last of two entries of a path counts.
        for same in leaves.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let &(id, is_whiteout, _, at) = same.last().expect("chunks have something");
            let bytes = match (is_whiteout, self.nodes[id as usize].stacked) {
                (false, _) => layer.entry(at as usize).size_bytes(),
                // dive gives up on a marker that hides nothing.
                (true, Stacked::Nothing) => continue,
                (true, Stacked::Leaf) => 0,
                (true, Stacked::Folder) => self.stacked_bytes_below(id),
            };
            self.nodes[id as usize].count(bytes);
        }
    }

    /// Puts the layer on the stack.
    fn stack(&mut self, layer: &Layer, ids: &[u32], folders: &[u32]) {
        let entries = || {
            layer
                .entries()
                .zip(ids.iter().copied())
                .filter(|&(_, id)| id != ROOT)
        };
        let of_kind = |kind| entries().filter(move |(entry, _)| entry.kind == kind);
        for (_, id) in of_kind(EntryKind::Whiteout) {
            self.unstack(id);
        }
        // A folder that the layer has no entry for is taken for an empty file, also when a lower layer says more.
        let opaque = of_kind(EntryKind::Opaque).map(|(_, id)| id);
        for id in folders.iter().copied().chain(opaque) {
            self.put(id, 0, Stacked::Leaf);
        }
        for (entry, id) in entries() {
            match entry.kind {
                EntryKind::Whiteout | EntryKind::Opaque => {}
                EntryKind::Folder => self.put(id, 0, Stacked::Folder),
                _ => self.put(id, entry.size_bytes(), Stacked::Leaf),
            }
        }
    }

    fn put(&mut self, id: u32, bytes: u64, what: Stacked) {
        let node = &mut self.nodes[id as usize];
        (node.stacked_bytes, node.stacked) = (bytes, what);
        let mut at = id;
        while at != ROOT && !mem::replace(&mut self.nodes[at as usize].is_linked, true) {
            let parent = self.nodes[at as usize].parent;
            let next = mem::replace(&mut self.nodes[parent as usize].first_child, at);
            if next != NONE {
                self.nodes[next as usize].previous = at;
            }
            (self.nodes[at as usize].next, self.nodes[at as usize].previous) = (next, NONE);
            at = parent;
        }
    }

    /// Takes off the stack what is at a path and below it.
    fn unstack(&mut self, top: u32) {
        let &Path {
            parent,
            next,
            previous,
            is_linked,
            ..
        } = &self.nodes[top as usize];
        if !is_linked {
            return;
        }
        match previous {
            NONE => self.nodes[parent as usize].first_child = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        let mut found = vec![top];
        while let Some(id) = found.pop() {
            found.extend(self.children(id));
            let node = &mut self.nodes[id as usize];
            (node.stacked, node.first_child, node.is_linked) = (Stacked::Nothing, NONE, false);
        }
    }

    fn stacked_bytes_below(&self, folder: u32) -> u64 {
        let mut bytes = 0_u64;
        let mut found: Vec<_> = self.children(folder).collect();
        while let Some(id) = found.pop() {
            found.extend(self.children(id));
            let node = &self.nodes[id as usize];
            if node.stacked != Stacked::Nothing {
                bytes = bytes.saturating_add(node.stacked_bytes);
            }
        }
        bytes
    }

    /// What the stack has in a folder, or below something in it.
    fn children(&self, folder: u32) -> impl Iterator<Item = u32> {
        let some = |id| (id != NONE).then_some(id);
        let first = some(self.nodes[folder as usize].first_child);
        std::iter::successors(first, move |&id| some(self.nodes[id as usize].next))
    }

    fn child(&mut self, parent: u32, name: &'a [u8]) -> Result<u32, TreeError> {
        match self.ids.entry((parent, name)) {
            hash_map::Entry::Occupied(known) => Ok(*known.get()),
            hash_map::Entry::Vacant(_) if self.nodes.len() > self.max_paths => Err(TreeError::TooLarge),
            hash_map::Entry::Vacant(place) => {
                let id = self.nodes.len() as u32;
                self.nodes.push(Path::new(parent, name));
                Ok(*place.insert(id))
            }
        }
    }

    fn whole(&self, id: u32) -> Vec<u8> {
        let above = std::iter::successors(Some(id), |&id| Some(self.nodes[id as usize].parent));
        let mut names: Vec<_> = above
            .take_while(|&id| id != ROOT)
            .map(|id| self.nodes[id as usize].name)
            .collect();
        names.reverse();
        names.join(&b'/')
    }
}

/// Finds paths one after the other. Most are in the folder of the one before, or near it.
#[derive(Default)]
struct Cursor<'a> {
    folder: &'a [u8],
    /// Where each part of that folder ends, and what it is.
    parts: Vec<(usize, u32)>,
}

impl<'a> Cursor<'a> {
    fn find(&mut self, paths: &mut Paths<'a>, path: &'a [u8]) -> Result<u32, TreeError> {
        let (folder, name) = split_last(path);
        if name.is_empty() {
            return Ok(ROOT);
        }
        if folder != self.folder {
            let same = common_prefix(folder, self.folder);
            let is_part = |end| end <= same && matches!(folder.get(end), None | Some(b'/'));
            while self.parts.last().is_some_and(|&(end, _)| !is_part(end)) {
                self.parts.pop();
            }
            self.folder = folder;
            let mut start = self.parts.last().map_or(0, |&(end, _)| end + 1);
            while start < folder.len() {
                let length = folder[start..].iter().position(|&byte| byte == b'/');
                let end = length.map_or(folder.len(), |length| start + length);
                let id = paths.child(self.id(), &folder[start..end])?;
                self.parts.push((end, id));
                start = end + 1;
            }
        }
        paths.child(self.id(), name)
    }

    /// The folder.
    fn id(&self) -> u32 {
        self.parts.last().map_or(ROOT, |&(_, id)| id)
    }
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
