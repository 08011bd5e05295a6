//! `headstart clone --background`: back when the files are there, whole a little later.

use std::{
    fs,
    time::{Duration, Instant},
};

use headstart_testkit::{GitHttpServer, Repository, TestEnv, fixtures};
use serde_json::Value;

use crate::{
    machine,
    support::{assert_like_git, assert_sound},
};

fn doctor(env: &TestEnv, dir: &str) -> Value {
    env.run(["doctor", "--json", dir]).success().json()
}

fn verdict(report: &Value) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let history = checks.iter().find(|check| check["name"] == "history").unwrap();
    let text = |key: &str| history[key].as_str().unwrap().to_owned();
    (text("verdict"), text("found"))
}

#[test]
fn the_history_follows_on_its_own() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let server = GitHttpServer::start(env.root());
    let url = server.url("rich.git");
    let report = env
        .run(["clone", "--json", "--background", &url, "ours"])
        .success()
        .json();
    assert_eq!(report["history_pending"], true);
    let ours = Repository::at(env.path("ours"));
    assert_eq!(ours.git(["status", "--porcelain"]), "");

    let started = Instant::now();
    while verdict(&doctor(&env, "ours")).1 != "complete, as far as the clone goes" {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            fs::read(env.path("ours/.git/headstart/log"))
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = env
        .git()
        .args(["clone", "-q", "--filter=blob:none", &url, "theirs"])
        .status()
        .unwrap();
    assert!(status.success());
    assert_sound(&ours);
    assert_like_git(&ours, &Repository::at(env.path("theirs")));
    let log = fs::read_to_string(env.path("ours/.git/headstart/log")).unwrap();
    assert!(log.contains("The history is complete"), "{log}");
    assert!(ours.path().join(".git/objects/info/commit-graph").exists());
    drop(origin);
}

#[test]
fn what_the_background_could_not_do_is_told_and_resumed() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let server = GitHttpServer::start(env.root());
    let _ = env
        .run(["clone", "--background", &server.url("rich.git"), "ours"])
        .success();
    // As after a kill: the note is there and nobody works on it.
    let ours = Repository::at(env.path("ours"));
    let started = Instant::now();
    while verdict(&doctor(&env, "ours")).1 != "complete, as far as the clone goes" {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = env
        .run(["clone", "--resume", "ours"])
        .success()
        .says("nothing left to do");

    fs::write(
        ours.path().join(".git/headstart/history"),
        "headstart-history 1\nremote origin\nref refs/heads/main refs/remotes/origin/main\n",
    )
    .unwrap();
    let (told, found) = verdict(&doctor(&env, "ours"));
    assert_eq!(told, "warning");
    assert!(
        found.starts_with("not complete, and nobody fetches it"),
        "{found}"
    );
    let report = env.run(["clone", "--json", "--resume", "ours"]).success().json();
    assert_eq!(report["was_pending"], true);
    assert_sound(&ours);
    drop(origin);
}

#[test]
fn resuming_what_is_no_clone_is_an_error() {
    let env = machine();
    fs::create_dir(env.path("empty")).unwrap();
    let _ = env
        .run(["clone", "--resume", "empty"])
        .code(2)
        .says("is not in a git repository");
    let args = ["clone", "--resume", "empty", "--background", "x"];
    let _ = env.run(args).code(2).says("cannot be used with");
}
