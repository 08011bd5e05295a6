//! A store in a folder: the user's cache, and the disk below a server.
//!
//! Writers publish by rename or link from `tmp`, so readers need no lock and processes may share the folder freely. The
//! last use of content is its modification time, touched on every read and by [`Store::find_missing`].

mod format;
mod listing;
mod prune;
mod read;
mod tmp;

use std::{
    fs,
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use headstart_fs::{AtPath as _, FileLock, PathError, publish::Durability};
use jiff::Timestamp;

use crate::{
    ByteStream, ContentId, ContentKind, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace,
    ParseEntryError, PruneStore, Store, StoreError, Written, incoming::Incoming, key_path, on_disk::touch,
};

/// Bytes gathered from a stream before a blocking write, and read at a time.
const BLOCK_BYTES: usize = 4 << 20;

/// A store in a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The folder of this format's version.
    folder: PathBuf,
    /// The folder the user named.
    root: PathBuf,
    tmp: tmp::Tmp,
    /// Of packs; snapshots and entries are always synced.
    packs: Durability,
}

impl LocalStore {
    /// Opens the store in `root`, or makes one there if nothing is.
    ///
    /// A folder with other things in it is [`StoreError::Refused`], a store of another format version
    /// [`StoreError::Unsupported`]. An existing store on a read-only disk opens, and refuses writes.
    pub fn open_or_create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_or_create_with(Durability::Cached, root.into())
    }

    /// The same for a store that answers for what others gave it: packs, too, survive a power cut once they are written.
    /// Elsewhere one that was cut off is found when it is read, and can be made again.
    pub fn open_or_create_durable(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_or_create_with(Durability::Synced, root.into())
    }

    fn open_or_create_with(packs: Durability, root: PathBuf) -> Result<Self, StoreError> {
        format::ensure(&root)?;
        Ok(Self::at(root, packs))
    }

    /// Opens the store in `root`; [`StoreError::Missing`] when there is none.
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        if !format::check(&root)? {
            return Err(StoreError::Missing {
                what: "a store".to_owned(),
                store: root.display().to_string(),
            });
        }
        Ok(Self::at(root, Durability::Cached))
    }

    fn at(root: PathBuf, packs: Durability) -> Self {
        let folder = root.join(format::FOLDER);
        let tmp = tmp::Tmp::new(folder.join("tmp"));
        LocalStore {
            inner: Arc::new(Inner {
                folder,
                root,
                tmp,
                packs,
            }),
        }
    }

    /// The folder of this format's version: what belongs beside the content (indexes, the pool) goes below it.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The folder the store was opened at.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Fails when nothing can be written here: for a server that wants to know at start-up.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let file = self.inner.tmp.create();
        file.map(drop).map_err(|error| self.inner.write_error(error))
    }

    /// Takes the lock that keeps two evictions apart; `None` when another process has it. Readers and writers need none.
    pub fn lock_eviction(&self) -> Result<Option<FileLock>, StoreError> {
        let path = self.inner.folder.join("eviction.lock");
        // A store in which nothing was saved yet has no folder of this version.
        fs::create_dir_all(&self.inner.folder).at("create", &self.inner.folder)?;
        FileLock::try_exclusive(path).map_err(|error| self.inner.write_error(error))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

/// Runs file work off the async threads. A panic in it goes on in the caller.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Inner {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn content_path(&self, id: ContentId) -> PathBuf {
        self.folder.join(key_path::content_path(id))
    }

    fn entry_path(&self, name: &EntryName) -> PathBuf {
        self.folder.join(key_path::entry_path(name))
    }

    fn missing(&self, what: impl ToString) -> StoreError {
        StoreError::Missing {
            what: what.to_string(),
            store: self.location(),
        }
    }

    fn open_error(&self, what: impl ToString, path: &Path, source: io::Error) -> StoreError {
        if source.kind() == ErrorKind::NotFound {
            return self.missing(what);
        }
        PathError {
            action: "open",
            path: path.to_owned(),
            source,
        }
        .into()
    }

    /// Says plainly that a store is read-only; other errors stay what they are.
    fn write_error(&self, error: PathError) -> StoreError {
        let refused = |reason| StoreError::Refused {
            store: self.location(),
            reason,
        };
        match error.kind() {
            ErrorKind::ReadOnlyFilesystem => refused("it is on a read-only file system".to_owned()),
            ErrorKind::PermissionDenied => refused(format!("{error}: permission denied")),
            _ => error.into(),
        }
    }

    /// Begins a write; `Ok(None)` when the content is there with the announced size.
    fn begin(&self, id: ContentId, bytes: u64) -> Result<Option<tmp::TmpFile>, StoreError> {
        let path = self.content_path(id);
        // A file of another size was cut off by a power failure: it is written anew.
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes) && touch(&path).is_ok() {
            return Ok(None);
        }
        let file = self.tmp.create().map_err(|error| self.write_error(error))?;
        Ok(Some(file))
    }

    fn publish(&self, id: ContentId, file: tmp::TmpFile) -> Result<Written, StoreError> {
        if id.kind() == ContentKind::Snapshot || self.packs == Durability::Synced {
            file.sync()?;
        }
        file.rename_to(&self.content_path(id))
            .map_err(|error| self.write_error(error))?;
        Ok(Written::New)
    }

    fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        let path = self.entry_path(name);
        let bytes = fs::read(&path).map_err(|error| self.open_error(name, &path, error))?;
        Entry::parse_json(&bytes).map_err(|error| match error {
            ParseEntryError::Shape(_) => StoreError::Corrupt {
                what: format!("entry {name}"),
                store: self.location(),
                reason: error.to_string(),
            },
            ParseEntryError::Schema(_) => StoreError::Unsupported(format!("entry {name}: {error}")),
        })
    }

    fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        let path = self.entry_path(name);
        let json = entry.checked_json(name)?;
        // Twice: what is in the way may vanish or be moved aside in between.
        for _ in 0..2 {
            match self.read_entry(name) {
                Ok(existing) => return Ok(CreatedEntry::Existed(existing)),
                Err(StoreError::Corrupt { .. }) => self.remove_torn(name, &path)?,
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            let mut file = self.tmp.create().map_err(|error| self.write_error(error))?;
            file.write_all(&json)?;
            file.sync()?;
            if file.link_to(&path).map_err(|error| self.write_error(error))? {
                return Ok(CreatedEntry::Created);
            }
        }
        self.read_entry(name).map(CreatedEntry::Existed)
    }

    /// Removes an entry that stands for nothing. One at a time: the next one to come may find another's good entry there.
    fn remove_torn(&self, name: &EntryName, path: &Path) -> Result<(), StoreError> {
        let lock = FileLock::exclusive(self.folder.join("torn-entries.lock"));
        let _lock = lock.map_err(|error| self.write_error(error))?;
        match self.read_entry(name) {
            Err(StoreError::Corrupt { .. }) => self.remove(path),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        read::open(Arc::clone(&self.inner), id, range).await
    }

    async fn write(&self, id: ContentId, bytes: u64, mut stream: ByteStream) -> Result<Written, StoreError> {
        let mut incoming = Incoming::new(id, bytes)?;
        let location = self.location();
        let Some(mut file) = self.blocking(move |inner| inner.begin(id, bytes)).await? else {
            return Ok(Written::Existed);
        };
        let mut last = false;
        while !last {
            let mut block: Vec<Bytes> = Vec::new();
            let mut block_bytes = 0;
            while block_bytes < BLOCK_BYTES && !last {
                match stream.try_next().await? {
                    Some(chunk) => {
                        block_bytes += chunk.len();
                        block.push(chunk);
                    }
                    None => last = true,
                }
            }
            let location = location.clone();
            (incoming, file) = blocking(move || {
                for chunk in &block {
                    incoming.update(chunk, &location)?;
                    file.write_all(chunk)?;
                }
                Ok::<_, StoreError>((incoming, file))
            })
            .await?;
        }
        incoming.finish(&location)?;
        self.blocking(move |inner| inner.publish(id, file)).await
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        let ids = ids.to_vec();
        self.blocking(move |inner| {
            let mut missing = Vec::new();
            for id in ids {
                let path = inner.content_path(id);
                match touch(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => missing.push(id),
                    Err(error) => return Err(error).at("touch", &path).map_err(StoreError::from),
                }
            }
            Ok(missing)
        })
        .await
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        let name = name.clone();
        self.blocking(move |inner| inner.read_entry(&name)).await
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        let (name, entry) = (name.clone(), entry.clone());
        self.blocking(move |inner| inner.create_entry(&name, &entry))
            .await
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        let (namespace, prefix) = (namespace.clone(), prefix.to_owned());
        self.blocking(move |inner| {
            let found = listing::entries(&inner.folder, &namespace, &prefix)?;
            Ok(EntryInfo::newest_first(found, limit))
        })
        .await
    }
}

