use std::{collections::BTreeMap, fs, path::Path};

use headstart_fs::RelPath;
use jiff::Timestamp;

use super::*;
use crate::{LocalStore, NoProgress, Runtime, SaveOptions, SaveOutcome, Xattrs, conformance, key_path, save};

struct Fixture {
    dir: tempfile::TempDir,
    store: LocalStore,
    runtime: Runtime,
    snapshot: ContentId,
    packs: Vec<ContentId>,
}

impl Fixture {
    /// A store with one entry, `n/k`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let (_, noise) = conformance::sample(ContentKind::Pack, 1, 200_000);
        fs::write(tree.join("file"), noise).unwrap();
        let store = LocalStore::open_or_create(dir.path().join("store")).unwrap();
        let runtime = Runtime::new().unwrap();
        let mut fixture = Fixture {
            dir,
            store,
            runtime,
            snapshot: ContentId::new(ContentKind::Snapshot, headstart_digest::Digest::of(b"")),
            packs: Vec::new(),
        };
        fixture.snapshot = fixture.save();
        let packs = fixture.store.list_content(ContentKind::Pack);
        fixture.packs = fixture
            .runtime
            .block_on(packs)
            .unwrap()
            .into_iter()
            .map(|(id, _, _)| id)
            .collect();
        fixture
    }

    fn save(&self) -> ContentId {
        let options = SaveOptions {
            stat_cache: None,
            name: EntryName::new("n".parse().unwrap(), "k").unwrap(),
            root: self.dir.path().join("tree"),
            paths: vec![RelPath::root()],
            xattrs: Xattrs::Drop,
            leave_out: None,
            facts: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
        };
        let never = AtomicBool::new(false);
        match save(&self.store, None, &self.runtime, &options, &NoProgress, &never).unwrap() {
            SaveOutcome::Saved(saved) => ContentId::Snapshot(saved.snapshot),
            SaveOutcome::KeyExists(_) => panic!("the key is free"),
        }
    }

    fn path(&self, id: ContentId) -> PathBuf {
        self.store.folder().join(key_path::content_path(id))
    }

    fn verify(&self, repair: Repair<'_>) -> VerifyReport {
        let never = AtomicBool::new(false);
        self.runtime
            .block_on(verify(&self.store, repair, &NoProgress, &never))
            .unwrap()
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_right_store_is_clean_and_untouched() {
    let fixture = Fixture::new();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = fs::File::options()
        .write(true)
        .open(fixture.path(fixture.snapshot))
        .unwrap();
    file.set_modified(old).unwrap();
    let report = fixture.verify(Repair::Yes);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.packs, report.snapshots, report.entries), (1, 1, 1));
    assert_eq!(
        file.metadata().unwrap().modified().unwrap(),
        old,
        "looking is no use"
    );
}

#[test]
fn corrupt_packs_are_told_and_moved_only_when_asked() {
    let fixture = Fixture::new();
    let pack = fixture.packs[0];
    flip(&fixture.path(pack));
    let report = fixture.verify(Repair::No);
    let [corrupt, incomplete] = &report.problems[..] else {
        panic!("{report:?}");
    };
    assert!(matches!(&corrupt.kind, ProblemKind::CorruptContent { id, .. } if *id == pack));
    assert!(matches!(incomplete.kind, ProblemKind::IncompleteSnapshot { .. }));
    assert!(fixture.path(pack).exists());

    let report = fixture.verify(Repair::Yes);
    let repairs: Vec<_> = report.problems.iter().map(|problem| &problem.repair).collect();
    assert!(
        matches!(
            repairs[..],
            [Repaired::MovedTo(_), Repaired::Removed, Repaired::Removed]
        ),
        "pack, snapshot, entry: {report:?}"
    );
    assert!(fixture.verify(Repair::No).is_clean());
    fixture.save();
    assert!(fixture.verify(Repair::No).is_clean());
    assert!(fixture.path(pack).exists(), "the next save stored it anew");
}

#[test]
fn a_corrupt_snapshot_takes_its_entry_with_it() {
    let fixture = Fixture::new();
    flip(&fixture.path(fixture.snapshot));
    let report = fixture.verify(Repair::Yes);
    let [corrupt, dangling] = &report.problems[..] else {
        panic!("{report:?}");
    };
    assert!(matches!(corrupt.kind, ProblemKind::CorruptContent { .. }));
    assert!(matches!(dangling.kind, ProblemKind::DanglingEntry { .. }));
    assert!(fixture.verify(Repair::No).is_clean());
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    let error = fixture
        .runtime
        .block_on(fixture.store.read_entry(&name))
        .unwrap_err();
    assert!(error.is_missing(), "the key is free for the next save");
}

#[test]
fn what_is_named_right_but_is_no_pack_is_told() {
    let fixture = Fixture::new();
    let (id, bytes) = conformance::sample(ContentKind::Pack, 9, 1000);
    let write = crate::StoreExt::write_bytes(&fixture.store, id, bytes);
    fixture.runtime.block_on(write).unwrap();
    let report = fixture.verify(Repair::No);
    assert_eq!(report.problems.len(), 1, "{report:?}");
}

