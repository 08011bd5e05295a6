//! What differs between two trees, path by path, checked as strictly as a tree that is checked out whole.

use std::sync::atomic::{AtomicBool, Ordering};

use gix::{
    ObjectId,
    bstr::{BString, ByteSlice as _},
    validate::path::component,
};

use super::{
    WorktreeError,
    plan::{LONGEST_PATH_BYTES, MOST_PATHS},
    tree::{self, TreeError},
};
use crate::{
    local::{LocalError, LocalObjects},
    tree_diff::{self, Side},
};

/// A path that differs; not a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: BString,
    pub(crate) old: Option<Side>,
    pub(crate) new: Option<Side>,
}

/// All that differs.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Sorted by path.
    pub(crate) paths: Vec<Change>,
    /// Folders that differ, with the tree each is now, if it is still there.
    pub(super) dirs: Vec<(BString, Option<ObjectId>)>,
    /// All trees of the new side are as git would write them again, and none is empty.
    pub(super) canonical: bool,
    /// Trees that are not here. When there are some, the rest is not complete.
    pub(crate) missing_trees: Vec<ObjectId>,
}

impl Changes {
    /// Compares two trees; `None` is one without entries.
    pub(crate) fn between(
        objects: &LocalObjects,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        protect: component::Options,
        interrupt: &AtomicBool,
    ) -> Result<Self, ChangesError> {
        let mut changes = Changes {
            canonical: true,
            ..Changes::default()
        };
        let mut pairs = match old == new {
            true => Vec::new(),
            false => vec![(BString::default(), old, new)],
        };
        while let Some((dir, old, new)) = pairs.pop() {
            if interrupt.load(Ordering::Relaxed) {
                return Err(WorktreeError::Interrupted.into());
            }
            // Both sides count: each may be a few small trees that name each other several times.
            if changes.paths.len() + changes.dirs.len() + pairs.len() > MOST_PATHS {
                return Err(WorktreeError::TooLarge("it has too many paths").into());
            }
            if dir.len() > LONGEST_PATH_BYTES {
                return Err(WorktreeError::TooLarge("it has a path of more than 4095 bytes").into());
            }
            let mut read = |id: Option<ObjectId>| -> Result<Vec<u8>, LocalError> {
                let mut data = Vec::new();
                let id = id.filter(|id| *id != ObjectId::empty_tree(id.kind()));
                if let Some(id) = id
                    && !objects.read_tree(id, &mut data)?
                {
                    changes.missing_trees.push(id);
                }
                Ok(data)
            };
            let (old_data, new_data) = (read(old)?, read(new)?);
            if let Some(new) = new {
                let checked = tree::check(&new_data, protect).map_err(|error| match error {
                    TreeError::Corrupt => WorktreeError::CorruptObject {
                        id: new,
                        what: "it is not a tree",
                    },
                    TreeError::Name(name, reason) => WorktreeError::InvalidPath {
                        path: tree_diff::join(dir.as_bstr(), name),
                        reason,
                    },
                })?;
                changes.canonical &= checked.canonical && (!checked.entries.is_empty() || dir.is_empty());
            }
            tree_diff::diff(&old_data, &new_data, |name, old, new| {
                let path = tree_diff::join(dir.as_bstr(), name);
                let tree = |side: Option<Side>| side.filter(Side::is_tree).map(|side| side.id);
                let file = |side: Option<Side>| side.filter(|side| !side.is_tree());
                if tree(old).is_some() || tree(new).is_some() {
                    pairs.push((path.clone(), tree(old), tree(new)));
                }
                if file(old).is_some() || file(new).is_some() {
                    changes.paths.push(Change {
                        path,
                        old: file(old),
                        new: file(new),
                    });
                }
            })
            .map_err(|_| WorktreeError::CorruptObject {
                id: old.or(new).unwrap_or(ObjectId::null(gix::hash::Kind::Sha1)),
                what: "it is not a tree",
            })?;
            changes.dirs.push((dir, new));
        }
        changes.paths.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(changes)
    }
}

/// Why two trees could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangesError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Worktree(#[from] WorktreeError),
}
