//! Saving and restoring, together: what comes back is what was there.

use std::{os::unix::ffi::OsStrExt as _, os::unix::fs::symlink, path::Path};

use headstart_digest::Digest;
use proptest::prelude::*;

use super::*;
use crate::{
    EntryName, NoProgress, NodeKind, PruneStore as _, StoreExt as _, Tree, save_only,
    testing::{Bench, What, chmod, manifest, noise, touch, write},
};

/// A tree with one of everything.
pub(super) fn populate(root: &Path) {
    write(root.join("d/run"), "#!/bin/sh\n");
    chmod(root.join("d/run"), 0o755);
    write(root.join("d/private"), "secret");
    chmod(root.join("d/private"), 0o640);
    write(root.join("d/readonly/file"), "x");
    chmod(root.join("d/readonly/file"), 0o400);
    write(root.join("d/empty"), "");
    std::fs::create_dir_all(root.join("d/empty-folder")).unwrap();
    write(root.join("d/large"), noise(9 << 20, 1));
    write(root.join("d/even"), vec![0; 3 << 20]);
    std::fs::hard_link(root.join("d/large"), root.join("d/readonly/large too")).unwrap();
    std::fs::hard_link(root.join("d/run"), root.join("d/empty-hardlink")).unwrap();
    symlink("run", root.join("d/relative")).unwrap();
    symlink("/etc/passwd", root.join("d/absolute")).unwrap();
    symlink("../../nowhere/at/all", root.join("d/dangling")).unwrap();
    write(
        root.join("d").join(std::ffi::OsStr::from_bytes(b"caf\xe9 \xff")),
        "bytes",
    );
    write(root.join("d/\u{f6}/-rf *\n"), "odd");
    touch(root.join("d/run"), 1_600_000_000, 123_456_789);
    touch(root.join("d/empty"), -86_400, 999_999_999);
    touch(root.join("d/private"), 4_000_000_000, 1);
    touch(root.join("d/dangling"), 7, 8);
    chmod(root.join("d/readonly"), 0o2555);
    touch(root.join("d/readonly"), 1, 2);
    chmod(root.join("d"), 0o1750);
    touch(root.join("d"), 1_000, 5);
}

#[test]
fn everything_comes_back_as_it_was() {
    let bench = Bench::new();
    populate(&bench.from());
    let saved = bench.save("k", &["d"]);
    let restored = bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
    assert_eq!(restored.lookup, Lookup::Exact);
    assert_eq!(restored.bytes_written, saved.content_bytes);
    assert_eq!(
        std::fs::read_dir(bench.to()).unwrap().count(),
        1,
        "debris was left"
    );
}

#[test]
fn a_second_restore_touches_nothing() {
    let bench = Bench::new();
    populate(&bench.from());
    bench.save("k", &["d"]);
    bench.restore("k");
    let again = bench.restore("k");
    assert_eq!((again.files_written, again.files_removed), (0, 0));
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
}

#[test]
fn whole_seconds_do_not_stand_for_the_content() {
    let bench = Bench::new();
    let tree = |root: &Path, version: &str| {
        write(root.join("d/lib/v"), version);
        write(root.join("d/same"), "same");
        std::fs::hard_link(root.join("d/lib/v"), root.join("d/other name")).unwrap();
        for path in ["d/lib/v", "d/same", "d/lib", "d"] {
            touch(root.join(path), 456_789_000, 0);
        }
    };
    tree(&bench.from(), "v=1.2.3");
    tree(&bench.to(), "v=1.2.4");
    bench.save("k", &["d"]);
    let restored = bench.restore("k");
    assert_eq!(std::fs::read(bench.to().join("d/lib/v")).unwrap(), b"v=1.2.3");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
    // The file and its other name; not the folders, nor the file that is the same.
    assert_eq!((restored.files_written, restored.files_kept), (2, 3));
    assert_eq!(bench.restore("k").files_written, 0, "what is right is kept");
}