#[test]
fn pool_files_are_compared_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("v1/ab");
    fs::create_dir_all(&shard).unwrap();
    let digest = headstart_digest::Digest::of(b"right");
    let path = shard.join(format!("{digest}-644-0.000000000"));
    fs::write(&path, "right").unwrap();
    fs::write(shard.join("unfinished"), "x").unwrap();
    let never = AtomicBool::new(false);
    assert_eq!(verify_pool(dir.path(), Repair::Yes, &never).unwrap(), []);
    fs::write(&path, "wrong").unwrap();
    assert_eq!(verify_pool(dir.path(), Repair::Yes, &never).unwrap().len(), 1);
    assert_eq!(verify_pool(dir.path(), Repair::Yes, &never).unwrap(), []);
    assert_eq!(
        verify_pool(&dir.path().join("none"), Repair::No, &never).unwrap(),
        []
    );
}

#[test]
fn repairing_an_entry_moves_damage_aside_and_frees_its_key() {
    let never = AtomicBool::new(false);
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    for damaged in ["pack", "snapshot", "entry"] {
        let fixture = Fixture::new();
        let repair = || {
            let repair = repair_entry(&fixture.store, &name, &never);
            fixture.runtime.block_on(repair).unwrap()
        };
        assert!(repair().is_clean(), "a right entry is left alone");
        let path = match damaged {
            "pack" => fixture.path(fixture.packs[0]),
            "snapshot" => fixture.path(fixture.snapshot),
            _ => fixture.store.folder().join(key_path::entry_path(&name)),
        };
        flip(&path);
        assert!(!repair().is_clean(), "{damaged}");
        assert!(repair().is_clean(), "{damaged}: there is nothing left to repair");
        assert_eq!(
            fixture.save(),
            fixture.snapshot,
            "{damaged}: the key is free and stands for the same again"
        );
        assert!(fixture.verify(Repair::No).is_clean(), "{damaged}");
    }
}

#[test]
fn what_a_newer_program_wrote_is_told_and_left_alone() {
    let never = AtomicBool::new(false);
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    let kept = |fixture: &Fixture, path: &Path, problems: usize| {
        let whole = fixture.verify(Repair::Yes);
        let one = repair_entry(&fixture.store, &name, &never);
        let one = fixture.runtime.block_on(one).unwrap();
        assert_eq!(one.problems.len(), problems, "{one:?}");
        for problem in whole.problems.iter().chain(&one.problems) {
            assert_eq!(problem.repair, Repaired::No, "{problem:?}");
        }
        assert_eq!(whole.problems.len(), 1, "{whole:?}");
        assert!(path.exists());
    };

    let fixture = Fixture::new();
    let entry_path = fixture.store.folder().join(key_path::entry_path(&name));
    fs::write(&entry_path, r#"{"schema":"headstart.entry/2","more":1}"#).unwrap();
    kept(&fixture, &entry_path, 1);

    // That is damage, and no version at all.
    fs::write(&entry_path, r#"{"schema":"headstart.entrx/1"}"#).unwrap();
    let report = fixture.verify(Repair::Yes);
    assert_eq!(report.problems[0].repair, Repaired::Removed, "{report:?}");

    // The entry stands for it: neither is touched.
    let fixture = Fixture::new();
    let newer = bytes::Bytes::from_static(b"hssnap02 of another shape");
    let digest = headstart_digest::Digest::of(&newer);
    let id = ContentId::new(ContentKind::Snapshot, digest);
    let write = crate::StoreExt::write_bytes(&fixture.store, id, newer);
    fixture.runtime.block_on(write).unwrap();
    let entry_path = fixture.store.folder().join(key_path::entry_path(&name));
    let entry = fs::read_to_string(&entry_path).unwrap();
    let old = fixture.snapshot.digest().to_string();
    assert!(entry.contains(&old));
    fs::write(&entry_path, entry.replace(&old, &digest.to_string())).unwrap();
    kept(&fixture, &fixture.path(id), 1);
    assert!(entry_path.exists());

    // A pack: nothing needs it but what is newer, too.
    let fixture = Fixture::new();
    let newer = bytes::Bytes::from_static(b"hspack02 of another shape");
    let id = ContentId::new(ContentKind::Pack, headstart_digest::Digest::of(&newer));
    let write = crate::StoreExt::write_bytes(&fixture.store, id, newer);
    fixture.runtime.block_on(write).unwrap();
    kept(&fixture, &fixture.path(id), 0);
}

#[test]
fn what_is_corrupt_is_fetched_from_the_remote_that_has_it() {
    let fixture = Fixture::new();
    let remote = std::sync::Arc::new(crate::MemoryStore::new());
    let tiers = crate::TieredStore::new(std::sync::Arc::new(fixture.store.clone()), remote, |_| {});
    let never = AtomicBool::new(false);
    let repair = |from: &dyn Store| {
        let verifying = verify(&fixture.store, Repair::From(from), &NoProgress, &never);
        let report = fixture.runtime.block_on(verifying).unwrap();
        report
            .problems
            .into_iter()
            .map(|problem| problem.repair)
            .collect::<Vec<_>>()
    };
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    fixture.runtime.block_on(tiers.push_entry(&name)).unwrap();
    for id in [fixture.packs[0], fixture.snapshot] {
        fs::write(fixture.path(id), "garbage").unwrap();
        assert_eq!(repair(&tiers), [Repaired::Fetched], "{id}");
        assert!(fixture.verify(Repair::No).is_clean());
    }
    // A part only is no reason to drop what the remote can complete.
    fs::remove_file(fixture.path(fixture.packs[0])).unwrap();
    assert_eq!(repair(&tiers), []);
    let nothing = std::sync::Arc::new(crate::MemoryStore::new());
    let tiers = crate::TieredStore::new(std::sync::Arc::new(fixture.store.clone()), nothing, |_| {});
    assert_eq!(repair(&tiers), [Repaired::Removed, Repaired::Removed]);
}
