//! `headstart restore --mount` and `headstart unmount`. Mounting takes root and Linux 6.15: elsewhere only what comes
//! instead is tested.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use headstart_testkit::{Headstart, Manifest, Signal, TestEnv, skipped};

use crate::{
    machine,
    support::{assert_store_is_sound, many_files, names, odd_tree},
};

/// A machine with a tree saved under `k`, and nothing mounted when it is gone.
struct Mounts {
    env: TestEnv,
    tree: Manifest,
}

impl Mounts {
    fn new(populate: impl Fn(&Path)) -> Self {
        let env = machine();
        populate(&env.path("tree"));
        let _ = env.run(["save", "--key", "k", "tree"]).success();
        let tree = Manifest::of(env.path("tree"));
        Mounts { env, tree }
    }

    /// The same where trees can be mounted; `None`, after saying why, elsewhere.
    fn where_allowed(populate: impl Fn(&Path)) -> Option<Self> {
        let mounts = Mounts::new(populate);
        let run = mounts.restore("probe").run().success();
        if run.json()["files_mounted"] == 0 {
            skipped(run.stderr().trim());
            return None;
        }
        let _ = mounts.env.run(["unmount", "probe/tree"]).success();
        fs::remove_dir_all(mounts.env.path("probe")).unwrap();
        fs::remove_dir_all(mounts.images()).unwrap();
        Some(mounts)
    }

