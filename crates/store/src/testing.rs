//! What the tests of saving and restoring share.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use headstart_digest::Digest;
use headstart_fs::RelPath;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::{
    ByteStream, ContentId, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, LinkMode, MemoryStore,
    Namespace, NoProgress, RestoreError, RestoreOptions, RestoreOutcome, Restored, Runtime, SaveError,
    SaveOptions, SaveOutcome, Saved, Store, StoreError, Written, Xattrs, restore, save,
};

/// What a file, folder or link is, as a person would compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, i64),
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Folder,
    /// With the first of its names in this tree.
    File(Digest, PathBuf),
    Link(PathBuf),
    Other,
}

/// Everything below `root`, itself included, by path.
pub(crate) fn manifest(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).unwrap();
        if metadata.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&full)
                .unwrap()
                .map(|entry| path.join(entry.unwrap().file_name()))
                .collect();
            names.sort_by(|a, b| b.cmp(a));
            waiting.extend(names);
        }
        let what = if metadata.is_dir() {
            What::Folder
        } else if metadata.is_symlink() {
            What::Link(std::fs::read_link(&full).unwrap())
        } else if metadata.is_file() {
            let first = inodes.entry(metadata.ino()).or_insert_with(|| path.clone());
            What::File(Digest::of(&std::fs::read(&full).unwrap()), first.clone())
        } else {
            What::Other
        };
        let one = Seen {
            mode: metadata.mode() & 0o7777,
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            what,
        };
        seen.insert(path, one);
    }
    seen
}

pub(crate) fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn chmod(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets the modification time of what is at `path` itself.
pub(crate) fn touch(path: impl AsRef<Path>, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes + 32);
    let mut counter = 0u64;
    while noise.len() < bytes {
        noise.extend_from_slice(Digest::of(&[seed.to_le_bytes(), counter.to_le_bytes()].concat()).as_bytes());
        counter += 1;
    }
    noise.truncate(bytes);
    noise
}

/// A store, folders to save and restore, and the options one usually wants.
pub(crate) struct Bench {
    pub(crate) store: Arc<FaultStore>,
    pub(crate) runtime: Runtime,
    pub(crate) temp: tempfile::TempDir,
    pub(crate) interrupt: AtomicBool,
    pub(crate) xattrs: Xattrs,
    pub(crate) link: LinkMode,
    pub(crate) images: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("from")).unwrap();
        Bench {
            store: Arc::new(FaultStore::default()),
            runtime: Runtime::new().unwrap(),
            temp,
            interrupt: AtomicBool::new(false),
            xattrs: Xattrs::Drop,
            link: LinkMode::Copy,
            images: None,
        }
    }

    /// The folder that is saved.
    pub(crate) fn from(&self) -> PathBuf {
        self.temp.path().join("from")
    }

    /// The folder that is restored to.
    pub(crate) fn to(&self) -> PathBuf {
        self.temp.path().join("to")
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.temp.path().join("pool")
    }

    pub(crate) fn save_options(&self, key: &str, paths: &[&str]) -> SaveOptions {
        SaveOptions {
            stat_cache: Some(self.temp.path().join("stat-cache")),
            name: EntryName::new("test".parse().unwrap(), key).unwrap(),
            root: self.from(),
            paths: paths.iter().map(|path| RelPath::parse(*path).unwrap()).collect(),
            leave_out: None,
            xattrs: self.xattrs,
            facts: BTreeMap::new(),
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    pub(crate) fn try_save(&self, key: &str, paths: &[&str]) -> Result<SaveOutcome, SaveError> {
        let options = self.save_options(key, paths);
        save(
            &*self.store,
            None,
            &self.runtime,
            &options,
            &NoProgress,
            &self.interrupt,
        )
    }

    pub(crate) fn save(&self, key: &str, paths: &[&str]) -> Saved {
        match self.try_save(key, paths).unwrap() {
            SaveOutcome::Saved(saved) => saved,
            SaveOutcome::KeyExists(entry) => panic!("{key} exists: {entry:?}"),
        }
    }

    pub(crate) fn restore_options(&self, key: &str, restore_keys: &[&str]) -> RestoreOptions {
        RestoreOptions {
            images: self.images.clone(),
            within: None,
            namespace: "test".parse().unwrap(),
            key: key.to_owned(),
            restore_keys: restore_keys.iter().map(|key| (*key).to_owned()).collect(),
            root: self.to(),
            link: self.link,
            pool: Some(self.pool()),
            xattrs: self.xattrs,
            keep: None,
        }
    }

    pub(crate) fn try_restore(
        &self,
        key: &str,
        restore_keys: &[&str],
    ) -> Result<RestoreOutcome, RestoreError> {
        let options = self.restore_options(key, restore_keys);
        restore(
            &*self.store,
            &self.runtime,
            &options,
            &NoProgress,
            &self.interrupt,
        )
    }

    pub(crate) fn restore(&self, key: &str) -> Restored {
        match self.try_restore(key, &[]).unwrap() {
            RestoreOutcome::Restored(restored) => restored,
            RestoreOutcome::Miss => panic!("{key} is a miss"),
        }
    }
}

/// A store in memory that fails at a call of choice.
#[derive(Default)]
pub(crate) struct FaultStore {
    pub(crate) inner: MemoryStore,
    calls: AtomicUsize,
    fail_at: AtomicUsize,
    /// Flip a bit of what is read in parts.
    pub(crate) corrupt_ranges: AtomicBool,
}

impl FaultStore {
    /// Fails the `nth` call from now, counted from 1; 0 for none.
    pub(crate) fn fail_at(&self, nth: usize) {
        self.calls.store(0, Ordering::SeqCst);
        self.fail_at.store(nth, Ordering::SeqCst);
    }

    fn call(&self) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match call == self.fail_at.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable {
                store: self.location(),
                source: "made to fail".into(),
            }),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

#[async_trait]
impl Store for FaultStore {
    fn location(&self) -> String {
        "the test store".to_owned()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        use futures::{StreamExt as _, TryStreamExt as _};
        self.call()?;
        let is_part = range.is_some();
        let mut reader = self.inner.open(id, range).await?;
        if is_part && self.corrupt_ranges.load(Ordering::SeqCst) {
            reader.stream = reader
                .stream
                .map_ok(|bytes| {
                    let mut bytes = bytes.to_vec();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    bytes.into()
                })
                .boxed();
        }
        Ok(reader)
    }

    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError> {
        self.call()?;
        self.inner.write(id, bytes, stream).await
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        self.call()?;
        self.inner.find_missing(ids).await
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        self.call()?;
        self.inner.read_entry(name).await
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        self.call()?;
        self.inner.create_entry(name, entry).await
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        self.call()?;
        self.inner.find_entries(namespace, prefix, limit).await
    }
}
