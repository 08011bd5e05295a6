//! `headstart save` and `headstart restore`: what comes back is what was put in.

use std::{fs, os::unix::fs::symlink};

use headstart_testkit::{Manifest, TestEnv};

use crate::{
    machine,
    support::{SmallDisk, assert_store_is_sound, many_files, names, odd_tree},
};

/// A machine with the odd tree saved under `k`.
fn saved() -> (TestEnv, Manifest) {
    let env = machine();
    odd_tree(&env.path("tree"));
    let _ = env.run(["save", "--key", "k", "tree"]).success();
    let manifest = Manifest::of(env.path("tree"));
    (env, manifest)
}

#[test]
fn everything_comes_back_in_every_link_mode() {
    let (env, tree) = saved();
    for link in ["copy", "auto", "reflink", "hardlink", "hardlink"] {
        let folder = tempfile::tempdir_in(env.work()).unwrap();
        let _ = env
            .headstart()
            .args(["restore", "--key", "k", "--link", link, "--root"])
            .arg(folder.path())
            .run()
            .success();
        tree.assert_same(&Manifest::of(folder.path().join("tree")));
    }
    assert_store_is_sound(&env);
}

#[test]
fn a_key_is_written_once() {
    let (env, _) = saved();
    fs::write(env.path("tree/empty"), "no more").unwrap();
    let again = env.run(["save", "--json", "--key", "k", "tree"]).success();
    assert_eq!(again.json()["outcome"], "exists");
    let _ = env.run(["restore", "--key", "k", "--root", "out"]).success();
    assert_eq!(fs::read_to_string(env.path("out/tree/empty")).unwrap(), "");
}

#[test]
fn restoring_twice_writes_nothing_the_second_time() {
    let (env, tree) = saved();
    let restore = || {
        env.run([
            "restore", "--json", "--key", "k", "--link", "copy", "--root", "out",
        ])
        .success()
        .json()
    };
    assert!(restore()["files_written"].as_u64().unwrap() > 5);
    let second = restore();
    assert_eq!(second["files_written"], 0, "{second}");
    tree.assert_same(&Manifest::of(env.path("out/tree")));
}

#[test]
fn restoring_over_another_tree_makes_it_the_saved_one() {
    let (env, tree) = saved();
    let out = env.path("out/tree");
    fs::create_dir_all(out.join("deep/a")).unwrap();
    fs::write(out.join("deep/a/extra"), "goes").unwrap();
    fs::create_dir_all(out.join("empty/was/a/folder")).unwrap();
    fs::write(out.join("empty-folder"), "was a file").unwrap();
    symlink("/etc/passwd", out.join("script")).unwrap();
    fs::write(out.join("link"), "was a file").unwrap();
    fs::write(env.path("out/beside"), "stays").unwrap();
    let _ = env.run(["restore", "--key", "k", "--root", "out"]).success();
    tree.assert_same(&Manifest::of(&out));
    assert_eq!(names(&env.path("out")), ["beside", "tree"]);
}

#[test]
fn nothing_is_written_through_a_link_of_the_destination() {
    let (env, _) = saved();
    fs::create_dir(env.path("elsewhere")).unwrap();
    fs::create_dir(env.path("out")).unwrap();
    symlink("../elsewhere", env.path("out/tree")).unwrap();
    let _ = env.run(["restore", "--key", "k", "--root", "out"]);
    assert_eq!(names(&env.path("elsewhere")), [""; 0]);
}

