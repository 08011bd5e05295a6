//! A store in memory: for tests, and the plainest reading of what the trait asks.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::{
    ByteStream, ContentId, ContentKind, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace,
    PruneStore, Store, StoreError, Written, incoming::Incoming, range::check_range,
};

/// Keeps everything in memory. Its time is its own: it starts at the epoch and moves a millisecond with every use.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Timestamp,
    content: HashMap<ContentId, (Bytes, Timestamp)>,
    entries: BTreeMap<EntryName, (Entry, Timestamp)>,
}

impl State {
    fn tick(&mut self) -> Timestamp {
        self.now = self
            .now
            .checked_add(SignedDuration::from_millis(1))
            .unwrap_or(self.now);
        self.now
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the store's time, for what depends on age.
    pub fn set_now(&self, now: Timestamp) {
        self.state.lock().now = now;
    }

    fn missing(&self, what: impl ToString) -> StoreError {
        StoreError::Missing {
            what: what.to_string(),
            store: self.location(),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        let bytes = {
            let mut state = self.state.lock();
            let now = state.tick();
            let (bytes, used) = state.content.get_mut(&id).ok_or_else(|| self.missing(id))?;
            *used = now;
            bytes.clone()
        };
        let total_bytes = bytes.len() as u64;
        let range = check_range(id, || self.location(), total_bytes, range)?;
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(ContentReader {
            total_bytes,
            range,
            stream: futures::stream::once(async { Ok(part) }).boxed(),
        })
    }

    async fn write(&self, id: ContentId, bytes: u64, mut stream: ByteStream) -> Result<Written, StoreError> {
        let mut incoming = Incoming::new(id, bytes)?;
        let mut all = BytesMut::new();
        while let Some(chunk) = stream.try_next().await? {
            incoming.update(&chunk, "memory")?;
            all.extend_from_slice(&chunk);
        }
        incoming.finish("memory")?;
        let mut state = self.state.lock();
        let now = state.tick();
        Ok(match state.content.insert(id, (all.freeze(), now)) {
            None => Written::New,
            Some(_) => Written::Existed,
        })
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        let mut state = self.state.lock();
        let now = state.tick();
        let mut missing = Vec::new();
        for id in ids {
            match state.content.get_mut(id) {
                Some((_, used)) => *used = now,
                None => missing.push(*id),
            }
        }
        Ok(missing)
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        let state = self.state.lock();
        let (entry, _) = state.entries.get(name).ok_or_else(|| self.missing(name))?;
        Ok(entry.clone())
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        entry.checked_json(name)?;
        let mut state = self.state.lock();
        if let Some((existing, _)) = state.entries.get(name) {
            return Ok(CreatedEntry::Existed(existing.clone()));
        }
        let now = state.tick();
        state.entries.insert(name.clone(), (entry.clone(), now));
        Ok(CreatedEntry::Created)
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        let state = self.state.lock();
        let found = state
            .entries
            .iter()
            .filter(|(name, _)| name.namespace() == namespace && name.key().starts_with(prefix))
            .map(|(name, (_, modified_at))| EntryInfo {
                name: name.clone(),
                modified_at: *modified_at,
            })
            .collect();
        Ok(EntryInfo::newest_first(found, limit))
    }
}

#[async_trait]
impl PruneStore for MemoryStore {
    async fn list_namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        let state = self.state.lock();
        let mut namespaces: Vec<_> = state
            .entries
            .keys()
            .map(|name| name.namespace().clone())
            .collect();
        namespaces.dedup();
        Ok(namespaces)
    }

    async fn list_content(&self, kind: ContentKind) -> Result<Vec<(ContentId, u64, Timestamp)>, StoreError> {
        let state = self.state.lock();
        Ok(state
            .content
            .iter()
            .filter(|(id, _)| id.kind() == kind)
            .map(|(id, (bytes, used))| (*id, bytes.len() as u64, *used))
            .collect())
    }

    async fn delete(&self, id: ContentId) -> Result<(), StoreError> {
        self.state.lock().content.remove(&id);
        Ok(())
    }

    async fn inspect(&self, id: ContentId) -> Result<Bytes, StoreError> {
        let state = self.state.lock();
        let (bytes, _) = state.content.get(&id).ok_or_else(|| self.missing(id))?;
        Ok(bytes.clone())
    }

    async fn evict(&self, id: ContentId, unused_since: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        let unused = state
            .content
            .get(&id)
            .is_some_and(|(_, used)| *used < unused_since);
        if unused {
            state.content.remove(&id);
        }
        Ok(unused)
    }

    async fn delete_entry(&self, name: &EntryName) -> Result<(), StoreError> {
        self.state.lock().entries.remove(name);
        Ok(())
    }
}
