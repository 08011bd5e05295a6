//! Trees that are mounted. Where that is not allowed, only what comes instead is tested.

use std::{fs, path::PathBuf, sync::atomic::Ordering};

use rustix::mount::UnmountFlags;

use super::{
    super::{staging, tests::populate},
    *,
};
use crate::{
    SaveOptions, SaveOutcome, Saved, dir_handles, save,
    testing::{Bench, chmod, manifest, noise, touch, write},
};

/// A bench that mounts below `to`, and leaves nothing mounted.
struct Mounting(Bench);

impl Mounting {
    /// `None`, after saying why, where nothing can be mounted.
    fn new() -> Option<Self> {
        let mounting = Mounting::new_anyway();
        write(mounting.0.from().join("d/probe"), "x");
        mounting.0.save("probe", &["d"]);
        let restored = mounting.0.restore("probe");
        if let Some(warning) = restored.warnings.first() {
            eprintln!("skipped: {warning}");
            return None;
        }
        unmount(&mounting.tree()).unwrap();
        fs::remove_dir_all(mounting.0.from().join("d")).unwrap();
        Some(mounting)
    }

    fn new_anyway() -> Self {
        let mut bench = Bench::new();
        bench.images = Some(bench.temp.path().join("images"));
        Mounting(bench)
    }

    fn tree(&self) -> PathBuf {
        self.0.to().join("d")
    }

    fn images(&self) -> Vec<String> {
        let listed = fs::read_dir(self.0.images.as_ref().unwrap()).unwrap();
        let mut names: Vec<_> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Saves the mounted tree.
    fn save_again(&self, key: &str) -> Saved {
        let options = SaveOptions {
            root: self.0.to(),
            ..self.0.save_options(key, &["d"])
        };
        let bench = &self.0;
        match save(
            &*bench.store,
            None,
            &bench.runtime,
            &options,
            &crate::NoProgress,
            &bench.interrupt,
        )
        .unwrap()
        {
            SaveOutcome::Saved(saved) => saved,
            SaveOutcome::KeyExists(_) => panic!("{key} exists"),
        }
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        while rustix::mount::unmount(self.tree(), UnmountFlags::DETACH).is_ok() {}
    }
}

#[test]
fn a_mounted_tree_is_what_was_saved() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    populate(&bench.from());
    for number in 0..3000 {
        write(
            bench
                .from()
                .join(format!("d/many/{number}-{}", "n".repeat(number % 240))),
            "same",
        );
    }
    let twice = noise(3 << 20, 7);
    write(bench.from().join("d/many/noise"), &twice);
    write(bench.from().join("d/many/noise again"), &twice[1000..]);
    bench.save("k", &["d"]);
    let mounted = bench.restore("k");
    let original = manifest(&bench.from().join("d"));
    assert_eq!(mounted.files_mounted, original.len() as u64);
    assert_eq!(mounted.files_written, 0);
    assert_eq!(original, manifest(&mounting.tree()));
    assert_eq!(
        fs::read_dir(bench.to()).unwrap().count(),
        1,
        "nothing is beside the tree"
    );
}

#[test]
fn changes_are_kept_apart_and_go_with_the_mount() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    populate(&bench.from());
    bench.save("k", &["d"]);
    let first = bench.restore("k");
    let tree = mounting.tree();
    fs::write(tree.join("private"), "mine").unwrap();
    fs::rename(tree.join("readonly"), tree.join("renamed")).unwrap();
    fs::remove_dir_all(tree.join("\u{f6}")).unwrap();
    assert_eq!(fs::read(tree.join("renamed/file")).unwrap(), b"x");
    unmount(&tree).unwrap();
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
    let second = bench.restore("k");
    assert!(
        second.fetched_bytes < first.fetched_bytes / 100,
        "only the snapshot: the image was there"
    );
    assert_eq!(manifest(&bench.from().join("d")), manifest(&tree));
}

#[test]
fn another_snapshot_takes_the_place_of_a_mounted_one() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    write(bench.from().join("d/file"), "one");
    bench.save("one", &["d"]);
    write(bench.from().join("d/file"), "the other");
    bench.save("other", &["d"]);
    bench.restore("one");
    fs::write(mounting.tree().join("mine"), "goes").unwrap();
    let open = fs::File::open(mounting.tree().join("file")).unwrap();
    let in_use = bench.restore("other");
    assert!(matches!(&in_use.warnings[..], [Warning::NotMounted { reason }] if reason == "d is in use"));
    assert_eq!(
        manifest(&bench.from().join("d")),
        manifest(&mounting.tree()),
        "restored in place"
    );
    drop(open);
    let mounted = bench.restore("other");
    assert_eq!((mounted.warnings, mounted.files_mounted), (vec![], 2));
    assert_eq!(manifest(&bench.from().join("d")), manifest(&mounting.tree()));
}

