//! `headstart backfill`: git looks at history without a word to the origin.

use std::process::Command;

use headstart_testkit::{GitHttpServer, Repository, TestEnv, fixtures};

use crate::machine;

fn git_offline(env: &TestEnv, args: &[&str]) -> std::process::Output {
    let mut git: Command = env.git();
    git.current_dir(env.path("ours")).env("GIT_NO_LAZY_FETCH", "1");
    git.args(args).output().unwrap()
}

#[test]
fn a_log_after_a_backfill_asks_for_nothing() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 20, 40);
    let server = GitHttpServer::start(env.root());
    let _ = env.run(["clone", &server.url("mono.git"), "ours"]).success();
    let ours = Repository::at(env.path("ours"));
    assert!(!git_offline(&env, &["log", "--stat", "-10"]).status.success());

    let plan = env
        .headstart()
        .current_dir(ours.path())
        .args(["backfill", "-n", "10", "--dry-run"]);
    let plan = plan.run().success();
    assert!(
        plan.stdout().starts_with("Would fetch 0 trees and "),
        "{}",
        plan.stdout()
    );
    assert!(!git_offline(&env, &["log", "--stat", "-10"]).status.success());

    let run = env
        .headstart()
        .current_dir(ours.path())
        .args(["backfill", "-n", "10", "--json"]);
    let report = run.run().success().json();
    assert_eq!(report["schema"], "headstart.backfill/1");
    assert_eq!(
        (&report["batches"], &report["complete"]),
        (&1.into(), &true.into())
    );
    assert_eq!(report["objects"], report["missing_blobs"]);
    let log = git_offline(&env, &["log", "--stat", "-10"]);
    assert!(log.status.success());
    assert_eq!(
        String::from_utf8_lossy(&log.stdout),
        origin.git(["log", "--stat", "-10", "main"]) + "\n"
    );
}

#[test]
fn wrong_words_are_told_apart_from_wrong_repositories() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 2, 2);
    let outside = env.run(["backfill"]).code(2);
    assert!(
        outside.stderr().contains("is not in a git repository"),
        "{}",
        outside.stderr()
    );
    let _ = env.run(["clone", &origin.file_url(), "ours"]).success();
    let ours = env.path("ours");
    let run = |args: &[&str]| {
        env.headstart()
            .current_dir(&ours)
            .arg("backfill")
            .args(args)
            .run()
    };
    let unknown = run(&["--revs", "no-such-branch..HEAD"]).code(1);
    assert!(
        unknown.stderr().contains("no-such-branch"),
        "{}",
        unknown.stderr()
    );
    let _ = run(&["--blame", "no-such-file"]).code(2);
    let _ = run(&["--blame", "x", "-n", "1"]).code(2);
    let _ = run(&["--batch-size", "0"]).code(2);
}
