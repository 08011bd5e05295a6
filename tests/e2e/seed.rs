//! `headstart seed`: clones prepared in advance, from the local store, a folder or a server, and what may be wrong with them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use headstart_testkit::{CacheServer, GitHttpServer, Headstart, Repository, TestEnv};
use serde_json::Value;

use crate::{
    machine,
    support::{assert_like_git, assert_sound, assert_store_is_sound, dead_address, many_files},
};

const BINARY: &str = env!("CARGO_BIN_EXE_headstart");

/// An origin with some files and some history, and its server.
struct Origin {
    _env: TestEnv,
    repository: Repository,
    server: GitHttpServer,
}

impl Origin {
    fn new() -> Self {
        Self::with_files(150)
    }

    fn with_files(count: usize) -> Self {
        let env = machine();
        let repository = Repository::create(env.root().join("origin"));
        repository.serve_filters();
        many_files(repository.path(), count);
        repository.commit("many files");
        for number in 0..20 {
            repository.write("counter", format!("{number}\n"));
            repository.commit(&format!("count to {number}"));
        }
        let _ = repository.git(["branch", "topic", "main~5"]);
        let _ = repository.git(["tag", "-a", "v1", "-m", "one"]);
        Origin {
            server: GitHttpServer::start(env.root()),
            _env: env,
            repository,
        }
    }

    fn url(&self) -> String {
        self.server.url("origin")
    }

    fn move_on(&self) {
        self.repository
            .write("counter", "more\n")
            .write("package-000/new", "new\n");
        self.repository.commit("moved on");
    }
}

fn json(command: Headstart<'_>) -> Value {
    command.arg("--json").run().success().json()
}

fn clone<'a>(env: &'a TestEnv, origin: &Origin, directory: &str) -> Headstart<'a> {
    env.headstart().args(["clone", &origin.url(), directory])
}

fn push(env: &TestEnv, origin: &Origin) -> Value {
    json(env.headstart().args(["seed", "push", &origin.url()]))
}

/// Panics unless the clone is what git's own of the same URL is.
#[track_caller]
fn assert_cloned(env: &TestEnv, origin: &Origin, directory: &str) {
    let ours = Repository::at(env.path(directory));
    let theirs = env.path("theirs");
    let status = env
        .git()
        .args(["clone", "-q", "--filter=blob:none", &origin.url()])
        .arg(&theirs)
        .status()
        .unwrap();
    assert!(status.success());
    assert_like_git(&ours, &Repository::at(&theirs));
    fs::remove_dir_all(theirs).unwrap();
}

