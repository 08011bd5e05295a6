//! `--link reflink` and `auto` on a file system that shares blocks between files: XFS in an image file, which takes root.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use headstart_testkit::{Manifest, Run, TestEnv, skipped};

use crate::{
    machine,
    support::{many_files, odd_tree},
};

/// An XFS, mounted in the work folder for as long as this lives.
struct Xfs {
    mount_point: PathBuf,
}

impl Xfs {
    fn mount(env: &TestEnv) -> Option<Self> {
        let (image, mount_point) = (env.root().join("xfs.img"), env.path("xfs"));
        fs::create_dir(&mount_point).unwrap();
        // The smallest that mkfs.xfs makes, and of which nothing is written but what is used.
        let file = fs::File::create(&image).unwrap();
        file.set_len(512 << 20).unwrap();
        let [image, at] = [&image, &mount_point].map(|path| path.as_os_str());
        let options = ["-o", "loop"].map(OsStr::new);
        if run("mkfs.xfs", &[OsStr::new("-q"), image]) && run("mount", &[options[0], options[1], image, at]) {
            return Some(Xfs { mount_point });
        }
        skipped("an XFS needs root, mkfs.xfs (Debian: xfsprogs) and loop devices");
        None
    }

    fn free_bytes(&self) -> u64 {
        assert!(run("sync", &[OsStr::new("-f"), self.mount_point.as_os_str()]));
        let stat = rustix::fs::statvfs(&self.mount_point).unwrap();
        stat.f_bfree * stat.f_frsize
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        run("umount", &[OsStr::new("-l"), self.mount_point.as_os_str()]);
    }
}

fn run(program: &str, args: &[&OsStr]) -> bool {
    Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn restore(env: &TestEnv, link: &str, root: &Path) -> Run {
    env.headstart()
        .env("HEADSTART_STORE", env.path("xfs/store"))
        .args(["restore", "--json", "--key", "k", "--link", link, "--root"])
        .arg(root)
        .run()
        .success()
}

#[test]
fn restored_files_share_their_blocks_with_the_pool_until_they_are_edited() {
    let env = machine();
    let Some(xfs) = Xfs::mount(&env) else { return };
    odd_tree(&env.path("tree"));
    many_files(&env.path("tree/many"), 200);
    let large: Vec<u8> = (0..24u32 << 18)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .collect();
    fs::write(env.path("tree/large"), &large).unwrap();
    let saved = env
        .headstart()
        .env("HEADSTART_STORE", env.path("xfs/store"))
        .args(["save", "--key", "k", "tree"]);
    let _ = saved.run().success();
    let tree = Manifest::of(env.path("tree"));
    // Fills the pool.
    let _ = restore(&env, "reflink", &xfs.mount_point.join("first"));

    for link in ["reflink", "auto"] {
        let root = xfs.mount_point.join(link);
        let before = xfs.free_bytes();
        let json = restore(&env, link, &root).json();
        let taken = before.saturating_sub(xfs.free_bytes());
        assert!(taken < large.len() as u64 / 4, "{link} took {taken} bytes");
        assert!(json["files_linked"].as_u64().unwrap() > 200, "{json}");
        tree.assert_same(&Manifest::of(root.join("tree")));
        fs::write(root.join("tree/large"), "edited").unwrap();
    }
    let copied = xfs.mount_point.join("copied");
    let _ = restore(&env, "copy", &copied);
    let again = xfs.mount_point.join("again");
    let _ = restore(&env, "reflink", &again);
    for root in [copied, again] {
        tree.assert_same(&Manifest::of(root.join("tree")));
    }
    let _ = env
        .headstart()
        .env("HEADSTART_STORE", env.path("xfs/store"))
        .args(["cache", "verify"])
        .run()
        .success();
}
