//! Comparing two trees.

use std::collections::HashMap;

use bstr::BStr;
use gix::{ObjectId, objs::tree::EntryKind};
use headstart_fs::RelPath;

use super::{ChangesError, objects::TreeEntry, path_in, trees::Trees};

/// More files than any repository has; a small tree that names itself over and over could claim as many as it likes.
const MOST_FILES: usize = 10_000_000;

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedFile {
    /// Where it is, or was.
    pub path: RelPath,
    /// How it differs.
    pub status: FileStatus,
}

/// How a file differs, as git's status letters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileStatus {
    /// It is new.
    Added,
    /// Its content or its executable bit changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It became a file, a symlink or a submodule and was something else of these.
    TypeChanged,
}

impl FileStatus {
    /// Git's letter.
    pub fn letter(self) -> char {
        match self {
            FileStatus::Added => 'A',
            FileStatus::Modified => 'M',
            FileStatus::Deleted => 'D',
            FileStatus::TypeChanged => 'T',
        }
    }
}

/// A folder that differs: its tree on either side, where it is one.
struct Folder {
    path: RelPath,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
}

/// The files that differ, sorted. Level by level, so that the missing trees of a level are fetched at once.
pub(super) fn compare_trees(
    trees: &mut Trees<'_, '_>,
    old: ObjectId,
    new: ObjectId,
) -> Result<Vec<ChangedFile>, ChangesError> {
    let mut files = Vec::new();
    let mut level = Vec::new();
    if old != new {
        level.push(Folder {
            path: RelPath::root(),
            old: Some(old),
            new: Some(new),
        });
    }
    while !level.is_empty() {
        trees.fetch_missing(
            level
                .iter()
                .flat_map(|folder| folder.old.into_iter().chain(folder.new)),
        )?;
        let mut next = Vec::new();
        for folder in &level {
            compare_folder(trees, folder, &mut files, &mut next)?;
            if files.len() + next.len() > MOST_FILES {
                return Err(ChangesError::TooMany { limit: MOST_FILES });
            }
        }
        level = next;
    }
    files.sort_unstable();
    Ok(files)
}

fn compare_folder(
    trees: &mut Trees<'_, '_>,
    folder: &Folder,
    files: &mut Vec<ChangedFile>,
    next: &mut Vec<Folder>,
) -> Result<(), ChangesError> {
    let entries = |trees: &mut Trees<'_, '_>, id: Option<ObjectId>| match id {
        Some(id) => trees.load(id).map(|entries| entries.to_vec()),
        None => Ok(Vec::new()),
    };
    let old = entries(trees, folder.old)?;
    let new = entries(trees, folder.new)?;
    let mut by_name: HashMap<&BStr, [Option<&TreeEntry>; 2]> = HashMap::new();
    for (side, list) in [&old, &new].into_iter().enumerate() {
        for entry in list {
            by_name.entry(entry.name.as_ref()).or_default()[side] = Some(entry);
        }
    }
    let tree = folder
        .new
        .or(folder.old)
        .expect("a folder is on one side at least");
    for (name, [old, new]) in by_name {
        if old.map(|entry| (entry.id, entry.kind)) == new.map(|entry| (entry.id, entry.kind)) {
            continue;
        }
        let path = path_in(&folder.path, name, tree)?;
        let sides = [old, new].map(|entry| {
            entry
                .filter(|entry| entry.kind == EntryKind::Tree)
                .map(|entry| entry.id)
        });
        if sides != [None, None] && sides[0] != sides[1] {
            next.push(Folder {
                path: path.clone(),
                old: sides[0],
                new: sides[1],
            });
        }
        let leaf = |entry: Option<&TreeEntry>| {
            entry
                .map(|entry| entry.kind)
                .filter(|kind| *kind != EntryKind::Tree)
        };
        let status = match (leaf(old), leaf(new)) {
            (None, None) => continue,
            (None, Some(_)) => FileStatus::Added,
            (Some(_), None) => FileStatus::Deleted,
            (Some(old), Some(new)) if kind_of_leaf(old) == kind_of_leaf(new) => FileStatus::Modified,
            (Some(_), Some(_)) => FileStatus::TypeChanged,
        };
        files.push(ChangedFile { path, status });
    }
    Ok(())
}

/// Executable or not, a file is a file.
fn kind_of_leaf(kind: EntryKind) -> EntryKind {
    match kind {
        EntryKind::BlobExecutable => EntryKind::Blob,
        kind => kind,
    }
}