/// Forgets the clones of a machine, so that only seeds are left to clone from.
fn forget_clones(env: &TestEnv) {
    fs::remove_dir_all(env.store().join("v1/clones")).unwrap();
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn a_seed_on_this_machine_is_linked() {
    let (origin, env) = (Origin::with_files(1500), machine());
    let pushed = push(&env, &origin);
    assert_eq!(
        (&pushed["outcome"], pushed["base"].is_null()),
        (&"saved".into(), true)
    );
    let report = json(clone(&env, &origin, "ours"));
    assert_eq!(
        (&report["tip_bytes"], &report["history_bytes"]),
        (&0.into(), &0.into())
    );
    assert!(report["seed"]["pack_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["files_written"], 1501);
    assert_cloned(&env, &origin, "ours");
    let packs = files(&env.path("ours/.git/objects/pack"));
    let packs = packs
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "pack"));
    assert!(packs.clone().count() >= 2);
    for pack in packs {
        assert!(fs::metadata(pack).unwrap().nlink() > 1, "{}", pack.display());
    }
    // The same once more changes nothing; what is new adds a little.
    let again = push(&env, &origin);
    assert_eq!(
        (&again["outcome"], &again["seed"]),
        (&"current".into(), &pushed["seed"])
    );
    origin.move_on();
    let more = push(&env, &origin);
    assert_eq!(more["outcome"], "saved");
    assert!(!more["base"].is_null());
    let (first, second) = (
        pushed["stored_bytes"].as_u64().unwrap(),
        more["stored_bytes"].as_u64().unwrap(),
    );
    // Chunks are large beside this repository.
    assert!(2 * second < first, "{second} of {first}");
    assert!(more["fetched_bytes"].as_u64().unwrap() < 4000, "{more}");
    forget_clones(&env);
    let report = json(clone(&env, &origin, "second"));
    assert_eq!(
        (&report["tip_bytes"], &report["history_bytes"]),
        (&0.into(), &0.into())
    );
    assert_cloned(&env, &origin, "second");
    // Without: everything is fetched.
    let report = json(clone(&env, &origin, "third").arg("--no-seed"));
    assert!(
        report["seed"].is_null() && report["history_bytes"].as_u64().unwrap() > 0,
        "{report}"
    );
    assert_store_is_sound(&env);
}

/// Pushes on one machine and clones on another, whose own store is empty; `with_remote` adds the remote to a command.
fn assert_crosses(with_remote: impl for<'a> Fn(Headstart<'a>) -> Headstart<'a>) {
    let (origin, ci, laptop) = (Origin::new(), machine(), machine());
    let url = origin.url();
    let push = || json(with_remote(ci.headstart().args(["seed", "push", &url])));
    assert_eq!(push()["outcome"], "saved");
    origin.move_on();
    let run = with_remote(clone(&laptop, &origin, "ours"))
        .arg("--json")
        .run()
        .success();
    let report = run.json();
    assert!(!report["seed"].is_null(), "{report} {}", run.stderr());
    assert!(report["objects"].as_u64().unwrap() < 8, "{report}");
    assert_cloned(&laptop, &origin, "ours");
    // The next seed brings what is new only.
    assert_eq!(push()["outcome"], "saved");
    forget_clones(&laptop);
    let report = json(with_remote(clone(&laptop, &origin, "second")));
    assert_eq!(report["objects"], 0, "{report}");
    assert_cloned(&laptop, &origin, "second");
    let listed = json(with_remote(laptop.headstart().args(["seed", "list", &url])));
    assert_eq!(listed["seeds"].as_array().unwrap().len(), 2);
    // What came over is enough to go on without the remote.
    forget_clones(&laptop);
    let report = json(clone(&laptop, &origin, "third"));
    assert_eq!(report["objects"], 0, "{report}");
    assert_store_is_sound(&laptop);
}

#[test]
fn seeds_come_from_a_server() {
    let server = CacheServer::start(BINARY);
    assert_crosses(|command| command.args(["--remote", server.url()]));
}

#[test]
fn seeds_come_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    assert_crosses(|command| command.args(["--remote", &url]));
}

#[test]
fn a_seed_that_the_remote_lacks_is_given_to_it() {
    let (origin, env, server) = (Origin::new(), machine(), CacheServer::start(BINARY));
    push(&env, &origin);
    let again = env
        .headstart()
        .args(["seed", "push", &origin.url(), "--remote", server.url()]);
    let again = json(again);
    assert_eq!(
        (&again["outcome"], &again["uploaded"]),
        (&"current".into(), &true.into())
    );
    let other = machine();
    let report = json(clone(&other, &origin, "ours").args(["--remote", server.url()]));
    assert!(!report["seed"].is_null());
}

#[test]
fn a_remote_that_does_not_answer_is_one_warning() {
    let (origin, env) = (Origin::new(), machine());
    let remote = format!("http://{}", dead_address());
    let run = clone(&env, &origin, "ours")
        .args(["--remote", &remote])
        .run()
        .success();
    assert_eq!(run.stderr().matches("warning").count(), 1, "{run:?}");
    assert_cloned(&env, &origin, "ours");
}

#[test]
fn damage_in_the_store_costs_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let (origin, ci) = (Origin::new(), machine());
    let _ = json(
        ci.headstart()
            .args(["seed", "push", &origin.url(), "--remote", &url]),
    );
    for pack in files(&folder.path().join("v1/packs")) {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
    let env = machine();
    let run = clone(&env, &origin, "ours")
        .args(["--remote", &url])
        .run()
        .success();
    let _ = run.says("warning");
    assert_cloned(&env, &origin, "ours");
}

