//! The index after an update.

use std::collections::HashMap;

use gix::{
    bstr::{BStr, ByteSlice as _},
    objs::tree::EntryKind,
};
use parking_lot::Mutex;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::{UpdatePlan, apply::hash, dirs::Dirs, index_file::renewed_trees};
use crate::worktree::{
    Change, WorktreeError,
    index::{self, FileStat, IndexEntry},
};

impl UpdatePlan {
    pub(super) fn write_index(&self, stats: &HashMap<&BStr, FileStat>) -> Result<(), WorktreeError> {
        if self
            .changes
            .paths
            .iter()
            .all(|change| self.kept.contains(&change.path))
        {
            return Ok(());
        }
        let changed: HashMap<&BStr, &Change> = self
            .changes
            .paths
            .iter()
            .filter(|change| !self.kept.contains(&change.path))
            .map(|change| (change.path.as_bstr(), change))
            .collect();
        let unchanged = self.index.entries.par_iter();
        let dirs = Mutex::new(Dirs::default());
        let mut entries: Vec<IndexEntry> = unchanged
            .filter(|entry| !changed.contains_key(entry.path.as_bstr()))
            .map(|entry| self.still_true(entry, &dirs))
            .collect();
        for (path, change) in &changed {
            let Some(new) = change.new else { continue };
            let old = self.index.find(path);
            entries.push(IndexEntry {
                path: change.path.clone(),
                mode: new.kind as u32,
                id: new.id,
                stat: match (stats.get(path), old) {
                    (Some(stat), _) => *stat,
                    // A submodule's folder, which stays what it is.
                    (None, Some(old)) if !old.skip_worktree => old.stat,
                    (None, _) => FileStat::default(),
                },
                skip_worktree: self.skipped.contains(*path) || old.is_some_and(|old| old.skip_worktree),
            });
        }
        let trees = self
            .index
            .trees
            .clone()
            .map(|old| renewed_trees(old, &self.changes.dirs));
        let encoded = index::encode(&mut entries, &trees.unwrap_or_default());
        self.index.replace(&encoded)
    }

    /// An entry for the new index. Git would believe the stat data of a file that is as new as the old index, in whole
    /// seconds, now that the index is newer: such files are read, and marked where they are not what the index says.
    fn still_true(&self, entry: &IndexEntry, dirs: &Mutex<Dirs>) -> IndexEntry {
        let mut entry = entry.clone();
        let racy = i64::from(entry.stat.mtime.0) >= self.index.written_seconds;
        if !racy || entry.skip_worktree || entry.stat.size == 0 || entry.mode == EntryKind::Commit as u32 {
            return entry;
        }
        let path = entry.path.clone();
        let (dir, name) = dirs.lock().place(path.as_bstr());
        let same = match self.files.look(&dir, name) {
            // Git will see that by itself.
            Ok(Some(stat)) if FileStat::from(&stat) != entry.stat => true,
            Ok(Some(stat)) => {
                let content = self.files.read(&dir, name, &stat);
                content.is_ok_and(|content| hash(&content) == Some(entry.id))
            }
            _ => true,
        };
        if !same {
            entry.stat.size = 0;
        }
        entry
    }
}
