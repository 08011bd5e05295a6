//! Ctrl-C and `kill -9` at any moment: nothing half-done is visible, and the next run works.

use std::{fs, path::Path};

use headstart_testkit::{Fault, GitHttpServer, Manifest, On, Repository, Signal, TestEnv, fixtures};

use crate::{
    machine,
    support::{assert_sound, assert_store_is_sound, many_files, names},
};

/// Moments of a clone: where the server falls silent, so that the client waits at exactly that point.
const CLONE_MOMENTS: &[(On, u64)] = &[
    (On::Number(0), 0),
    (On::Number(1), 0),
    (On::Number(1), 40),
    (On::Fetch, 0),
    (On::Fetch, 10),
    (On::Fetch, 2000),
    (On::Fetch, 20_000),
    (On::Fetch, 60_000),
];

fn served() -> (TestEnv, GitHttpServer) {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 300, 100);
    let server = GitHttpServer::start(env.root());
    (env, server)
}

#[test]
fn a_clone_that_is_stopped_leaves_nothing() {
    let (env, server) = served();
    for (number, &(on, bytes)) in CLONE_MOMENTS.iter().enumerate() {
        // Requests are numbered for the life of a server.
        let server = GitHttpServer::start(env.root());
        server.fail(on, Fault::StallAfter(bytes));
        let run = env
            .headstart()
            .args(["clone", &server.url("mono.git"), "ours"])
            .start();
        server.wait_for_stalls(1);
        run.signal(if number % 2 == 0 {
            Signal::INT
        } else {
            Signal::TERM
        });
        let _ = run.wait().code(130);
        assert_eq!(names(&env.work()), [""; 0], "stopped at {on:?}, {bytes}");
    }
    let _ = env.run(["clone", &server.url("mono.git"), "ours"]).success();
    assert_sound(&Repository::at(env.path("ours")));
}

#[test]
fn a_clone_that_is_killed_is_never_taken_for_a_whole_one() {
    let (env, server) = served();
    for &(on, bytes) in CLONE_MOMENTS {
        let server = GitHttpServer::start(env.root());
        server.fail(on, Fault::StallAfter(bytes));
        let run = env
            .headstart()
            .args(["clone", &server.url("mono.git"), "ours"])
            .start();
        server.wait_for_stalls(1);
        let _ = run.kill().killed_by(Signal::KILL);
        assert!(!env.path("ours").exists(), "killed at {on:?}, {bytes}");
    }
    let _ = env.run(["clone", &server.url("mono.git"), "ours"]).success();
    assert_eq!(names(&env.work()), ["ours"], "the debris of killed runs is gone");
    assert_sound(&Repository::at(env.path("ours")));
}

#[test]
fn a_clone_that_is_killed_while_it_writes_files() {
    let (env, server) = served();
    let url = server.url("mono.git");
    for files in [1, 50, 400, 1100] {
        let mut run = env.headstart().args(["clone", &url, "ours"]).start();
        let work = env.work();
        // It may be quicker than we look.
        if run.wait_until(|| count_files(&work) >= files) {
            let _ = run.kill();
        }
        if env.path("ours").exists() {
            assert_sound(&Repository::at(env.path("ours")));
            fs::remove_dir_all(env.path("ours")).unwrap();
        }
    }
    let _ = env.run(["clone", &url, "ours"]).success();
    assert_eq!(names(&env.work()), ["ours"]);
    assert_sound(&Repository::at(env.path("ours")));
}

