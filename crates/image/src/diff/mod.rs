//! Two images compared: their file systems path by path, and their layers one by one.

mod documents;
mod layers;
mod trees;

use documents::{are_configs_same, are_documents_same};
pub use layers::{LayerRelation, compare_layers};
pub use trees::{Change, ChangeKind, Difference};
use trees::{MAX_PATH_BYTES, compare_trees};

use crate::{ImageError, LoadedImage};

/// What is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignore {
    /// Modification times, and the times in the config.
    pub times: bool,
    /// Users and groups.
    pub owners: bool,
    /// In which order a layer has its entries.
    pub order: bool,
}

/// Two images compared.
#[derive(Debug)]
pub struct Comparison {
    /// Paths that differ.
    pub changes: Vec<Change>,
    /// The layers, lowest first.
    pub layers: Vec<LayerRelation>,
    /// Whether the configs are the same, but for what is ignored and for the layers they name.
    pub is_config_same: bool,
    /// Whether nothing differs. When nothing is ignored, that is every byte of the image; else its paths, the entries of each
    /// layer, and the config.
    pub is_same: bool,
}

impl Comparison {
    /// Compares all there is to compare.
    pub fn of(old: &LoadedImage, new: &LoadedImage, ignore: Ignore) -> Result<Self, ImageError> {
        let changes = compare_trees(&old.tree()?, &new.tree()?, ignore, MAX_PATH_BYTES)?;
        let layers = compare_layers(old, new, ignore);
        let is_config_same = are_configs_same(&old.image, &new.image, ignore)?;
        let is_same = match ignore == Ignore::default() {
            true => {
                let are_blobs_same = layers.iter().all(|&layer| layer == LayerRelation::SameBlob);
                are_blobs_same && are_documents_same(&old.image, &new.image)
            }
            false => {
                changes.is_empty() && is_config_same && layers.iter().all(|layer| layer.has_same_entries())
            }
        };
        Ok(Comparison {
            changes,
            layers,
            is_config_same,
            is_same,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        BlobDigest,
        testing::{Head, MemoryImage, TarMaker, gzip, read},
    };

    #[test]
    fn images_are_the_same_when_every_byte_is_or_all_that_is_not_ignored() {
        let tar = || TarMaker::new().file("a", b"1").finish();
        let later = || {
            let head = Head {
                name: "a",
                size: 1,
                mtime: 9,
                ..Head::default()
            };
            TarMaker::new().head(&head).body(b"1").finish()
        };
        let image = |layers: Vec<Vec<u8>>, change: fn(&mut Value)| {
            let mut image = read(&[MemoryImage::source("x", layers)]).unwrap().remove(0);
            let mut config: Value = serde_json::from_slice(&image.image.config_json).unwrap();
            change(&mut config);
            image.image.config_json = config.to_string().into_bytes();
            image.image.digest = BlobDigest::of(&[&b"manifest of "[..], &image.image.config_json].concat());
            image
        };
        let first = image(vec![tar()], |_| {});
        let times = Ignore {
            times: true,
            ..Ignore::default()
        };
        let mut annotated = image(vec![tar()], |_| {});
        annotated.image.digest = BlobDigest::of(b"manifest with annotations");
        let mut saved = image(vec![tar()], |_| {});
        saved.image.digest = BlobDigest::of(&saved.image.config_json);
        for (what, other, is_same, is_same_but_for_times) in [
            ("itself", image(vec![tar()], |_| {}), true, true),
            ("a save of it", saved, true, true),
            ("another manifest", annotated, false, true),
            ("recompressed", image(vec![gzip(&tar())], |_| {}), false, true),
            (
                "of another time",
                image(vec![later()], |config| config["created"] = "1".into()),
                false,
                true,
            ),
            (
                "another config",
                image(vec![tar()], |config| config["config"] = "x".into()),
                false,
                false,
            ),
            (
                "split",
                image(vec![tar(), TarMaker::new().finish()], |_| {}),
                false,
                false,
            ),
            (
                "another file",
                image(vec![TarMaker::new().file("a", b"2").finish()], |_| {}),
                false,
                false,
            ),
        ] {
            let compare = |ignore| Comparison::of(&first, &other, ignore).unwrap().is_same;
            assert_eq!(compare(Ignore::default()), is_same, "{what}");
            assert_eq!(compare(times), is_same_but_for_times, "{what}, but for times");
        }
    }
}