#[test]
fn a_tree_that_is_gone_is_no_miss() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    write(bench.from().join("d/file"), "one");
    bench.save("one", &["d"]);
    write(bench.from().join("d/file"), "the other");
    let other = bench.save("other", &["d"]).snapshot;
    bench.restore("one");
    // One in which the folder to be shown is missing.
    let path = bench.images.as_ref().unwrap().join(other.to_string());
    let image = fs::File::create(path).unwrap();
    let nothing = crate::Tree::default();
    let layout = Layout::new(&nothing).unwrap();
    layout.write_head(image::owner(), &image).unwrap();
    bench.store.corrupt_ranges.store(true, Ordering::SeqCst);
    let error = bench.try_restore("other", &[]).unwrap_err();
    assert!(!error.is_like_a_miss(), "{error}");
    assert_eq!(fs::read_dir(mounting.tree()).unwrap().count(), 0);
}

#[test]
fn several_roots_are_mounted_from_one_image() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    for root in ["a/deep/d", "b", "d"] {
        write(bench.from().join(root).join("file"), root);
    }
    bench.save("k", &["a/deep/d", "b", "d"]);
    let mounted = bench.restore("k");
    assert_eq!(mounted.files_mounted, 6);
    for root in ["a/deep/d", "b", "d"] {
        let tree = bench.to().join(root);
        assert_eq!(manifest(&bench.from().join(root)), manifest(&tree));
        unmount(&tree).unwrap();
    }
    assert_eq!(mounting.images().len(), 2, "and that of the probe");
}

#[test]
fn a_mounted_tree_can_be_saved() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    populate(&bench.from());
    let saved = bench.save("k", &["d"]);
    bench.restore("k");
    assert_eq!(mounting.save_again("again").snapshot, saved.snapshot);
    write(mounting.tree().join("new"), "new");
    assert_ne!(mounting.save_again("changed").snapshot, saved.snapshot);
}

#[test]
fn files_of_two_images_are_not_taken_for_the_same() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    let save = |key: &str| {
        write(bench.from().join("d/file"), key);
        // A time that tools make up, the same for every content.
        touch(bench.from().join("d/file"), 499_162_500, 0);
        touch(bench.from().join("d"), 499_162_500, 0);
        bench.save(key, &["d"]).snapshot
    };
    let snapshots = [save("one"), save("two")];
    for (key, snapshot) in ["one", "two"].into_iter().zip(snapshots) {
        bench.restore(key);
        assert_eq!(mounting.save_again(&format!("{key} again")).snapshot, snapshot);
        unmount(&mounting.tree()).unwrap();
    }
}

#[test]
fn a_file_that_an_image_lies_in_may_go() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    populate(&bench.from());
    bench.save("k", &["d"]);
    bench.restore("k");
    fs::remove_dir_all(bench.images.as_ref().unwrap()).unwrap();
    assert_eq!(manifest(&bench.from().join("d")), manifest(&mounting.tree()));
}

#[test]
fn what_is_no_mounted_tree_is_not_unmounted() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path().join("d/.headstart-mount-1-0/upper/x"), "stays");
    for path in [temp.path().join("d"), "/".into(), "/proc".into()] {
        assert!(
            matches!(unmount(&path), Err(UnmountError::NotMounted { .. })),
            "{}",
            path.display()
        );
    }
    assert!(temp.path().join("d/.headstart-mount-1-0/upper/x").exists());
}

#[test]
fn a_link_to_a_mounted_tree_is_called_a_link() {
    let temp = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/proc", temp.path().join("link")).unwrap();
    let error = unmount(&temp.path().join("link")).unwrap_err();
    assert!(matches!(error, UnmountError::Link { .. }), "{error}");
}

