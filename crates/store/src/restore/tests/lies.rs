//! Snapshots that are not what they say.

use headstart_digest::Digest;

use super::*;
use crate::{EntryName, NodeKind, StoreExt as _, Tree, testing::noise};

/// Saves `from` under `key` again, with the digests of its files exchanged for that of `claimed`.
fn save_claiming(bench: &Bench, key: &str, path: &str, claimed: &[u8]) {
    let id = ContentId::Snapshot(bench.save(&format!("{key} honest"), &[path]).snapshot);
    let stored = bench.runtime.block_on(bench.store.read(id)).unwrap();
    let honest = Snapshot::parse(&stored).unwrap();
    let mut nodes = honest.tree().clone().into_nodes();
    for node in &mut nodes {
        if let NodeKind::File { digest, .. } = &mut node.kind {
            *digest = Digest::of(claimed);
        }
    }
    let (packs, frames, chunks) = (honest.packs(), honest.frames(), honest.chunks());
    let (packs, frames, chunks) = (packs.to_vec(), frames.to_vec(), chunks.to_vec());
    let lying = Snapshot::new(packs, frames, chunks, Tree::new(nodes).unwrap(), Vec::new()).unwrap();
    put(bench, key, lying.encode().unwrap().into());
}

/// Keeps a snapshot that nobody checked, under `key`.
fn put(bench: &Bench, key: &str, stored: bytes::Bytes) {
    let id = ContentId::Snapshot(SnapshotId::of(&stored));
    let name = EntryName::new("test".parse().unwrap(), key).unwrap();
    let entry = crate::conformance::sample_entry(id);
    bench
        .runtime
        .block_on(async {
            bench.store.write_bytes(id, stored).await?;
            bench.store.create_entry(&name, &entry).await
        })
        .unwrap();
}

#[test]
fn a_snapshot_that_lies_about_digests_does_not_reach_other_trees_through_a_save() {
    let bench = Bench::new();
    let (good, evil) = (noise(9 << 20, 1), noise(9 << 20, 2));
    write(bench.from().join("d/file"), &evil);
    save_claiming(&bench, "evil", "d", &good);
    // What the saves of this machine noted is nothing that somebody else's entry brings along.
    std::fs::remove_dir_all(bench.temp.path().join("stat-cache")).unwrap();
    write(bench.from().join("d/file"), &good);
    bench.save("good", &["d"]);
    bench.restore("good");
    assert!(std::fs::read(bench.to().join("d/file")).unwrap() == good);
}

#[test]
fn a_snapshot_that_lies_about_digests_does_not_reach_other_trees_through_the_pool() {
    let mut bench = Bench::new();
    bench.link = LinkMode::Hardlink;
    for bytes in [100, 9 << 20] {
        let (good, evil) = (noise(bytes, 1), noise(bytes, 2));
        let save = |body: &[u8]| {
            write(bench.from().join("d/file"), body);
            touch(bench.from().join("d/file"), 1, 2);
            touch(bench.from().join("d"), 1, 2);
        };
        save(&evil);
        save_claiming(&bench, &format!("evil {bytes}"), "d", &good);
        save(&good);
        bench.save(&format!("good {bytes}"), &["d"]);

        bench.restore(&format!("evil {bytes}"));
        std::fs::remove_dir_all(bench.to()).unwrap();
        bench.restore(&format!("good {bytes}"));
        assert!(
            std::fs::read(bench.to().join("d/file")).unwrap() == good,
            "{bytes}"
        );
        std::fs::remove_dir_all(bench.to()).unwrap();
    }
}

#[test]
fn hostile_snapshots_are_refused_whatever_they_are_called() {
    let bench = Bench::new();
    put(
        &bench,
        "k",
        bytes::Bytes::from_static(b"hssnap01 this is no snapshot"),
    );
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(matches!(error, RestoreError::Store(StoreError::Corrupt { .. })));
    assert!(!bench.to().exists());
}
