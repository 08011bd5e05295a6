use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::StoreExt as _;

fn pack(bytes: &'static [u8]) -> (ContentId, Bytes) {
    let bytes = Bytes::from_static(bytes);
    (
        ContentId::new(ContentKind::Pack, headstart_digest::Digest::of(&bytes)),
        bytes,
    )
}

fn store() -> (tempfile::TempDir, LocalStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open_or_create(dir.path().join("store")).unwrap();
    (dir, store)
}

#[test]
fn a_new_store_is_private_and_opens_again() {
    let (_dir, store) = store();
    let mode = fs::metadata(store.root()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    LocalStore::open_or_create(store.root()).unwrap();
    LocalStore::open_existing(store.root()).unwrap();
}

#[test]
fn a_folder_with_other_things_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let error = LocalStore::open_or_create(dir.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert!(LocalStore::open_existing(dir.path()).unwrap_err().is_missing());
}

#[test]
fn another_version_is_named() {
    let (_dir, store) = store();
    fs::write(store.root().join("FORMAT"), "headstart store 7\n").unwrap();
    let error = LocalStore::open_or_create(store.root()).unwrap_err();
    assert!(matches!(error, StoreError::Unsupported(_)));
    for version in ["store 1", "store 7"] {
        assert!(error.to_string().contains(version), "{error}");
    }
}

#[tokio::test]
async fn corrupt_content_is_moved_aside_and_can_be_stored_anew() {
    let (_dir, store) = store();
    let (id, bytes) = pack(b"right");
    store.write_bytes(id, bytes.clone()).await.unwrap();
    fs::write(store.inner.content_path(id), "wrong").unwrap();
    let error = store.read(id).await.unwrap_err();
    assert!(error.to_string().contains("moved aside"), "{error}");
    assert_eq!(store.find_missing(&[id]).await.unwrap(), [id]);
    assert_eq!(store.write_bytes(id, bytes.clone()).await.unwrap(), Written::New);
    assert_eq!(store.read(id).await.unwrap(), bytes);
    assert_eq!(store.clear_debris().await.unwrap(), 5);
    assert_eq!(store.clear_debris().await.unwrap(), 0);
}

#[tokio::test]
async fn cut_off_content_is_written_anew() {
    let (_dir, store) = store();
    let (id, bytes) = pack(b"some bytes");
    store.write_bytes(id, bytes.clone()).await.unwrap();
    fs::write(store.inner.content_path(id), "some").unwrap();
    assert_eq!(store.write_bytes(id, bytes.clone()).await.unwrap(), Written::New);
    assert_eq!(store.read(id).await.unwrap(), bytes);
    fs::write(store.inner.content_path(id), "").unwrap();
    assert!(matches!(store.read(id).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_use_wins_over_eviction() {
    let (_dir, store) = store();
    let (id, bytes) = pack(b"used");
    store.write_bytes(id, bytes).await.unwrap();
    let path = store.inner.content_path(id);
    let old = Timestamp::from_second(1_000_000).unwrap();
    let cutoff = Timestamp::from_second(2_000_000).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(old.into()).unwrap();
    assert_eq!(store.find_missing(&[id]).await.unwrap(), []);
    assert!(!store.evict(id, cutoff).await.unwrap(), "it was just used");
    file.set_modified(old.into()).unwrap();
    assert!(store.evict(id, cutoff).await.unwrap());
    assert_eq!(store.find_missing(&[id]).await.unwrap(), [id]);
    assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_torn_entry_is_written_anew() {
    let (_dir, store) = store();
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    let entry = crate::entry::test_entry(b"a");
    store.create_entry(&name, &entry).await.unwrap();
    fs::write(store.inner.entry_path(&name), "{").unwrap();
    assert!(matches!(
        store.read_entry(&name).await,
        Err(StoreError::Corrupt { .. })
    ));
    assert_eq!(
        store.create_entry(&name, &entry).await.unwrap(),
        CreatedEntry::Created
    );
    assert_eq!(store.read_entry(&name).await.unwrap(), entry);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_writers_replaces_a_torn_entry() {
    let (_dir, store) = store();
    for round in 0..50 {
        let name = EntryName::new("n".parse().unwrap(), format!("k{round}")).unwrap();
        let path = store.inner.entry_path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{").unwrap();
        let writers = (0..8).map(|writer| {
            let (store, name) = (store.clone(), name.clone());
            let entry = crate::entry::test_entry(&[writer]);
            tokio::spawn(async move { (store.create_entry(&name, &entry).await.unwrap(), entry) })
        });
        let done = futures::future::join_all(writers.collect::<Vec<_>>()).await;
        let kept = store.read_entry(&name).await.unwrap();
        let created: Vec<Entry> = done
            .into_iter()
            .map(Result::unwrap)
            .filter(|(outcome, _)| *outcome == CreatedEntry::Created)
            .map(|(_, entry)| entry)
            .collect();
        assert_eq!(created, [kept], "round {round}");
    }
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing() {
    let (_dir, store) = store();
    let (id, _) = pack(b"announced");
    let error = store.write_bytes(id, Bytes::from_static(b"different")).await;
    assert!(matches!(error, Err(StoreError::Corrupt { .. })));
    assert_eq!(fs::read_dir(store.folder().join("tmp")).unwrap().count(), 0);
    assert_eq!(store.find_missing(&[id]).await.unwrap(), [id]);
}