#[test]
fn changes_to_a_mounted_tree_are_no_debris() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    write(bench.from().join("d/file"), "content");
    bench.save("k", &["d"]);
    fs::create_dir_all(mounting.tree()).unwrap();
    // As one finds the folder who comes just before the tree is shown.
    let parent = dir_handles::open_base(&bench.to()).unwrap();
    let folder = dir_handles::open_base(&mounting.tree()).unwrap();
    assert_eq!(bench.restore("k").files_mounted, 2);
    write(mounting.tree().join("mine"), "stays");
    staging::remove_debris(&folder).unwrap();
    unmount::remove_changes(&folder, &parent, b"d").unwrap();
    drop(folder);
    assert_eq!(fs::read(mounting.tree().join("mine")).unwrap(), b"stays");
    unmount(&mounting.tree()).unwrap();
    assert_eq!(fs::read_dir(mounting.tree()).unwrap().count(), 0);
}

#[test]
fn changes_to_a_tree_are_neither_saved_nor_removed_where_it_is_not_seen() {
    let bench = Bench::new();
    let changes = "d/.headstart-mount-1-0/upper/x";
    write(bench.from().join("d/file"), "content");
    write(bench.from().join(changes), "not saved");
    bench.save("k", &["d"]);
    bench.restore("k");
    assert_eq!(manifest(&bench.to().join("d")).len(), 2);
    write(bench.to().join(changes), "stays");
    write(bench.to().join("d/mine"), "goes");
    bench.restore("k");
    assert!(bench.to().join(changes).exists());
    assert!(!bench.to().join("d/mine").exists());
}

#[test]
fn what_cannot_be_mounted_is_restored() {
    let mounting = Mounting::new_anyway();
    let bench = &mounting.0;
    write(bench.from().join("d/file"), "content");
    write(bench.from().join("file"), "root");
    bench.save("folder", &["d"]);
    bench.save("file", &["file"]);
    write(bench.to().join("d/mine"), "goes");
    let restored = bench.restore("folder");
    assert_eq!((restored.files_written, restored.files_mounted), (2, 0));
    assert!(matches!(&restored.warnings[..], [Warning::NotMounted { reason }] if reason == "d is not empty"));
    assert_eq!(manifest(&bench.from().join("d")), manifest(&mounting.tree()));
    let restored = bench.restore("file");
    assert!(
        matches!(&restored.warnings[..], [Warning::NotMounted { reason }] if reason == "file is not a folder")
    );
    assert!(bench.to().join("file").exists());
}

#[test]
fn a_folder_that_somebody_else_has_locked_is_not_waited_for_forever() {
    let mounting = Mounting::new_anyway();
    let bench = &mounting.0;
    write(bench.from().join("d/file"), "content");
    bench.save("k", &["d"]);
    fs::create_dir_all(mounting.tree()).unwrap();
    let folder = dir_handles::open_base(&mounting.tree()).unwrap();
    assert!(lock::lock(&folder).unwrap());
    let restored = bench.restore("k");
    assert!(matches!(&restored.warnings[..], [Warning::NotMounted { reason }] if reason == "d is in use"));
    assert_eq!(manifest(&bench.from().join("d")), manifest(&mounting.tree()));
}

#[test]
fn images_where_others_may_write_are_not_believed() {
    let mounting = Mounting::new_anyway();
    let bench = &mounting.0;
    let images = bench.images.as_ref().unwrap();
    write(bench.from().join("d/file"), "content");
    let snapshot = bench.save("k", &["d"]).snapshot;
    write(images.join(snapshot.to_string()), "planted");
    for mode in [0o720, 0o702] {
        chmod(images, mode);
        let restored = bench.restore("k");
        assert_eq!(restored.files_mounted, 0);
        let Some(Warning::NotMounted { reason }) = restored.warnings.first() else {
            panic!("{restored:?}");
        };
        assert!(reason.starts_with("others may write to "), "{reason}");
        fs::remove_dir_all(bench.to()).unwrap();
    }
}

#[test]
fn damage_and_interruption_leave_nothing() {
    let Some(mounting) = Mounting::new() else { return };
    let bench = &mounting.0;
    fs::remove_dir_all(bench.to()).unwrap();
    populate(&bench.from());
    bench.save("k", &["d"]);
    let images = mounting.images();
    bench.store.corrupt_ranges.store(true, Ordering::SeqCst);
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(error.is_like_a_miss(), "{error}");
    bench.store.corrupt_ranges.store(false, Ordering::SeqCst);
    bench.interrupt.store(true, Ordering::SeqCst);
    let error = bench.try_restore("k", &[]).unwrap_err();
    assert!(matches!(error, RestoreError::Interrupted), "{error}");
    assert_eq!(fs::read_dir(bench.to()).unwrap().count(), 0);
    assert_eq!(mounting.images(), images);
}
