//! Two machines and what is between them: a `headstart-server`, a bucket, a folder, or nothing that answers.

use std::fs;

use headstart_testkit::{CacheServer, Headstart, Manifest, S3, TestEnv};

use crate::{
    machine,
    support::{assert_store_is_sound, dead_address, many_files, odd_tree},
};

const BINARY: &str = env!("CARGO_BIN_EXE_headstart");

/// Saves on one machine and restores on another, whose own store is empty; `with_remote` adds the remote to a command.
fn assert_crosses(with_remote: impl for<'a> Fn(Headstart<'a>) -> Headstart<'a>) {
    let (first, second) = (machine(), machine());
    odd_tree(&first.path("tree"));
    let tree = Manifest::of(first.path("tree"));
    let run = |env: &TestEnv, args: &[&str]| with_remote(env.headstart().args(args)).run().success();
    let _ = run(&first, &["save", "--key", "k", "tree"]);

    let report = run(&second, &["restore", "--json", "--fail-on-miss", "--key", "k"]).json();
    assert!(report["remote_bytes"].as_u64().unwrap() > 0, "{report}");
    tree.assert_same(&Manifest::of(second.path("tree")));
    // What came over is kept: the second time nothing does.
    fs::remove_dir_all(second.path("tree")).unwrap();
    let report = run(&second, &["restore", "--json", "--fail-on-miss", "--key", "k"]).json();
    assert_eq!(report["remote_bytes"], 0, "{report}");
    tree.assert_same(&Manifest::of(second.path("tree")));
    assert_store_is_sound(&second);

    // The other machine finds the newest by prefix and adds its own.
    fs::write(second.path("tree/script"), "changed").unwrap();
    let _ = run(&second, &["save", "--key", "k-2", "tree"]);
    let out = first.path("out");
    fs::create_dir(&out).unwrap();
    let report = with_remote(first.headstart().args([
        "restore",
        "--json",
        "--key",
        "nope",
        "--restore-key",
        "k-",
        "--root",
        "out",
    ]));
    assert_eq!(report.run().success().json()["matched_key"], "k-2");
    Manifest::of(second.path("tree")).assert_same(&Manifest::of(out.join("tree")));
    // Whoever is second under one key is told.
    assert_eq!(
        run(&first, &["save", "--json", "--key", "k-2", "tree"]).json()["outcome"],
        "exists"
    );
}

#[test]
fn a_headstart_server() {
    let server = CacheServer::start(BINARY);
    assert_crosses(|command| command.args(["--remote", server.url()]));
}

#[test]
fn a_headstart_server_with_a_token() {
    let server = CacheServer::start_with_token(BINARY, "a-token-of-some-length-0123456789");
    assert_crosses(|command| {
        command
            .env("HEADSTART_REMOTE", server.url())
            .env("HEADSTART_TOKEN", "a-token-of-some-length-0123456789")
    });
    // Without it the remote is a warning, and nothing of it is seen.
    let env = machine();
    let refused = env
        .headstart()
        .args(["restore", "--key", "k", "--remote", server.url()])
        .run()
        .success();
    let _ = refused.says("token");
    let wrong = env
        .headstart()
        .args(["restore", "--key", "k", "--remote", server.url()]);
    let wrong = wrong
        .env("HEADSTART_TOKEN", "some-other-token-of-length-0123456")
        .run()
        .success()
        .says("warning");
    assert!(!wrong.stderr().contains("some-other-token"), "{wrong:?}");
}

#[test]
fn an_s3_bucket() {
    let Some(s3) = S3::start() else { return };
    assert_crosses(|command| {
        command
            .envs(s3.client_environment())
            .args(["--remote", &s3.url("team/cache")])
    });
}

#[test]
fn a_folder_by_url() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    assert_crosses(|command| command.args(["--remote", &url]));
}

#[test]
fn a_dead_remote_costs_one_warning_and_nothing_else() {
    let env = machine();
    many_files(&env.path("tree"), 200);
    let remote = format!("http://{}", dead_address());
    let saved = env
        .run(["save", "--key", "k", "--remote", &remote, "tree"])
        .success()
        .says("warning");
    assert_eq!(saved.stderr().matches("warning").count(), 1, "{}", saved.stderr());
    let restored = env
        .run([
            "restore",
            "--fail-on-miss",
            "--key",
            "k",
            "--root",
            "out",
            "--remote",
            &remote,
        ])
        .success();
    assert!(
        restored.stderr().matches("warning").count() <= 1,
        "{}",
        restored.stderr()
    );
    Manifest::of(env.path("tree")).assert_same(&Manifest::of(env.path("out/tree")));
}

#[test]
fn a_server_that_dies_between_two_runs_costs_one_warning() {
    let mut server = CacheServer::start(BINARY);
    let url = server.url().to_owned();
    let env = machine();
    many_files(&env.path("tree"), 200);
    let _ = env
        .run(["save", "--key", "k", "--remote", &url, "tree"])
        .success();
    server.kill();
    let _ = env
        .run([
            "restore",
            "--fail-on-miss",
            "--key",
            "k",
            "--root",
            "out",
            "--remote",
            &url,
        ])
        .success();
    let _ = env
        .run(["save", "--key", "k2", "--remote", &url, "tree"])
        .success()
        .says("warning");
}

#[test]
fn remotes_that_are_none() {
    let env = machine();
    fs::create_dir(env.path("tree")).unwrap();
    for remote in ["gopher://x", "s3://", "http://"] {
        let _ = env
            .run(["save", "--key", "k", "--remote", remote, "tree"])
            .code(2)
            .says(remote);
    }
}
