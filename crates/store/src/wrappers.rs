//! Stores around stores.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;

use crate::{
    ByteStream, ContentId, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace, Store,
    StoreError, Written,
};

/// A store that is read and never written.
#[derive(Debug, Clone)]
pub struct ReadOnlyStore(Arc<dyn Store>);

impl ReadOnlyStore {
    /// Takes the writes away from `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        ReadOnlyStore(store)
    }

    fn refused(&self) -> StoreError {
        StoreError::Refused {
            store: self.0.location(),
            reason: "it is used for reading only".to_owned(),
        }
    }
}

#[async_trait]
impl Store for ReadOnlyStore {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        self.0.open(id, range).await
    }

    async fn write(&self, _: ContentId, _: u64, _: ByteStream) -> Result<Written, StoreError> {
        Err(self.refused())
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        self.0.find_missing(ids).await
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        self.0.read_entry(name).await
    }

    async fn create_entry(&self, _: &EntryName, _: &Entry) -> Result<CreatedEntry, StoreError> {
        Err(self.refused())
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        self.0.find_entries(namespace, prefix, limit).await
    }
}
