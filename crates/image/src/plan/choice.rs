//! Which sets of images get a layer of their own.

use std::collections::HashMap;

/// A layer that saves less is not worth a request.
const MIN_SAVED_BYTES: u64 = 64 << 10;

/// Numbers of images, ascending.
pub(super) type ImageSet = Vec<u32>;

/// Of sets of images with the bytes that exactly these images have, those that save the most: bytes that are pulled once
/// instead of once for each image. The largest sets come first, which is their order in an image.
pub(super) fn choose(bytes_of_sets: &HashMap<ImageSet, u64>, max: usize) -> Vec<ImageSet> {
    let saved = |set: &ImageSet, bytes: u64| bytes.saturating_mul(set.len() as u64 - 1);
    let mut candidates: Vec<_> = bytes_of_sets
        .iter()
        .filter(|(set, bytes)| set.len() > 1 && saved(set, **bytes) >= MIN_SAVED_BYTES)
        .map(|(set, &bytes)| (saved(set, bytes), set))
        .collect();
    candidates.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    candidates.truncate(max);
    let mut chosen: Vec<_> = candidates.into_iter().map(|(_, set)| set.clone()).collect();
    // Ties keep the order of bytes saved.
    chosen.sort_by_key(|set| std::cmp::Reverse(set.len()));
    chosen
}

/// Shares out what the images of `set` have: to chosen sets that are parts of it, the largest first. What is left of `set` has
/// it each for itself.
pub(super) fn split(set: &[u32], chosen: &[ImageSet]) -> (Vec<usize>, ImageSet) {
    let mut rest = set.to_vec();
    let mut parts = Vec::new();
    for (number, part) in chosen.iter().enumerate() {
        if part.iter().all(|image| rest.binary_search(image).is_ok()) {
            rest.retain(|image| part.binary_search(image).is_err());
            parts.push(number);
        }
    }
    (parts, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_saves_most_is_chosen_and_the_rest_falls_to_its_parts() {
        let megabytes = |number: u64| number << 20;
        let sets = HashMap::from([
            (vec![0, 1, 2], megabytes(10)),
            (vec![0, 1], megabytes(15)),
            (vec![1, 2], megabytes(1)),
            (vec![0, 1, 2, 3], megabytes(2)),
            (vec![0, 2], 10),
            (vec![3], megabytes(100)),
        ]);
        let chosen = choose(&sets, 2);
        assert_eq!(chosen, [vec![0, 1, 2], vec![0, 1]]);
        assert_eq!(split(&[0, 1, 2, 3], &chosen), (vec![0], vec![3]));
        assert_eq!(split(&[1, 2], &chosen), (vec![], vec![1, 2]));
        assert_eq!(choose(&sets, 9).len(), 4, "ten bytes are not worth a layer");
    }
}
