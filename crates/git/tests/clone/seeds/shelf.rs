//! Where the tests keep seeds.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use headstart_git::{
    Seed, SeedKey, SeedSource,
    seed::{BuiltSeed, SeedManifest, SeedPart, check_history, check_tip},
};

/// Seeds in folders.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) seeds: Mutex<Vec<(Seed, SeedPart)>>,
    pub(super) refused: AtomicUsize,
}

impl Shelf {
    pub(super) fn of(built: &BuiltSeed) -> Self {
        let shelf = Shelf::default();
        shelf.put(&built.tip, &built.history);
        shelf
    }

    fn put(&self, tip: &Path, history: &Path) {
        let manifest = SeedManifest::load(tip).unwrap();
        check_tip(tip, &manifest, &AtomicBool::new(false)).unwrap();
        check_history(history, &manifest, &AtomicBool::new(false)).unwrap();
        self.put_unchecked(tip, history);
    }

    pub(super) fn put_unchecked(&self, tip: &Path, history: &Path) {
        let manifest = SeedManifest::load(tip).unwrap();
        let seed = Seed {
            label: "the seed".to_owned(),
            tip: SeedPart::tip_in(tip, &manifest),
            manifest: manifest.clone(),
        };
        self.seeds
            .lock()
            .unwrap()
            .push((seed, SeedPart::history_in(history, &manifest)));
    }
}

impl SeedSource for Shelf {
    fn find_local(&self, _key: &SeedKey) -> Vec<Seed> {
        let seeds = self.seeds.lock().unwrap();
        seeds.iter().map(|(seed, _)| seed.clone()).collect()
    }

    fn fetch_newest(&self, _key: &SeedKey, _known: &[Seed], _interrupt: &AtomicBool) -> Option<Seed> {
        None
    }

    fn fetch_history(&self, seed: &Seed, _interrupt: &AtomicBool) -> Option<SeedPart> {
        let seeds = self.seeds.lock().unwrap();
        let (_, history) = seeds.iter().find(|(other, _)| other.manifest == seed.manifest)?;
        Some(history.clone())
    }

    fn refuse(&self, _seed: &Seed) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}
