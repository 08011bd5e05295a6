//! The same content stored more than once.

use crate::{ContentId, DiffId, Entry, EntryKind, Layer};

/// Content that is stored more than once, over a set of different layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// For each content its size times the layers that have it, less one.
    pub cross_layer_bytes: u64,
    /// For each content and layer its size times the copies there, less one.
    pub within_layer_bytes: u64,
    /// Bytes of all different contents: no scheme that keeps whole files can need less.
    pub unique_content_bytes: u64,
    /// The contents that several layers have, by the bytes they cost, the heaviest first; no more than asked for.
    pub heaviest: Vec<DuplicateContent>,
}

/// Content that several layers have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateContent {
    /// Its digest.
    pub content: ContentId,
    /// Its length.
    pub size_bytes: u64,
    /// How many layers have it.
    pub layers: u64,
    /// Where: one path for each of these layers.
    pub places: Vec<FilePlace>,
}

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePlace {
    /// The layer.
    pub diff_id: DiffId,
    /// The file.
    pub path: Vec<u8>,
}

impl DuplicateContent {
    /// What its further copies take.
    pub fn extra_bytes(&self) -> u64 {
        self.size_bytes.saturating_mul(self.layers - 1)
    }
}

impl Duplicates {
    /// Counts over `layers`, no two of which have one diff ID; names the `most` heaviest contents.
    pub fn of(layers: &[&Layer], most: usize) -> Self {
        let mut files: Vec<(ContentId, u32, u32)> = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            let contents = layer
                .entries()
                .enumerate()
                .filter_map(|(at, entry)| match entry.kind {
                    EntryKind::File { size_bytes, content } if size_bytes > 0 => {
                        Some((content, number as u32, at as u32))
                    }
                    _ => None,
                });
            files.extend(contents);
        }
        files.sort_unstable();
        let entry = |&(_, layer, at): &(ContentId, u32, u32)| -> Entry<'_> {
            layers[layer as usize].entry(at as usize)
        };
        let mut duplicates = Duplicates::default();
        let mut groups = Vec::new();
        let mut start = 0;
        for copies in files.chunk_by(|a, b| a.0 == b.0) {
            let size = entry(&copies[0]).size_bytes();
            let in_layers = copies.chunk_by(|a, b| a.1 == b.1).count() as u64;
            let add = |sum: &mut u64, times: u64| *sum = sum.saturating_add(size.saturating_mul(times));
            add(&mut duplicates.unique_content_bytes, 1);
            add(&mut duplicates.cross_layer_bytes, in_layers - 1);
            add(
                &mut duplicates.within_layer_bytes,
                copies.len() as u64 - in_layers,
            );
            if in_layers > 1 {
                groups.push((size.saturating_mul(in_layers - 1), start, copies.len()));
            }
            start += copies.len();
        }
        groups.sort_by_key(|&(bytes, start, _)| {
            let (_, layer, at) = files[start];
            (std::cmp::Reverse(bytes), layer, at)
        });
        groups.truncate(most);
        let heaviest = groups.into_iter().map(|(_, start, length)| {
            let copies = &files[start..start + length];
            let places: Vec<_> = copies
                .chunk_by(|a, b| a.1 == b.1)
                .map(|in_layer| FilePlace {
                    diff_id: layers[in_layer[0].1 as usize].diff_id(),
                    path: entry(&in_layer[0]).path.to_vec(),
                })
                .collect();
            DuplicateContent {
                content: copies[0].0,
                size_bytes: entry(&copies[0]).size_bytes(),
                layers: places.len() as u64,
                places,
            }
        });
        duplicates.heaviest = heaviest.collect();
        duplicates
    }
}
