//! Better layers for images that are deployed together.
//!
//! What leading layers a family of images has in common stays as it is, digest by digest. Of what each finished file system
//! has beyond that, files that several images have are put into layers of their own, the most useful first; what is left is
//! each image's own. Files that come from different heights of the old images stay apart: who wrote the images put what
//! changes seldom below. Layers are made of finished file systems: what was overwritten or deleted is in none of them.
//!
//! A plan is plain data. [`measure_plan`] builds it to nowhere, so that its sizes are those that [`build_plan`] gets.

mod bodies;
mod build;
mod choice;
mod ignored;
mod kept;
mod layers;
mod places;
#[cfg(test)]
mod tests;
mod units;
mod view;

pub use build::{PlannedBuild, build_plan, measure_plan};
pub use ignored::{IgnoreRule, ignore_rules};
pub use layers::plan_layers;
pub use places::{Place, all_places, places};

use crate::{ContentId, Metadata, build::Times};

/// How to plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    /// The most layers to make for sharing, over all images.
    pub max_shared_layers: usize,
    /// Times of the files of new layers.
    pub times: Times,
}

/// Layers to make, and what each image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayersPlan {
    /// The new layers: shared ones first, then those of each image.
    pub layers: Vec<PlannedLayer>,
    /// One for each image.
    pub images: Vec<PlannedImage>,
    /// Times of the files of new layers.
    pub times: Times,
}

/// A layer to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Numbers of the images that have it.
    pub images: Vec<usize>,
    /// Sorted by path; markers of hidden files first.
    pub entries: Vec<PlannedEntry>,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// So many of its lowest layers stay.
    pub kept: usize,
    /// Numbers of the new layers on top of them, lowest first.
    pub layers: Vec<usize>,
}

/// An entry of a layer to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEntry {
    /// Clean; the root is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: PlannedKind,
    /// Whose it is, and since when.
    pub meta: Metadata,
}

/// What an entry of a layer to make is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedKind {
    /// A regular file.
    File {
        /// Its length.
        size_bytes: u64,
        /// Digest of its bytes.
        content: ContentId,
    },
    /// Another name of a file that comes before.
    HardLink {
        /// Path of that file.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// As written.
        target: Vec<u8>,
    },
    /// A folder.
    Folder,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides what a layer that stays has at the path.
    Whiteout,
}

impl LayersPlan {
    /// Bytes of files that are pulled once instead of once for each image.
    pub fn saved_bytes(&self) -> u64 {
        let shared = self.layers.iter();
        shared
            .map(|layer| layer.file_bytes().saturating_mul(layer.images.len() as u64 - 1))
            .fold(0, u64::saturating_add)
    }
}

impl PlannedLayer {
    /// Bytes of its files.
    pub fn file_bytes(&self) -> u64 {
        self.entries.iter().map(PlannedEntry::size_bytes).sum()
    }

    /// How many regular files it has.
    pub fn file_count(&self) -> u64 {
        let files = self.entries.iter();
        files
            .filter(|entry| matches!(entry.kind, PlannedKind::File { .. }))
            .count() as u64
    }
}

impl PlannedEntry {
    /// Length of a regular file; 0 of anything else.
    pub fn size_bytes(&self) -> u64 {
        match self.kind {
            PlannedKind::File { size_bytes, .. } => size_bytes,
            _ => 0,
        }
    }
}
