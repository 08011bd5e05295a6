//! What a save or a restore would find: a look at the store and the disk, changing neither.

use futures::future::try_join_all;
use headstart_store::{Entry, EntryInfo, EntryName, Runtime, Store, StoreError};

use crate::{DependencyCache, DepsError, OnRestoreKey, namespace};

/// What there is of one cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStatus {
    /// What the store has.
    pub in_store: InStore,
    /// What the disk has.
    pub on_disk: OnDisk,
}

/// What the store has for the keys of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InStore {
    /// The exact key.
    Exact(Entry),
    /// An older version, found by a restore key.
    Older(EntryInfo),
    /// Nothing.
    Miss,
}

/// What the disk has at the paths of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing.
    Absent,
    /// Something, and no reason to doubt it.
    Present,
    /// An installed tree of another lockfile.
    Stale {
        /// In what it differs.
        reason: String,
    },
}

/// Looks all of `caches` up, at once.
pub fn status(
    caches: &[DependencyCache],
    store: &dyn Store,
    runtime: &Runtime,
) -> Result<Vec<CacheStatus>, DepsError> {
    let lookups = try_join_all(caches.iter().map(|cache| look_up(cache, store)));
    let found = runtime.block_on(lookups)?;
    caches
        .iter()
        .zip(found)
        .map(|(cache, in_store)| {
            Ok(CacheStatus {
                in_store,
                on_disk: look_at_disk(cache)?,
            })
        })
        .collect()
}

/// The best match of a cache's keys.
pub(crate) async fn look_up(cache: &DependencyCache, store: &dyn Store) -> Result<InStore, StoreError> {
    let name = entry_name(&cache.key);
    match store.read_entry(&name).await {
        Ok(entry) => return Ok(InStore::Exact(entry)),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error),
    }
    if cache.on_restore_key == OnRestoreKey::Useless {
        return Ok(InStore::Miss);
    }
    for prefix in &cache.restore_keys {
        let found = store.find_entries(&namespace(), prefix, 1).await?;
        if let Some(newest) = found.into_iter().next() {
            return Ok(InStore::Older(newest));
        }
    }
    Ok(InStore::Miss)
}

pub(crate) fn entry_name(key: &str) -> EntryName {
    EntryName::new(namespace(), key).expect("keys are made of short plain names and digests")
}

fn look_at_disk(cache: &DependencyCache) -> Result<OnDisk, DepsError> {
    let is_present = |path: &headstart_fs::RelPath| path.join_to(&cache.root).symlink_metadata().is_ok();
    if !cache.paths.iter().any(is_present) {
        return Ok(OnDisk::Absent);
    }
    Ok(match cache.find_why_stale()? {
        Some(reason) => OnDisk::Stale { reason },
        None => OnDisk::Present,
    })
}
