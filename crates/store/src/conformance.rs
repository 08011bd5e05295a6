//! What every store must do, as checks that panic with what is wrong. For tests, behind the feature `conformance`.
//!
//! The store given must be empty, and the runtime multi-threaded where concurrency is to be real.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, future::join_all, stream};
use headstart_digest::{Digest, SnapshotId};
use jiff::Timestamp;

use crate::{
    ContentId, ContentKind, CreatedEntry, Entry, EntryName, Namespace, PruneStore, Store, StoreError,
    StoreExt as _, Written,
};

/// Writers of one key in the check of concurrency.
const WRITERS: usize = 16;

/// Checks everything a [`Store`] promises.
pub async fn check_store(store: Arc<dyn Store>) {
    content_round_trips(&*store).await;
    ranges_are_exact(&*store).await;
    wrong_uploads_are_refused(&*store).await;
    broken_uploads_are_not_kept(&*store).await;
    too_large_content_is_refused_unread(&*store).await;
    missing_content_is_found_out(&*store).await;
    one_of_many_writers_of_content_is_enough(&store).await;
    entries_are_created_once(&*store).await;
    one_of_many_writers_of_an_entry_wins(&store).await;
    entries_are_found_by_prefix(&*store).await;
    odd_keys_are_kept_apart(&*store).await;
}

/// Checks everything a [`PruneStore`] promises, and [`check_store`].
pub async fn check_prune_store(store: Arc<dyn PruneStore>) {
    content_is_listed_and_deleted(&*store).await;
    entries_are_deleted(&*store).await;
    check_store(store).await;
}

