//! Stores that fail, and restores that are stopped: the tree stays as it was.

use std::sync::atomic::Ordering;

use super::*;
use crate::{PruneStore as _, testing::noise};

#[test]
fn corrupt_packs_leave_the_tree_as_it_was() {
    let bench = Bench::new();
    populate(&bench.from());
    bench.save("k", &["d"]);
    write(bench.to().join("d/mine"), "untouched");
    chmod(bench.to().join("d"), 0o555);
    touch(bench.to().join("d"), 1000, 7);
    touch(bench.to(), 1000, 8);
    let before = manifest(&bench.to());
    bench.store.corrupt_ranges.store(true, Ordering::SeqCst);
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(
        matches!(error, RestoreError::Store(StoreError::Corrupt { .. })),
        "{error:?}"
    );
    assert!(error.is_like_a_miss());
    assert_eq!(before, manifest(&bench.to()));
}

#[test]
fn a_store_that_fails_at_any_call_leaves_nothing_half_published() {
    let bench = Bench::new();
    write(bench.from().join("a/b/d/file"), noise(2 << 20, 3));
    write(bench.from().join("e"), noise(2 << 20, 4));
    bench.save("k", &["a/b/d", "e"]);
    std::fs::create_dir_all(bench.to().join("a")).unwrap();
    touch(bench.to().join("a"), 1000, 7);
    touch(bench.to(), 1000, 8);
    let before = manifest(&bench.to());
    for nth in 1.. {
        bench.store.fail_at(nth);
        match bench.try_restore("k", &[]) {
            Ok(_) => break,
            Err(error) => {
                assert!(error.is_like_a_miss(), "{error:?}");
                assert_eq!(manifest(&bench.to()), before, "call {nth} left something");
            }
        }
    }
    assert_eq!(manifest(&bench.from()).len(), manifest(&bench.to()).len());
}

#[test]
fn missing_packs_and_snapshots_are_told() {
    let bench = Bench::new();
    write(bench.from().join("d"), "x");
    bench.save("k", &["d"]);
    for kind in [crate::ContentKind::Pack, crate::ContentKind::Snapshot] {
        let listed = bench
            .runtime
            .block_on(bench.store.inner.list_content(kind))
            .unwrap();
        for (id, ..) in listed {
            bench.runtime.block_on(bench.store.inner.delete(id)).unwrap();
        }
        let error = bench.try_restore("k", &[]).unwrap_err();
        assert!(
            matches!(&error, RestoreError::Store(error) if error.is_missing()),
            "{error:?}"
        );
    }
}

#[test]
fn an_interrupt_leaves_nothing() {
    let bench = Bench::new();
    populate(&bench.from());
    bench.save("k", &["d"]);
    bench.interrupt.store(true, Ordering::Relaxed);
    assert!(matches!(
        bench.try_restore("k", &[]),
        Err(RestoreError::Interrupted)
    ));
    assert!(!bench.to().exists());
}
