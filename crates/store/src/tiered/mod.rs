//! A local store in front of a remote one.
//!
//! Reads ask the local store first. What only the remote has is fetched whole, verified, and kept: a restore needs most of
//! every pack it touches, and the next one needs no network. So the first range of a remote pack costs the whole pack.
//!
//! Writes go to the local store; new packs at once also to the remote. Entries go through [`TieredStore::create_entry`],
//! which first makes the remote complete: packs that a snapshot names because the local store had them already are
//! uploaded, then the snapshot, then the entry. Where there is a remote, it decides who created an entry.
//!
//! A remote that fails costs one warning and is then left alone: nothing here fails because of it. A local store that takes
//! nothing, being full or read-only, costs one warning too, and the remote is written to past it.

mod fetch;
mod push;
mod remote;
mod warning;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use headstart_digest::SnapshotId;
use parking_lot::Mutex;

use self::{fetch::Fetched, remote::Remote};
pub use self::{push::Pushed, warning::TierWarning};
use crate::{
    ByteStream, ContentId, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace, Store,
    StoreError, StoreExt as _, Written, range::check_size,
};

/// A local store in front of a remote one.
#[derive(Debug)]
pub struct TieredStore {
    local: Arc<dyn Store>,
    remote: Arc<Remote>,
    counters: Counters,
    /// One fetch at a time for each piece of content.
    flights: Mutex<HashMap<ContentId, Arc<tokio::sync::Mutex<()>>>>,
    /// What this run fetched: reading it again is no merit of the local store.
    fetched: Mutex<HashSet<ContentId>>,
    /// Entries read from the remote; they become local ones once their snapshot is local.
    found: Mutex<HashMap<SnapshotId, Vec<(EntryName, Entry)>>>,
    /// Snapshots that the remote has, with all their packs.
    complete: Mutex<HashSet<SnapshotId>>,
}

/// What came from where, since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierCounts {
    /// Stored bytes read from the local store that were there before.
    pub local_bytes: u64,
    /// Stored bytes fetched from the remote.
    pub remote_bytes: u64,
    /// Packs and snapshots fetched from the remote.
    pub remote_content: u64,
    /// Questions put to the remote for reading: entries, lists, content, and the rest of content that broke off. What a
    /// store does to answer one (repeating a request, looking for many names) is its own.
    pub remote_requests: u64,
    /// Stored bytes uploaded to the remote.
    pub uploaded_bytes: u64,
    /// Packs and snapshots uploaded to the remote.
    pub uploaded_content: u64,
}

#[derive(Debug, Default)]
struct Counters {
    local_bytes: Arc<AtomicU64>,
    remote_bytes: Arc<AtomicU64>,
    remote_content: AtomicU64,
    uploaded_bytes: AtomicU64,
    uploaded_content: AtomicU64,
}

impl TieredStore {
    /// Puts `local` in front of `remote`. `warn` is told, once each, what a person should know of the remote.
    pub fn new(
        local: Arc<dyn Store>,
        remote: Arc<dyn Store>,
        warn: impl Fn(TierWarning) + Send + Sync + 'static,
    ) -> Self {
        TieredStore {
            local,
            remote: Arc::new(Remote::new(remote, Box::new(warn))),
            counters: Counters::default(),
            flights: Mutex::default(),
            fetched: Mutex::default(),
            found: Mutex::default(),
            complete: Mutex::default(),
        }
    }

