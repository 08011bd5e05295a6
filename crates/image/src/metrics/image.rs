//! One image: what its layers hold, and what of it can be seen.

use super::DiveMetrics;
use crate::{HiddenHow, ImageError, LoadedImage, Tree, TreeError};

/// What an image's layers hold.
#[derive(Debug, Clone)]
pub struct ImageMetrics {
    /// Stored bytes of all layers.
    pub compressed_bytes: u64,
    /// Bytes of all regular files of all layers.
    pub file_bytes: u64,
    /// Bytes of those that can be reached by a path in the finished file system.
    pub visible_bytes: u64,
    /// The files that cannot, the largest first; empty ones are left out.
    pub wasted_files: Vec<WastedFile>,
    /// Layers whose bytes are not with the image: nothing is known of their files.
    pub foreign_layers: u64,
    /// Their stored bytes.
    pub foreign_bytes: u64,
    /// The same image as dive counts it.
    pub dive: DiveMetrics,
}

/// A file that takes space and cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WastedFile {
    /// Its path in the layer that added it.
    pub path: Vec<u8>,
    /// Its length.
    pub size_bytes: u64,
    /// Number of the layer that has it, from 0, the lowest.
    pub added_by: usize,
    /// Number of the layer that hides it.
    pub hidden_by: usize,
    /// In which way.
    pub how: HiddenHow,
}

impl ImageMetrics {
    /// Counts one image.
    pub fn of(loaded: &LoadedImage) -> Result<Self, ImageError> {
        let tree = loaded.tree()?;
        let foreign = || loaded.layers.iter().filter(|stored| stored.layer.is_none());
        let wasted = tree.hidden_files().iter().filter_map(|hidden| {
            let layer = loaded.layers[hidden.file.layer as usize].layer.as_ref()?;
            let entry = layer.entry(hidden.file.entry as usize);
            Some(WastedFile {
                path: entry.path.to_vec(),
                size_bytes: entry.size_bytes(),
                added_by: hidden.file.layer as usize,
                hidden_by: hidden.hidden_by as usize,
                how: hidden.how,
            })
        });
        let mut wasted_files: Vec<_> = wasted.collect();
        wasted_files.sort_by(|a, b| {
            let order = b.size_bytes.cmp(&a.size_bytes);
            order.then_with(|| (&a.path, a.added_by).cmp(&(&b.path, b.added_by)))
        });
        let (file_bytes, visible_bytes) = (tree.file_bytes(), tree.visible_bytes());
        // What dive counts needs as much memory once more.
        drop(tree);
        let dive = DiveMetrics::of(loaded.layers.iter().map(|stored| stored.layer.as_deref()));
        Ok(ImageMetrics {
            compressed_bytes: sum(loaded.layers.iter().map(|stored| stored.compressed_bytes)),
            file_bytes,
            visible_bytes,
            wasted_files,
            foreign_layers: foreign().count() as u64,
            foreign_bytes: sum(foreign().map(|stored| stored.compressed_bytes)),
            dive: dive.map_err(|error| loaded.no_tree(error))?,
        })
    }

    /// Bytes of files that cannot be reached.
    pub fn wasted_bytes(&self) -> u64 {
        self.file_bytes - self.visible_bytes
    }

    /// Visible bytes of all bytes: 1 when nothing is wasted, also where there is nothing.
    pub fn efficiency(&self) -> f64 {
        match self.file_bytes {
            0 => 1.0,
            all => self.visible_bytes as f64 / all as f64,
        }
    }

    /// The part of the files' bytes that no path reaches, 0 for an image without files. Not computed from the efficiency, which is rounded:
    /// a twentieth is 0.05.
    pub fn wasted_ratio(&self) -> f64 {
        match self.file_bytes {
            0 => 0.0,
            files => self.wasted_bytes() as f64 / files as f64,
        }
    }
}

impl LoadedImage {
    /// The file system its layers make.
    pub fn tree(&self) -> Result<Tree<'_>, ImageError> {
        let tree = Tree::merge(self.layers.iter().map(|stored| stored.layer.as_deref()));
        tree.map_err(|error| self.no_tree(error))
    }

    fn no_tree(&self, error: TreeError) -> ImageError {
        match error {
            TreeError::TooLarge => {
                ImageError::too_large(&self.image.reference, "16 million files and folders")
            }
            error => ImageError::corrupt(&self.image.reference, error),
        }
    }
}

/// Sizes are claims of others until their bytes are read: they may add up to anything.
pub(super) fn sum(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_wasted_is_not_more_than_five_percent() {
        let mut metrics = ImageMetrics {
            compressed_bytes: 0,
            file_bytes: 100,
            visible_bytes: 95,
            wasted_files: Vec::new(),
            foreign_layers: 0,
            foreign_bytes: 0,
            dive: DiveMetrics::of(std::iter::empty()).unwrap(),
        };
        assert!(metrics.wasted_ratio() <= 0.05);
        assert!(1.0 - metrics.efficiency() > 0.05, "which is why it is not used");
        (metrics.file_bytes, metrics.visible_bytes) = (0, 0);
        assert_eq!((metrics.wasted_ratio(), metrics.efficiency()), (0.0, 1.0));
    }
}