/// `length` bytes that depend on `seed`, and their name.
pub fn sample(kind: ContentKind, seed: u8, length: usize) -> (ContentId, Bytes) {
    let mut state = u32::from(seed) + 1;
    let bytes: Bytes = (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    (ContentId::new(kind, Digest::of(&bytes)), bytes)
}

/// An entry that stands for the snapshot of that name.
pub fn sample_entry(snapshot: ContentId) -> Entry {
    Entry {
        schema: Entry::SCHEMA.to_owned(),
        snapshot: SnapshotId::from(*snapshot.digest()),
        created_at: Timestamp::UNIX_EPOCH,
        content_bytes: 1 << 40,
        files: 3,
        facts: BTreeMap::from([("host".to_owned(), "añb \"c\"".to_owned())]),
    }
}

fn name(namespace: &str, key: &str) -> EntryName {
    EntryName::new(self::namespace(namespace), key).expect("a good key")
}

fn namespace(text: &str) -> Namespace {
    text.parse().expect("a good namespace")
}

async fn content_round_trips(store: &dyn Store) {
    for kind in [ContentKind::Pack, ContentKind::Snapshot] {
        for length in [1, 1000, 5 << 20] {
            let (id, bytes) = sample(kind, 1, length);
            assert!(store.read(id).await.expect_err("not yet there").is_missing());
            assert_eq!(
                store.write_bytes(id, bytes.clone()).await.expect("write"),
                Written::New
            );
            assert_eq!(
                store.write_bytes(id, bytes.clone()).await.expect("write again"),
                Written::Existed
            );
            assert!(
                store.read(id).await.expect("read") == bytes,
                "{length} bytes came back changed"
            );
        }
    }
    // The kind is part of the name.
    let (pack, bytes) = sample(ContentKind::Pack, 2, 100);
    store.write_bytes(pack, bytes).await.expect("write");
    let snapshot = ContentId::new(ContentKind::Snapshot, *pack.digest());
    assert!(
        store
            .read(snapshot)
            .await
            .expect_err("a pack is no snapshot")
            .is_missing()
    );
}

async fn ranges_are_exact(store: &dyn Store) {
    let (id, bytes) = sample(ContentKind::Pack, 3, 100_000);
    store.write_bytes(id, bytes.clone()).await.expect("write");
    for range in [0..1, 0..100_000, 99_999..100_000, 7..70_000, 50..50] {
        let reader = store.open(id, Some(range.clone())).await.expect("open");
        assert_eq!((reader.total_bytes, reader.range), (100_000, range.clone()));
        let part = store.read_range(id, range.clone()).await.expect("read");
        assert!(
            part == bytes.slice(range.start as usize..range.end as usize),
            "{range:?}"
        );
    }
    for range in [99_999..100_001, 100_000..100_001, 200_000..300_000] {
        let error = store.read_range(id, range.clone()).await;
        assert!(
            matches!(error, Err(StoreError::Corrupt { .. })),
            "{range:?} beyond the end: {error:?}"
        );
    }
    let (absent, _) = sample(ContentKind::Pack, 4, 10);
    let error = store.read_range(absent, 0..5).await.expect_err("absent");
    assert!(error.is_missing(), "{error}");
}

async fn wrong_uploads_are_refused(store: &dyn Store) {
    let (id, bytes) = sample(ContentKind::Pack, 5, 50_000);
    let (_, other) = sample(ContentKind::Pack, 6, 50_000);
    let uploads = [
        ("other bytes", 50_000, other),
        ("too few", 50_000, bytes.slice(..49_999)),
        ("too many", 49_999, bytes.clone()),
        ("none", 50_000, Bytes::new()),
    ];
    for (what, announced, body) in uploads {
        let stream = stream::iter([body.slice(..body.len() / 2), body.slice(body.len() / 2..)]).map(Ok);
        let error = store.write(id, announced, stream.boxed()).await;
        assert!(
            matches!(error, Err(StoreError::Corrupt { .. })),
            "{what}: {error:?}"
        );
        assert_eq!(
            store.find_missing(&[id]).await.expect("find"),
            [id],
            "{what} was kept"
        );
    }
    assert_eq!(
        store.write_bytes(id, bytes).await.expect("then the right bytes"),
        Written::New
    );
}

async fn broken_uploads_are_not_kept(store: &dyn Store) {
    let (id, bytes) = sample(ContentKind::Snapshot, 7, 50_000);
    let stream = stream::iter([Ok(bytes.slice(..20_000)), Err(StoreError::Interrupted)]);
    let result = store.write(id, 50_000, stream.boxed()).await;
    assert!(result.is_err(), "half an upload was taken");
    assert_eq!(store.find_missing(&[id]).await.expect("find"), [id]);
}

async fn too_large_content_is_refused_unread(store: &dyn Store) {
    let (id, _) = sample(ContentKind::Pack, 8, 10);
    let stream = stream::pending().boxed();
    let error = store.write(id, ContentKind::Pack.max_bytes() + 1, stream).await;
    assert!(matches!(error, Err(StoreError::TooLarge { .. })), "{error:?}");
}

async fn missing_content_is_found_out(store: &dyn Store) {
    let (mut asked, mut missing) = (Vec::new(), Vec::new());
    for seed in 20..40 {
        let kind = [ContentKind::Pack, ContentKind::Snapshot][usize::from(seed % 2)];
        let (id, bytes) = sample(kind, seed, 100);
        asked.push(id);
        if seed % 3 == 0 {
            store.write_bytes(id, bytes).await.expect("write");
        } else {
            missing.push(id);
        }
    }
    assert_eq!(store.find_missing(&asked).await.expect("find"), missing);
    assert_eq!(store.find_missing(&[]).await.expect("find nothing"), []);
}

async fn one_of_many_writers_of_content_is_enough(store: &Arc<dyn Store>) {
    let (id, bytes) = sample(ContentKind::Pack, 9, 300_000);
    let writes = (0..WRITERS).map(|_| {
        let (store, bytes) = (Arc::clone(store), bytes.clone());
        tokio::spawn(async move { store.write_bytes(id, bytes).await })
    });
    for written in join_all(writes).await {
        written.expect("no panic").expect("write");
    }
    assert!(store.read(id).await.expect("read") == bytes);
}

async fn entries_are_created_once(store: &dyn Store) {
    let name = name("once", "key");
    let error = store.read_entry(&name).await.expect_err("not yet there");
    assert!(error.is_missing(), "{error}");
    let (first, second) = (stored_entry(store, 10).await, stored_entry(store, 11).await);
    assert_eq!(
        store.create_entry(&name, &first).await.expect("create"),
        CreatedEntry::Created
    );
    assert_eq!(store.read_entry(&name).await.expect("read"), first);
    let again = store.create_entry(&name, &second).await.expect("create again");
    assert_eq!(again, CreatedEntry::Existed(first.clone()));
    assert_eq!(store.read_entry(&name).await.expect("read again"), first);
    let mut large = first;
    large.facts.insert("log".to_owned(), "x".repeat(Entry::MAX_BYTES));
    let error = store.create_entry(&self::name("once", "large"), &large).await;
    assert!(matches!(error, Err(StoreError::TooLarge { .. })), "{error:?}");
}

/// An entry and the snapshot it stands for.
async fn stored_entry(store: &dyn Store, seed: u8) -> Entry {
    let (snapshot, bytes) = sample(ContentKind::Snapshot, seed, 64);
    store.write_bytes(snapshot, bytes).await.expect("write");
    sample_entry(snapshot)
}

async fn one_of_many_writers_of_an_entry_wins(store: &Arc<dyn Store>) {
    let name = name("race", "one key");
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let entry = stored_entry(&**store, 100 + writer as u8).await;
        let (store, name) = (Arc::clone(store), name.clone());
        writers.push(tokio::spawn(async move {
            (store.create_entry(&name, &entry).await.expect("create"), entry)
        }));
    }
    let results: Vec<_> = join_all(writers)
        .await
        .into_iter()
        .map(|result| result.expect("no panic"))
        .collect();
    let winners: Vec<_> = results
        .iter()
        .filter(|(created, _)| *created == CreatedEntry::Created)
        .map(|(_, entry)| entry)
        .collect();
    assert_eq!(winners.len(), 1, "writers told that the entry is theirs");
    for (created, _) in &results {
        if let CreatedEntry::Existed(existing) = created {
            assert_eq!(existing, winners[0], "a loser was told of another entry");
        }
    }
    assert_eq!(&store.read_entry(&name).await.expect("read"), winners[0]);
}