#[test]
fn restore_keys_are_tried_in_order_and_the_newest_wins() {
    let env = machine();
    for (key, content) in [("deps-a-1", "a1"), ("deps-a-2", "a2"), ("deps-b-1", "b1")] {
        fs::create_dir_all(env.path("tree")).unwrap();
        fs::write(env.path("tree/file"), content).unwrap();
        let _ = env.run(["save", "--key", key, "tree"]).success();
    }
    for (restore_keys, outcome, matched, content) in [
        ([].as_slice(), "miss", None, None),
        (&["nope-"], "miss", None, None),
        (
            &["nope-", "deps-a-", "deps-"],
            "restore-key",
            Some("deps-a-2"),
            Some("a2"),
        ),
        (&["deps-"], "restore-key", Some("deps-b-1"), Some("b1")),
    ] {
        let out = tempfile::tempdir_in(env.work()).unwrap();
        let restore_keys = restore_keys.iter().flat_map(|key| ["--restore-key", key]);
        let run = env
            .headstart()
            .args(["restore", "--json", "--key", "deps-new", "--root"])
            .arg(out.path())
            .args(restore_keys);
        let report = run.run().success().json();
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(report["matched_key"].as_str(), matched);
        assert_eq!(
            fs::read_to_string(out.path().join("tree/file")).ok().as_deref(),
            content
        );
    }
    let _ = env
        .run(["restore", "--fail-on-miss", "--key", "deps-new"])
        .code(1)
        .says("deps-new");
}

#[test]
fn a_second_save_stores_only_what_changed() {
    let env = machine();
    many_files(&env.path("tree"), 3000);
    let first = env
        .run(["save", "--json", "--key", "first", "tree"])
        .success()
        .json();
    for name in ["file-1200.js", "file-1201.js"] {
        fs::write(env.path("tree/package-012").join(name), "bumped").unwrap();
    }
    let second = env
        .run(["save", "--json", "--key", "second", "tree"])
        .success()
        .json();
    let stored = [&first, &second].map(|report| report["stored_bytes"].as_u64().unwrap());
    assert!(stored[1] * 3 < stored[0], "{stored:?}");
    for (key, folder) in [("first", "one"), ("second", "two")] {
        let _ = env.run(["restore", "--key", key, "--root", folder]).success();
    }
    Manifest::of(env.path("tree")).assert_same(&Manifest::of(env.path("two/tree")));
    assert_ne!(
        fs::read_to_string(env.path("one/tree/package-012/file-1200.js")).unwrap(),
        "bumped"
    );
}

#[test]
fn paths_that_cannot_be_saved() {
    let env = machine();
    fs::create_dir(env.path("tree")).unwrap();
    for (path, code) in [("no-such", 1), ("../home", 2), ("/etc", 2)] {
        let _ = env.run(["save", "--key", "k", path]).code(code).says(path);
    }
    let _ = env.run(["save", "--key", "", "tree"]).code(2);
    let _ = env.run(["save", "--key", &"k".repeat(513), "tree"]).code(2);
    let _ = env.run(["restore", "--key", "k", "--fail-on-miss"]).code(1);
}

#[test]
fn odd_keys_are_keys() {
    let env = machine();
    for (number, key) in [
        "a b",
        "ключ",
        "../../etc/passwd",
        "a/b",
        "a",
        "a/b/c",
        "100%",
        "x\ny",
        "-",
        ".",
        &"k".repeat(512),
    ]
    .into_iter()
    .enumerate()
    {
        fs::create_dir_all(env.path("tree")).unwrap();
        fs::write(env.path("tree/file"), number.to_string()).unwrap();
        let saved = env
            .headstart()
            .args(["save", "--json", &format!("--key={key}"), "tree"])
            .run();
        if !saved.status().success() {
            // Refused in words is fine for control characters; anything else is not.
            assert!(key.contains('\n'), "{saved:?}");
            continue;
        }
        assert_eq!(saved.json()["outcome"], "saved", "{key:?}");
        let out = tempfile::tempdir_in(env.work()).unwrap();
        let _ = env
            .headstart()
            .args(["restore", &format!("--key={key}"), "--root"])
            .arg(out.path())
            .run()
            .success();
        assert_eq!(
            fs::read_to_string(out.path().join("tree/file")).unwrap(),
            number.to_string(),
            "{key:?}"
        );
    }
}

