//! `headstart clone` over each transport, with each way to say who one is.

use std::fs;

use headstart_testkit::{Fault, GitHttpServer, On, Repository, Sshd, TestEnv, fixtures};

use crate::{
    machine,
    support::{assert_like_git, assert_sound},
};

const FULL: &str = "ada:correct horse/1";

/// A machine, and a server on it that asks for Ada's password.
fn guarded() -> (TestEnv, GitHttpServer) {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 5, 5);
    let (user, password) = FULL.split_once(':').unwrap();
    let server = GitHttpServer::builder(env.root())
        .basic_auth(user, password)
        .start();
    (env, server)
}

#[test]
fn http_gives_what_git_gives_and_needs_few_requests() {
    let env = machine();
    fixtures::rich(env.root().join("rich.git"));
    let server = GitHttpServer::start(env.root());
    let url = server.url("rich.git");
    let _ = env.run(["clone", &url, "ours"]).success();
    let requests = server.requests();
    assert!(
        requests.len() <= 6,
        "{:#?}",
        requests.iter().map(|request| &request.target).collect::<Vec<_>>()
    );
    assert!(requests.iter().all(|request| request.protocol == "version=2"));
    let status = env
        .git()
        .args(["clone", "-q", "--filter=blob:none", &url, "theirs"])
        .status()
        .unwrap();
    assert!(status.success());
    assert_like_git(
        &Repository::at(env.path("ours")),
        &Repository::at(env.path("theirs")),
    );
}

#[test]
fn basic_auth_by_the_url() {
    let (env, server) = guarded();
    let url = server.url_with_login("ada", "correct%20horse%2f1", "mono.git");
    let _ = env.run(["clone", &url, "ours"]).success();
    assert_sound(&Repository::at(env.path("ours")));
}

#[test]
fn basic_auth_by_a_credential_helper() {
    let (env, server) = guarded();
    let helper = env.root().join("helper");
    let log = env.root().join("helper.log");
    let script = "#!/bin/sh\necho \"$1\" >> \"$HELPER_LOG\"\ncat >> \"$HELPER_LOG\"\n\
        test \"$1\" = get && printf 'username=ada\\npassword=correct horse/1\\n'\nexit 0\n";
    Repository::at(env.root()).write_executable("helper", script);
    let helper = helper.display().to_string();
    let run = env
        .headstart()
        .args(["clone", &server.url("mono.git"), "ours"])
        .env("HELPER_LOG", &log);
    let _ = run
        .git_settings(&[("credential.helper", &helper)])
        .run()
        .success();
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("get\n") && log.contains("store\n") && !log.contains("erase\n"),
        "{log}"
    );
    assert!(log.contains(&format!("host={}\n", server.address())), "{log}");
}

#[test]
fn basic_auth_by_askpass() {
    let (env, server) = guarded();
    Repository::at(env.root()).write_executable(
        "askpass",
        "#!/bin/sh\ncase $1 in User*) echo ada;; *) echo 'correct horse/1';; esac\n",
    );
    let run = env
        .headstart()
        .args(["clone", &server.url("mono.git"), "ours"])
        .env("GIT_ASKPASS", env.root().join("askpass"));
    let _ = run.run().success();
}

#[test]
fn a_wrong_password_is_one_clear_error_and_is_forgotten() {
    let (env, server) = guarded();
    let log = env.root().join("helper.log");
    Repository::at(env.root()).write_executable(
        "helper",
        "#!/bin/sh\necho \"$1\" >> \"$HELPER_LOG\"\ntest \"$1\" = get && printf 'username=ada\\npassword=wrong\\n'\nexit 0\n",
    );
    let helper = env.root().join("helper").display().to_string();
    let run = env
        .headstart()
        .args(["clone", &server.url("mono.git"), "ours"])
        .env("HELPER_LOG", &log);
    let run = run
        .git_settings(&[("credential.helper", &helper)])
        .run()
        .code(1)
        .says(&server.address().to_string());
    assert!(!run.stderr().contains("wrong\n"), "{}", run.stderr());
    assert!(fs::read_to_string(log).unwrap().contains("erase\n"));
    assert!(!env.path("ours").exists());
}

#[test]
fn without_credentials_nothing_waits_for_an_answer() {
    let (env, server) = guarded();
    let _ = env
        .run(["clone", &server.url("mono.git"), "ours"])
        .code(1)
        .says("password");
    assert!(!env.path("ours").exists());
}

#[test]
fn a_password_in_the_url_is_never_printed() {
    let (env, server) = guarded();
    let url = server.url_with_login("ada", "hunter2", "mono.git");
    let run = env.run(["clone", &url, "ours"]).code(1);
    assert!(!run.stderr().contains("hunter2"), "{}", run.stderr());
}

#[test]
fn a_redirect_at_the_start_is_followed() {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 5, 5);
    let server = GitHttpServer::start(env.root());
    let moved = GitHttpServer::start(env.root());
    moved.fail(
        On::Discovery,
        Fault::Redirect(server.url("mono.git/info/refs?service=git-upload-pack")),
    );
    let _ = env.run(["clone", &moved.url("mono.git"), "ours"]).success();
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let env = machine();
    fixtures::monorepo(env.root().join("mono.git"), 5, 5);
    let proxy = GitHttpServer::start(env.root());
    let run = env
        .headstart()
        .args(["clone", "http://origin.test/mono.git", "ours"]);
    let _ = run.env("http_proxy", proxy.url("")).run().success();
    assert!(
        proxy
            .requests()
            .iter()
            .all(|request| request.target.starts_with("http://origin.test/"))
    );
}

#[test]
fn ssh_gives_what_git_gives() {
    let Some(sshd) = Sshd::start() else { return };
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    for (number, url) in [sshd.url(origin.path()), sshd.scp_like_url(origin.path())]
        .into_iter()
        .enumerate()
    {
        let folder = format!("ours-{number}");
        let run = env
            .headstart()
            .args(["clone", &url, &folder])
            .env("GIT_SSH_COMMAND", sshd.client_command());
        let _ = run.run().success();
        let theirs = format!("theirs-{number}");
        let mut git = env.git();
        git.env("GIT_SSH_COMMAND", sshd.client_command()).args([
            "clone",
            "-q",
            "--filter=blob:none",
            &url,
            &theirs,
        ]);
        assert!(git.status().unwrap().success());
        assert_like_git(
            &Repository::at(env.path(folder)),
            &Repository::at(env.path(theirs)),
        );
    }
}

#[test]
fn ssh_without_the_key_is_one_clear_error() {
    let Some(sshd) = Sshd::start() else { return };
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 3, 3);
    let run = env.headstart().args(["clone", &sshd.url(origin.path()), "ours"]);
    let _ = run
        .env("GIT_SSH_COMMAND", sshd.stranger_command())
        .run()
        .code(1)
        .says("Permission denied");
    assert!(!env.path("ours").exists());
}