async fn entries_are_found_by_prefix(store: &dyn Store) {
    let entry = stored_entry(store, 12).await;
    for key in ["npm-linux-1", "npm-linux-2", "npm-mac-1", "npm", "yarn-1", "npn"] {
        store
            .create_entry(&name("find", key), &entry)
            .await
            .expect("create");
    }
    store
        .create_entry(&name("find-other", "npm-linux-9"), &entry)
        .await
        .expect("create");
    let find = async |prefix: &str, limit| {
        let found = store
            .find_entries(&namespace("find"), prefix, limit)
            .await
            .expect("find");
        assert!(
            found.is_sorted_by(|a, b| a.modified_at >= b.modified_at),
            "newest first: {found:?}"
        );
        let mut keys: Vec<_> = found.iter().map(|info| info.name.key().to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(find("npm-linux-", 10).await, ["npm-linux-1", "npm-linux-2"]);
    assert_eq!(
        find("npm", 10).await,
        ["npm", "npm-linux-1", "npm-linux-2", "npm-mac-1"]
    );
    assert_eq!(find("", 10).await.len(), 6);
    assert_eq!(find("npm-linux-1", 10).await, ["npm-linux-1"]);
    assert_eq!(find("npm", 2).await.len(), 2);
    assert_eq!(find("zzz", 10).await, [""; 0]);
    let none = store.find_entries(&namespace("no-such"), "", 10).await;
    assert_eq!(none.expect("find"), []);
}

async fn odd_keys_are_kept_apart(store: &dyn Store) {
    let long = "é".repeat(133);
    let keys = [
        ".",
        "..",
        "../x",
        "/",
        "/etc/passwd",
        "a",
        "A",
        "a/b",
        "a b",
        "a+b",
        "a%2fb",
        "a%b",
        "a=b",
        "a!",
        "a?b#c&d=e",
        "a\\b",
        "~",
        "*",
        "日本語",
        "naïve",
        " ",
        &"k".repeat(200),
        &"k".repeat(201),
        &"k".repeat(512),
        &long,
    ];
    for (seed, key) in keys.iter().enumerate() {
        let entry = stored_entry(store, seed as u8).await;
        let created = store.create_entry(&name("odd", key), &entry).await;
        assert_eq!(created.expect("create"), CreatedEntry::Created, "{key:?}");
    }
    for (seed, key) in keys.iter().enumerate() {
        let entry = sample_entry(sample(ContentKind::Snapshot, seed as u8, 64).0);
        assert_eq!(
            store.read_entry(&name("odd", key)).await.expect("read"),
            entry,
            "{key:?}"
        );
        let found = store
            .find_entries(&namespace("odd"), key, 100)
            .await
            .expect("find");
        let mut found: Vec<_> = found.iter().map(|info| info.name.key()).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = keys
            .iter()
            .copied()
            .filter(|other| other.starts_with(key))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "keys that start with {key:?}");
    }
    let found = store
        .find_entries(&namespace("odd"), "", 100)
        .await
        .expect("find");
    assert_eq!(found.len(), keys.len());
}

async fn content_is_listed_and_deleted(store: &dyn PruneStore) {
    let mut expected = Vec::new();
    for seed in 50..55 {
        let (id, bytes) = sample(ContentKind::Pack, seed, 100 + usize::from(seed));
        store.write_bytes(id, bytes).await.expect("write");
        expected.push((id, 100 + u64::from(seed)));
    }
    let list = async |kind| {
        let mut listed: Vec<_> = store
            .list_content(kind)
            .await
            .expect("list")
            .iter()
            .map(|(id, bytes, _)| (*id, *bytes))
            .collect();
        listed.sort();
        listed
    };
    expected.sort();
    assert_eq!(list(ContentKind::Pack).await, expected);
    assert_eq!(list(ContentKind::Snapshot).await, []);
    let (first, _) = expected.remove(0);
    store.delete(first).await.expect("delete");
    store
        .delete(first)
        .await
        .expect("deleting what is gone is no error");
    assert!(store.read(first).await.expect_err("gone").is_missing());
    assert_eq!(list(ContentKind::Pack).await, expected);
    let (id, _) = expected[0];
    assert!(
        !store.evict(id, Timestamp::MIN).await.expect("evict"),
        "it was used since then"
    );
    assert!(
        store.evict(id, Timestamp::MAX).await.expect("evict"),
        "it was not used since then"
    );
    assert!(
        !store.evict(id, Timestamp::MAX).await.expect("evict again"),
        "it is gone"
    );
    for (id, _) in &expected {
        store.delete(*id).await.expect("delete");
    }
}

async fn entries_are_deleted(store: &dyn PruneStore) {
    assert_eq!(store.list_namespaces().await.expect("list"), []);
    let entry = stored_entry(store, 13).await;
    let (kept, gone) = (name("delete", "kept"), name("delete", "gone"));
    for name in [&kept, &gone] {
        store.create_entry(name, &entry).await.expect("create");
    }
    assert_eq!(
        store.list_namespaces().await.expect("list"),
        [namespace("delete")]
    );
    store.delete_entry(&gone).await.expect("delete");
    store
        .delete_entry(&gone)
        .await
        .expect("deleting what is gone is no error");
    assert!(store.read_entry(&gone).await.expect_err("gone").is_missing());
    assert_eq!(store.read_entry(&kept).await.expect("read"), entry);
    // The key is free again.
    let created = store.create_entry(&gone, &entry).await.expect("create");
    assert_eq!(created, CreatedEntry::Created);
    let snapshot = ContentId::Snapshot(entry.snapshot);
    store.delete(snapshot).await.expect("delete");
}
