use std::sync::atomic::AtomicBool;

use headstart_digest::{ChunkId, Digest, PackId};

use super::*;
use crate::{
    ChunkRef, Codec, CreatedEntry, Entry, FrameRef, MemoryStore, Mtime, Node, NodeKind, PackRef,
    PruneStore as _, Snapshot, Store as _, StoreError, StoreExt as _, Tree, conformance,
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * 3600).unwrap()
}

/// A snapshot of one file per pack.
fn snapshot(packs: &[PackId]) -> Snapshot {
    let nodes = (0..packs.len())
        .map(|index| Node {
            parent: None,
            name: format!("f{index}").into_bytes().into(),
            mode: 0o644,
            mtime: Mtime {
                seconds: 0,
                nanoseconds: 0,
            },
            kind: NodeKind::File {
                size_bytes: 10,
                digest: Digest::of(b"f"),
            },
        })
        .collect();
    let frame = |pack| FrameRef {
        pack,
        offset: 8,
        stored_bytes: 10,
        content_bytes: 10,
        codec: Codec::Raw,
    };
    let chunk = |frame| ChunkRef {
        frame,
        offset: 0,
        bytes: 10,
        id: ChunkId::of(b"c"),
    };
    let count = packs.len() as u32;
    Snapshot::new(
        packs.iter().map(|id| PackRef { id: *id, bytes: 1000 }).collect(),
        (0..count).map(frame).collect(),
        (0..count).map(chunk).collect(),
        Tree::new(nodes).unwrap(),
        Vec::new(),
    )
    .unwrap()
}

/// Saves an entry at an hour that needs packs of 1000 bytes with these seeds.
async fn add(store: &MemoryStore, hour: i64, key: &str, seeds: &[u8]) -> ContentId {
    store.set_now(at(hour));
    let mut packs = Vec::new();
    for seed in seeds {
        let (id, bytes) = conformance::sample(crate::ContentKind::Pack, *seed, 1000);
        if !store.find_missing(&[id]).await.unwrap().is_empty() {
            store.write_bytes(id, bytes).await.unwrap();
        }
        packs.push(PackId::from(*id.digest()));
    }
    add_snapshot(store, key, snapshot(&packs).encode().unwrap()).await
}

/// Saves an entry that stands for these bytes.
async fn add_snapshot(store: &MemoryStore, key: &str, stored: Vec<u8>) -> ContentId {
    let id = ContentId::new(crate::ContentKind::Snapshot, Digest::of(&stored));
    store.write_bytes(id, stored.into()).await.unwrap();
    let entry = Entry {
        schema: Entry::SCHEMA.to_owned(),
        ..conformance::sample_entry(id)
    };
    assert_eq!(
        store.create_entry(&name(key), &entry).await.unwrap(),
        CreatedEntry::Created
    );
    id
}

fn name(key: &str) -> EntryName {
    EntryName::new("n".parse().unwrap(), key).unwrap()
}

fn policy(hour: i64) -> GcPolicy {
    GcPolicy {
        now: at(hour),
        budget_bytes: None,
        max_age: None,
        grace: HOUR,
    }
}

async fn plan(store: &MemoryStore, policy: &GcPolicy) -> GcPlan {
    plan_gc(store, policy, &AtomicBool::new(false)).await.unwrap()
}

fn gone(plan: &GcPlan) -> Vec<(&str, EvictionReason)> {
    plan.entries
        .iter()
        .map(|entry| (entry.name.key(), entry.reason))
        .collect()
}

#[tokio::test]
async fn the_least_recently_used_go_first_and_shared_packs_stay() {
    let store = MemoryStore::new();
    let first = add(&store, 10, "a", &[1, 2]).await;
    add(&store, 20, "b", &[2, 3]).await;
    add(&store, 30, "c", &[3, 4]).await;
    let policy = GcPolicy {
        // Three packs and two snapshots of some 200 bytes.
        budget_bytes: Some(3900),
        ..policy(100)
    };
    let plan_before = plan(&store, &policy).await;
    assert_eq!(gone(&plan_before), [("a", EvictionReason::Budget)]);
    assert_eq!(
        plan_before.content.len(),
        2,
        "its snapshot and the pack only it needs"
    );
    assert_eq!(plan_before.kept_entries, 2);
    // Reading makes it the most recent.
    store.set_now(at(40));
    store.read(first).await.unwrap();
    let plan = plan(&store, &policy).await;
    assert_eq!(
        gone(&plan),
        [("b", EvictionReason::Budget), ("c", EvictionReason::Budget)]
    );

    let outcome = apply_gc(&store, &plan, &AtomicBool::new(false)).await.unwrap();
    assert_eq!((outcome.entries, outcome.content, outcome.spared), (2, 4, 0));
    assert_eq!(outcome.freed_bytes, plan.freed_bytes());
    assert!(
        self::plan(&store, &policy).await.is_empty(),
        "applied twice changes nothing"
    );
    assert!(store.read_entry(&name("a")).await.is_ok());
}

