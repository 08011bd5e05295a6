//! The objects that are here.

use bstr::BString;
use gix::{
    ObjectId,
    objs::{CommitRefIter, Exists as _, Find as _, FindHeader as _, Kind, TreeRefIter, tree::EntryKind},
};

use super::ChangesError;
use crate::local::{LocalError, LocalRepository};

/// The object database as it was when opened: what is fetched later is not seen, and what is missing costs no second look.
pub(super) struct Objects {
    repository: gix::Repository,
}

/// What a walk needs to know of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) tree: ObjectId,
    pub(super) parents: Vec<ObjectId>,
    /// Seconds since 1970, as the committer's machine said.
    pub(super) time: i64,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) name: BString,
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
}

impl Objects {
    pub(super) fn open(repository: &LocalRepository<'_>) -> Result<Self, LocalError> {
        let mut repository = repository.open()?;
        repository.objects.refresh_never();
        // Commits and trees are deltas of each other; walks visit them in about the order they are packed in.
        repository.object_cache_size_if_unset(4 << 20);
        Ok(Objects { repository })
    }

    pub(super) fn contains(&self, id: ObjectId) -> bool {
        self.repository.objects.exists(&id)
    }

    /// `None` where it is not here.
    pub(super) fn commit(&self, id: ObjectId) -> Result<Option<Commit>, ChangesError> {
        let Some(data) = self.find(id, Kind::Commit)? else {
            return Ok(None);
        };
        let mut commit = CommitRefIter::from_bytes(&data, gix::hash::Kind::Sha1);
        Ok(Some(Commit {
            tree: commit
                .tree_id()
                .map_err(|error| ChangesError::corrupt(id, error))?,
            parents: commit.parent_ids().collect(),
            // Git takes a date it cannot read for the oldest, too.
            time: commit
                .committer()
                .ok()
                .and_then(|committer| committer.time().ok())
                .map_or(0, |time| time.seconds),
        }))
    }

    /// The entries of a tree; `None` where it is not here.
    pub(super) fn tree(&self, id: ObjectId) -> Result<Option<Vec<TreeEntry>>, ChangesError> {
        let Some(data) = self.find(id, Kind::Tree)? else {
            return Ok(None);
        };
        TreeRefIter::from_bytes(&data, gix::hash::Kind::Sha1)
            .map(|entry| {
                let entry = entry.map_err(|error| ChangesError::corrupt(id, error))?;
                Ok(TreeEntry {
                    name: entry.filename.to_owned(),
                    kind: entry.mode.kind(),
                    id: entry.oid.to_owned(),
                })
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The size of a blob that is here.
    pub(super) fn size_bytes(&self, id: ObjectId) -> Result<Option<u64>, ChangesError> {
        let header = self.repository.objects.try_header(&id);
        Ok(header
            .map_err(|error| ChangesError::corrupt(id, error))?
            .map(|header| header.size))
    }

    pub(super) fn blob(&self, id: ObjectId) -> Result<Option<Vec<u8>>, ChangesError> {
        self.find(id, Kind::Blob)
    }

    fn find(&self, id: ObjectId, kind: Kind) -> Result<Option<Vec<u8>>, ChangesError> {
        let mut data = Vec::new();
        let found = self
            .repository
            .objects
            .try_find(&id, &mut data)
            .map_err(|error| ChangesError::corrupt(id, error))?;
        match found.map(|found| found.kind) {
            None => Ok(None),
            Some(found) if found == kind => Ok(Some(data)),
            Some(found) => Err(ChangesError::corrupt(
                id,
                format!("it is a {found}, not a {kind}"),
            )),
        }
    }
}
