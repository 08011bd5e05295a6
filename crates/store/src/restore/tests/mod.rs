//! Saving and restoring, together: what comes back is what was there.

mod any_tree;
mod beside;
mod failures;
mod lies;
mod over_existing;
mod pool;

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
};

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use super::*;
use crate::testing::{Bench, chmod, manifest, noise, touch, write};

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
    write(root.join("d").join(OsStr::from_bytes(b"caf\xe9 \xff")), "bytes");
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
