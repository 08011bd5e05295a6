//! What a save stores, and what it does not.

use std::{path::Path, sync::atomic::Ordering};

use super::*;
use crate::{
    ContentId, ContentKind, NoProgress, PruneStore as _, SpecialKind, Step,
    testing::{Bench, noise, write},
};

mod meddling;

fn content(bench: &Bench, kind: ContentKind) -> Vec<(ContentId, u64)> {
    let listed = bench
        .runtime
        .block_on(bench.store.inner.list_content(kind))
        .unwrap();
    listed.into_iter().map(|(id, bytes, _)| (id, bytes)).collect()
}

#[test]
fn the_same_tree_gives_the_same_snapshot() {
    let bench = Bench::new();
    for n in 0..40 {
        write(bench.from().join(format!("d/{n}")), noise(100_000, n));
    }
    let one = bench.save("one", &["d"]);
    let two = bench.save("two", &["d"]);
    assert_eq!(one.snapshot, two.snapshot);
    assert_eq!((two.new_chunk_bytes, two.stored_bytes), (0, 0));
    let elsewhere = Bench::new();
    std::fs::rename(bench.from().join("d"), elsewhere.from().join("d")).unwrap();
    assert_eq!(elsewhere.save("one", &["d"]).snapshot, one.snapshot);
}

#[test]
fn an_existing_key_is_left_alone() {
    let bench = Bench::new();
    write(bench.from().join("d"), "one");
    let saved = bench.save("k", &["d"]);
    write(bench.from().join("d"), "two");
    let SaveOutcome::KeyExists(entry) = bench.try_save("k", &["d"]).unwrap() else {
        panic!("it was overwritten");
    };
    assert_eq!(entry.snapshot, saved.snapshot);
    assert_eq!(content(&bench, ContentKind::Snapshot).len(), 1);
}

#[test]
fn a_small_change_stores_little() {
    let bench = Bench::new();
    for n in 0..60 {
        write(bench.from().join(format!("d/{n}")), noise(200_000, n));
    }
    bench.save("npm-one", &["d"]);
    write(bench.from().join("d/30"), noise(200_000, 99));
    let second = bench.save("npm-two", &["d"]);
    assert!(second.new_chunk_bytes < 1 << 20, "{second:?}");
    assert_eq!(second.new_chunk_bytes + second.reused_bytes, second.content_bytes);
}

#[test]
fn content_that_repeats_is_stored_once() {
    let bench = Bench::new();
    let body = noise(3 << 20, 1);
    for n in 0..4 {
        write(bench.from().join(format!("d/{n}")), &body);
    }
    let saved = bench.save("k", &["d"]);
    assert!(saved.stored_bytes < 5 << 20, "{saved:?}");
}

#[test]
fn packs_that_are_gone_are_stored_again() {
    let bench = Bench::new();
    for n in 0..30 {
        write(bench.from().join(format!("d/{n}")), noise(1_000_000, n));
    }
    bench.save("k-one", &["d"]);
    let (pack, _) = content(&bench, ContentKind::Pack)[0];
    bench.runtime.block_on(bench.store.inner.delete(pack)).unwrap();
    let second = bench.save("k-two", &["d"]);
    assert!(
        second.new_chunk_bytes > 0 && second.reused_bytes > 0,
        "{second:?}"
    );
    bench.restore("k-two");
    assert_eq!(
        std::fs::read(bench.to().join("d/7")).unwrap(),
        noise(1_000_000, 7)
    );
}

#[test]
fn what_is_no_file_folder_or_link_is_left_out_and_told() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    let _socket = std::os::unix::net::UnixListener::bind(bench.from().join("d/socket")).unwrap();
    let saved = bench.save("k", &["d"]);
    let [
        Warning::Special {
            path,
            kind: SpecialKind::Socket,
        },
    ] = &saved.warnings[..]
    else {
        panic!("{:?}", saved.warnings);
    };
    assert_eq!(path.as_path(), Path::new("d/socket"));
    assert_eq!(saved.files, 1);
}

#[test]
fn a_path_that_is_missing_or_behind_a_symlink_is_an_error() {
    let bench = Bench::new();
    write(bench.from().join("real/file"), "x");
    std::os::unix::fs::symlink("real", bench.from().join("link")).unwrap();
    assert!(matches!(
        bench.try_save("k", &["nowhere"]),
        Err(SaveError::NotFound { .. })
    ));
    assert!(matches!(
        bench.try_save("k", &["real/file/x"]),
        Err(SaveError::NotFound { .. })
    ));
    assert!(matches!(
        bench.try_save("k", &["link/file"]),
        Err(SaveError::BehindSymlink { .. })
    ));
    bench.save("link", &["link"]);
}

#[test]
fn a_store_that_fails_at_any_call_gets_no_entry() {
    for nth in 1.. {
        let bench = Bench::new();
        write(bench.from().join("d/file"), noise(100_000, 1));
        bench.store.fail_at(nth);
        let outcome = bench.try_save("k", &["d"]);
        bench.store.fail_at(0);
        let name = EntryName::new("test".parse().unwrap(), "k").unwrap();
        let entry = bench.runtime.block_on(bench.store.inner.read_entry(&name));
        match (&outcome, &entry) {
            // Looking for an older snapshot may fail; that costs nothing but bytes.
            (Ok(_), Ok(_)) if nth > 4 => break,
            (Ok(_), Ok(_)) | (Err(SaveError::Store(_)), Err(StoreError::Missing { .. })) => {}
            _ => panic!("call {nth}: {outcome:?}, {entry:?}"),
        }
    }
}

#[test]
fn an_interrupt_leaves_no_entry() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    bench.interrupt.store(true, Ordering::Relaxed);
    assert!(matches!(bench.try_save("k", &["d"]), Err(SaveError::Interrupted)));
    assert!(content(&bench, ContentKind::Snapshot).is_empty());
}

#[test]
fn nested_and_repeated_paths_are_saved_once() {
    let bench = Bench::new();
    write(bench.from().join("d/e/file"), "x");
    assert_eq!(bench.save("k", &["d/e", "d", "d"]).files, 1);
}

#[test]
fn the_store_below_the_saved_tree_is_left_out() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    write(bench.from().join("d/store/entry"), "x");
    write(bench.from().join("d/store2/entry"), "x");
    std::os::unix::fs::symlink("from", bench.temp.path().join("link")).unwrap();
    let mut options = bench.save_options("k", &["d"]);
    options.root = bench.temp.path().join("link");
    options.leave_out = Some(bench.from().canonicalize().unwrap().join("d/store"));
    save(
        &*bench.store,
        None,
        &bench.runtime,
        &options,
        &NoProgress,
        &bench.interrupt,
    )
    .unwrap();
    bench.restore("k");
    assert!(bench.to().join("d/file").exists() && bench.to().join("d/store2/entry").exists());
    assert!(!bench.to().join("d/store").exists());
}
