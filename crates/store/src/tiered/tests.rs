use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use headstart_fs::RelPath;
use jiff::Timestamp;

use super::*;
use crate::{
    LinkMode, LocalStore, MemoryStore, NoProgress, ReadOnlyStore, RestoreOptions, RestoreOutcome, Runtime,
    SaveOptions, SaveOutcome, Xattrs, conformance,
    faults::{Fault, FaultyStore},
    restore, save,
};

/// One machine: its own disk, and the remote all share.
struct Machine {
    dir: tempfile::TempDir,
    runtime: Runtime,
    store: TieredStore,
    warnings: Arc<Mutex<Vec<TierWarning>>>,
}

impl Machine {
    fn new(remote: Arc<dyn Store>) -> Self {
        Self::with(remote, |local| Arc::new(local))
    }

    fn with(remote: Arc<dyn Store>, wrap: impl FnOnce(LocalStore) -> Arc<dyn Store>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalStore::open_or_create(dir.path().join("store")).unwrap();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&warnings);
        Machine {
            store: TieredStore::new(wrap(local), remote, move |warning| told.lock().push(warning)),
            dir,
            runtime: Runtime::new().unwrap(),
            warnings,
        }
    }

    fn save(&self, store: &dyn Store, key: &str, tree: &Path) -> SaveOutcome {
        let options = save_options(key, tree);
        let never = AtomicBool::new(false);
        save(store, None, &self.runtime, &options, &NoProgress, &never).unwrap()
    }

    /// Restores to a new folder; `None` for a miss, also where the store said it in the middle.
    fn restore(&self, key: &str) -> Option<Vec<(String, Vec<u8>)>> {
        let root = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let options = RestoreOptions {
            images: None,
            within: None,
            namespace: name(key).namespace().clone(),
            key: key.to_owned(),
            restore_keys: Vec::new(),
            root: root.clone(),
            link: LinkMode::Copy,
            pool: None,
            xattrs: Xattrs::Drop,
            keep: None,
        };
        let never = AtomicBool::new(false);
        match restore(&self.store, &self.runtime, &options, &NoProgress, &never) {
            Ok(RestoreOutcome::Restored(_)) => Some(listing(&root)),
            Ok(RestoreOutcome::Miss) => None,
            Err(error) => {
                assert!(error.to_string().contains("is not in"), "{error:?}");
                assert_eq!(listing(&root), [], "a restore that fails leaves nothing");
                None
            }
        }
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.warnings
            .lock()
            .iter()
            .map(|warning| match warning {
                TierWarning::RemoteLeft(_) => "remote left",
                TierWarning::UploadsLeft(_) => "uploads left",
                TierWarning::RemoteCorrupt(_) => "remote corrupt",
                TierWarning::LocalCorrupt(_) => "local corrupt",
                TierWarning::NotKept(_) => "not kept",
                TierWarning::Incomplete(_) => "incomplete",
            })
            .collect()
    }
}

fn save_options(key: &str, tree: &Path) -> SaveOptions {
    SaveOptions {
        stat_cache: None,
        name: name(key),
        root: tree.to_owned(),
        paths: vec![RelPath::root()],
        xattrs: Xattrs::Drop,
        leave_out: None,
        facts: BTreeMap::new(),
        now: Timestamp::UNIX_EPOCH,
    }
}

fn name(key: &str) -> EntryName {
    EntryName::new("files".parse().unwrap(), key).unwrap()
}

/// A tree of three files of noise, which differs from others in the file `own`.
fn tree(own: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..3 {
        let (_, noise) = conformance::sample(crate::ContentKind::Pack, seed, 80_000);
        fs::write(dir.path().join(format!("shared-{seed}")), noise).unwrap();
    }
    fs::write(dir.path().join("own"), own).unwrap();
    dir
}

fn listing(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let memory = || Arc::new(MemoryStore::new());
    let store = TieredStore::new(memory(), memory(), |_| {});
    conformance::check_store(Arc::new(store)).await;
}