/// What is unpacked on this machine is checked when it comes, and read with care.
#[test]
fn damage_of_the_unpacked_tip_is_noticed_when_files_are_written() {
    let (origin, env) = (Origin::new(), machine());
    push(&env, &origin);
    for pack in files(&env.store().join("v1/seeds")) {
        if pack.extension().is_some_and(|extension| extension == "pack") {
            let mut bytes = fs::read(&pack).unwrap();
            for at in (200..bytes.len() - 40).step_by(97) {
                bytes[at] ^= 1;
            }
            fs::remove_file(&pack).unwrap();
            fs::write(&pack, bytes).unwrap();
        }
    }
    let run = clone(&env, &origin, "ours").run().success().says("is not used");
    drop(run);
    assert_cloned(&env, &origin, "ours");
    // It is not tried again.
    forget_clones(&env);
    let run = clone(&env, &origin, "second").run().success();
    assert!(!run.stderr().contains("warning"), "{run:?}");
}

#[test]
fn a_rewritten_origin_is_cloned_as_it_is() {
    let (origin, env) = (Origin::new(), machine());
    push(&env, &origin);
    let repository = &origin.repository;
    let _ = repository.git(["checkout", "-q", "--orphan", "fresh"]);
    repository.commit("from nothing");
    for args in [
        &["branch", "-M", "fresh", "main"][..],
        &["branch", "-D", "topic"],
        &["tag", "-d", "v1"],
    ] {
        let _ = repository.git(args);
    }
    let _ = clone(&env, &origin, "ours")
        .run()
        .success()
        .says("another history");
    assert_cloned(&env, &origin, "ours");
}

#[test]
fn a_second_checkout_is_made_from_the_first() {
    let (origin, env) = (Origin::new(), machine());
    let _ = clone(&env, &origin, "first").run().success();
    origin.move_on();
    let report = json(clone(&env, &origin, "second"));
    let label = report["seed"]["label"].as_str().unwrap();
    assert!(label.ends_with("/first/.git"), "{report}");
    assert!(report["objects"].as_u64().unwrap() < 8, "{report}");
    assert_cloned(&env, &origin, "second");
    fs::remove_dir_all(env.path("first")).unwrap();
    assert_sound(&Repository::at(env.path("second")));
    // The one that is left serves the third; when none is left, the origin does.
    assert!(!json(clone(&env, &origin, "third"))["seed"].is_null());
    for gone in ["second", "third"] {
        fs::remove_dir_all(env.path(gone)).unwrap();
    }
    assert!(json(clone(&env, &origin, "fourth"))["seed"].is_null());
}

#[test]
fn seeds_are_listed_inspected_and_pruned() {
    let (origin, env) = (Origin::new(), machine());
    let url = origin.url();
    let list = || json(env.headstart().args(["seed", "list"]));
    assert_eq!(list()["seeds"].as_array().unwrap().len(), 0);
    let _ = env
        .run(["seed", "inspect", &url])
        .code(1)
        .says("there is no seed");
    let mut tips = Vec::new();
    for _ in 0..3 {
        origin.move_on();
        origin.repository.write("README", format!("{}", tips.len()));
        origin.repository.commit("again");
        push(&env, &origin);
        tips.insert(0, origin.repository.git(["rev-parse", "HEAD"]));
    }
    let listed = list();
    let seeds = listed["seeds"].as_array().unwrap();
    let listed_tips: Vec<_> = seeds.iter().map(|seed| seed["tip"].as_str().unwrap()).collect();
    assert_eq!(listed_tips, tips);
    let text = env.run(["seed", "list"]).success();
    let _ = text.prints("blob:none");

    let inspected = json(env.headstart().args(["seed", "inspect", &url, "--verify"]));
    assert_eq!(
        (&inspected["tip"], &inspected["verified"]),
        (&tips[0].clone().into(), &true.into())
    );
    assert_eq!(inspected["refs"], 3);
    assert!(inspected["packs"].as_array().unwrap().len() >= 2);
    let oldest = seeds[2]["name"].as_str().unwrap();
    let inspected = json(env.headstart().args(["seed", "inspect", oldest]));
    assert_eq!(inspected["name"], oldest);

    let prune = |more: &[&str]| json(env.headstart().args(["seed", "prune", "--keep", "1"]).args(more));
    let planned = prune(&["--dry-run"]);
    assert_eq!(planned["pruned"].as_array().unwrap().len(), 2);
    assert_eq!(
        prune(&["--older-than", "1d"])["pruned"].as_array().unwrap().len(),
        0
    );
    assert_eq!(list()["seeds"].as_array().unwrap().len(), 3);
    assert_eq!(
        prune(&[]),
        serde_json::json!({
            "schema": "headstart.seed-prune/1",
            "dry_run": false,
            "pruned": planned["pruned"],
            "kept": 1,
        })
    );
    assert_eq!(list()["seeds"].as_array().unwrap().len(), 1);
    let _ = env
        .run(["cache", "gc", "--max-age", "0s", "--grace", "0s"])
        .success();
    assert_eq!(list()["seeds"].as_array().unwrap().len(), 0);
    assert_eq!(
        files(&env.store().join("v1/seeds")),
        Vec::<std::path::PathBuf>::new()
    );
}