#[test]
fn where_only_times_and_modes_differ_nothing_is_written() {
    let bench = Bench::new();
    let fill = |root: &Path, seconds: i64| {
        for name in ["a", "b/c", "b/e", "linked", "edited"] {
            write(root.join("d").join(name), format!("{name} here"));
            touch(root.join("d").join(name), seconds, 5);
        }
    };
    fill(&bench.from(), 1000);
    chmod(bench.from().join("d/b/c"), 0o755);
    bench.save("k", &["d"]);
    fill(&bench.to(), 2000);
    let d = bench.to().join("d");
    let outside = bench.to().join("outside");
    std::fs::hard_link(d.join("linked"), &outside).unwrap();
    write(d.join("edited"), "edited too!");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = ["a", "b/c", "b/e"].map(|name| inode(&d.join(name)));
    let seen_outside = || {
        (
            std::os::unix::fs::MetadataExt::mtime(&outside.metadata().unwrap()),
            std::fs::read(&outside).unwrap(),
        )
    };
    let outside_before = seen_outside();

    let restored = bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&d));
    assert_eq!(before, ["a", "b/c", "b/e"].map(|name| inode(&d.join(name))));
    assert_eq!(
        restored.bytes_written,
        ("linked here".len() + "edited here".len()) as u64
    );
    assert_eq!(
        seen_outside(),
        outside_before,
        "somebody else's name of a file was touched"
    );
    assert_eq!(bench.restore("k").files_written, 0);
}

#[test]
fn an_existing_tree_is_brought_in_line_and_its_neighbours_are_left_alone() {
    let bench = Bench::new();
    populate(&bench.from());
    bench.save("k", &["d"]);
    bench.restore("k");
    let d = bench.to().join("d");
    let outside = bench.to().join("outside");
    write(&outside, "mine");
    std::fs::hard_link(d.join("private"), bench.to().join("linked")).unwrap();
    write(d.join("private"), "edited");
    write(d.join("extra/deep/file"), "extra");
    std::fs::remove_file(d.join("run")).unwrap();
    std::fs::remove_file(d.join("relative")).unwrap();
    write(d.join("relative/now a folder"), "x");
    std::fs::remove_dir(d.join("empty-folder")).unwrap();
    symlink(&outside, d.join("empty-folder")).unwrap();
    std::fs::remove_file(d.join("large")).unwrap();
    symlink(&outside, d.join("large")).unwrap();
    let restored = bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&d));
    assert_eq!(
        std::fs::read(&outside).unwrap(),
        b"mine",
        "a link was written through"
    );
    assert_eq!(
        std::fs::read(bench.to().join("linked")).unwrap(),
        b"edited",
        "another name of the file was written through"
    );
    // extra, extra/deep, extra/deep/file, and what was in `relative`.
    assert_eq!(restored.files_removed, 4);
    assert_eq!(bench.restore("k").files_written, 0);
}

#[test]
fn files_links_and_the_folder_itself_can_be_roots() {
    let bench = Bench::new();
    populate(&bench.from());
    let paths = ["d/run", "d/dangling", "d/readonly", "d/empty-hardlink"];
    bench.save("parts", &paths);
    bench.restore("parts");
    let (from, to) = (manifest(&bench.from()), manifest(&bench.to()));
    for path in paths {
        let path = Path::new(path);
        assert_eq!(from[path].mode, to[path].mode);
        assert_eq!(from[path].mtime, to[path].mtime);
    }
    assert_eq!(to.len(), 8, "{to:#?}");

    bench.save("all", &[""]);
    bench.restore("all");
    assert_eq!(manifest(&bench.from()), manifest(&bench.to()));
    bench.restore("all");
    assert_eq!(manifest(&bench.from()), manifest(&bench.to()));
}

