//! Which seed is used.

use std::sync::atomic::AtomicBool;

use crate::{
    refs::RefPlan,
    seed::{Seed, SeedKey, SeedSource},
};

/// A source of seeds and what is asked of it.
pub(in crate::clone) struct Seeds<'a> {
    pub(in crate::clone) source: &'a dyn SeedSource,
    pub(in crate::clone) key: SeedKey,
}

/// What the source had before the origin was heard.
pub(in crate::clone) struct Found {
    seeds: Vec<Seed>,
    /// Whether nothing newer is to be had.
    is_newest: bool,
}

impl Seeds<'_> {
    /// Looks for seeds, while the origin is being asked.
    pub(in crate::clone) fn find(&self, stop: &AtomicBool) -> Found {
        let seeds = self.source.find_local(&self.key);
        let is_newest = seeds.is_empty();
        let newest = || self.source.fetch_newest(&self.key, &[], stop);
        Found {
            seeds: match is_newest {
                true => newest().into_iter().collect(),
                false => seeds,
            },
            is_newest,
        }
    }

    /// The seed to clone from, now that the origin was heard: one that has what is checked out, else the newest.
    pub(in crate::clone) fn choose(&self, found: Found, plan: &RefPlan, stop: &AtomicBool) -> Option<Seed> {
        let wanted = plan.tip_want();
        let has_tip = |seed: &&Seed| {
            seed.manifest
                .refs
                .iter()
                .any(|seed_ref| Some(seed_ref.id) == wanted)
        };
        if let Some(seed) = found.seeds.iter().find(has_tip) {
            return Some(seed.clone());
        }
        let newer = match found.is_newest {
            true => None,
            false => self.source.fetch_newest(&self.key, &found.seeds, stop),
        };
        newer.or_else(|| found.seeds.into_iter().next())
    }
}