#[test]
fn another_machine_fetches_once_and_then_needs_no_remote() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let tree = tree("a");
    let first = Machine::new(Arc::clone(&remote));
    first.save(&first.store, "k", tree.path());
    assert!(first.store.counts().uploaded_bytes > 200_000);

    let counting = Arc::new(FaultyStore::new(remote, Fault::Fail, usize::MAX..usize::MAX));
    let second = Machine::new(counting.clone());
    assert_eq!(second.restore("k"), Some(listing(tree.path())));
    let fetched = second.store.counts();
    assert!(fetched.remote_bytes > 200_000, "{fetched:?}");
    assert_eq!(fetched.local_bytes, 0, "nothing was there before");
    let calls = counting.calls();
    assert_eq!(second.restore("k"), Some(listing(tree.path())));
    assert_eq!(counting.calls(), calls, "all of it is local now, the entry too");
    assert_eq!(second.kinds(), [""; 0]);
}

#[test]
fn packs_that_only_the_local_store_has_follow_the_snapshot() {
    let remote = Arc::new(MemoryStore::new());
    let machine = Machine::new(remote.clone());
    let local = Arc::clone(&machine.store.local);
    let (a, b) = (tree("a"), tree("b"));
    machine.save(&*local, "a", a.path());
    machine.save(&machine.store, "b", b.path());
    let other = Machine::new(remote);
    assert_eq!(other.restore("b"), Some(listing(b.path())));
    assert_eq!(other.restore("a"), None, "it was saved without a remote");

    let push = |key| machine.runtime.block_on(machine.store.push_entry(&name(key)));
    assert_eq!(push("a").unwrap(), Pushed::New);
    assert_eq!(other.restore("a"), Some(listing(a.path())));
    assert_eq!(push("a").unwrap(), Pushed::Existed);
    assert!(push("never").unwrap_err().is_missing());
}

#[test]
fn whatever_the_remote_does_saving_works_and_restoring_is_right_or_a_miss() {
    let tree = tree("a");
    let expected = listing(tree.path());
    for fault in [Fault::Fail, Fault::CutBody, Fault::FlipBit] {
        for call in 0..10 {
            for last in [call + 1, usize::MAX] {
                let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
                let faulty = |remote: &Arc<dyn Store>| -> Arc<dyn Store> {
                    Arc::new(FaultyStore::new(Arc::clone(remote), fault, call..last))
                };
                let saving = Machine::new(faulty(&remote));
                saving.save(&saving.store, "k", tree.path());
                assert_eq!(saving.restore("k").as_ref(), Some(&expected));
                // What came through is complete or not there.
                let reading = Machine::new(Arc::clone(&remote));
                if let Ok(entry) = reading.runtime.block_on(remote.read_entry(&name("k"))) {
                    assert_eq!(reading.restore("k").as_ref(), Some(&expected), "{entry:?}");
                }
                let good = Machine::new(Arc::clone(&remote));
                good.save(&good.store, "k", tree.path());
                let reading = Machine::new(faulty(&remote));
                let restored = reading.restore("k");
                assert!(restored.is_none() || restored.as_ref() == Some(&expected));
                assert!(
                    reading.kinds().len() <= 1,
                    "{fault:?} {call}: {:?}",
                    reading.kinds()
                );
            }
        }
    }
}

#[test]
fn a_remote_that_takes_nothing_is_still_read() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (a, b) = (tree("a"), tree("b"));
    let first = Machine::new(Arc::clone(&remote));
    first.save(&first.store, "a", a.path());
    let reader = Machine::new(Arc::new(ReadOnlyStore::new(remote)));
    assert!(matches!(
        reader.save(&reader.store, "b", b.path()),
        SaveOutcome::Saved(_)
    ));
    assert_eq!(reader.kinds(), ["uploads left"]);
    assert_eq!(reader.restore("a"), Some(listing(a.path())));
    assert_eq!(reader.restore("b"), Some(listing(b.path())));
}

#[test]
fn a_local_store_that_keeps_nothing_is_passed_by() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let tree = tree("a");
    let first = Machine::new(Arc::clone(&remote));
    first.save(&first.store, "a", tree.path());
    let full = Machine::with(remote, |local| Arc::new(ReadOnlyStore::new(Arc::new(local))));
    assert_eq!(full.restore("a"), Some(listing(tree.path())));
    assert_eq!(full.kinds(), ["not kept"]);
}

