//! The trait every medium and wrapper implements.

use std::{fmt, ops::Range};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};

use crate::{ContentId, ContentKind, Entry, EntryInfo, EntryName, Namespace, StoreError};

/// Bytes on their way.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// Content that is being read.
pub struct ContentReader {
    /// Bytes of the whole content.
    pub total_bytes: u64,
    /// The part that is coming.
    pub range: Range<u64>,
    /// That part. Not verified: who reads it checks it against a digest.
    pub stream: ByteStream,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The bytes are new.
    New,
    /// They were there already.
    Existed,
}

/// What became of creating an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedEntry {
    /// The entry is ours.
    Created,
    /// The key was taken; this is what it stands for. Nothing changed.
    Existed(Entry),
}

/// A place for packs, snapshots and entries.
///
/// Implementations publish atomically (a reader sees all of a piece of content or none), verify what is written against
/// its name before publishing it, and let exactly one of several concurrent writers create an entry.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Where it is, for messages; without secrets.
    fn location(&self) -> String;

    /// Reads content, or `range` of it. A range beyond the end is an error; a missing one is [`StoreError::Missing`].
    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError>;

    /// Told that all or most of a piece of content will be read soon: a store in front of a slower one brings it near. Says
    /// how many bytes came. Nothing depends on it: what goes wrong shows when the content is read.
    async fn prepare(&self, _id: ContentId) -> u64 {
        0
    }

    /// Writes `bytes` bytes of content. A stream of another length or digest is refused and not kept.
    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError>;

    /// Which of `ids` are not there, in the order asked. Marks those that are there as used, so that eviction spares
    /// what a running save is about to name.
    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError>;

    /// What a key stands for; [`StoreError::Missing`] when it was never created.
    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError>;

    /// Gives a key its meaning, once.
    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError>;

    /// The entries whose key starts with `prefix`, newest first, at most `limit`.
    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError>;
}

/// A store whose content can be listed and taken away: for eviction, pruning and verification.
#[async_trait]
pub trait PruneStore: Store {
    /// Every namespace in which there is an entry.
    async fn list_namespaces(&self) -> Result<Vec<Namespace>, StoreError>;

    /// Every piece of content of a kind: its name, stored bytes, and when it was last used.
    async fn list_content(
        &self,
        kind: ContentKind,
    ) -> Result<Vec<(ContentId, u64, jiff::Timestamp)>, StoreError>;

    /// Reads all of a piece of content as it is: not verified, not marked as used, not moved aside. For verification and
    /// eviction, which must not change what they look at. Beyond the most a kind may have it is
    /// [`StoreError::TooLarge`].
    async fn inspect(&self, id: ContentId) -> Result<Bytes, StoreError>;

    /// Takes corrupt content out of the way, so that the next save stores it anew. Says where it went, if it is kept.
    async fn set_aside(&self, id: ContentId) -> Result<Option<std::path::PathBuf>, StoreError> {
        self.delete(id).await.map(|()| None)
    }

    /// Clears what killed processes and repairs left behind; the bytes that were freed.
    async fn clear_debris(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Takes content away unless it was used at or after `unused_since`: false when it was, or is not there.
    ///
    /// On media that note uses ([`Store::find_missing`]) a use that comes at the same moment wins: content that a save
    /// was told is there stays.
    async fn evict(&self, id: ContentId, unused_since: jiff::Timestamp) -> Result<bool, StoreError>;

    /// Takes content away. Missing content is no error.
    async fn delete(&self, id: ContentId) -> Result<(), StoreError>;

    /// Takes an entry away. A missing one is no error.
    async fn delete_entry(&self, name: &EntryName) -> Result<(), StoreError>;
}

/// Whole-buffer reading and writing over any [`Store`].
#[async_trait]
pub trait StoreExt: Store {
    /// Reads all of a piece of content and checks it against its name.
    async fn read(&self, id: ContentId) -> Result<Bytes, StoreError> {
        let reader = self.open(id, None).await?;
        if reader.total_bytes > id.kind().max_bytes() {
            return Err(StoreError::TooLarge {
                what: id.to_string(),
                bytes: reader.total_bytes,
                limit: id.kind().max_bytes(),
            });
        }
        let bytes = collect(reader).await?;
        let actual = headstart_digest::Digest::of(&bytes);
        if actual != *id.digest() {
            return Err(StoreError::Corrupt {
                what: id.to_string(),
                store: self.location(),
                reason: format!("its bytes have the digest {actual}"),
            });
        }
        Ok(bytes)
    }

    /// Reads a part of a pack. The caller verifies the chunks in it.
    async fn read_range(&self, id: ContentId, range: Range<u64>) -> Result<Bytes, StoreError> {
        collect(self.open(id, Some(range)).await?).await
    }

    /// Writes a buffer.
    async fn write_bytes(&self, id: ContentId, bytes: Bytes) -> Result<Written, StoreError> {
        let length = bytes.len() as u64;
        self.write(id, length, futures::stream::once(async { Ok(bytes) }).boxed())
            .await
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

async fn collect(reader: ContentReader) -> Result<Bytes, StoreError> {
    let mut chunks = reader.stream;
    let Some(first) = chunks.try_next().await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = chunks.try_next().await? else {
        return Ok(first);
    };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    while let Some(next) = chunks.try_next().await? {
        all.extend_from_slice(&next);
    }
    Ok(all.freeze())
}

impl fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentReader")
            .field("total_bytes", &self.total_bytes)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
