//! A store in a bucket, or in any other place the `object_store` crate reaches: `s3://`, `gs://`, `az://`, `file://`.
//!
//! Content is checked before it is put, entries are created by conditional puts. Buckets do not note when something was
//! read, so the last use of content is when it was written.

mod error;
mod open;
mod patient;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::{
    Error as ObjectError, GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutPayload, path::Path,
};

use crate::{
    ByteStream, ContentId, ContentKind, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace,
    ParseEntryError, PruneStore, Store, StoreError, Written,
    incoming::Incoming,
    key_path,
    range::{check_range, check_size},
};

/// The folder of this format's version below the URL's path.
const VERSION: &str = "v1";
/// Content of more bytes is uploaded in parts. Packs never are.
const MULTIPART_ABOVE_BYTES: u64 = 32 << 20;
/// Bytes of a part; S3 takes no less than 5 MiB and no more than 10,000 parts.
const PART_BYTES: usize = 16 << 20;
/// Requests under way at once when many names are asked for.
const PARALLEL_REQUESTS: usize = 32;
/// Entries read at a time are this large at most.
const MAX_ENTRY_BYTES: u64 = Entry::MAX_BYTES as u64;

/// A store behind an `object_store` URL.
#[derive(Debug, Clone)]
pub struct BucketStore {
    store: Arc<dyn object_store::ObjectStore>,
    base: Path,
    location: String,
    order: ListOrder,
}

/// How the place lists names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListOrder {
    /// By name, so that a listing can stop after the last match.
    ByName,
    /// As it comes.
    Any,
}

impl BucketStore {
    fn path(&self, relative: &str) -> Path {
        Path::parse(format!("{}/{relative}", self.base))
            .expect("the layout uses only characters that object paths take as they are")
    }

    fn content_path(&self, id: ContentId) -> Path {
        self.path(&key_path::content_path(id))
    }

    fn error(&self, what: impl ToString, error: ObjectError) -> StoreError {
        error::map(&self.location, what.to_string(), error)
    }

