//! What dive says of an image: for comparison, and for its CI rules.
//!
//! dive compares paths, not files: it follows no links, and counts every copy of a path that is in two layers as wasted. Its
//! score is the sum of each path's smallest size over the sum of all sizes. A path counts in a layer where nothing of the layer
//! is below it. A whiteout of a folder weighs what the folder held, one of a file weighs nothing.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
};

use crate::{EntryKind, Layer, layer::split_last};

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
    pub fn of<'a>(layers: impl IntoIterator<Item = Option<&'a Layer>>) -> Self {
        let mut paths: BTreeMap<InFolderOrder<'a>, Path> = BTreeMap::new();
        let (mut all_bytes, mut first_bytes) = (0_u64, None);
        for layer in layers {
            let layer_bytes = layer.map_or(0, Layer::file_bytes);
            all_bytes = all_bytes.saturating_add(layer_bytes);
            first_bytes.get_or_insert(layer_bytes);
            if let Some(layer) = layer {
                let parents = parents(layer);
                count_leaves(layer, &parents, &mut paths);
                stack(layer, &parents, &mut paths);
            }
        }
        let (mut least, mut all) = (0_u64, 0_u64);
        let mut wasted_bytes = 0_u64;
        let mut wasted_paths = Vec::new();
        for (path, count) in paths {
            least = least.saturating_add(count.least);
            all = all.saturating_add(count.all);
            if count.copies >= 2 && count.all > 0 {
                wasted_bytes = wasted_bytes.saturating_add(count.all);
                wasted_paths.push(DiveWaste {
                    path: path.0.to_vec(),
                    bytes: count.all,
                    copies: count.copies,
                });
            }
        }
        wasted_paths.sort_by_key(|path| std::cmp::Reverse(path.bytes));
        let ratio = |part: u64, of: u64, of_nothing: f64| match of {
            0 => of_nothing,
            of => part as f64 / of as f64,
        };
        DiveMetrics {
            efficiency: ratio(least, all, 1.0),
            wasted_bytes,
            user_wasted_ratio: ratio(wasted_bytes, all_bytes - first_bytes.unwrap_or(0), 0.0),
            wasted_paths,
        }
    }
}

/// What is known of a path.
#[derive(Debug, Default)]
struct Path {
    least: u64,
    all: u64,
    copies: u64,
    /// In the stack of the layers so far: its length, and whether it is a folder.
    stacked: Option<(u64, bool)>,
}

impl Path {
    fn count(&mut self, bytes: u64) {
        self.least = match self.copies {
            0 => bytes,
            _ => self.least.min(bytes),
        };
        self.all = self.all.saturating_add(bytes);
        self.copies += 1;
    }
}

/// The paths that something of the layer is below.
fn parents(layer: &Layer) -> HashSet<&[u8]> {
    let mut parents: HashSet<&[u8]> = HashSet::new();
    let mut before: &[u8] = b"";
    for entry in layer.entries() {
        let mut path = entry.path;
        // Most entries follow one of the same folder.
        let (folder, _) = split_last(path);
        if folder == std::mem::replace(&mut before, folder) {
            continue;
        }
        // A marker is a leaf beside what it hides, and makes its folder none.
        while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
            path = &path[..slash];
            if !parents.insert(path) {
                break;
            }
        }
    }
    parents
}

/// Adds the layer's leaves, as they are before it is stacked.
fn count_leaves<'a>(
    layer: &'a Layer,
    parents: &HashSet<&[u8]>,
    paths: &mut BTreeMap<InFolderOrder<'a>, Path>,
) {
    // The last of two entries of a path counts.
    let mut leaves: HashMap<(&'a [u8], bool), u64> = HashMap::new();
    for entry in layer.entries() {
        let is_whiteout = entry.kind == EntryKind::Whiteout;
        let is_leaf = is_whiteout || !parents.contains(entry.path);
        if !is_leaf || entry.path.is_empty() {
            continue;
        }
        match entry.kind {
            // It makes its folder, and nothing in it.
            EntryKind::Opaque => _ = leaves.entry((entry.path, false)).or_insert(0),
            _ => _ = leaves.insert((entry.path, is_whiteout), entry.size_bytes()),
        }
    }
    for ((path, is_whiteout), size_bytes) in leaves {
        let bytes = match is_whiteout {
            false => size_bytes,
            true => match paths.get(&InFolderOrder(path)).and_then(|path| path.stacked) {
                // dive gives up on a marker that hides nothing.
                None => continue,
                Some((_, false)) => 0,
                Some((_, true)) => below(paths, path)
                    .filter_map(|(_, path)| path.stacked)
                    .fold(0, |sum: u64, (size, _)| sum.saturating_add(size)),
            },
        };
        paths.entry(InFolderOrder(path)).or_default().count(bytes);
    }
}

/// Puts the layer on the stack.
fn stack<'a>(layer: &'a Layer, parents: &HashSet<&'a [u8]>, paths: &mut BTreeMap<InFolderOrder<'a>, Path>) {
    for entry in layer.entries().filter(|entry| entry.kind == EntryKind::Whiteout) {
        if let Some(path) = paths.get_mut(&InFolderOrder(entry.path)) {
            path.stacked = None;
        }
        for (_, path) in below_mut(paths, entry.path) {
            path.stacked = None;
        }
    }
    // A folder that the layer has no entry for is taken for an empty file, also when a lower layer says more.
    let opaque = layer.entries().filter(|entry| entry.kind == EntryKind::Opaque);
    let unsaid = parents.iter().copied().chain(opaque.map(|entry| entry.path));
    for path in unsaid.filter(|path| !path.is_empty()) {
        paths.entry(InFolderOrder(path)).or_default().stacked = Some((0, false));
    }
    for entry in layer.entries() {
        if matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque) || entry.path.is_empty() {
            continue;
        }
        let is_folder = entry.kind == EntryKind::Folder;
        let path = paths.entry(InFolderOrder(entry.path)).or_default();
        path.stacked = Some((entry.size_bytes(), is_folder));
    }
}