#[test]
fn a_corrupt_store_is_a_miss_and_a_report_and_heals() {
    for part in ["packs", "snapshots", "entries"] {
        let (env, tree) = saved();
        let mut damaged = 0;
        for file in files_below(&env.store()) {
            if file
                .strip_prefix(env.store())
                .unwrap()
                .to_string_lossy()
                .contains(part)
            {
                damage(&file);
                damaged += 1;
            }
        }
        assert!(damaged > 0, "the store has no {part}");
        let _ = env.run(["cache", "verify"]).code(1);
        let run = env.run(["restore", "--key", "k", "--root", "out"]);
        assert!(!run.stderr().contains("panicked"), "{run:?}");
        assert!(
            !run.status().success() || run.stderr().contains("miss") || run.stderr().contains("warning"),
            "{part}: {run:?}"
        );
        assert!(
            !env.path("out/tree/large").exists() || part == "entries",
            "{part}: wrong bytes were restored"
        );
        // The restore took what was damaged away, so the same key can be saved again.
        let _ = env.run(["cache", "verify"]).success();
        let saved = env.run(["save", "--json", "--key", "k", "tree"]).success().json();
        assert_eq!(saved["outcome"], "saved", "{part}");
        let _ = env
            .run(["restore", "--fail-on-miss", "--key", "k", "--root", "again"])
            .success();
        tree.assert_same(&Manifest::of(env.path("again/tree")));
    }
}

#[test]
fn a_full_disk_saves_nothing_and_says_so() {
    let env = machine();
    many_files(&env.path("tree"), 2000);
    let Some(disk) = SmallDisk::new(&env, "disk", "size=1m") else {
        return;
    };
    let command = env
        .headstart()
        .args(["save", "--key", "k", "tree", "--store"])
        .arg(disk.path().join("store"));
    let _ = disk.mounted_for(command).run().code(1).says("No space left");
    let entry_or_temporary = |path: &String| ["/entries/", "/tmp/"].iter().any(|part| path.contains(part));
    let left: Vec<_> = disk.leftovers().into_iter().filter(entry_or_temporary).collect();
    assert_eq!(left, [""; 0]);
    // What is left of it is sound.
    let script = "\"$@\"; \"$0\" cache verify --store \"$STORE\"";
    let command = env
        .headstart()
        .args(["save", "--key", "k", "tree", "--store"])
        .arg(disk.path().join("store"))
        .env("STORE", disk.path().join("store"));
    let both = disk
        .mounted_for(command)
        .through(["sh", "-c", script, env!("CARGO_BIN_EXE_headstart")]);
    let _ = both.run().success().says("No space left").prints("all clean");
}

#[test]
fn a_disk_that_fills_up_while_restoring_is_said_and_the_next_run_works() {
    let (env, tree) = saved();
    let Some(disk) = SmallDisk::new(&env, "disk", "size=1m") else {
        return;
    };
    let command = env
        .headstart()
        .args(["restore", "--key", "k", "--link", "copy", "--root"])
        .arg(disk.path());
    let _ = disk.mounted_for(command).run().code(1).says("No space left");
    assert_eq!(disk.leftovers(), [""; 0], "the destination was touched");
    let _ = env
        .run(["restore", "--fail-on-miss", "--key", "k", "--root", "out"])
        .success();
    tree.assert_same(&Manifest::of(env.path("out/tree")));
}

#[test]
fn a_read_only_store_restores_but_does_not_save() {
    let (env, tree) = saved();
    let Some(disk) = SmallDisk::new(&env, "disk", "ro") else {
        return;
    };
    let _ = disk
        .mounted_for(
            env.headstart()
                .args(["save", "--key", "new", "tree", "--store"])
                .arg(disk.path().join("store")),
        )
        .run()
        .code(1);
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" || exit 99; exec \"$@\"";
    let read_only = |command: headstart_testkit::Headstart<'_>| {
        command
            .through(["unshare", "-m", "sh", "-c", script])
            .through([env.store()])
            .run()
    };
    let _ = read_only(
        env.headstart()
            .args(["restore", "--fail-on-miss", "--key", "k", "--root", "out"]),
    )
    .success();
    tree.assert_same(&Manifest::of(env.path("out/tree")));
    let _ = read_only(env.headstart().args(["save", "--key", "new", "tree"]))
        .code(1)
        .says("store");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Flips one bit in the middle.
fn damage(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bytes = fs::read(file).unwrap();
    if bytes.is_empty() {
        return;
    }
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file, bytes).unwrap();
}