#[async_trait]
impl PruneStore for LocalStore {
    async fn list_namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        self.blocking(|inner| Ok(listing::namespaces(&inner.folder)?))
            .await
    }

    async fn list_content(&self, kind: ContentKind) -> Result<Vec<(ContentId, u64, Timestamp)>, StoreError> {
        self.blocking(move |inner| Ok(listing::content(&inner.folder, kind)?))
            .await
    }

    async fn inspect(&self, id: ContentId) -> Result<Bytes, StoreError> {
        self.blocking(move |inner| inner.inspect(id)).await
    }

    async fn set_aside(&self, id: ContentId) -> Result<Option<PathBuf>, StoreError> {
        self.blocking(move |inner| inner.quarantine(id).map(Some)).await
    }

    async fn clear_debris(&self) -> Result<u64, StoreError> {
        self.blocking(|inner| {
            let quarantined = inner.clear_quarantine()?;
            let left_behind = inner.tmp.sweep().map_err(|error| inner.write_error(error))?;
            Ok(quarantined + left_behind)
        })
        .await
    }

    async fn evict(&self, id: ContentId, unused_since: Timestamp) -> Result<bool, StoreError> {
        self.blocking(move |inner| inner.evict(id, unused_since)).await
    }

    async fn delete(&self, id: ContentId) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.remove(&inner.content_path(id)))
            .await
    }

    async fn delete_entry(&self, name: &EntryName) -> Result<(), StoreError> {
        let name = name.clone();
        self.blocking(move |inner| inner.remove(&inner.entry_path(&name)))
            .await
    }
}

#[cfg(test)]
mod tests;
