//! Several processes at one local store, killed at any moment: nothing half-written is seen, and the next one goes on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are not in a test function"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use headstart_digest::Digest;
use headstart_store::{
    ContentId, ContentKind, CreatedEntry, EntryName, LocalStore, PruneStore as _, Store, StoreExt as _,
    conformance,
};

/// Set for the processes that hammer: the store's folder.
const FOLDER: &str = "HEADSTART_TEST_HAMMER";
const PROCESSES: usize = 8;
const ROUNDS: usize = 6;
/// Keys and content all processes fight for.
const KEYS: u8 = 40;

/// What the killed processes do. Not a test of its own: without the variable it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn hammering_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = Arc::new(LocalStore::open_or_create(folder).unwrap());
    for turn in 0.. {
        let tasks: Vec<_> = (0..8)
            .map(|task: u8| {
                let store = Arc::clone(&store);
                let seed = (turn * 7 + usize::from(task) * 5) % usize::from(KEYS);
                tokio::spawn(async move { hammer(&*store, seed as u8).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        println!("turn {turn}");
    }
}

fn name(seed: u8) -> EntryName {
    EntryName::new("hammer".parse().unwrap(), format!("key {seed}")).unwrap()
}

async fn hammer(store: &dyn Store, seed: u8) {
    let (pack, bytes) = conformance::sample(ContentKind::Pack, seed, 300_000);
    store.write_bytes(pack, bytes.clone()).await.unwrap();
    assert!(store.read(pack).await.unwrap() == bytes);
    let (snapshot, bytes) = conformance::sample(ContentKind::Snapshot, seed, 50_000);
    store.write_bytes(snapshot, bytes).await.unwrap();
    let entry = conformance::sample_entry(snapshot);
    match store.create_entry(&name(seed), &entry).await.unwrap() {
        CreatedEntry::Created => {}
        CreatedEntry::Existed(existing) => assert_eq!(existing, entry),
    }
    let found = store
        .find_entries(name(seed).namespace(), "key ", 1000)
        .await
        .unwrap();
    assert!(!found.is_empty());
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hammering_process", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_processes_leave_a_store_that_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    for round in 0..ROUNDS {
        let mut children: Vec<Child> = (0..PROCESSES).map(|_| spawn(&folder)).collect();
        // Each is killed in the middle of another turn: after some turns of the first, wherever the others are.
        let output = children[0].stdout.take().unwrap();
        let turns = BufReader::new(output)
            .lines()
            .map(Result::unwrap)
            .filter(|line| line.starts_with("turn "));
        assert_eq!(turns.take(round + 1).count(), round + 1, "it ended by itself");
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "a process failed");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        check(&folder).await;
    }
    // The debris of the killed does not hinder anybody.
    let store = LocalStore::open_or_create(&folder).unwrap();
    for seed in 0..KEYS {
        hammer(&store, seed).await;
    }
    check(&folder).await;
}

/// Everything that can be seen is whole, and no entry dangles.
async fn check(folder: &Path) {
    let store = LocalStore::open_existing(folder).unwrap();
    for kind in [ContentKind::Pack, ContentKind::Snapshot] {
        for (id, _, _) in store.list_content(kind).await.unwrap() {
            assert_eq!(Digest::of(&store.inspect(id).await.unwrap()), *id.digest());
        }
    }
    for namespace in store.list_namespaces().await.unwrap() {
        for info in store.find_entries(&namespace, "", 1000).await.unwrap() {
            let entry = store.read_entry(&info.name).await.unwrap();
            let snapshot = ContentId::Snapshot(entry.snapshot);
            assert_eq!(store.find_missing(&[snapshot]).await.unwrap(), []);
        }
    }
}