/// With the newest seed marked as of no use, an older one is here, and it is not the one that is asked about.
#[test]
fn only_the_seed_that_is_told_of_is_verified() {
    let (origin, env) = (Origin::new(), machine());
    push(&env, &origin);
    origin.move_on();
    let newest = push(&env, &origin);
    let time = newest["seed"]
        .as_str()
        .unwrap()
        .rsplit_once('#')
        .unwrap()
        .1
        .to_owned();
    let seeds = env.store().join("v1/seeds");
    let key = fs::read_dir(seeds).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(key.join(&time)).unwrap();
    fs::write(key.join(format!("{time}.refused")), "").unwrap();
    let _ = env
        .run(["seed", "inspect", "--verify", &origin.url()])
        .code(1)
        .says("cannot be used");
}

/// A clone that cannot serve just now is one again later.
#[test]
fn a_clone_is_forgotten_when_it_is_gone() {
    let (origin, env) = (Origin::new(), machine());
    let _ = clone(&env, &origin, "first").run().success();
    let shallow = env.path("first/.git/shallow");
    fs::write(&shallow, origin.repository.git(["rev-parse", "main"]) + "\n").unwrap();
    let clones = env.store().join("v1/clones");
    let report = json(clone(&env, &origin, "second"));
    assert!(report["seed"].is_null(), "{report}");
    fs::remove_file(&shallow).unwrap();
    fs::remove_dir_all(env.path("second")).unwrap();
    let report = json(clone(&env, &origin, "third"));
    let label = report["seed"]["label"].as_str().unwrap();
    assert!(label.ends_with("/first/.git"), "{report}");
    for gone in ["first", "third"] {
        fs::remove_dir_all(env.path(gone)).unwrap();
    }
    assert_eq!(files(&clones).len(), 2, "the second was looked for");
    let _ = env.run(["cache", "gc"]).success();
    assert_eq!(files(&clones), Vec::<std::path::PathBuf>::new());
}

#[test]
fn two_clones_at_once_bring_one_seed() {
    let (origin, ci, server) = (Origin::new(), machine(), CacheServer::start(BINARY));
    let _ = json(
        ci.headstart()
            .args(["seed", "push", &origin.url(), "--remote", server.url()]),
    );
    let env = machine();
    let clones = ["one", "two", "three"].map(|name| {
        (
            name,
            clone(&env, &origin, name)
                .args(["--remote", server.url(), "--json"])
                .start(),
        )
    });
    for (name, running) in clones {
        let report = running.wait().success().json();
        assert!(!report["seed"].is_null(), "{report}");
        assert_cloned(&env, &origin, name);
    }
}

#[test]
fn a_full_clone_has_no_seed() {
    let (origin, env) = (Origin::new(), machine());
    let _ = env
        .run(["seed", "push", "--filter", "none", &origin.url()])
        .code(1)
        .says("--filter");
    push(&env, &origin);
    for arguments in [["--filter", "none"], ["--depth", "1"], ["--filter", "tree:0"]] {
        let report = json(clone(&env, &origin, arguments[1]).args(arguments));
        assert!(report["seed"].is_null(), "{report}");
    }
}
