//! The history of a seed, in few packs of which the large ones seldom change.

use gix::ObjectId;

use super::{SeedError, SeedPack, build::Work};

/// How much larger each pack is than all smaller ones together, at least, as with `git repack --geometric=2`.
const FACTOR: u64 = 2;

/// Merges the small packs among `packs`, so that their number grows with the logarithm of the history's size, and so does
/// how often an object is packed again.
pub(super) fn merge(work: &Work<'_>, mut packs: Vec<SeedPack>) -> Result<Vec<SeedPack>, SeedError> {
    packs.sort_by_key(|pack| (pack.objects, pack.id));
    let kept = packs.split_off(rolled_up(&packs));
    if packs.len() < 2 {
        packs.extend(kept);
        return Ok(packs);
    }
    let names: String = packs
        .iter()
        .map(|pack| format!("{}\n", file_name(pack.id)))
        .collect();
    let merged = work.pack_objects(&["--stdin-packs"], names)?;
    let mut all = vec![merged];
    all.extend(kept);
    Ok(all)
}

/// How many of `packs`, smallest first, are merged into one, so that the rest is a geometric progression.
fn rolled_up(packs: &[SeedPack]) -> usize {
    let objects = |at: usize| u64::from(packs[at].objects);
    // From the largest down to where the progression breaks.
    let breaks = (1..packs.len())
        .rev()
        .find(|at| objects(*at) < FACTOR * objects(at - 1));
    let Some(mut count) = breaks.map(|at| at + 1) else {
        return 0;
    };
    // What comes of it may be too large for the next one.
    let mut total: u64 = (0..count).map(objects).sum();
    while count < packs.len() && objects(count) < FACTOR * total {
        total += objects(count);
        count += 1;
    }
    count
}

fn file_name(id: ObjectId) -> String {
    format!("pack-{id}.pack")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(objects: &[u32]) -> Vec<SeedPack> {
        let pack = |objects: &u32| SeedPack {
            id: ObjectId::Sha1([1; 20]),
            objects: *objects,
            bytes: 1,
        };
        objects.iter().map(pack).collect()
    }

    #[test]
    fn only_what_breaks_the_progression_is_merged() {
        for (objects, count) in [
            (&[][..], 0),
            (&[1000], 0),
            (&[10, 1000], 0),
            (&[10, 15, 1000], 2),
            (&[100, 150, 400, 1000], 4),
            (&[10, 100, 150, 10_000], 3),
            (&[600, 1000], 2),
        ] {
            assert_eq!(rolled_up(&packs(objects)), count, "{objects:?}");
        }
    }

    #[test]
    fn a_hundred_pushes_leave_few_packs_and_move_the_large_one_seldom() {
        let (mut sizes, mut moved) = (vec![100_000_u32], 0);
        for _ in 0..100 {
            sizes.push(200);
            sizes.sort_unstable();
            let count = rolled_up(&packs(&sizes));
            let merged: u32 = sizes.drain(..count).sum();
            moved += merged.max(200);
            sizes.extend((merged > 0).then_some(merged));
            sizes.sort_unstable();
            assert!(sizes.len() <= 12, "{sizes:?}");
        }
        assert!(moved < 200_000, "{moved}");
    }
}
