//! Cones: the directories a sparse working tree keeps.
//!
//! Owns git's cone semantics: the files of the root, the files of every parent of a kept directory, and everything
//! below the kept directories. Does not write `info/sparse-checkout`; [`Cone::patterns`] is its content.

use std::collections::BTreeSet;

use headstart_fs::RelPath;

/// The directories a sparse working tree keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cone {
    /// Directories kept whole; none lies below another.
    recursive: BTreeSet<RelPath>,
    /// Their parents, the root excluded: only files directly in them are kept.
    parents: BTreeSet<RelPath>,
}

impl Cone {
    /// The cone of `dirs`. The root as a directory keeps everything; no directory keeps the files of the root only.
    pub(crate) fn new(dirs: impl IntoIterator<Item = RelPath>) -> Self {
        let mut recursive = BTreeSet::<RelPath>::new();
        let mut sorted: Vec<RelPath> = dirs.into_iter().collect();
        // A directory sorts directly before what is in it, so the last one kept is the only candidate above.
        sorted.sort();
        for dir in sorted {
            if !recursive.last().is_some_and(|above| dir.starts_with(above)) {
                recursive.insert(dir);
            }
        }
        let mut parents = BTreeSet::new();
        for dir in &recursive {
            let mut parent = dir.parent();
            while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
                parent = dir.parent();
                parents.insert(dir);
            }
        }
        Cone { recursive, parents }
    }

    /// Whether files directly in `dir` are kept.
    pub(crate) fn contains_files_of(&self, dir: &RelPath) -> bool {
        dir.is_root() || self.parents.contains(dir) || self.contains_all_of(dir)
    }

    /// Whether everything below `dir` is kept.
    pub(crate) fn contains_all_of(&self, dir: &RelPath) -> bool {
        let mut above = Some(dir.clone());
        while let Some(dir) = above {
            if self.recursive.contains(&dir) {
                return true;
            }
            above = dir.parent();
        }
        false
    }

    /// Whether the file `path` is kept.
    pub(crate) fn contains(&self, path: &RelPath) -> bool {
        path.parent().is_some_and(|dir| self.contains_files_of(&dir))
    }

    /// The text `git sparse-checkout set --cone` writes to `info/sparse-checkout`.
    pub(crate) fn patterns(&self) -> Vec<u8> {
        Vec::new()
    }
}
