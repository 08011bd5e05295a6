//! The working tree of one commit made into that of another: only what differs is touched.
//!
//! Owns which files have to be written and removed, whether that is safe, and the index afterwards. Where an index has more
//! than plain entries, or something in the working tree is not as the index says, git has to do it: [`Planned::ByGit`].
//!
//! Invariants:
//! - nothing is touched before everything was looked at;
//! - a file is replaced or removed only when it has the content of the old commit, or of the new one already;
//! - a file is there whole, before or after; it is looked at again just before it is replaced or removed;
//! - the index is written last. Whoever is killed before leaves files that the next run, or `git reset --hard`, takes up.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

use gix::{
    ObjectId,
    bstr::{BStr, BString, ByteSlice as _},
    objs::tree::EntryKind,
};
use headstart_fs::RelPath;

use super::{
    Change, Changes, WorktreeError, WrittenWorktree,
    attributes::Converter,
    boolean,
    files::{Dir, Files},
    index::IndexEntry,
};
use crate::{sparse::Cone, tree_diff::Side};

mod apply;
mod dirs;
mod index_file;
mod write_index;

use dirs::{Dirs, above};
use index_file::{IndexFile, NotPlain};

/// Who has to update the working tree.
pub(crate) enum Planned {
    Here(Box<UpdatePlan>),
    /// Git, for this reason.
    ByGit(String),
}

/// What was updated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UpdatedWorktree {
    pub(crate) written: WrittenWorktree,
    pub(crate) removed: u64,
}

/// A working tree to update.
pub(crate) struct UpdatePlan {
    index: IndexFile,
    changes: Changes,
    converter: Converter,
    files: Files,
    /// What becomes of the working tree: nothing for changes that concern the index only.
    steps: Vec<Step>,
    /// Paths whose entries stay as they are, because the index has the new state already.
    kept: HashSet<BString>,
    /// Added paths that the sparse cone leaves out.
    skipped: HashSet<BString>,
    /// Blobs of `.gitattributes` on the way to files that are written, by folder.
    attributes: HashMap<BString, ObjectId>,
    check_executable: bool,
    /// Where the user is: git does not remove that folder either.
    keep_dir: Option<BString>,
}

/// One file to write or to remove.
#[derive(Debug, Clone)]
struct Step {
    dir: Arc<Dir>,
    name: BString,
    path: BString,
    /// What the index says is there.
    old: Option<IndexEntry>,
    new: Option<Side>,
}

impl UpdatePlan {
    /// Plans an update of the working tree of `repo` from the commit in its index to `tip`, which differ by `changes`.
    /// The inner cone is `None` where the sparse patterns are no cone.
    pub(crate) fn plan(
        repo: &gix::Repository,
        tip: ObjectId,
        old_tree: ObjectId,
        changes: Changes,
        cone: Option<Option<Cone>>,
        current_dir: &Path,
    ) -> Result<Planned, WorktreeError> {
        let root = repo.workdir().ok_or(WorktreeError::Bare)?;
        for (key, default, plain) in [
            ("core.symlinks", true, true),
            ("core.ignoreCase", false, false),
            ("submodule.recurse", false, false),
        ] {
            if boolean(repo, key, default)? != plain {
                return Ok(Planned::ByGit(format!("{key} is set")));
            }
        }
        let index = match IndexFile::read(&repo.index_path())? {
            Ok(index) => index,
            Err(NotPlain(reason)) => return Ok(Planned::ByGit(format!("of the index: {reason}"))),
        };
        if cone == Some(None) {
            return Ok(Planned::ByGit("the sparse patterns are no cone".to_owned()));
        }
        let keep_dir = current_dir.strip_prefix(root).ok();
        let keep_dir = keep_dir.map(|below| BString::from(below.as_os_str().as_bytes()));
        let mut plan = UpdatePlan {
            index,
            changes,
            converter: Converter::new(repo, tip)?,
            files: Files::new(root)?,
            steps: Vec::new(),
            kept: HashSet::new(),
            skipped: HashSet::new(),
            attributes: HashMap::new(),
            check_executable: boolean(repo, "core.fileMode", true)?,
            keep_dir,
        };
        // A cache of trees that says more, or less, than the old commit describes something that is staged.
        plan.index.trees = plan.index.trees.take().filter(|trees| {
            let root = trees.iter().find(|tree| tree.path.is_empty());
            root.is_some_and(|root| root.id == old_tree) && plan.changes.canonical
        });
        match plan.sort(cone.flatten().as_ref()) {
            Err(reason) => Ok(Planned::ByGit(reason)),
            Ok(()) => {
                plan.find_attributes();
                Ok(Planned::Here(Box::new(plan)))
            }
        }
    }

