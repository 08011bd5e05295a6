//! What may go wrong with `headstart clone`: one clear error, nothing left behind, and the next run works.

use std::fs;

use headstart_testkit::{Fault, GitHttpServer, On, Repository, TestEnv, fixtures};

use crate::{
    machine,
    support::{SmallDisk, assert_sound, dead_address, names},
};

/// A machine with a repository of some size, and its server.
fn served() -> (TestEnv, GitHttpServer) {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 100, 50);
    let server = GitHttpServer::start(env.root());
    (env, server)
}

/// Panics unless the next clone works and leaves only itself.
#[track_caller]
fn assert_next_run_works(env: &TestEnv, url: &str) {
    let _ = env.run(["clone", url, "ours"]).success();
    assert_eq!(names(&env.work()), ["ours"]);
    assert_sound(&Repository::at(env.path("ours")));
}

#[test]
fn urls_that_lead_nowhere() {
    let (env, server) = served();
    let dead = dead_address();
    for (url, said) in [
        (server.url("no-such.git"), "no-such.git"),
        (format!("http://{dead}/mono.git"), dead.as_str()),
        (
            format!("file://{}/no-such.git", env.root().display()),
            "no-such.git",
        ),
        ("no/such/path".to_owned(), "no/such/path"),
        ("ftp://127.0.0.1/mono.git".to_owned(), "ftp"),
        ("http://".to_owned(), "http://"),
    ] {
        let run = env.run(["clone", &url, "ours"]).says("error").says(said);
        assert!([1, 2].contains(&run.status().code().unwrap()), "{url}: {run:?}");
        assert_eq!(names(&env.work()), [""; 0], "{url}");
    }
}

#[test]
fn answers_that_are_not_gits() {
    let (env, server) = served();
    let url = server.url("mono.git");
    for fault in [
        Fault::html(),
        Fault::status(403),
        Fault::status(404),
        Fault::status(429),
        Fault::status(500),
        Fault::status(503),
        Fault::CutAfter(0),
        Fault::CutAfter(10),
    ] {
        for on in [On::Discovery, On::Fetch] {
            server.fail(on, fault.clone());
            let run = env
                .run(["clone", &url, "ours"])
                .code(1)
                .says(&server.address().to_string());
            assert!(!run.stderr().contains("panicked"), "{run:?}");
            if let Fault::Answer { status, .. } = &fault
                && *status != 200
            {
                let _ = run.says(&status.to_string());
            }
            assert_eq!(names(&env.work()), [""; 0], "{on:?} {fault:?}");
            server.heal();
        }
    }
    assert_next_run_works(&env, &url);
}

#[test]
fn a_server_that_hangs_up_in_the_middle() {
    let (env, server) = served();
    let url = server.url("mono.git");
    for bytes in [100, 1000, 5000, 20_000] {
        server.fail(On::Fetch, Fault::CutAfter(bytes));
        let _ = env
            .run(["clone", &url, "ours"])
            .code(1)
            .says(&server.address().to_string());
        assert_eq!(names(&env.work()), [""; 0], "after {bytes} bytes");
        server.heal();
    }
    assert_next_run_works(&env, &url);
}

#[test]
fn a_destination_that_is_taken() {
    let (env, server) = served();
    let url = server.url("mono.git");
    fs::create_dir(env.path("ours")).unwrap();
    fs::write(env.path("ours/mine"), "mine").unwrap();
    fs::write(env.path("file"), "mine").unwrap();
    for taken in ["ours", "file"] {
        let _ = env.run(["clone", &url, taken]).code(1).says(taken).says("exists");
    }
    assert_eq!(names(&env.work()), ["file", "ours"]);
    assert_eq!(fs::read_to_string(env.path("ours/mine")).unwrap(), "mine");
    assert_eq!(
        server.requests().len(),
        0,
        "nothing needs to be asked before that is known"
    );
}

#[test]
fn a_branch_that_does_not_exist() {
    let (env, server) = served();
    let _ = env
        .run([
            "clone",
            "--branch",
            "no-such-branch",
            &server.url("mono.git"),
            "ours",
        ])
        .code(1)
        .says("no-such-branch");
    assert_eq!(names(&env.work()), [""; 0]);
}

