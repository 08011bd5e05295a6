//! A connection, server or disk that fails in the middle of `headstart clone`, at many places: one clear error, nothing left
//! behind, and the next run works.

use std::fs;

use headstart_testkit::{Fault, GitHttpServer, On, Repository, TestEnv, fixtures};

use crate::{
    machine,
    support::{SmallDisk, assert_sound, names},
};

/// A machine with a repository of some size at its root.
fn with_origin() -> TestEnv {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 100, 50);
    env
}

/// Bytes of the largest answer with a pack in a clone that nothing disturbs.
fn largest_answer(env: &TestEnv) -> u64 {
    let server = GitHttpServer::start(env.root());
    assert!(is_cloned(env, &server, "undisturbed"));
    let answers = server.requests();
    let packs = answers.iter().filter(|request| request.is_fetch());
    packs.map(|request| request.sent_bytes).max().unwrap()
}

/// Clones and cleans up. True for a sound clone, false for one clear error that left nothing; panics at anything else.
#[track_caller]
fn is_cloned(env: &TestEnv, server: &GitHttpServer, what: &str) -> bool {
    let run = env.run(["clone", &server.url("mono.git"), "ours"]);
    if run.status().success() {
        assert_eq!(names(&env.work()), ["ours"], "{what}");
        assert_sound(&Repository::at(env.path("ours")));
        fs::remove_dir_all(env.path("ours")).unwrap();
        return true;
    }
    assert_eq!(names(&env.work()), [""; 0], "{what}: {run:?}");
    assert_eq!(run.status().code(), Some(1), "{what}: {run:?}");
    let said = run.stderr();
    let errors = said.lines().filter(|line| line.starts_with("error")).count();
    assert!(errors == 1 && !said.contains("panicked"), "{what}: {said}");
    false
}

/// Numbers below `limit`, as good as random and the same in every run.
fn places(limit: u64) -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..20).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    })
}

/// A server that passes its packs through a shell script, which finds the command that makes the pack in its arguments.
fn server_with_hook(env: &TestEnv, script: &str) -> GitHttpServer {
    let folder = Repository::at(env.root().join("hook"));
    folder.write_executable("hook", format!("#!/bin/sh\nexport LC_ALL=C\n{script}\n"));
    GitHttpServer::builder(env.root())
        .setting(
            "uploadpack.packObjectsHook",
            folder.path().join("hook").to_str().unwrap(),
        )
        .start()
}

#[test]
fn a_connection_cut_at_any_byte() {
    let env = with_origin();
    let server = GitHttpServer::start(env.root());
    for place in places(largest_answer(&env)) {
        server.fail(On::Fetch, Fault::CutAfter(place));
        assert!(
            !is_cloned(&env, &server, &format!("cut after {place}")),
            "cut after {place} of the bytes"
        );
        server.heal();
    }
    assert!(is_cloned(&env, &server, "afterwards"));
}

#[test]
fn a_server_that_fails_inside_a_pack() {
    let env = with_origin();
    for status in [0, 1] {
        for bytes in [0, 5, 12, 40, 1000, 10_000] {
            let script = format!("\"$@\" | head -c {bytes}\nexit {status}");
            let server = server_with_hook(&env, &script);
            assert!(
                !is_cloned(&env, &server, &script),
                "{bytes} bytes of a pack were enough"
            );
        }
    }
    // Says so in the end, when everything has been sent.
    let server = server_with_hook(&env, "\"$@\"\necho no more memory >&2\nexit 1");
    assert!(!is_cloned(&env, &server, "an error after the pack"));
}

#[test]
fn a_pack_with_one_wrong_byte() {
    let env = with_origin();
    let in_header = [0, 4, 7, 8, 11, 12];
    // Some of the answer is not the pack.
    let in_body = places(largest_answer(&env) * 9 / 10);
    for place in in_header.into_iter().chain(in_body) {
        let script =
            format!("\"$@\" | {{ head -c {place}; head -c 1 | tr '\\000-\\377' '\\001-\\377\\000'; cat; }}");
        let server = server_with_hook(&env, &script);
        assert!(!is_cloned(&env, &server, &script), "byte {place} went unnoticed");
    }
}

#[test]
fn a_disk_that_fills_up_sooner_or_later() {
    let env = machine();
    fixtures::rich(env.root().join("rich.git"));
    let server = GitHttpServer::start(env.root());
    let mut fitted = false;
    for options in [
        "size=40k",
        "size=200k",
        "size=600k",
        "size=1m",
        "nr_inodes=20",
        "nr_inodes=80",
        "size=20m",
    ] {
        let name = options.replace('=', "-");
        let Some(disk) = SmallDisk::new(&env, &name, options) else {
            return;
        };
        let command = env
            .headstart()
            .args(["clone", &server.url("rich.git")])
            .arg(disk.path().join("ours"));
        let run = disk.mounted_for(command).run();
        fitted = run.status().success();
        if !fitted {
            // Ours say that the disk is full; git's, when it is git that meets it first, what the system calls it.
            assert!(
                run.stderr().contains("full") || run.stderr().contains("No space left"),
                "{options}: {run:?}"
            );
            let _ = run.code(1);
            assert_eq!(disk.leftovers(), [""; 0], "{options}");
        }
    }
    assert!(fitted, "20 MiB are enough");
}
