//! A store that fails on purpose, for tests; behind the feature `conformance`.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    ByteStream, ContentId, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace, Store,
    StoreError, Written,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails: not available.
    Fail,
    /// The body of a read ends in an error after half of it; other calls fail.
    CutBody,
    /// One bit of the body of a read is another; other calls are right.
    FlipBit,
    /// The call never ends.
    Stall,
}

/// Passes calls on to a store, but for those that shall go wrong.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    faulty: Range<usize>,
    calls: AtomicUsize,
}

impl FaultyStore {
    /// Calls in `faulty`, counted from 0, go wrong.
    pub fn new(inner: Arc<dyn Store>, fault: Fault, faulty: Range<usize>) -> Self {
        FaultyStore {
            inner,
            fault,
            faulty,
            calls: AtomicUsize::new(0),
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts a call; says what goes wrong with it.
    fn next_fault(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.faulty.contains(&call).then_some(self.fault)
    }

    /// For calls without a body to read.
    async fn call(&self) -> Result<(), StoreError> {
        match self.next_fault() {
            None | Some(Fault::FlipBit) => Ok(()),
            Some(Fault::Fail | Fault::CutBody) => Err(self.failure()),
            Some(Fault::Stall) => std::future::pending().await,
        }
    }

    fn failure(&self) -> StoreError {
        StoreError::Unavailable {
            store: self.inner.location(),
            source: "it fails on purpose".into(),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        let fault = self.next_fault();
        match fault {
            Some(Fault::Fail) => return Err(self.failure()),
            Some(Fault::Stall) => return std::future::pending().await,
            _ => {}
        }
        let reader = self.inner.open(id, range).await?;
        if fault.is_none() {
            return Ok(reader);
        }
        let mut body: BytesMut = reader.stream.try_collect::<Vec<Bytes>>().await?.concat()[..].into();
        let mut parts = Vec::new();
        if fault == Some(Fault::CutBody) {
            body.truncate(body.len() / 2);
            parts.push(Ok(body.freeze()));
            parts.push(Err(self.failure()));
        } else {
            let middle = body.len() / 2;
            if let Some(byte) = body.get_mut(middle) {
                *byte ^= 1;
            }
            parts.push(Ok(body.freeze()));
        }
        Ok(ContentReader {
            stream: stream::iter(parts).boxed(),
            ..reader
        })
    }

    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError> {
        self.call().await?;
        self.inner.write(id, bytes, stream).await
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        self.call().await?;
        self.inner.find_missing(ids).await
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        self.call().await?;
        self.inner.read_entry(name).await
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        self.call().await?;
        self.inner.create_entry(name, entry).await
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        self.call().await?;
        self.inner.find_entries(namespace, prefix, limit).await
    }
}
