//! What a store holds, by its listings alone.

use jiff::Timestamp;

use crate::{ContentKind, Namespace, PruneStore, StoreError};

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// Entries by namespace, in its order.
    pub entries: Vec<(Namespace, u64)>,
    /// Snapshots.
    pub snapshots: u64,
    /// Their stored bytes.
    pub snapshot_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Their stored bytes.
    pub pack_bytes: u64,
    /// When the oldest entry was written.
    pub oldest_entry: Option<Timestamp>,
    /// When the newest entry was written.
    pub newest_entry: Option<Timestamp>,
}

impl StoreStatus {
    /// Entries of all namespaces.
    pub fn entry_count(&self) -> u64 {
        self.entries.iter().map(|(_, count)| count).sum()
    }

    /// Stored bytes of packs and snapshots. Entries are small and not counted.
    pub fn stored_bytes(&self) -> u64 {
        self.snapshot_bytes + self.pack_bytes
    }
}

/// Lists all of a store. Reads no content.
pub async fn load_status(store: &dyn PruneStore) -> Result<StoreStatus, StoreError> {
    let mut status = StoreStatus::default();
    for namespace in store.list_namespaces().await? {
        let entries = store.find_entries(&namespace, "", usize::MAX).await?;
        for info in &entries {
            let at = info.modified_at;
            status.oldest_entry = Some(status.oldest_entry.map_or(at, |oldest| oldest.min(at)));
            status.newest_entry = Some(status.newest_entry.map_or(at, |newest| newest.max(at)));
        }
        status.entries.push((namespace, entries.len() as u64));
    }
    for (_, bytes, _) in store.list_content(ContentKind::Snapshot).await? {
        status.snapshots += 1;
        status.snapshot_bytes += bytes;
    }
    for (_, bytes, _) in store.list_content(ContentKind::Pack).await? {
        status.packs += 1;
        status.pack_bytes += bytes;
    }
    Ok(status)
}
