//! The smart-HTTP server against git's own client.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    path::Path,
    process::{Output, Stdio},
};

use headstart_testkit::{ChildGuard, Fault, GitHttpServer, On, git_command};
use tempfile::TempDir;

/// A folder with the bare repository `r.git` of a few commits.
fn origin() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    git(folder.path(), &["init", "-q", "work"]);
    for number in 0..50 {
        std::fs::write(
            work.join(format!("file-{number}")),
            format!("{number}\n").repeat(200),
        )
        .unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-qm", "more"]);
    }
    git(folder.path(), &["clone", "-q", "--bare", "work", "r.git"]);
    // The second is what lazy fetches need in protocol 0.
    for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        git(&folder.path().join("r.git"), &["config", setting, "true"]);
    }
    folder
}

fn git(folder: &Path, args: &[&str]) {
    let output = run(folder, args);
    assert!(output.status.success(), "git {args:?}: {output:?}");
}

fn run(folder: &Path, args: &[&str]) -> Output {
    git_command().current_dir(folder).args(args).output().unwrap()
}

#[test]
fn git_clones_with_and_without_filter_in_every_protocol_version() {
    let origin = origin();
    let server = GitHttpServer::start(origin.path());
    for version in ["0", "1", "2"] {
        for filter in ["--filter=blob:none", "--no-tags"] {
            let folder = tempfile::tempdir().unwrap();
            let protocol = format!("protocol.version={version}");
            git(
                folder.path(),
                &["-c", &protocol, "clone", "-q", filter, &server.url("r.git"), "c"],
            );
            git(&folder.path().join("c"), &["fsck", "--strict"]);
        }
    }
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.protocol == "version=2" && request.is_fetch())
    );
    assert!(requests.iter().all(|request| request.status == 200));
    assert!(server.sent_bytes() > 10_000);
}

#[test]
fn basic_auth_lets_in_who_knows_the_password() {
    let origin = origin();
    let server = GitHttpServer::builder(origin.path())
        .basic_auth("ada", "p:w/1")
        .start();
    git(
        origin.path(),
        &["ls-remote", &server.url_with_login("ada", "p%3aw%2f1", "r.git")],
    );
    let refused = run(
        origin.path(),
        &["ls-remote", &server.url_with_login("ada", "wrong", "r.git")],
    );
    assert!(!refused.status.success());
    assert_eq!(server.requests().last().unwrap().status, 401);
}

#[test]
fn faults_hit_the_requests_they_were_made_for() {
    let origin = origin();
    let server = GitHttpServer::start(origin.path());
    let url = server.url("r.git");
    let folder = tempfile::tempdir().unwrap();
    for (on, fault) in [
        (On::Fetch, Fault::CutAfter(4000)),
        (On::Discovery, Fault::status(500)),
        (On::Every, Fault::html()),
        (On::Number(6), Fault::status(403)),
    ] {
        server.fail(on, fault);
        let output = run(folder.path(), &["clone", "-q", &url, "broken"]);
        assert!(!output.status.success(), "{on:?}");
        server.heal();
    }
    git(folder.path(), &["clone", "-q", &url, "whole"]);
    let cut = server
        .requests()
        .into_iter()
        .find(|request| request.is_fetch())
        .unwrap();
    assert_eq!(cut.sent_bytes, 4000);
}

#[test]
fn a_stalled_answer_waits_for_the_client_to_go() {
    let origin = origin();
    let server = GitHttpServer::start(origin.path());
    server.fail(On::Fetch, Fault::StallAfter(1000));
    let folder = tempfile::tempdir().unwrap();
    let mut command = git_command();
    command
        .args(["clone", "-q", &server.url("r.git")])
        .arg(folder.path().join("c"))
        .stderr(Stdio::null());
    let mut clone = ChildGuard::spawn(&mut command);
    server.wait_for_stalls(1);
    assert_eq!(clone.child().try_wait().unwrap(), None);
}

#[test]
fn a_large_negotiation_comes_gzipped_and_is_understood() {
    let origin = origin();
    let server = GitHttpServer::start(origin.path());
    let repository = origin.path().join("r.git");
    // Many branches, each a want of its own.
    for number in 0..300 {
        git(
            &repository,
            &["branch", &format!("b{number}"), &format!("main~{}", number % 49)],
        );
    }
    git(origin.path(), &["clone", "-q", &server.url("r.git"), "many"]);
    assert!(server.requests().iter().any(headstart_testkit::Request::is_fetch));
}
