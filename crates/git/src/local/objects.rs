//! The object database of a repository that lacks objects: what is here, and nothing is fetched by looking.

use gix::{
    ObjectId,
    objs::{CommitRefIter, Exists as _, Find as _, Kind},
};

use super::{LocalError, LocalRepository};

/// Bytes of delta bases each thread keeps: neighbours in history are deltas of each other.
const BASE_CACHE_BYTES: usize = 24 << 20;

/// A view of the object database as it was when it was taken. One for each thread: clone it.
#[derive(Clone)]
pub(crate) struct LocalObjects {
    handle: gix::OdbHandle,
}

impl LocalObjects {
    /// Opens it anew, so that packs fetched before are seen.
    pub(crate) fn open(repository: &LocalRepository<'_>) -> Result<Self, LocalError> {
        let mut handle = repository.open()?.objects;
        // A missing object is nothing to look for on the disk again: here they come by the thousands.
        handle.refresh_never();
        handle.set_pack_cache(|| {
            Box::new(gix::odb::pack::cache::lru::MemoryCappedHashmap::new(
                BASE_CACHE_BYTES,
            ))
        });
        Ok(LocalObjects { handle })
    }

    pub(crate) fn contains(&self, id: &ObjectId) -> bool {
        self.handle.exists(id)
    }

    /// Reads a tree into `buffer`; false when it is missing.
    pub(crate) fn read_tree(&self, id: ObjectId, buffer: &mut Vec<u8>) -> Result<bool, LocalError> {
        self.read(id, Kind::Tree, buffer)
    }

    /// The content of a blob; `None` when it is missing.
    pub(crate) fn blob(&self, id: ObjectId) -> Result<Option<Vec<u8>>, LocalError> {
        let mut data = Vec::new();
        Ok(self.read(id, Kind::Blob, &mut data)?.then_some(data))
    }

    /// The tree of a commit that must be here.
    pub(crate) fn tree_of(&self, commit: ObjectId) -> Result<ObjectId, LocalError> {
        Ok(self.commit(commit)?.0)
    }

    /// The tree and the parents of a commit that must be here.
    pub(crate) fn commit(&self, id: ObjectId) -> Result<(ObjectId, Vec<ObjectId>), LocalError> {
        let mut data = Vec::new();
        if !self.read(id, Kind::Commit, &mut data)? {
            return Err(LocalError::object(id, "it is missing"));
        }
        let mut commit = CommitRefIter::from_bytes(&data, gix::hash::Kind::Sha1);
        let tree = commit
            .tree_id()
            .map_err(|_| LocalError::object(id, "it is not a commit that names a tree"))?;
        Ok((tree, commit.parent_ids().collect()))
    }

    fn read(&self, id: ObjectId, kind: Kind, buffer: &mut Vec<u8>) -> Result<bool, LocalError> {
        let found = self
            .handle
            .try_find(&id, buffer)
            .map_err(|error| LocalError::Object {
                id: id.to_string(),
                source: error.into(),
            })?;
        match found {
            None => Ok(false),
            Some(found) if found.kind == kind => Ok(true),
            Some(_) => Err(LocalError::object(id, "it is not of the type that names it")),
        }
    }
}