#[test]
fn a_save_that_is_stopped_or_killed_saves_nothing_and_harms_nothing() {
    let env = machine();
    many_files(&env.path("tree"), 6000);
    let tree = Manifest::of(env.path("tree"));
    for (round, signal) in [
        Signal::KILL,
        Signal::INT,
        Signal::KILL,
        Signal::KILL,
        Signal::TERM,
        Signal::KILL,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("round-{round}");
        let mut run = env.headstart().args(["save", "--key", &key, "tree"]).start();
        let store = env.store();
        let before = bytes_below(&store);
        // A little later in every round: as soon as it starts, and after each further half mebibyte.
        let reached =
            run.wait_until(|| store.exists() && bytes_below(&store) >= before + (round as u64) * 512 * 1024);
        run.signal(signal);
        let run = run.wait();
        if reached && signal != Signal::KILL && !run.status().success() {
            let _ = run.code(130);
        }
        let _ = env.run(["save", "--key", &key, "tree"]).success();
        assert_store_is_sound(&env);
    }
    for round in 0..6 {
        let folder = format!("restored-{round}");
        let _ = env
            .run([
                "restore",
                "--fail-on-miss",
                "--key",
                &format!("round-{round}"),
                "--root",
                &folder,
            ])
            .success();
        tree.assert_same(&Manifest::of(env.path(folder).join("tree")));
    }
}

#[test]
fn a_restore_that_is_stopped_or_killed_is_finished_by_the_next_one() {
    let env = machine();
    many_files(&env.path("tree"), 4000);
    let tree = Manifest::of(env.path("tree"));
    let _ = env.run(["save", "--key", "k", "tree"]).success();
    for link in ["copy", "hardlink"] {
        for (files, signal) in [
            (1, Signal::KILL),
            (100, Signal::INT),
            (1000, Signal::KILL),
            (2500, Signal::TERM),
            (3900, Signal::KILL),
        ] {
            let folder = format!("restored-{link}-{files}");
            fs::create_dir(env.path(&folder)).unwrap();
            let command = || {
                env.headstart()
                    .args(["restore", "--key", "k", "--link", link, "--root", &folder])
            };
            let mut run = command().start();
            let root = env.path(&folder);
            let reached = run.wait_until(|| count_files(&root) >= files);
            run.signal(signal);
            let run = run.wait();
            if reached && signal != Signal::KILL && !run.status().success() {
                let _ = run.code(130);
            }
            let _ = command().run().success();
            let restored = Manifest::of(root.join("tree"));
            // Linked files have their twins in the pool, outside the tree.
            tree.assert_same(&restored);
            assert_eq!(names(&root), ["tree"]);
        }
    }
    assert_store_is_sound(&env);
}

#[test]
fn an_archive_of_an_image_that_is_stopped_leaves_nothing() {
    for kind in ["oci-archive", "docker-archive"] {
        let env = machine();
        fs::create_dir(env.path("app")).unwrap();
        let file = fs::File::create(env.path("app/large")).unwrap();
        file.set_len(300_000_000).unwrap();
        let output = format!("{kind}:image.tar:v1");
        let args = ["layers", "build", "--base", "scratch", "--layer", "app=app:/app"];
        let build = || {
            let command = env.headstart().args(args);
            command.args(["--compression", "none", "--output", &output])
        };
        // The layer is there, and its bytes are on their way into the archive.
        let mut run = build().start();
        let work = env.path("");
        let is_half_written = || {
            let entries = fs::read_dir(&work).unwrap().flatten();
            let mut files = entries.filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file));
            files.any(|file| (10_000_000..200_000_000).contains(&file.len()))
        };
        assert!(run.wait_until(is_half_written), "{kind}");
        run.signal(Signal::INT);
        let _ = run.wait().code(130);
        assert_eq!(names(&env.path("")), ["app"], "{kind}");
        let _ = build().run().success();
        assert_eq!(names(&env.path("")), ["app", "image.tar"], "{kind}");
    }
}

fn count_files(folder: &Path) -> usize {
    walk(folder).len()
}

fn bytes_below(folder: &Path) -> u64 {
    walk(folder).iter().sum()
}

/// Sizes of the files below a folder that may change meanwhile.
fn walk(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut sizes = Vec::new();
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sizes.extend(walk(&entry.path())),
            Ok(meta) => sizes.push(meta.len()),
            Err(_) => {}
        }
    }
    sizes
}