    /// Compares the index with both commits, path by path; says what only git can decide.
    fn sort(&mut self, cone: Option<&Cone>) -> Result<(), String> {
        let mut dirs = Dirs::default();
        let paths = self.changes.paths.iter().map(|change| &change.path);
        if let Some((twice, _)) = paths.clone().zip(paths.skip(1)).find(|(path, next)| path == next) {
            return Err(format!("{twice} is in a tree twice"));
        }
        let removed: HashSet<&BStr> = self
            .changes
            .paths
            .iter()
            .filter(|change| change.new.is_none())
            .map(|change| change.path.as_bstr())
            .collect();
        for Change { path, old, new } in &self.changes.paths {
            let entry = self.index.find(path.as_bstr());
            let in_the_way = || format!("{path} is staged with other content");
            let has = |side: &Option<Side>| match (entry, side) {
                (None, None) => true,
                (Some(entry), Some(side)) => entry.id == side.id && entry.mode == side.kind as u32,
                _ => false,
            };
            if has(new) {
                self.kept.insert(path.clone());
                continue;
            }
            if !has(old) {
                return Err(in_the_way());
            }
            let is_submodule = |side: &Option<Side>| side.is_some_and(|side| side.kind == EntryKind::Commit);
            // The folder of a submodule has a repository of the user's in it.
            if is_submodule(old) && new.is_none() && added_below(&self.changes.paths, path.as_bstr()) {
                return Err(format!("{path} is a submodule no more"));
            }
            if old.is_some() && new.is_some() && is_submodule(old) != is_submodule(new) {
                return Err(format!("{path} became a submodule, or is one no more"));
            }
            if old.is_none() {
                let above = path.find_iter(b"/").map(|slash| path[..slash].as_bstr());
                let blocked = above
                    .filter(|dir| !removed.contains(dir))
                    .any(|dir| self.index.find(dir).is_some());
                if blocked || self.index.has_below(path.as_bstr()) {
                    return Err(format!("{path} changes between a file and a folder"));
                }
                if cone.is_some_and(|cone| !in_cone(cone, path.as_bstr())) {
                    self.skipped.insert(path.clone());
                    continue;
                }
            }
            if entry.is_some_and(|entry| entry.skip_worktree) {
                let (dir, name) = dirs.place(path.as_bstr());
                match self.files.look(&dir, name) {
                    Ok(None) => {}
                    _ => return Err(format!("{path} is outside of the sparse cone, but there")),
                }
                continue;
            }
            // Git leaves what is in a submodule alone.
            if is_submodule(old) && is_submodule(new) {
                continue;
            }
            let (dir, name) = dirs.place(path.as_bstr());
            self.steps.push(Step {
                name: name.to_owned(),
                dir,
                path: path.clone(),
                old: entry.cloned(),
                new: *new,
            });
        }
        Ok(())
    }

    /// Finds the attribute files that matter, as they are in the new commit.
    fn find_attributes(&mut self) {
        let writes = |step: &&Step| step.new.is_some_and(|side| side.is_blob());
        let dirs: BTreeSet<BString> = self
            .steps
            .iter()
            .filter(writes)
            .flat_map(|step| above(step.path.as_bstr()))
            .map(BStr::to_owned)
            .collect();
        for dir in dirs {
            let path = crate::tree_diff::join(dir.as_bstr(), b".gitattributes".as_bstr());
            let changed = self
                .changes
                .paths
                .binary_search_by(|change| change.path.cmp(&path))
                .ok()
                .map(|at| {
                    self.changes.paths[at]
                        .new
                        .filter(Side::is_blob)
                        .map(|side| side.id)
                });
            let is_file = |entry: &&IndexEntry| matches!(entry.mode, 0o100_644 | 0o100_755);
            let in_index = || {
                self.index
                    .find(path.as_bstr())
                    .filter(is_file)
                    .map(|entry| entry.id)
            };
            if let Some(id) = changed.unwrap_or_else(in_index) {
                self.attributes.insert(dir, id);
            }
        }
    }

    /// The blobs it needs.
    pub(crate) fn blobs(&self) -> Vec<ObjectId> {
        let files = self.steps.iter().filter_map(|step| step.new);
        let files = files.filter(Side::is_blob).map(|side| side.id);
        let mut ids: Vec<ObjectId> = files.chain(self.attributes.values().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Files to write.
    pub(crate) fn total_files(&self) -> u64 {
        self.steps.iter().filter(|step| step.new.is_some()).count() as u64
    }
}

/// Whether something new is below `path`. The changes are sorted.
fn added_below(changes: &[Change], path: &BStr) -> bool {
    let first = [path.as_bytes(), b"/"].concat();
    let at = changes.partition_point(|change| change.path < first);
    let below = changes[at..].iter();
    below
        .take_while(|change| change.path.starts_with(&first))
        .any(|change| change.new.is_some())
}

fn in_cone(cone: &Cone, path: &BStr) -> bool {
    let Some(slash) = path.rfind(b"/") else {
        return true;
    };
    RelPath::parse(&path.as_bytes()[..slash]).is_ok_and(|dir| cone.contains_files_of(&dir))
}