#[test]
fn paths_longer_than_the_system_takes_are_kept() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let bench = Bench::new();
    let name = "n".repeat(200);
    let open = |folder: &std::os::fd::OwnedFd| {
        openat(
            folder,
            name.as_str(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
    };
    std::fs::create_dir(bench.from().join("d")).unwrap();
    let mut folder = crate::dir_handles::open_base(&bench.from().join("d")).unwrap();
    for _ in 0..100 {
        mkdirat(&folder, name.as_str(), Mode::RWXU).unwrap();
        folder = open(&folder).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    rustix::io::write(openat(&folder, "deep", flags, Mode::RWXU).unwrap(), b"down here").unwrap();
    assert_eq!(bench.save("k", &["d"]).files, 1);
    assert_eq!(bench.restore("k").files_written, 102);
    assert_eq!(bench.restore("k").files_written, 0);
    let mut folder = crate::dir_handles::open_base(&bench.to().join("d")).unwrap();
    for _ in 0..100 {
        folder = open(&folder).unwrap();
    }
    let file = openat(&folder, "deep", OFlags::RDONLY, Mode::empty()).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(rustix::io::read(&file, &mut bytes).unwrap(), 9);
    // What tests usually clean up with cannot.
    for tree in [bench.from(), bench.to()] {
        let base = crate::dir_handles::open_base(&tree).unwrap();
        staging::remove_tree(&base, b"d").unwrap();
    }
}

#[test]
fn attributes_are_kept_when_asked() {
    let mut bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    let set = |path: &Path| {
        rustix::fs::setxattr(path, "user.note", b"kept", rustix::fs::XattrFlags::empty()).is_ok()
    };
    if !set(&bench.from().join("d/file")) || !set(&bench.from().join("d")) {
        return;
    }
    bench.xattrs = Xattrs::Keep;
    bench.save("k", &["d"]);
    bench.restore("k");
    for path in ["d", "d/file"] {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(bench.to().join(path), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
}

#[test]
fn set_user_id_is_not_handed_out() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    chmod(bench.from().join("d/file"), 0o6755);
    bench.save("k", &["d"]);
    bench.restore("k");
    assert_eq!(manifest(&bench.to())[Path::new("d/file")].mode, 0o755);
    assert_eq!(bench.restore("k").files_written, 0);
}

#[test]
fn restore_keys_are_tried_in_order_after_the_exact_key() {
    let bench = Bench::new();
    write(bench.from().join("d"), "x");
    bench.save("npm-a", &["d"]);
    let matched = |key: &str, restore_keys: &[&str]| match bench.try_restore(key, restore_keys).unwrap() {
        RestoreOutcome::Restored(restored) => Some(restored.lookup),
        RestoreOutcome::Miss => None,
    };
    let found = Lookup::RestoreKey { key: "npm-a".into() };
    assert_eq!(matched("npm-a", &[]), Some(Lookup::Exact));
    assert_eq!(matched("npm-b", &["yarn-", "npm-"]), Some(found));
    assert_eq!(matched("npm-b", &["yarn-"]), None);
    assert_eq!(matched("", &[]), None);
}

#[test]
fn linked_files_come_from_the_pool_and_an_edited_one_does_not() {
    use std::os::unix::fs::MetadataExt as _;
    let mut bench = Bench::new();
    bench.link = LinkMode::Hardlink;
    populate(&bench.from());
    bench.save("k", &["d"]);
    assert_eq!(bench.restore("k").files_linked, 0);
    let first = std::fs::metadata(bench.to().join("d/run")).unwrap().ino();
    std::fs::rename(bench.to(), bench.temp.path().join("elsewhere")).unwrap();
    let second = bench.restore("k");
    assert_eq!(second.bytes_written, 0, "all bodies are linked");
    assert!(second.files_linked >= 6);
    assert_eq!(std::fs::metadata(bench.to().join("d/run")).unwrap().ino(), first);
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));

    write(bench.to().join("d/run"), "edited in place");
    std::fs::remove_dir_all(bench.to()).unwrap();
    bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
    assert_ne!(std::fs::metadata(bench.to().join("d/run")).unwrap().ino(), first);
}

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
    let stored = bytes::Bytes::from(lying.encode().unwrap());
    let id = SnapshotId::of(&stored);
    let name = EntryName::new("test".parse().unwrap(), key).unwrap();
    let entry = crate::conformance::sample_entry(ContentId::Snapshot(id));
    bench
        .runtime
        .block_on(async {
            bench.store.write_bytes(ContentId::Snapshot(id), stored).await?;
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
fn corrupt_packs_leave_the_tree_as_it_was() {
    let bench = Bench::new();
    populate(&bench.from());
    bench.save("k", &["d"]);
    write(bench.to().join("d/mine"), "untouched");
    chmod(bench.to().join("d"), 0o555);
    touch(bench.to().join("d"), 1000, 7);
    touch(bench.to(), 1000, 8);
    let before = manifest(&bench.to());
    bench
        .store
        .corrupt_ranges
        .store(true, std::sync::atomic::Ordering::SeqCst);
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
    bench.interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(
        bench.try_restore("k", &[]),
        Err(RestoreError::Interrupted)
    ));
    assert!(!bench.to().exists());
}

#[test]
fn debris_of_killed_restores_goes_and_is_never_saved() {
    let bench = Bench::new();
    populate(&bench.from());
    write(bench.from().join("d/.headstart-restore-1-0/x/y"), "debris");
    let saved = bench.save("k", &["d"]);
    assert!(saved.warnings.is_empty());
    write(bench.to().join(".headstart-restore-1-0/x/y"), "debris");
    bench.restore("k");
    assert_eq!(std::fs::read_dir(bench.to()).unwrap().count(), 1);
    assert!(!bench.to().join("d/.headstart-restore-1-0").exists());
}

#[test]
fn a_symlink_above_a_root_is_not_followed() {
    let bench = Bench::new();
    write(bench.from().join("a/d/file"), "x");
    bench.save("k", &["a/d"]);
    let elsewhere = bench.temp.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::create_dir(bench.to()).unwrap();
    symlink(&elsewhere, bench.to().join("a")).unwrap();
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(
        matches!(&error, RestoreError::InTheWay { path, .. } if path.to_string() == "a"),
        "{error:?}"
    );
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_root_that_is_something_else_on_disk_is_replaced() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    write(bench.from().join("f"), "y");
    bench.save("k", &["d", "f"]);
    std::fs::create_dir(bench.to()).unwrap();
    symlink("/nowhere", bench.to().join("d")).unwrap();
    write(bench.to().join("f/was/a/folder"), "z");
    bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
    assert_eq!(std::fs::read(bench.to().join("f")).unwrap(), b"y");
}

#[test]
fn hostile_snapshots_are_refused_whatever_they_are_called() {
    let bench = Bench::new();
    let stored = bytes::Bytes::from_static(b"hssnap01 this is no snapshot");
    let id = SnapshotId::of(&stored);
    let entry = Entry {
        schema: Entry::SCHEMA.to_owned(),
        snapshot: id,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        content_bytes: 0,
        files: 0,
        facts: Default::default(),
    };
    let name = EntryName::new("test".parse().unwrap(), "k").unwrap();
    bench
        .runtime
        .block_on(async {
            bench.store.write_bytes(ContentId::Snapshot(id), stored).await?;
            bench.store.create_entry(&name, &entry).await
        })
        .unwrap();
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(matches!(error, RestoreError::Store(StoreError::Corrupt { .. })));
    assert!(!bench.to().exists());
}

#[derive(Debug, Clone)]
enum Planted {
    File(Vec<u8>, u32, i64),
    Folder(u32),
    Link(String),
    Hardlink(prop::sample::Index),
}

fn planted() -> impl Strategy<Value = (Vec<String>, Planted)> {
    let what = prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..200), 0o400u32..0o777, -5_000i64..5_000_000)
            .prop_map(|(body, mode, time)| Planted::File(body, mode | 0o400, time)),
        1 => (0o700u32..0o777).prop_map(Planted::Folder),
        1 => "[a-c/.]{1,6}".prop_map(Planted::Link),
        1 => any::<prop::sample::Index>().prop_map(Planted::Hardlink),
    ];
    (prop::collection::vec("[a-d]{1,2}", 1..4), what)
}

