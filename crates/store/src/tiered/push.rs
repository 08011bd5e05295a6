//! Content on its way from the local store to the remote.

use std::sync::{Arc, atomic::Ordering};

use futures::{StreamExt as _, stream};
use headstart_digest::SnapshotId;

use super::{TierWarning, TieredStore};
use crate::{
    ByteStream, ContentId, CreatedEntry, Entry, EntryName, Snapshot, Store, StoreError, StoreExt as _,
    Written,
};

/// Packs uploaded at once.
const PARALLEL_UPLOADS: usize = 4;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The remote has the entry now, and all it stands for.
    New,
    /// The remote had an entry of that name.
    Existed,
    /// The remote does not take it; a warning told why.
    No,
}

impl TieredStore {
    /// Gives the remote an entry of the local store, its snapshot and packs, as far as the remote lacks them: for what was
    /// saved while there was no remote. [`StoreError::Missing`] when there is no such local entry.
    pub async fn push_entry(&self, name: &EntryName) -> Result<Pushed, StoreError> {
        let entry = self.local.read_entry(name).await?;
        let asked = name.clone();
        let existing = self
            .remote
            .ask(|remote| async move { remote.read_entry(&asked).await })
            .await;
        if existing.is_some() {
            return Ok(Pushed::Existed);
        }
        Ok(match self.create_remote_entry(name, &entry).await {
            Some(CreatedEntry::Created) => Pushed::New,
            Some(CreatedEntry::Existed(_)) => Pushed::Existed,
            None => Pushed::No,
        })
    }

    /// Makes the remote complete and creates the entry there; `None` when that cannot be.
    pub(super) async fn create_remote_entry(&self, name: &EntryName, entry: &Entry) -> Option<CreatedEntry> {
        if !self.push_snapshot(entry.snapshot).await {
            return None;
        }
        self.remote
            .give(|remote| async move { remote.create_entry(name, entry).await })
            .await
    }

    /// True when the remote has the snapshot and all its packs.
    async fn push_snapshot(&self, snapshot: SnapshotId) -> bool {
        if self.complete.lock().contains(&snapshot) {
            return true;
        }
        let id = ContentId::Snapshot(snapshot);
        let packs = match self.local_packs(id).await {
            Ok(packs) => packs,
            // The local store did not take it.
            Err(StoreError::Missing { .. }) => {
                let read = self
                    .remote
                    .ask(|remote| async move { packs_of(id, &*remote).await });
                match read.await {
                    Some(packs) => packs,
                    None => return false,
                }
            }
            Err(error) => {
                self.remote.warn(TierWarning::Incomplete(error));
                return false;
            }
        };
        let asked: Vec<ContentId> = packs.into_iter().chain([id]).collect();
        let missing = self
            .remote
            .give(|remote| async move { remote.find_missing(&asked).await })
            .await;
        let Some(missing) = missing else {
            return false;
        };
        let is_snapshot_missing = missing.contains(&id);
        let uploaded = stream::iter(missing.into_iter().filter(|missing| *missing != id))
            .map(|pack| self.upload(pack))
            .buffer_unordered(PARALLEL_UPLOADS)
            .fold(true, async |all, done| all && done)
            .await;
        if !uploaded || (is_snapshot_missing && !self.upload(id).await) {
            return false;
        }
        self.complete.lock().insert(snapshot);
        true
    }

    pub(super) async fn local_packs(&self, id: ContentId) -> Result<Vec<ContentId>, StoreError> {
        packs_of(id, &*self.local).await
    }

    /// Uploads content of the local store; true when the remote has it.
    pub(super) async fn upload(&self, id: ContentId) -> bool {
        let local = Arc::clone(&self.local);
        let written = self
            .remote
            .give(|remote| async move {
                let reader = match local.open(id, None).await {
                    Ok(reader) => reader,
                    // Not the remote's fault, so not an error of it.
                    Err(error) => return Ok(Err(error)),
                };
                let bytes = reader.total_bytes;
                let written = remote.write(id, bytes, reader.stream).await?;
                Ok(Ok((written, bytes)))
            })
            .await;
        match written {
            Some(Ok((written, bytes))) => {
                self.count_upload(written, bytes);
                true
            }
            Some(Err(error)) => {
                self.remote.warn(TierWarning::Incomplete(error));
                false
            }
            None => false,
        }
    }

    /// Gives the remote what the local store does not take; `None` when it does not take it either.
    pub(super) async fn upload_stream(
        &self,
        id: ContentId,
        bytes: u64,
        stream: ByteStream,
    ) -> Option<Written> {
        let write = |remote: Arc<dyn Store>| async move { remote.write(id, bytes, stream).await };
        let written = self.remote.give(write).await?;
        self.count_upload(written, bytes);
        Some(written)
    }

    fn count_upload(&self, written: Written, bytes: u64) {
        if written == Written::New {
            self.counters.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.counters.uploaded_content.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The packs a snapshot names.
async fn packs_of(id: ContentId, store: &dyn Store) -> Result<Vec<ContentId>, StoreError> {
    let stored = store.read(id).await?;
    let snapshot = Snapshot::parse(&stored).map_err(|error| error.in_store(id, store.location()))?;
    let packs = snapshot.packs().iter();
    Ok(packs.map(|pack| ContentId::Pack(pack.id)).collect())
}
