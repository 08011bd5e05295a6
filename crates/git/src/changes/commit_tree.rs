//! The files of a commit, read without a working tree.

use bstr::{BString, ByteSlice as _};
use gix::{ObjectId, objs::tree::EntryKind};
use headstart_fs::RelPath;

use super::{
    ChangesError,
    fetcher::{FetchedObjects, Fetcher, Want},
    objects::{Objects, TreeEntry},
    trees::Trees,
};

/// The largest file that is read.
const MOST_FILE_BYTES: u64 = 16 << 20;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeEntryKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symlink or a submodule.
    Other,
}

/// The files of one commit. What is missing is fetched, at once for all paths of a call.
pub struct CommitTree<'r, 'c> {
    root: ObjectId,
    trees: Trees<'r, 'c>,
}

impl<'r, 'c> CommitTree<'r, 'c> {
    pub(super) fn new(root: ObjectId, objects: Objects, fetcher: Fetcher<'r, 'c>) -> Self {
        CommitTree {
            root,
            trees: Trees::new(objects, fetcher),
        }
    }

    pub(super) fn trees(&mut self) -> &mut Trees<'r, 'c> {
        &mut self.trees
    }

    /// What was fetched so far, for the comparison too.
    pub fn fetched(&self) -> FetchedObjects {
        self.trees.fetcher.fetched()
    }

    /// Lists folders; what is no folder is empty.
    pub fn list(&mut self, folders: &[RelPath]) -> Result<Vec<Vec<(BString, TreeEntryKind)>>, ChangesError> {
        let found = self.find_folders(folders)?;
        let mut lists = Vec::new();
        for id in found {
            let entries = match id {
                Some(id) => self.trees.load(id)?.to_vec(),
                None => Vec::new(),
            };
            let listed = entries.into_iter().map(|entry| (entry.name, kind_of(entry.kind)));
            lists.push(listed.collect());
        }
        Ok(lists)
    }

    /// Reads regular files; `None` for what is none.
    pub fn read(&mut self, files: &[RelPath]) -> Result<Vec<Option<Vec<u8>>>, ChangesError> {
        let parents: Vec<RelPath> = files
            .iter()
            .map(|file| file.parent().unwrap_or_default())
            .collect();
        let folders = self.find_folders(&parents)?;
        let mut blobs = Vec::new();
        for (file, folder) in files.iter().zip(folders) {
            let entry = match (folder, file.file_name()) {
                (Some(folder), Some(name)) => self.entry(folder, name)?,
                _ => None,
            };
            blobs.push(entry.filter(|entry| kind_of(entry.kind) == TreeEntryKind::File));
        }
        let mut missing: Vec<ObjectId> = blobs.iter().flatten().map(|entry| entry.id).collect();
        missing.retain(|id| !self.trees.objects.contains(*id));
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            self.trees.objects = self.trees.fetcher.fetch_objects(missing, Want::Blobs)?;
        }
        files
            .iter()
            .zip(blobs)
            .map(|(path, entry)| entry.map(|entry| self.blob(path, entry.id)).transpose())
            .collect()
    }

    fn blob(&self, path: &RelPath, id: ObjectId) -> Result<Vec<u8>, ChangesError> {
        let objects = &self.trees.objects;
        let bytes = objects.size_bytes(id)?.unwrap_or_default();
        if bytes > MOST_FILE_BYTES {
            return Err(ChangesError::TooLarge {
                path: path.clone(),
                bytes,
                limit: MOST_FILE_BYTES,
            });
        }
        Ok(objects
            .blob(id)?
            .expect("what was fetched is here, or an error was returned"))
    }

    /// The trees of folders. All of them go down one level at a time, so that a level costs one round trip.
    fn find_folders(&mut self, folders: &[RelPath]) -> Result<Vec<Option<ObjectId>>, ChangesError> {
        let mut found = vec![Some(self.root); folders.len()];
        let deepest = folders.iter().map(|folder| folder.components().count()).max();
        for depth in 0..deepest.unwrap_or_default() {
            let parents = folders.iter().zip(&found);
            let parents = parents.filter_map(|(folder, at)| folder.components().nth(depth).and(*at));
            self.trees
                .fetch_missing(parents.collect::<Vec<_>>().into_iter())?;
            for (folder, at) in folders.iter().zip(&mut found) {
                let Some((name, parent)) = folder.components().nth(depth).zip(*at) else {
                    continue;
                };
                let entry = self.entry(parent, name)?;
                *at = entry
                    .filter(|entry| entry.kind == EntryKind::Tree)
                    .map(|entry| entry.id);
            }
        }
        self.trees.fetch_missing(found.iter().copied().flatten())?;
        Ok(found)
    }

    fn entry(&mut self, folder: ObjectId, name: &[u8]) -> Result<Option<TreeEntry>, ChangesError> {
        let entries = self.trees.load(folder)?;
        Ok(entries
            .iter()
            .find(|entry| entry.name.as_bytes() == name)
            .cloned())
    }
}

fn kind_of(kind: EntryKind) -> TreeEntryKind {
    match kind {
        EntryKind::Tree => TreeEntryKind::Folder,
        EntryKind::Blob | EntryKind::BlobExecutable => TreeEntryKind::File,
        EntryKind::Link | EntryKind::Commit => TreeEntryKind::Other,
    }
}