    /// What came from where so far.
    pub fn counts(&self) -> TierCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierCounts {
            local_bytes: load(&self.counters.local_bytes),
            remote_bytes: load(&self.counters.remote_bytes),
            remote_content: load(&self.counters.remote_content),
            remote_requests: self.remote.requests(),
            uploaded_bytes: load(&self.counters.uploaded_bytes),
            uploaded_content: load(&self.counters.uploaded_content),
        }
    }

    fn missing(&self, what: impl fmt::Display) -> StoreError {
        StoreError::Missing {
            what: what.to_string(),
            store: self.location(),
        }
    }

    /// Counts what is read from the local store, unless this run brought it there.
    fn count_local(&self, id: ContentId, reader: ContentReader) -> ContentReader {
        if self.fetched.lock().contains(&id) {
            return reader;
        }
        let bytes = Arc::clone(&self.counters.local_bytes);
        let stream = reader.stream.inspect_ok(move |chunk| {
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        ContentReader {
            stream: stream.boxed(),
            ..reader
        }
    }

    /// Whole content is read and checked before it is passed on: a corrupt local copy gives way to the remote's.
    async fn open_whole(&self, id: ContentId) -> Result<ContentReader, StoreError> {
        let bytes = match self.read_local(id).await? {
            Some(bytes) => bytes,
            None => match self.fetch(id).await.0 {
                Fetched::Kept => self.read_local(id).await?.ok_or_else(|| self.missing(id))?,
                Fetched::CannotKeep => self
                    .remote
                    .ask(|remote| async move { remote.read(id).await })
                    .await
                    .ok_or_else(|| self.missing(id))?,
                Fetched::No => return Err(self.missing(id)),
            },
        };
        if let ContentId::Snapshot(snapshot) = id {
            self.keep_entries_of(snapshot).await;
        }
        let total_bytes = bytes.len() as u64;
        let reader = ContentReader {
            total_bytes,
            range: 0..total_bytes,
            stream: stream::once(async { Ok(bytes) }).boxed(),
        };
        Ok(self.count_local(id, reader))
    }

    async fn read_local(&self, id: ContentId) -> Result<Option<Bytes>, StoreError> {
        match self.local.read(id).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error @ StoreError::Corrupt { .. }) => {
                self.remote.warn(TierWarning::LocalCorrupt(error));
                Ok(None)
            }
            Err(error) => self.pass_over_local(error).map(|()| None),
        }
    }

    /// A local store that cannot be read is a reason to ask the remote, with one warning.
    fn pass_over_local(&self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Io(_) | StoreError::Refused { .. } => {
                self.remote.warn(TierWarning::NotKept(error));
                Ok(())
            }
            error => Err(error),
        }
    }

    async fn open_range(&self, id: ContentId, range: Range<u64>) -> Result<ContentReader, StoreError> {
        match self.local.open(id, Some(range.clone())).await {
            Ok(reader) => return Ok(self.count_local(id, reader)),
            Err(StoreError::Missing { .. }) => {}
            Err(error) => self.pass_over_local(error)?,
        }
        match self.fetch(id).await.0 {
            Fetched::Kept => self.local.open(id, Some(range)).await,
            Fetched::CannotKeep => self.open_remote(id, Some(range)).await.map_err(|error| {
                self.remote.note_read(error);
                self.missing(id)
            }),
            Fetched::No => Err(self.missing(id)),
        }
    }

    /// Entries that were read from the remote become local ones, now that their snapshot is here: never before, so that no
    /// local entry names what is not there.
    async fn keep_entries_of(&self, snapshot: SnapshotId) {
        let entries = self.found.lock().remove(&snapshot);
        for (name, entry) in entries.into_iter().flatten() {
            if let Err(error) = self.local.create_entry(&name, &entry).await {
                self.remote.warn(TierWarning::NotKept(error));
            }
        }
    }

    /// Makes sure that a snapshot can be restored, as far as the local store can tell what it needs.
    async fn expect_complete(&self, snapshot: SnapshotId) -> Result<(), StoreError> {
        let id = ContentId::Snapshot(snapshot);
        let mut needed = match self.local_packs(id).await {
            Ok(packs) => packs,
            Err(error @ StoreError::Io(_)) => return Err(error),
            // What is missing or damaged here is asked for, or made again, by whoever restores it.
            Err(_) => Vec::new(),
        };
        needed.push(id);
        match self.find_missing(&needed).await?.first() {
            Some(missing) => Err(self.missing(missing)),
            None => Ok(()),
        }
    }

    async fn read_local_entry(&self, name: &EntryName) -> Result<Option<Entry>, StoreError> {
        match self.local.read_entry(name).await {
            Ok(entry) => Ok(Some(entry)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Unsupported(_))) => {
                self.remote.warn(TierWarning::LocalCorrupt(error));
                Ok(None)
            }
            Err(error) => self.pass_over_local(error).map(|()| None),
        }
    }
}

/// Takes a stream into memory, as far as the announced length and no further than the chunk that exceeds it.
async fn collect(id: ContentId, bytes: u64, mut stream: ByteStream) -> Result<Vec<Bytes>, StoreError> {
    check_size(id, bytes)?;
    let (mut chunks, mut received) = (Vec::new(), 0);
    while let Some(chunk) = stream.try_next().await? {
        received += chunk.len() as u64;
        chunks.push(chunk);
        if received > bytes {
            break;
        }
    }
    Ok(chunks)
}

