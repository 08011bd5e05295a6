//! What a second save reads, and that it stores what is on disk all the same.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use headstart_digest::Digest;
use jiff::{Timestamp, ToSpan as _};

use crate::{
    ContentId, NoProgress, NodeKind, Progress, SaveOptions, SaveOutcome, Saved, Snapshot, Step,
    StoreExt as _, Warning, save,
    testing::{Bench, FaultStore, manifest, noise, touch, write},
};

/// Counts the bytes that are compared and that packs get, and tells whether files were read to be stored.
#[derive(Default)]
struct Reading {
    started: AtomicBool,
    compared: AtomicU64,
    stored: AtomicU64,
}

impl Progress for Reading {
    fn start(&self, step: Step, _total: Option<u64>) {
        if step == Step::Read {
            self.started.store(true, Ordering::Relaxed);
        }
    }
    fn advance(&self, step: Step, amount: u64) {
        match step {
            Step::Compare => self.compared.fetch_add(amount, Ordering::Relaxed),
            Step::Upload => self.stored.fetch_add(amount, Ordering::Relaxed),
            _ => 0,
        };
    }
    fn finish(&self, _step: Step) {}
    fn warn(&self, _warning: &Warning) {}
}

/// Long after the files were written: what was seen of them is settled.
fn later() -> Timestamp {
    Timestamp::now() + 1.hour()
}

fn save_at(bench: &Bench, key: &str, now: Timestamp, progress: &dyn Progress) -> Saved {
    let options = SaveOptions {
        now,
        ..bench.save_options(key, &["d"])
    };
    match save(
        &*bench.store,
        None,
        &bench.runtime,
        &options,
        progress,
        &bench.interrupt,
    )
    .unwrap()
    {
        SaveOutcome::Saved(saved) => saved,
        SaveOutcome::KeyExists(entry) => panic!("{key} exists: {entry:?}"),
    }
}

/// 24 MB in some 300 files, small and large.
fn fill(folder: &Path) {
    for n in 0..300 {
        write(
            folder.join(format!("{:02}/{n}", n % 20)),
            noise(30_000 + 37 * n, n as u64),
        );
    }
    write(folder.join("05/large"), noise(14 << 20, 1000));
    write(folder.join("empty"), "");
    std::fs::hard_link(folder.join("03/3"), folder.join("04/other name")).unwrap();
}

fn assert_restores(bench: &Bench, key: &str) {
    bench.restore(key);
    assert_eq!(
        manifest(&bench.from().join("d")),
        manifest(&bench.to().join("d")),
        "{key}"
    );
}

#[test]
fn an_unchanged_tree_is_not_read_again() {
    let bench = Bench::new();
    fill(&bench.from().join("d"));
    let one = save_at(&bench, "one", later(), &NoProgress);
    let reading = Reading::default();
    let two = save_at(&bench, "two", later(), &reading);
    assert!(!reading.started.load(Ordering::Relaxed), "it was read");
    assert_eq!(reading.compared.load(Ordering::Relaxed), 0);
    assert_eq!(
        (one.snapshot, one.files, one.content_bytes),
        (two.snapshot, two.files, two.content_bytes)
    );
    assert_eq!((two.stored_bytes, two.reused_bytes), (0, two.content_bytes));
    assert_restores(&bench, "two");
}

#[test]
fn a_folder_that_does_not_change_is_not_forgotten_before_others() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    save_at(&bench, "one", later(), &NoProgress);
    let folder = bench.temp.path().join("stat-cache");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    touch(&file, 1000, 0);
    save_at(&bench, "two", later(), &NoProgress);
    let age = std::fs::metadata(&file).unwrap().modified().unwrap().elapsed();
    assert!(age.unwrap().as_secs() < 60);
}

#[test]
fn of_a_changed_tree_only_the_change_is_read_and_all_is_restored() {
    let bench = Bench::new();
    let folder = bench.from().join("d");
    fill(&folder);
    save_at(&bench, "0", later(), &NoProgress);
    let edits: [(&str, &dyn Fn()); 8] = [
        ("a file changed, same length", &|| {
            write(folder.join("01/21"), noise(30_000 + 37 * 21, 7777))
        }),
        ("its first neighbour grew", &|| {
            write(folder.join("00/0"), noise(70_000, 4))
        }),
        ("the last one went", &|| {
            std::fs::remove_file(folder.join("19/99")).unwrap()
        }),
        ("one came", &|| write(folder.join("10/new"), noise(5000, 5))),
        ("one was renamed", &|| {
            std::fs::rename(folder.join("12/12"), folder.join("12/zz")).unwrap()
        }),
        ("a time was set", &|| touch(folder.join("07/7"), 1000, 0)),
        ("a folder became a file", &|| {
            std::fs::remove_dir_all(folder.join("15")).unwrap();
            write(folder.join("15"), "a file");
        }),
        ("the large one was cut", &|| {
            write(folder.join("05/large"), noise(9 << 20, 1000))
        }),
    ];
    for (number, (edit, change)) in (1..).zip(edits) {
        change();
        let reading = Reading::default();
        let saved = save_at(&bench, &number.to_string(), later(), &reading);
        let stored = reading.stored.load(Ordering::Relaxed);
        assert!(stored < 3 << 20, "{edit}: {stored} bytes were stored");
        assert_eq!(
            saved.reused_bytes + saved.new_chunk_bytes,
            saved.content_bytes,
            "{edit}"
        );
        assert_restores(&bench, &number.to_string());
    }
}