    fn restore(&self, root: &str) -> Headstart<'_> {
        self.env
            .headstart()
            .args(["restore", "--mount", "--json", "--key", "k", "--root", root])
    }

    fn images(&self) -> PathBuf {
        self.env.store().join("v1/images")
    }

    /// Paths of all images and of what writers left.
    fn image_files(&self) -> Vec<PathBuf> {
        let boots = fs::read_dir(self.images()).into_iter().flatten();
        let files = boots.flat_map(|boot| fs::read_dir(boot.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Evicts until all are gone: what was used within this second stays.
    fn evict_images(&self) {
        while !self.image_files().is_empty() {
            let _ = self.env.run(["cache", "gc", "--grace", "0s"]).success();
        }
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let work = self.env.work();
        for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(path).starts_with(&work) {
                let _ = Command::new("umount").args(["-l", path]).status();
            }
        }
    }
}

#[test]
fn a_tree_is_mounted_changed_saved_and_unmounted() {
    let Some(mounts) = Mounts::where_allowed(odd_tree) else {
        return;
    };
    let env = &mounts.env;
    let first = mounts.restore("out").run().success();
    assert_eq!(first.stderr(), "");
    assert_eq!(first.json()["files_mounted"], mounts.tree.nodes().len());
    mounts.tree.assert_same(&Manifest::of(env.path("out/tree")));
    assert_eq!(names(&env.path("out")), ["tree"]);

    fs::write(env.path("out/tree/empty"), "no more").unwrap();
    fs::rename(env.path("out/tree/empty-folder"), env.path("out/tree/renamed")).unwrap();
    let changed = Manifest::of(env.path("out/tree"));
    let _ = env
        .run(["save", "--key", "changed", "--root", "out", "tree"])
        .success();
    let _ = env
        .run(["unmount", "out/tree"])
        .success()
        .says("Unmounted out/tree");
    assert_eq!(names(&env.path("out/tree")), [""; 0]);
    let _ = env
        .run(["restore", "--key", "changed", "--root", "copy"])
        .success();
    changed.assert_same(&Manifest::of(env.path("copy/tree")));

    let again = mounts.restore("out").run().success();
    assert_eq!(again.json()["files_mounted"], mounts.tree.nodes().len());
    mounts.tree.assert_same(&Manifest::of(env.path("out/tree")));
    assert_store_is_sound(env);
}

#[test]
fn an_ordinary_restore_puts_a_mounted_tree_right_in_place() {
    let Some(mounts) = Mounts::where_allowed(odd_tree) else {
        return;
    };
    let env = &mounts.env;
    let _ = mounts.restore("out").run().success();
    fs::write(env.path("out/tree/empty"), "no more").unwrap();
    fs::write(env.path("out/tree/mine"), "goes").unwrap();
    let _ = env.run(["restore", "--key", "k", "--root", "out"]).success();
    mounts.tree.assert_same(&Manifest::of(env.path("out/tree")));
}

#[test]
fn an_eviction_takes_images_and_leaves_what_is_mounted() {
    let Some(mounts) = Mounts::where_allowed(|root| many_files(root, 100)) else {
        return;
    };
    let env = &mounts.env;
    let _ = mounts.restore("out").run().success();
    assert_eq!(mounts.image_files().len(), 1);
    let _ = env.run(["cache", "gc"]).success();
    assert_eq!(mounts.image_files().len(), 1, "it was used just now");
    mounts.evict_images();
    drop_caches();
    mounts.tree.assert_same(&Manifest::of(env.path("out/tree")));
}

/// So that the kernel has to read the image again. Fails where that is not allowed.
fn drop_caches() {
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
}

#[test]
fn a_mount_that_is_stopped_or_killed_is_made_by_the_next_one() {
    let Some(mounts) = Mounts::where_allowed(|root| many_files(root, 4000)) else {
        return;
    };
    let env = &mounts.env;
    for (number, signal) in [Signal::KILL, Signal::INT, Signal::TERM, Signal::KILL]
        .into_iter()
        .enumerate()
    {
        let out = format!("out-{number}");
        let images = || mounts.image_files().len();
        let before = images();
        let mut run = mounts.restore(&out).start();
        run.wait_until(|| images() > before);
        run.signal(signal);
        let run = run.wait();
        if signal != Signal::KILL && !run.status().success() {
            let _ = run.code(130);
            assert_eq!(names(&env.path(&out)), [""; 0], "nothing is left");
        }
        let _ = mounts.restore(&out).run().success();
        mounts
            .tree
            .assert_same(&Manifest::of(env.path(format!("{out}/tree"))));
        let _ = env.run(["unmount", &format!("{out}/tree")]).success();
        fs::remove_dir_all(env.path(&out)).unwrap();
        fs::remove_dir_all(mounts.images()).unwrap();
    }
}

#[test]
fn two_at_once_leave_one_whole_tree() {
    let Some(mounts) = Mounts::where_allowed(|root| many_files(root, 2000)) else {
        return;
    };
    let env = &mounts.env;
    let runs = [mounts.restore("out").start(), mounts.restore("out").start()];
    for run in runs {
        let _ = run.wait().success();
    }
    mounts.tree.assert_same(&Manifest::of(env.path("out/tree")));
}

#[test]
fn a_store_without_room_for_the_image_restores() {
    let Some(mounts) = Mounts::where_allowed(|root| many_files(root, 1000)) else {
        return;
    };
    // No file may be larger than a mebibyte.
    let script = "ulimit -f 2048; trap '' XFSZ; exec \"$0\" \"$@\"";
    let run = mounts
        .restore("out")
        .through(["sh", "-c", script])
        .run()
        .success();
    let _ = run.says("restored instead of mounted").says("File too large");
    mounts
        .tree
        .assert_same(&Manifest::of(mounts.env.path("out/tree")));
    assert_eq!(mounts.image_files().len(), 0);
}

#[test]
fn who_may_not_mount_restores() {
    let mounts = Mounts::new(odd_tree);
    let run = mounts.restore("out").through([
        "setpriv",
        "--bounding-set",
        "-sys_admin",
        "--inh-caps",
        "-sys_admin",
    ]);
    let run = run.run().success();
    if run.stderr().contains("only root may mount") {
        assert_eq!(run.json()["files_mounted"], 0);
    } else {
        skipped(&format!(
            "setpriv does not take rights away here: {}",
            run.stderr()
        ));
    }
    mounts
        .tree
        .assert_same(&Manifest::of(mounts.env.path("out/tree")));
    assert_eq!(mounts.image_files().len(), 0, "no image was written in vain");
}

#[test]
fn what_is_left_after_a_reboot_goes() {
    let Some(mounts) = Mounts::where_allowed(odd_tree) else {
        return;
    };
    let env = &mounts.env;
    let layers = env.path("out/tree/.headstart-mount-1-0");
    fs::create_dir_all(layers.join("upper")).unwrap();
    fs::write(layers.join("upper/mine"), "of a tree that was mounted").unwrap();
    let old = mounts.images().join("another-boot/image");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "").unwrap();
    let _ = mounts.restore("out").run().success();
    let _ = env.run(["unmount", "out/tree"]).success();
    assert_eq!(names(&env.path("out/tree")), [""; 0]);
    mounts.evict_images();
    assert!(!old.exists());
}

#[test]
fn what_is_not_mounted_is_not_unmounted() {
    let env = machine();
    fs::create_dir(env.path("d")).unwrap();
    let _ = env
        .run(["unmount", "d"])
        .code(1)
        .says("no snapshot is mounted at d");
    let _ = env.run(["unmount", "gone"]).code(1).says("gone");
    std::os::unix::fs::symlink("d", env.path("link")).unwrap();
    let _ = env.run(["unmount", "link"]).code(1).says("link is a link");
}
