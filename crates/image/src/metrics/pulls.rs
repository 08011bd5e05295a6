//! What a node pulls for an image, given what it has.

use std::collections::{HashMap, HashSet};

use crate::{BlobDigest, LoadedImage};

/// One pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Number of the image that is pulled.
    pub image: usize,
    /// Numbers of the images the node has.
    pub have: Vec<usize>,
    /// What comes over the line.
    pub bytes: u64,
}

/// Bytes of the layers of `image` that none of `have` has, each once, and of its documents.
pub fn pull_bytes<'a>(image: &LoadedImage, have: impl IntoIterator<Item = &'a LoadedImage>) -> u64 {
    let mut present: HashSet<BlobDigest> = HashSet::new();
    for image in have {
        present.extend(image.layers.iter().map(|stored| stored.digest));
    }
    missing_bytes(image, &mut present)
}

/// Every image on a node that has nothing, and on a node that has one of the others.
pub fn pulls(images: &[LoadedImage]) -> Vec<Pull> {
    let mut pulls = Vec::new();
    for (number, image) in images.iter().enumerate() {
        pulls.push(Pull {
            image: number,
            have: Vec::new(),
            bytes: pull_bytes(image, []),
        });
        for (other, have) in images.iter().enumerate().filter(|&(other, _)| other != number) {
            pulls.push(Pull {
                image: number,
                have: vec![other],
                bytes: pull_bytes(image, [have]),
            });
        }
    }
    pulls
}

/// The images pulled one after the other to a node that begins with nothing: what each adds.
pub fn rollout(images: &[LoadedImage]) -> Vec<u64> {
    let mut present = HashSet::new();
    images
        .iter()
        .map(|image| missing_bytes(image, &mut present))
        .collect()
}

/// What `image` adds to the layers that are `present`; afterwards they are.
fn missing_bytes(image: &LoadedImage, present: &mut HashSet<BlobDigest>) -> u64 {
    let sizes: HashMap<_, _> = image
        .layers
        .iter()
        .map(|stored| (stored.digest, stored.compressed_bytes))
        .collect();
    let missing = sizes.into_iter().filter(|(digest, _)| present.insert(*digest));
    super::image::sum(
        missing
            .map(|(_, bytes)| bytes)
            .chain([image.image.document_bytes]),
    )
}