    async fn head(&self, id: ContentId) -> Result<Option<ObjectMeta>, StoreError> {
        match self.store.head(&self.content_path(id)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(error) => match self.error(id, error) {
                StoreError::Missing { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn put_whole(
        &self,
        id: ContentId,
        mut incoming: Incoming,
        mut stream: ByteStream,
    ) -> Result<(), StoreError> {
        let mut chunks: Vec<Bytes> = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            incoming.update(&chunk, &self.location)?;
            chunks.push(chunk);
        }
        incoming.finish(&self.location)?;
        self.store
            .put(&self.content_path(id), PutPayload::from_iter(chunks))
            .await
            .map_err(|error| error::not_found_is_refused(self.error(id, error)))?;
        Ok(())
    }

    async fn put_parts(
        &self,
        id: ContentId,
        mut incoming: Incoming,
        mut stream: ByteStream,
    ) -> Result<(), StoreError> {
        let fail = |error| error::not_found_is_refused(self.error(id, error));
        let mut upload = self
            .store
            .put_multipart(&self.content_path(id))
            .await
            .map_err(fail)?;
        let sent = async {
            let mut part = BytesMut::with_capacity(PART_BYTES);
            while let Some(mut chunk) = stream.try_next().await? {
                incoming.update(&chunk, &self.location)?;
                while !chunk.is_empty() {
                    let taken = chunk.split_to(chunk.len().min(PART_BYTES - part.len()));
                    part.extend_from_slice(&taken);
                    if part.len() == PART_BYTES {
                        let full = std::mem::replace(&mut part, BytesMut::with_capacity(PART_BYTES));
                        upload.put_part(full.freeze().into()).await.map_err(fail)?;
                    }
                }
            }
            if !part.is_empty() {
                upload.put_part(part.freeze().into()).await.map_err(fail)?;
            }
            incoming.finish(&self.location)
        }
        .await;
        match sent {
            Ok(()) => upload.complete().await.map(drop).map_err(fail),
            Err(error) => {
                // Best effort: parts left behind are not visible, and buckets expire them.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// What there is below `folder`, as far as names start with `start`: paths relative to the versioned folder.
    async fn list(&self, folder: &str, start: &str) -> Result<Vec<(String, ObjectMeta)>, StoreError> {
        let prefix = self.path(folder);
        let wanted = format!("{prefix}/{start}");
        let skip = format!("{}/", self.base);
        // From one letter before: some stores pass over a folder that has the very name they shall start after. Joining
        // encodes `.` and `..` as `%2E`, which sorts before them: no match is skipped.
        let after = start.get(..start.len().saturating_sub(1)).unwrap_or_default();
        let mut listing = if after.is_empty() {
            self.store.list(Some(&prefix))
        } else {
            self.store
                .list_with_offset(Some(&prefix), &prefix.clone().join(after))
        };
        let mut found = Vec::new();
        while let Some(meta) = listing
            .try_next()
            .await
            .map_err(|error| self.error(folder, error))?
        {
            let path = meta.location.as_ref();
            if path.starts_with(&wanted) {
                found.push((path[skip.len()..].to_owned(), meta));
            } else if self.order == ListOrder::ByName && path > wanted.as_str() {
                break;
            }
        }
        Ok(found)
    }

    async fn read_entry_once(&self, name: &EntryName) -> Result<Entry, StoreError> {
        let path = self.path(&key_path::entry_path(name));
        let result = self
            .store
            .get(&path)
            .await
            .map_err(|error| self.error(name, error))?;
        let bytes = result.meta.size;
        if bytes > MAX_ENTRY_BYTES {
            return Err(StoreError::TooLarge {
                what: format!("entry {name}"),
                bytes,
                limit: MAX_ENTRY_BYTES,
            });
        }
        let json = result.bytes().await.map_err(|error| self.error(name, error))?;
        Entry::parse_json(&json).map_err(|error| match error {
            ParseEntryError::Shape(_) => StoreError::Corrupt {
                what: format!("entry {name}"),
                store: self.location.clone(),
                reason: error.to_string(),
            },
            ParseEntryError::Schema(_) => StoreError::Unsupported(format!("entry {name}: {error}")),
        })
    }
}

fn modified_at(meta: &ObjectMeta) -> Timestamp {
    // A time outside of what can be told is as good as none.
    Timestamp::from_microsecond(meta.last_modified.timestamp_micros()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[async_trait]
impl Store for BucketStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        let path = self.content_path(id);
        if range.as_ref().is_some_and(Range::is_empty) {
            // No request can ask for no bytes.
            let total_bytes = match self.head(id).await? {
                Some(meta) => meta.size,
                None => {
                    return Err(StoreError::Missing {
                        what: id.to_string(),
                        store: self.location.clone(),
                    });
                }
            };
            let range = check_range(id, || self.location.clone(), total_bytes, range)?;
            return Ok(ContentReader {
                total_bytes,
                range,
                stream: stream::empty().boxed(),
            });
        }
        let options = GetOptions {
            range: range.clone().map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let result = match self.store.get_opts(&path, options).await {
            Ok(result) => result,
            Err(error) => {
                let error = self.error(id, error);
                // A range beyond the end is answered in as many ways as there are stores: ask what is there.
                if range.is_some()
                    && !error.is_missing()
                    && let Ok(Some(meta)) = self.head(id).await
                {
                    check_range(id, || self.location.clone(), meta.size, range)?;
                }
                return Err(error);
            }
        };
        let total_bytes = result.meta.size;
        let range = check_range(id, || self.location.clone(), total_bytes, range)?;
        let (location, what) = (self.location.clone(), id.to_string());
        Ok(ContentReader {
            total_bytes,
            range,
            stream: result
                .into_stream()
                .map_err(move |error| error::map(&location, what.clone(), error))
                .boxed(),
        })
    }

    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError> {
        let incoming = Incoming::new(id, bytes)?;
        // What has the announced size was checked when it was put; another size is not what it should be.
        if self.head(id).await?.is_some_and(|meta| meta.size == bytes) {
            return Ok(Written::Existed);
        }
        if bytes > MULTIPART_ABOVE_BYTES {
            self.put_parts(id, incoming, stream).await?;
        } else {
            self.put_whole(id, incoming, stream).await?;
        }
        Ok(Written::New)
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        let missing: Vec<Option<ContentId>> = stream::iter(ids.to_vec())
            .map(|id| async move { Ok::<_, StoreError>(self.head(id).await?.is_none().then_some(id)) })
            .buffered(PARALLEL_REQUESTS)
            .try_collect()
            .await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        self.read_entry_once(name).await
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        let path = self.path(&key_path::entry_path(name));
        let json = Bytes::from(entry.checked_json(name)?);
        // Some stores answer "conflict" while another writer is at it; then there may be nothing to read yet.
        for _ in 0..3 {
            let put = self
                .store
                .put_opts(&path, json.clone().into(), PutMode::Create.into())
                .await;
            match put {
                Ok(_) => return Ok(CreatedEntry::Created),
                Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => {}
                Err(error) => return Err(error::not_found_is_refused(self.error(name, error))),
            }
            match self.read_entry_once(name).await {
                // Ours, when the answer to the first of two tries was lost: the same in every effect.
                Ok(existing) => return Ok(CreatedEntry::Existed(existing)),
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable {
            store: self.location.clone(),
            source: format!("creating entry {name} is answered \"exists\", reading it \"missing\"").into(),
        })
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        let base = format!("{}/", key_path::namespace_path(namespace));
        let path = key_path::prefix_path(namespace, prefix);
        let (folder, start) = path
            .rsplit_once('/')
            .expect("a prefix path has the namespace's folder");
        let found = self
            .list(folder, start)
            .await?
            .into_iter()
            .filter_map(|(path, meta)| {
                Some(EntryInfo {
                    name: key_path::parse_entry(namespace, path.strip_prefix(&base)?)?,
                    modified_at: modified_at(&meta),
                })
            })
            .collect();
        Ok(EntryInfo::newest_first(found, limit))
    }
}

#[async_trait]
impl PruneStore for BucketStore {
    async fn list_namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        let listing = self
            .store
            .list_with_delimiter(Some(&self.path(key_path::ENTRIES)))
            .await
            .map_err(|error| self.error(key_path::ENTRIES, error))?;
        Ok(listing
            .common_prefixes
            .iter()
            .filter_map(|prefix| prefix.filename()?.parse().ok())
            .collect())
    }

    async fn list_content(&self, kind: ContentKind) -> Result<Vec<(ContentId, u64, Timestamp)>, StoreError> {
        let found = self.list(kind.plural(), "").await?;
        Ok(found
            .into_iter()
            .filter_map(|(path, meta)| {
                let mut segments = path.split('/').skip(1);
                let id = key_path::parse_content(kind, segments.next()?, segments.next()?)?;
                Some((id, meta.size, modified_at(&meta)))
            })
            .collect())
    }

    async fn inspect(&self, id: ContentId) -> Result<Bytes, StoreError> {
        let reader = self.open(id, None).await?;
        check_size(id, reader.total_bytes)?;
        let chunks: Vec<Bytes> = reader.stream.try_collect().await?;
        Ok(chunks.concat().into())
    }

    async fn evict(&self, id: ContentId, unused_since: Timestamp) -> Result<bool, StoreError> {
        match self.head(id).await? {
            Some(meta) if modified_at(&meta) < unused_since => self.delete(id).await.map(|()| true),
            _ => Ok(false),
        }
    }

    async fn delete(&self, id: ContentId) -> Result<(), StoreError> {
        match self.store.delete(&self.content_path(id)).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(id, error)),
        }
    }

    async fn delete_entry(&self, name: &EntryName) -> Result<(), StoreError> {
        match self.store.delete(&self.path(&key_path::entry_path(name))).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(name, error)),
        }
    }
}