#[tokio::test]
async fn old_entries_go_by_age_and_young_ones_stay_whatever_the_budget() {
    let store = MemoryStore::new();
    add(&store, 10, "old", &[1]).await;
    add(&store, 99, "young", &[2]).await;
    let policy = GcPolicy {
        max_age: Some(HOUR * 50),
        budget_bytes: Some(0),
        grace: HOUR * 2,
        ..policy(100)
    };
    let plan = plan(&store, &policy).await;
    assert_eq!(gone(&plan), [("old", EvictionReason::Age)]);
    assert_eq!(plan.content.len(), 2);
}

#[tokio::test]
async fn whether_it_is_due_is_told_without_reading() {
    let store = MemoryStore::new();
    add(&store, 10, "old", &[1]).await;
    let due = async |policy: GcPolicy| is_gc_due(&store, &policy).await.unwrap();
    assert!(!due(policy(100)).await);
    let budget_bytes = Some(1_000_000);
    assert!(
        !due(GcPolicy {
            budget_bytes,
            ..policy(100)
        })
        .await
    );
    let budget_bytes = Some(1000);
    assert!(
        due(GcPolicy {
            budget_bytes,
            ..policy(100)
        })
        .await
    );
    let max_age = Some(HOUR * 90);
    assert!(
        !due(GcPolicy {
            max_age,
            ..policy(100)
        })
        .await
    );
    assert!(
        due(GcPolicy {
            max_age,
            ..policy(101)
        })
        .await
    );
    let grace = HOUR * 95;
    assert!(
        !due(GcPolicy {
            max_age,
            grace,
            ..policy(101)
        })
        .await,
        "nothing that young goes"
    );
}

#[tokio::test]
async fn what_a_running_save_wrote_or_was_told_of_stays() {
    let store = MemoryStore::new();
    add(&store, 10, "a", &[1]).await;
    store.delete_entry(&name("a")).await.unwrap();
    store.set_now(at(99));
    let (written, bytes) = conformance::sample(crate::ContentKind::Pack, 7, 1000);
    store.write_bytes(written, bytes).await.unwrap();
    let policy = GcPolicy {
        grace: HOUR * 2,
        ..policy(100)
    };
    let plan = plan(&store, &policy).await;
    assert_eq!(
        plan.content.len(),
        2,
        "the pack and snapshot nobody names, not the one just written"
    );
    // Between plan and apply a save is told that the old pack is there.
    let (told, _) = conformance::sample(crate::ContentKind::Pack, 1, 1000);
    assert_eq!(store.find_missing(&[told]).await.unwrap(), []);
    let outcome = apply_gc(&store, &plan, &AtomicBool::new(false)).await.unwrap();
    assert_eq!((outcome.content, outcome.spared), (1, 1));
    assert_eq!(store.find_missing(&[told, written]).await.unwrap(), []);
}

#[tokio::test]
async fn an_entry_used_after_the_plan_stays() {
    let store = MemoryStore::new();
    let snapshot = add(&store, 10, "a", &[1]).await;
    let policy = GcPolicy {
        max_age: Some(HOUR),
        ..policy(100)
    };
    let plan = plan(&store, &policy).await;
    store.set_now(at(100));
    store.read(snapshot).await.unwrap();
    let outcome = apply_gc(&store, &plan, &AtomicBool::new(false)).await.unwrap();
    assert_eq!(outcome.entries, 0);
    assert!(store.read_entry(&name("a")).await.is_ok());
    let (pack, _) = conformance::sample(crate::ContentKind::Pack, 1, 1000);
    assert_eq!(store.find_missing(&[snapshot, pack]).await.unwrap(), []);
}

#[tokio::test]
async fn entries_that_stand_for_nothing_go() {
    let store = MemoryStore::new();
    let snapshot = add(&store, 10, "a", &[1]).await;
    store.delete(snapshot).await.unwrap();
    let plan = plan(&store, &policy(100)).await;
    assert_eq!(gone(&plan), [("a", EvictionReason::Broken)]);
    assert_eq!(plan.content.len(), 1);
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_not_taken_for_broken() {
    let store = MemoryStore::new();
    add(&store, 10, "a", &[1]).await;
    let mut newer = snapshot(&[]).encode().unwrap();
    newer[7] = b'2';
    add_snapshot(&store, "b", newer).await;
    let planned = plan_gc(&store, &policy(30), &AtomicBool::new(false)).await;
    assert!(matches!(planned, Err(StoreError::Unsupported(_))), "{planned:?}");
}

#[tokio::test]
async fn an_interrupt_stops_it() {
    let store = MemoryStore::new();
    add(&store, 10, "a", &[1]).await;
    let interrupted = AtomicBool::new(true);
    let error = plan_gc(&store, &policy(100), &interrupted).await.unwrap_err();
    assert!(matches!(error, crate::StoreError::Interrupted));
}

#[test]
fn pool_files_nobody_links_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("v1/ab");
    std::fs::create_dir_all(&shard).unwrap();
    std::fs::write(shard.join("unused"), "12345").unwrap();
    std::fs::write(shard.join("linked"), "x").unwrap();
    std::fs::hard_link(shard.join("linked"), dir.path().join("elsewhere")).unwrap();
    let never = AtomicBool::new(false);
    assert_eq!(evict_expanded(dir.path(), Timestamp::MIN, &never).unwrap(), 0);
    assert_eq!(evict_expanded(dir.path(), Timestamp::MAX, &never).unwrap(), 5);
    assert!(shard.join("linked").exists() && !shard.join("unused").exists());
}
