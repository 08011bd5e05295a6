//! Which files get a layer of their own.

use std::{cmp::Reverse, collections::HashMap};

/// A layer that saves less is not worth a request.
pub(super) const MIN_SAVED_BYTES: u64 = 64 << 10;

/// Numbers of images, ascending.
pub(super) type ImageSet = Vec<u32>;

/// Files that may make a layer: those that exactly these images have, and that change as often.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group {
    /// How many layers of an image are above the one they come from: the deeper, the seldomer they change.
    pub(super) depth: u32,
    pub(super) images: ImageSet,
}

/// Of groups with their bytes, those that save the most: bytes that are pulled once instead of once for each image. They
/// come in their order in an image: the deepest first, of these the ones that most images have.
pub(super) fn choose(bytes_of_groups: &HashMap<Group, u64>, max: usize) -> Vec<Group> {
    let saved = |group: &Group, bytes: u64| bytes.saturating_mul(group.images.len() as u64 - 1);
    let mut candidates: Vec<_> = bytes_of_groups
        .iter()
        .filter(|(group, bytes)| group.images.len() > 1 && saved(group, **bytes) >= MIN_SAVED_BYTES)
        .map(|(group, &bytes)| (saved(group, bytes), group))
        .collect();
    candidates.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    candidates.truncate(max);
    let mut chosen: Vec<_> = candidates.into_iter().map(|(_, group)| group.clone()).collect();
    // Ties keep the order of bytes saved.
    chosen.sort_by_key(|group| (Reverse(group.depth), Reverse(group.images.len())));
    chosen
}

/// Shares out what a group has: to chosen ones of the same depth whose images are some of its images, the largest first. The
/// images that are left have it each for itself.
pub(super) fn split(group: &Group, chosen: &[Group]) -> (Vec<usize>, ImageSet) {
    let mut rest = group.images.clone();
    let mut parts = Vec::new();
    for (number, part) in chosen.iter().enumerate() {
        if part.depth == group.depth && part.images.iter().all(|image| rest.binary_search(image).is_ok()) {
            rest.retain(|image| part.images.binary_search(image).is_err());
            parts.push(number);
        }
    }
    (parts, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(depth: u32, images: &[u32]) -> Group {
        Group {
            depth,
            images: images.to_vec(),
        }
    }

    #[test]
    fn what_saves_most_is_chosen_and_the_rest_falls_to_its_parts() {
        let megabytes = |number: u64| number << 20;
        let groups = HashMap::from([
            (group(0, &[0, 1, 2]), megabytes(10)),
            (group(0, &[0, 1]), megabytes(15)),
            (group(0, &[1, 2]), megabytes(1)),
            (group(0, &[0, 1, 2, 3]), megabytes(2)),
            (group(0, &[0, 2]), 10),
            (group(0, &[3]), megabytes(100)),
        ]);
        let chosen = choose(&groups, 2);
        assert_eq!(chosen, [group(0, &[0, 1, 2]), group(0, &[0, 1])]);
        assert_eq!(split(&group(0, &[0, 1, 2, 3]), &chosen), (vec![0], vec![3]));
        assert_eq!(split(&group(0, &[1, 2]), &chosen), (vec![], vec![1, 2]));
        assert_eq!(choose(&groups, 9).len(), 4, "ten bytes are not worth a layer");
    }

    #[test]
    fn what_changes_seldom_is_below_and_not_mixed_with_what_changes_often() {
        let groups = HashMap::from([(group(0, &[0, 1, 2]), 1 << 20), (group(1, &[0, 1]), 1 << 20)]);
        let chosen = choose(&groups, 9);
        assert_eq!(chosen, [group(1, &[0, 1]), group(0, &[0, 1, 2])]);
        assert_eq!(split(&group(0, &[0, 1]), &chosen), (vec![], vec![0, 1]));
    }
}