#[test]
fn what_a_remote_has_and_no_longer_gives_is_stored_here_after_all() {
    let (a, b) = (tree("a"), tree("b"));
    for call in 0..12 {
        let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let first = Machine::new(Arc::clone(&remote));
        first.save(&first.store, "k-a", a.path());
        // Of the tree that is saved now, most is in packs that only the remote has.
        let dies = FaultyStore::new(Arc::clone(&remote), Fault::Fail, call..usize::MAX);
        let second = Machine::new(Arc::new(dies));
        let saved = second.save(&second.store, "k-b", b.path());
        assert!(matches!(saved, SaveOutcome::Saved(_)), "{saved:?}");
        assert!(second.kinds().len() <= 1, "{call}: {:?}", second.kinds());
        // Either the remote has the entry, or the local store has all of it.
        let reader = match second.runtime.block_on(remote.read_entry(&name("k-b"))) {
            Ok(_) => Machine::new(remote),
            Err(_) => second,
        };
        assert_eq!(reader.restore("k-b"), Some(listing(b.path())), "call {call}");
    }
}

#[test]
fn a_save_goes_past_a_local_store_that_takes_nothing() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (a, b) = (tree("a"), tree("b"));
    // It has a part, which the remote lacks.
    let full = Machine::with(Arc::clone(&remote), |local| {
        let local: Arc<dyn Store> = Arc::new(local);
        let saving = Machine::new(Arc::new(MemoryStore::new()));
        saving.save(&*local, "k-a", a.path());
        Arc::new(ReadOnlyStore::new(local))
    });
    let saved = full.save(&full.store, "k-b", b.path());
    assert!(matches!(saved, SaveOutcome::Saved(_)), "{saved:?}");
    assert_eq!(full.kinds(), ["not kept"]);
    let other = Machine::new(Arc::clone(&remote));
    assert_eq!(other.restore("k-b"), Some(listing(b.path())));
    assert_eq!(full.restore("k-b"), Some(listing(b.path())));

    // Where the remote takes nothing either, it is an error.
    let neither = Machine::with(Arc::new(ReadOnlyStore::new(remote)), |local| {
        Arc::new(ReadOnlyStore::new(Arc::new(local)))
    });
    let options = save_options("k-c", tree("c").path());
    let never = AtomicBool::new(false);
    let saved = save(
        &neither.store,
        None,
        &neither.runtime,
        &options,
        &NoProgress,
        &never,
    );
    assert!(saved.is_err(), "{saved:?}");
}

#[test]
fn a_corrupt_local_copy_gives_way_to_the_remote_one() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let tree = tree("a");
    let machine = Machine::new(remote);
    let SaveOutcome::Saved(saved) = machine.save(&machine.store, "a", tree.path()) else {
        panic!("the key is new");
    };
    let local = LocalStore::open_existing(machine.dir.path().join("store")).unwrap();
    let snapshot = crate::key_path::content_path(ContentId::Snapshot(saved.snapshot));
    fs::write(local.folder().join(snapshot), "garbage").unwrap();
    assert_eq!(machine.restore("a"), Some(listing(tree.path())));
    assert_eq!(machine.kinds(), ["local corrupt"]);
}

#[test]
fn the_remote_decides_who_created_an_entry() {
    let remote: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (a, b) = (tree("a"), tree("b"));
    let first = Machine::new(Arc::clone(&remote));
    let second = Machine::new(remote);
    let SaveOutcome::Saved(saved) = first.save(&first.store, "k", a.path()) else {
        panic!("the key is new");
    };
    match second.save(&second.store, "k", b.path()) {
        SaveOutcome::KeyExists(existing) => assert_eq!(existing.snapshot, saved.snapshot),
        SaveOutcome::Saved(_) => panic!("the key was taken"),
    }
    assert_eq!(second.restore("k"), Some(listing(a.path())));
}