/// Orders paths so that what is below a folder follows it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFolderOrder<'a>(&'a [u8]);

impl Ord for InFolderOrder<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let same = common_prefix(self.0, other.0);
        let at = |path: &[u8]| {
            path.get(same)
                .map(|&byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 })
        };
        at(self.0).cmp(&at(other.0))
    }
}

/// How many bytes both begin with. Most paths have much in common, and are compared often.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_chunks, _) = a.as_chunks::<16>();
    let (b_chunks, _) = b.as_chunks::<16>();
    let chunks = a_chunks.iter().zip(b_chunks).take_while(|(a, b)| a == b).count() * 16;
    let rest = a[chunks..].iter().zip(&b[chunks..]);
    chunks + rest.take_while(|(a, b)| a == b).count()
}

impl PartialOrd for InFolderOrder<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

fn below<'t, 'a>(
    paths: &'t BTreeMap<InFolderOrder<'a>, Path>,
    folder: &'a [u8],
) -> impl Iterator<Item = (&'t InFolderOrder<'a>, &'t Path)> {
    paths
        .range((Bound::Excluded(InFolderOrder(folder)), Bound::Unbounded))
        .take_while(move |(path, _)| is_below(path.0, folder))
}

fn below_mut<'t, 'a>(
    paths: &'t mut BTreeMap<InFolderOrder<'a>, Path>,
    folder: &'a [u8],
) -> impl Iterator<Item = (&'t InFolderOrder<'a>, &'t mut Path)> {
    paths
        .range_mut((Bound::Excluded(InFolderOrder(folder)), Bound::Unbounded))
        .take_while(move |(path, _)| is_below(path.0, folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TarMaker, scan};

    fn count(layers: Vec<TarMaker>) -> DiveMetrics {
        let layers: Vec<_> = layers.into_iter().map(|tar| scan(&tar.finish())).collect();
        DiveMetrics::of(layers.iter().map(Some))
    }

    #[test]
    fn a_path_in_two_layers_is_wasted_with_every_copy() {
        let dive = count(vec![
            TarMaker::new()
                .folder("d")
                .file("d/x", &[1; 100])
                .file("y", &[1; 50]),
            TarMaker::new().file("d/x", &[1; 60]),
        ]);
        assert_eq!(dive.wasted_bytes, 160);
        assert_eq!(dive.efficiency, 110.0 / 210.0);
        assert_eq!(dive.user_wasted_ratio, 160.0 / 60.0);
        assert_eq!(dive.wasted_paths[0].path, b"d/x");
    }

    #[test]
    fn a_whiteout_of_a_folder_weighs_what_it_held_and_one_of_a_file_nothing() {
        let base = || {
            TarMaker::new()
                .folder("d")
                .file("d/x", &[1; 100])
                .file("d/y", &[1; 20])
                .file("d-z", &[1; 3])
        };
        let folder = count(vec![base(), TarMaker::new().file(".wh.d", b"")]);
        assert_eq!((folder.wasted_bytes, folder.efficiency), (0, 1.0));
        let file = count(vec![base(), TarMaker::new().file("d/.wh.x", b"")]);
        assert_eq!((file.wasted_bytes, file.efficiency), (100, 23.0 / 123.0));
        let nothing = count(vec![
            base(),
            TarMaker::new().file(".wh.no", b"").file("d/.wh..wh..opq", b""),
        ]);
        assert_eq!((nothing.wasted_bytes, nothing.efficiency), (0, 1.0));
    }

    #[test]
    fn a_folder_that_the_last_layer_did_not_mention_itself_weighs_nothing() {
        let layers = |last: TarMaker| {
            let base = TarMaker::new().folder("d").file("d/x", &[1; 100]);
            let again = TarMaker::new().file("d", &[1; 30]);
            count(vec![base, last, TarMaker::new().file(".wh.d", b""), again])
        };
        let said = layers(TarMaker::new().folder("d").file("d/y", &[1; 20]));
        assert_eq!((said.wasted_bytes, said.efficiency), (150, 150.0 / 270.0));
        let unsaid = layers(TarMaker::new().file("d/y", &[1; 20]));
        assert_eq!((unsaid.wasted_bytes, unsaid.efficiency), (30, 120.0 / 150.0));
        let marked = layers(TarMaker::new().file("d/.wh..wh..opq", b""));
        assert_eq!((marked.wasted_bytes, marked.efficiency), (30, 100.0 / 130.0));
    }

    #[test]
    fn nothing_is_efficient() {
        let dive = count(Vec::new());
        assert_eq!((dive.efficiency, dive.user_wasted_ratio), (1.0, 0.0));
    }
}