#[test]
fn a_change_in_the_same_tick_is_seen() {
    let bench = Bench::new();
    let folder = bench.from().join("d");
    fill(&folder);
    // All files are younger than this save: nothing about them is settled.
    let early = Timestamp::now() - 1.hour();
    save_at(&bench, "one", early, &NoProgress);
    let reading = Reading::default();
    let two = save_at(&bench, "two", early, &reading);
    let compared = reading.compared.load(Ordering::Relaxed);
    assert_eq!(
        (two.content_bytes - compared, two.stored_bytes),
        // Of the file with two names, the second is not compared.
        (0, 0),
        "stat data of the last moment was trusted"
    );
}

/// As after an install from nothing: other inodes, other times.
#[test]
fn a_tree_made_anew_is_compared_with_the_last_snapshot_and_only_the_change_is_stored() {
    let bench = Bench::new();
    let folder = bench.from().join("d");
    fill(&folder);
    save_at(&bench, "key-one", later(), &NoProgress);
    std::fs::remove_dir_all(&folder).unwrap();
    fill(&folder);
    // As long as it was, so that only its content tells.
    write(folder.join("01/21"), noise(30_000 + 37 * 21, 7777));
    std::fs::remove_file(folder.join("02/2")).unwrap();
    let reading = Reading::default();
    let two = save_at(&bench, "key-two", later(), &reading);
    let stored = reading.stored.load(Ordering::Relaxed);
    assert!(stored < 2 << 20, "{stored} bytes were stored");
    assert_eq!(two.reused_bytes + two.new_chunk_bytes, two.content_bytes);
    assert_restores(&bench, "key-two");

    // What was compared is known from then on.
    let reading = Reading::default();
    save_at(&bench, "key-two-again", later(), &reading);
    assert_eq!(reading.compared.load(Ordering::Relaxed), 0);

    // The same files with other times are another tree, of which nothing is stored but the listing.
    touch(folder.join("03/3"), 1000, 5);
    let reading = Reading::default();
    let three = save_at(&bench, "key-three", later(), &reading);
    assert_eq!(reading.stored.load(Ordering::Relaxed), 0);
    assert_ne!(three.snapshot, two.snapshot);
    assert_restores(&bench, "key-three");
}

#[test]
fn a_snapshot_with_attributes_does_not_stand_for_a_tree_saved_without() {
    let mut bench = Bench::new();
    let file = bench.from().join("d/file");
    write(&file, noise(3 << 20, 1));
    rustix::fs::setxattr(&file, "user.test", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    bench.xattrs = crate::Xattrs::Keep;
    let one = save_at(&bench, "one", later(), &NoProgress);
    bench.xattrs = crate::Xattrs::Drop;
    let two = save_at(&bench, "two", later(), &NoProgress);
    assert_ne!(one.snapshot, two.snapshot);
    assert_eq!(two.new_chunk_bytes, 0);
}

#[test]
fn a_change_that_sets_the_time_back_is_seen() {
    let bench = Bench::new();
    let file = bench.from().join("d/file");
    write(&file, noise(3 << 20, 1));
    touch(&file, 1000, 5);
    save_at(&bench, "one", later(), &NoProgress);
    write(&file, noise(3 << 20, 2));
    touch(&file, 1000, 5);
    save_at(&bench, "two", later(), &NoProgress);
    assert_restores(&bench, "two");
}

#[test]
fn packs_that_are_gone_are_made_again() {
    let bench = Bench::new();
    fill(&bench.from().join("d"));
    save_at(&bench, "one", later(), &NoProgress);
    remove_packs(&bench.store, &bench);
    write(bench.from().join("d/new"), "new");
    save_at(&bench, "two", later(), &NoProgress);
    assert_restores(&bench, "two");
    remove_packs(&bench.store, &bench);
    save_at(&bench, "three", later(), &NoProgress);
    assert_restores(&bench, "three");
}

fn remove_packs(store: &FaultStore, bench: &Bench) {
    use crate::{ContentKind, PruneStore as _};
    let packs = bench
        .runtime
        .block_on(store.inner.list_content(ContentKind::Pack))
        .unwrap();
    for (id, ..) in packs {
        bench.runtime.block_on(store.inner.delete(id)).unwrap();
    }
}

#[test]
fn files_that_are_empty_now_have_the_digest_of_nothing() {
    let bench = Bench::new();
    let folder = bench.from().join("d");
    fill(&folder);
    write(folder.join("emptied later"), "something");
    save_at(&bench, "one", later(), &NoProgress);
    write(folder.join("new and empty"), "");
    write(folder.join("emptied later"), "");
    let saved = save_at(&bench, "two", later(), &NoProgress);
    let stored = bench
        .runtime
        .block_on(bench.store.read(ContentId::Snapshot(saved.snapshot)))
        .unwrap();
    let snapshot = Snapshot::parse(&stored).unwrap();
    let empty: Vec<Digest> = snapshot
        .tree()
        .nodes()
        .iter()
        .filter_map(|node| match node.kind {
            NodeKind::File {
                size_bytes: 0,
                digest,
            } => Some(digest),
            _ => None,
        })
        .collect();
    assert_eq!(empty, [Digest::of(b""); 3]);
}
