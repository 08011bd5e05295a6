//! Trees, fetched where they are missing.

use std::{collections::HashMap, rc::Rc};

use gix::ObjectId;

use super::{
    ChangesError,
    fetcher::{Fetcher, Want},
    objects::{Objects, TreeEntry},
};

/// Fetches of single trees before whole ones are fetched, in a comparison: the upper levels are wide and shared by most
/// commits, those below a path that differs are small, and every level costs a round trip.
const LEVELS_TO_COMPARE: u32 = 2;
/// The same for reading files: what is beside them is of no use.
const LEVELS_TO_READ: u32 = 4;
/// Trees held in memory at once.
const MOST_CACHED: usize = 100_000;

/// The trees of a repository.
pub(super) struct Trees<'r, 'c> {
    pub(super) objects: Objects,
    pub(super) fetcher: Fetcher<'r, 'c>,
    loaded: HashMap<ObjectId, Rc<[TreeEntry]>>,
    levels_left: u32,
}

impl<'r, 'c> Trees<'r, 'c> {
    pub(super) fn new(objects: Objects, fetcher: Fetcher<'r, 'c>) -> Self {
        Trees {
            objects,
            fetcher,
            loaded: HashMap::new(),
            levels_left: LEVELS_TO_COMPARE,
        }
    }

    /// From now on, only paths that are asked for are of interest.
    pub(super) fn end_comparison(&mut self) {
        self.levels_left = LEVELS_TO_READ;
    }

    /// Makes sure that `ids` are here: one round trip for all that are not.
    pub(super) fn fetch_missing(&mut self, ids: impl Iterator<Item = ObjectId>) -> Result<(), ChangesError> {
        let is_missing = |id: &ObjectId| !self.loaded.contains_key(id) && !self.objects.contains(*id);
        let mut missing: Vec<ObjectId> = ids.filter(is_missing).collect();
        missing.sort();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let want = match self.levels_left {
            0 => Want::WholeTrees,
            _ => Want::Trees,
        };
        self.levels_left = self.levels_left.saturating_sub(1);
        self.objects = self.fetcher.fetch_objects(missing, want)?;
        Ok(())
    }

    /// The entries of a tree.
    pub(super) fn load(&mut self, id: ObjectId) -> Result<Rc<[TreeEntry]>, ChangesError> {
        if let Some(entries) = self.loaded.get(&id) {
            return Ok(Rc::clone(entries));
        }
        let mut entries = self.objects.tree(id)?;
        if entries.is_none() {
            self.fetch_missing([id].into_iter())?;
            entries = self.objects.tree(id)?;
        }
        let entries: Rc<[TreeEntry]> = entries
            .expect("what was fetched is here, or an error was returned")
            .into();
        if self.loaded.len() == MOST_CACHED {
            self.loaded.clear();
        }
        self.loaded.insert(id, Rc::clone(&entries));
        Ok(entries)
    }
}
