//! Restores to where something is already.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::NoProgress;

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
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let before = ["a", "b/c", "b/e"].map(|name| inode(&d.join(name)));
    let seen_outside = || {
        (
            outside.metadata().unwrap().mtime(),
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
