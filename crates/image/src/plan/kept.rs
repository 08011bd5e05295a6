//! Which layers stay as they are.

use crate::LoadedImage;

/// How many leading layers each image keeps: those that all images of its family have, or more where one of `have` has more.
/// A family are the images that have the lowest layer in common.
pub(super) fn kept_layers(images: &[LoadedImage], have: &[LoadedImage]) -> Vec<usize> {
    let kept = images.iter().enumerate().map(|(number, image)| {
        let others = images.iter().enumerate().filter(|&(other, _)| other != number);
        let family = others
            .map(|(_, other)| common(image, other))
            .filter(|&layers| layers > 0);
        let of_have = have.iter().map(|have| common(image, have)).max();
        family.min().unwrap_or(0).max(of_have.unwrap_or(0))
    });
    kept.collect()
}

fn common(one: &LoadedImage, other: &LoadedImage) -> usize {
    let pairs = one.layers.iter().zip(&other.layers);
    pairs
        .take_while(|(one, other)| one.digest == other.digest)
        .count()
}