fn plant(root: &Path, tree: &[(Vec<String>, Planted)]) {
    let mut files = Vec::new();
    std::fs::create_dir_all(root).unwrap();
    for (names, what) in tree {
        let path = names.iter().fold(root.to_owned(), |path, name| path.join(name));
        // Names that collide with what is there already are left out.
        if std::fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match what {
            Planted::File(body, mode, time) => {
                write(&path, body);
                chmod(&path, *mode);
                touch(&path, *time, 17);
                files.push(path);
            }
            Planted::Folder(mode) => {
                std::fs::create_dir(&path).unwrap();
                chmod(&path, *mode);
            }
            Planted::Link(target) => symlink(target, &path).unwrap(),
            Planted::Hardlink(index) if !files.is_empty() => {
                std::fs::hard_link(index.get(&files), &path).unwrap();
            }
            Planted::Hardlink(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_tree_comes_back_over_any_other(
        one in prop::collection::vec(planted(), 0..20),
        other in prop::collection::vec(planted(), 0..20),
    ) {
        let bench = Bench::new();
        plant(&bench.from().join("d"), &one);
        plant(&bench.to().join("d"), &other);
        bench.save("k", &["d"]);
        bench.restore("k");
        prop_assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
        let again = bench.restore("k");
        prop_assert_eq!((again.files_written, again.files_removed, again.bytes_written), (0, 0, 0));
        let links = manifest(&bench.to());
        prop_assert!(links.values().all(|seen| seen.what != What::Other));
    }
}

#[test]
fn a_part_of_a_shared_folder_comes_back_beside_what_others_keep_there() {
    let bench = Bench::new();
    for name in [
        "pool/a/one",
        "pool/a/other",
        "pool/b/two/deep",
        "pool/b2",
        "pool/c/x",
    ] {
        write(bench.from().join(name), name);
        write(bench.to().join(name).with_extension("mine"), "mine");
    }
    let options = bench.save_options("k", &["pool"]);
    let only = ["pool/a/one", "pool/b"]
        .map(|path| RelPath::parse(path).unwrap())
        .into();
    save_only(
        &*bench.store,
        None,
        &bench.runtime,
        &options,
        &only,
        &NoProgress,
        &bench.interrupt,
    )
    .unwrap();
    let options = bench.restore_options("k", &[]);
    let restored = restore_beside(
        &*bench.store,
        &bench.runtime,
        &options,
        &NoProgress,
        &bench.interrupt,
    )
    .unwrap();
    let RestoreOutcome::Restored(restored) = restored else {
        panic!("it was saved");
    };
    assert_eq!(restored.files_removed, 0);
    let there = |name: &str| bench.to().join(name).exists();
    assert!(
        there("pool/a/one") && there("pool/b/two/deep"),
        "the part is back"
    );
    assert!(
        !there("pool/a/other") && !there("pool/b2"),
        "nothing but the part was saved"
    );
    assert!(there("pool/a/one.mine") && there("pool/b/two/deep.mine") && there("pool/c/x.mine"));
}

#[test]
fn a_folder_of_others_is_not_removed_for_a_file_of_the_part() {
    let bench = Bench::new();
    write(bench.from().join("pool/a"), "a file");
    bench.save("k", &["pool"]);
    write(bench.to().join("pool/a/mine"), "mine");
    let before = manifest(&bench.to());
    let options = bench.restore_options("k", &[]);
    let (store, runtime) = (&*bench.store, &bench.runtime);
    let error = restore_beside(store, runtime, &options, &NoProgress, &bench.interrupt).unwrap_err();
    assert!(
        matches!(&error, RestoreError::InTheWay { path, .. } if path.to_string() == "pool/a"),
        "{error}"
    );
    assert_eq!(manifest(&bench.to()), before);
}

#[test]
fn a_restore_over_the_store_is_refused_before_anything_is_touched() {
    let bench = Bench::new();
    write(bench.from().join("d/file"), "x");
    bench.save("folder", &["d"]);
    bench.save("all", &[""]);
    std::fs::create_dir(bench.to()).unwrap();
    symlink("to", bench.temp.path().join("link")).unwrap();
    let to = bench.to().canonicalize().unwrap();
    let restore_to = |root: &str, key: &str, store: &str| {
        let mut options = bench.restore_options(key, &[]);
        options.root = bench.temp.path().join(root);
        options.keep = Some(to.join(store));
        restore(
            &*bench.store,
            &bench.runtime,
            &options,
            &NoProgress,
            &bench.interrupt,
        )
    };
    for (root, key, store) in [
        ("to", "folder", "d"),
        ("link", "folder", "d/deep/store"),
        ("to", "all", "store"),
        ("link/store/new", "folder", "store"),
        ("", "all", "store"),
    ] {
        write(to.join(store).join("entry"), "store");
        let before = manifest(bench.temp.path());
        let error = restore_to(root, key, store).unwrap_err();
        assert!(matches!(error, RestoreError::InTheStore { .. }), "{error:?}");
        assert_eq!(manifest(bench.temp.path()), before);
        std::fs::remove_dir_all(&to).unwrap();
        std::fs::create_dir(&to).unwrap();
    }
    write(to.join("d2/entry"), "store");
    restore_to("link", "folder", "d2").unwrap();
    assert!(to.join("d2/entry").exists() && to.join("d/file").exists());
}
