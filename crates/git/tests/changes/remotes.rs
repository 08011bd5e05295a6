//! Remotes that can do less, or fail.

use headstart_git::{ChangesError, LocalError, RemoteError, Warning};
use headstart_testkit::{Fault, GitHttpServer, On, Repository};

use crate::support::{Bench, by_git, everything};

impl Bench {
    /// With a trunk and a topic branch, some commits each, and merges of the trunk into the topic.
    fn with_a_topic() -> Self {
        let bench = Bench::new();
        let origin = &bench.origin;
        origin.write("a/file", "0").write("b/file", "0").commit("one");
        let _ = origin.git(["checkout", "-q", "-b", "topic"]);
        for number in 0..10 {
            let _ = origin.git(["checkout", "-q", "main"]);
            origin.write("a/file", format!("{number}")).commit("trunk");
            let _ = origin.git(["checkout", "-q", "topic"]);
            origin.write(format!("new/{number}"), "x").commit("topic");
            if number % 4 == 1 {
                let _ = origin.git(["merge", "-q", "--no-edit", "main"]);
            }
        }
        bench
    }

    /// A clone as shallow as can be of what `server` serves.
    fn shallow(&self, server: &GitHttpServer) -> Repository {
        self.clone("clone", &server.url("origin"), &["--depth=1", "--branch=topic"])
    }
}

#[test]
fn servers_of_old_give_the_same_answer() {
    for (settings, protocol) in [
        (
            &[
                ("uploadpack.allowFilter", "false"),
                ("uploadpack.allowAnySHA1InWant", "false"),
            ][..],
            "0",
        ),
        (
            &[
                ("uploadpack.allowFilter", "false"),
                ("uploadpack.allowAnySHA1InWant", "false"),
            ],
            "2",
        ),
        (&[("uploadpack.allowAnySHA1InWant", "false")], "0"),
        (&[], "0"),
        (&[("uploadpackfilter.tree.allow", "false")], "2"),
    ] {
        let mut bench = Bench::with_a_topic();
        let server = settings
            .iter()
            .fold(
                GitHttpServer::builder(bench.dir.path()),
                |server, (name, value)| server.setting(name, value),
            )
            .start();
        // The repository's own settings would win over those of the server.
        for name in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
            if settings.iter().any(|(other, _)| *other == name) {
                let _ = bench.origin.git(["config", "--unset", name]);
            }
        }
        let clone = bench.shallow(&server);
        bench.settings = vec![("protocol.version".into(), protocol.into())];
        let answer = bench.compare(&clone, "origin/main", "").unwrap();
        assert_eq!(
            answer.lines(),
            by_git(&bench.origin, "main", "topic"),
            "{settings:?} {protocol}"
        );
        let warned = answer
            .warnings
            .iter()
            .any(|warning| matches!(warning, Warning::FilterUnsupported { .. }));
        assert_eq!(
            warned,
            settings.contains(&("uploadpack.allowFilter", "false")),
            "{settings:?}"
        );
        let _ = clone.git(["fsck", "--no-dangling"]);
    }
}

#[test]
fn over_http_a_few_requests_do() {
    let bench = Bench::with_a_topic();
    let server = GitHttpServer::start(bench.dir.path());
    let clone = bench.shallow(&server);
    let before = server.requests().len();
    let answer = bench.compare(&clone, "origin/main", "").unwrap();
    assert_eq!(answer.lines(), by_git(&bench.origin, "main", "topic"));
    // The handshake, the branch, the history, and one tree: only the root differs that is not here.
    assert_eq!(server.requests().len() - before, 4);
}

#[test]
fn a_connection_that_breaks_leaves_the_repository_as_it_was() {
    let mut bench = Bench::with_a_topic();
    bench.settings = vec![("http.maxRetries".into(), "0".into())];
    let server = GitHttpServer::start(bench.dir.path());
    for kind in [&["--depth=1"][..], &["--depth=1", "--filter=blob:none"]] {
        let args = [kind, &["--branch=topic"]].concat();
        let clone = bench.clone(&format!("clone{}", kind.len()), &server.url("origin"), &args);
        let before = everything(&clone);
        for cut in [0, 20, 300, 900] {
            server.fail(On::Fetch, Fault::CutAfter(cut));
            let error = bench.compare(&clone, "origin/main", "").unwrap_err();
            assert!(
                matches!(
                    &error,
                    ChangesError::Local(LocalError::Remote(
                        RemoteError::HungUp { .. } | RemoteError::Unreachable { .. }
                    ))
                ),
                "{cut}: {error:?}"
            );
            assert!(error.is_retryable());
            before.assert_same(&everything(&clone).without(".git/headstart").without_mtimes());
        }
        server.heal();
        let answer = bench.compare(&clone, "origin/main", "").unwrap();
        assert_eq!(answer.lines(), by_git(&bench.origin, "main", "topic"));
        let _ = clone.git(["fsck", "--no-dangling"]);
    }
}

#[test]
fn a_connection_that_breaks_once_is_no_failure() {
    let mut bench = Bench::with_a_topic();
    bench.settings = vec![("http.retryAfter".into(), "0".into())];
    let server = GitHttpServer::start(bench.dir.path());
    let clone = bench.shallow(&server);
    let before = server.requests().len();
    // The handshake, the branch, the history, the tree.
    for request in 0..4 {
        let number = server.requests().len() + request;
        server.fail(On::Number(number), Fault::CutAfter(40));
        let answer = bench.compare(&clone, "origin/main", "").unwrap();
        assert_eq!(answer.lines(), by_git(&bench.origin, "main", "topic"));
    }
    assert!(server.requests().len() - before > 4 * 4);
}

#[test]
fn a_remote_that_is_shallow_itself_tells_what_it_knows() {
    let bench = Bench::with_a_topic();
    // Deep enough to have the last merge of the trunk, and not so deep.
    for (depth, has_base) in [("--depth=4", true), ("--depth=1", false)] {
        let middle = bench.clone(
            depth.trim_start_matches('-'),
            &bench.origin.file_url(),
            &[depth, "--no-single-branch"],
        );
        let _ = middle.git(["branch", "main", "origin/main"]);
        middle.serve_filters();
        let name = format!("clone-{has_base}");
        let clone = bench.clone(&name, &middle.file_url(), &["--depth=1"]);
        let answer = bench.compare(&clone, "origin/main", "");
        match has_base {
            true => assert_eq!(answer.unwrap().lines(), by_git(&bench.origin, "main", "topic")),
            false => assert!(
                matches!(answer, Err(ChangesError::NoMergeBase { .. })),
                "{answer:?}"
            ),
        }
    }
}

#[test]
fn a_commit_the_remote_lost_is_an_error_in_its_words() {
    let bench = Bench::with_a_topic();
    let server = GitHttpServer::start(bench.dir.path());
    let clone = bench.shallow(&server);
    let error = bench.compare(&clone, &"ab".repeat(20), "").unwrap_err();
    let said = matches!(&error, ChangesError::Local(LocalError::Remote(RemoteError::Server { message, .. })) if message.contains("not our ref"));
    assert!(said, "{error:?}");
}