#[async_trait]
impl Store for TieredStore {
    fn location(&self) -> String {
        format!("{} and {}", self.local.location(), self.remote.location())
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        match range {
            None => self.open_whole(id).await,
            Some(range) => self.open_range(id, range).await,
        }
    }

    async fn prepare(&self, id: ContentId) -> u64 {
        match self.fetch(id).await {
            (Fetched::Kept, bytes) => bytes,
            (Fetched::CannotKeep | Fetched::No, _) => 0,
        }
    }

    /// Holds all of it in memory, for the remote should the local store not take it.
    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError> {
        let chunks = collect(id, bytes, stream).await?;
        let again = || stream::iter(chunks.clone().into_iter().map(Ok)).boxed();
        match self.local.write(id, bytes, again()).await {
            Ok(written) => {
                // The rest follows when an entry needs it.
                if written == Written::New && matches!(id, ContentId::Pack(_)) {
                    self.upload(id).await;
                }
                Ok(written)
            }
            Err(error @ (StoreError::Io(_) | StoreError::Refused { .. })) => {
                match self.upload_stream(id, bytes, again()).await {
                    Some(written) => self.pass_over_local(error).map(|()| written),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        let missing = match self.local.find_missing(ids).await {
            Ok(missing) => missing,
            Err(error) => self.pass_over_local(error).map(|()| ids.to_vec())?,
        };
        if missing.is_empty() {
            return Ok(missing);
        }
        let asked = missing.clone();
        let answer = self
            .remote
            .ask(|remote| async move { remote.find_missing(&asked).await })
            .await;
        Ok(answer.unwrap_or(missing))
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        if let Some(entry) = self.read_local_entry(name).await? {
            return Ok(entry);
        }
        let asked = name.clone();
        let entry = self
            .remote
            .ask_soon(|remote| async move { remote.read_entry(&asked).await })
            .await
            .ok_or_else(|| self.missing(name))?;
        self.found
            .lock()
            .entry(entry.snapshot)
            .or_default()
            .push((name.clone(), entry.clone()));
        Ok(entry)
    }

    /// Creates the entry at the remote and then here. The local store alone decides when it has the entry already, and
    /// when there is no remote to ask: then the two may differ, both right for those who wrote them. [`StoreError::Missing`]
    /// when there is no remote any more that had a part of what the entry stands for.
    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        if let Some(existing) = self.read_local_entry(name).await? {
            return Ok(CreatedEntry::Existed(existing));
        }
        match self.create_remote_entry(name, entry).await {
            None => {
                self.expect_complete(entry.snapshot).await?;
                self.local.create_entry(name, entry).await
            }
            Some(CreatedEntry::Existed(existing)) if existing.snapshot != entry.snapshot => {
                Ok(CreatedEntry::Existed(existing))
            }
            Some(created) => {
                let entry = match &created {
                    CreatedEntry::Created => entry,
                    CreatedEntry::Existed(existing) => existing,
                };
                // The local store may lack what the entry names.
                if self.remote.is_not_kept() {
                    return Ok(created);
                }
                // It is saved: that it is not here too costs the next reader time.
                if let Err(error) = self.local.create_entry(name, entry).await {
                    self.remote.warn(TierWarning::NotKept(error));
                }
                Ok(created)
            }
        }
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        let mut found = match self.local.find_entries(namespace, prefix, limit).await {
            Ok(found) => found,
            Err(error) => self.pass_over_local(error).map(|()| Vec::new())?,
        };
        let known: HashSet<EntryName> = found.iter().map(|info| info.name.clone()).collect();
        let (namespace, prefix) = (namespace.clone(), prefix.to_owned());
        let remote = self
            .remote
            .ask(|remote| async move { remote.find_entries(&namespace, &prefix, limit).await })
            .await
            .unwrap_or_default();
        // The remote's time comes first: a local copy is as young as its first use here.
        let times: HashMap<_, _> = remote
            .iter()
            .map(|info| (info.name.clone(), info.modified_at))
            .collect();
        for info in &mut found {
            if let Some(modified_at) = times.get(&info.name) {
                info.modified_at = *modified_at;
            }
        }
        found.extend(remote.into_iter().filter(|info| !known.contains(&info.name)));
        Ok(EntryInfo::newest_first(found, limit))
    }
}

#[cfg(test)]
mod tests;