#[test]
fn filters_that_are_none() {
    let env = machine();
    for filter in [
        "",
        "blob",
        "blob:some",
        "blob:limit=",
        "blob:limit=1x",
        "tree:",
        "tree:-1",
        "combine:",
        "sparse:path=x",
    ] {
        let _ = env
            .run(["clone", "--filter", filter, "http://127.0.0.1/x.git"])
            .code(2);
    }
}

#[test]
fn a_read_only_destination() {
    let (env, server) = served();
    let Some(disk) = SmallDisk::new(&env, "disk", "ro") else {
        return;
    };
    let command = env
        .headstart()
        .args(["clone", &server.url("mono.git")])
        .arg(disk.path().join("ours"));
    let _ = disk
        .mounted_for(command)
        .run()
        .code(1)
        .says("disk")
        .says("Read-only file system");
}

#[test]
fn a_full_disk() {
    let (env, server) = served();
    fixtures::rich(env.root().join("rich.git"));
    let Some(disk) = SmallDisk::new(&env, "disk", "size=600k") else {
        return;
    };
    let command = env
        .headstart()
        .args(["clone", &server.url("rich.git")])
        .arg(disk.path().join("ours"));
    let _ = disk.mounted_for(command).run().code(1).says("full");
    assert_eq!(disk.leftovers(), [""; 0]);
}

#[test]
fn a_sha256_repository_is_refused_in_words() {
    let env = machine();
    let path = env.root().join("sha256.git");
    assert!(
        env.git()
            .args(["init", "-q", "--bare", "--object-format=sha256"])
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let _ = env
        .run(["clone", &Repository::at(path).file_url(), "ours"])
        .code(1)
        .says("sha256");
    assert_eq!(names(&env.work()), [""; 0]);
}

#[test]
fn trees_that_would_write_elsewhere_are_refused() {
    let env = machine();
    fs::create_dir(env.root().join("elsewhere")).unwrap();
    let origin = Repository::create_bare(env.root().join("evil.git"));
    let blob = raw_id(&origin.write_object("blob", b"evil\n"));
    let link = raw_id(&origin.write_object("blob", b"../elsewhere"));
    let file_below = tree(&origin, &[("100644", b"escaped", &blob)]);
    for (name, entries) in [
        ("dot-git", [("100644", b".git".as_slice(), &blob)].as_slice()),
        ("dot-git in capitals", &[("40000", b".GIT", &file_below)]),
        ("dot-dot", &[("40000", b"..", &file_below)]),
        ("dot", &[("100644", b".", &blob)]),
        ("slash", &[("100644", b"../elsewhere/escaped", &blob)]),
        ("absolute", &[("100644", b"/tmp/escaped", &blob)]),
        ("empty", &[("100644", b"", &blob)]),
        (
            "a folder that is a link as well",
            &[("120000", b"a", &link), ("40000", b"a", &file_below)],
        ),
        (
            "the same name twice",
            &[("100644", b"a", &blob), ("100644", b"a", &blob)],
        ),
    ] {
        let tree = hex(&tree(&origin, entries));
        let commit = origin.git(["commit-tree", "-m", name, &tree]);
        let _ = origin.git(["update-ref", "refs/heads/main", &commit]);
        let run = env.run(["clone", &origin.file_url(), "ours"]);
        assert!(
            !run.stderr().contains("panicked") && run.status().code() != Some(255),
            "{name}: {run:?}"
        );
        assert_eq!(names(&env.root().join("elsewhere")), [""; 0], "{name}");
        // Git lets the last two through, with one of the two entries on disk.
        if !run.status().success() {
            assert_eq!(names(&env.work()), [""; 0], "{name}");
            continue;
        }
        assert!(
            name.contains("as well") || name.contains("twice"),
            "{name} was cloned"
        );
        fs::remove_dir_all(env.path("ours")).unwrap();
    }
}

/// Writes a tree as it is given: mode, name and raw ID of each entry.
fn tree(origin: &Repository, entries: &[(&str, &[u8], &Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id);
    }
    raw_id(&origin.write_object("tree", &bytes))
}

fn raw_id(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
