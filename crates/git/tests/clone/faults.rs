//! Whatever goes wrong: one clear error, nothing left behind, and the next clone works.

use std::sync::atomic::{AtomicBool, Ordering};

use headstart_git::{CloneError, RemoteError};
use headstart_testkit::{Fault, GitHttpServer, On, git_command};

use crate::support::Bench;

/// Clones from a server with a fault; afterwards nothing may be there, and a healthy server must serve.
#[track_caller]
fn error_of(fault: Fault, on: On) -> CloneError {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail(on, fault);
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    options.directory = "new/folder/ours".into();
    let error = bench.clone(&options).unwrap_err();
    assert_eq!(
        bench.listing(),
        ["origin".to_owned()].into(),
        "nothing is left after {error}"
    );
    server.heal();
    bench.clone(&options).unwrap();
    error
}

fn remote(error: CloneError) -> RemoteError {
    match error {
        CloneError::Remote(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_is_no_repository() {
    for on in [On::Discovery, On::Fetch] {
        let error = remote(error_of(Fault::html(), on));
        assert!(matches!(error, RemoteError::NotGit { .. }), "{error:?}");
        let said = "is no git repository: it answered with text/html: Sign in";
        assert!(error.to_string().ends_with(said), "{error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn statuses_say_what_to_do() {
    let of = |status| remote(error_of(Fault::status(status), On::Discovery));
    assert!(matches!(of(404), RemoteError::NotFound { .. }));
    assert!(matches!(of(403), RemoteError::Refused { .. }));
    assert!(of(500).is_retryable() && of(503).is_retryable());
    assert!(!of(418).is_retryable());
    let late = remote(error_of(Fault::status(500), On::Fetch));
    assert!(late.is_retryable() && late.to_string().contains("500"), "{late}");
}

#[test]
fn a_host_is_quoted_in_one_line() {
    for (status, content_type, body, said) in [
        (
            403,
            "text/plain",
            "Your token\n\x1b[2Jhas expired.\n",
            "refused access: Your token [2Jhas expired.",
        ),
        (
            404,
            "text/html; charset=utf-8",
            "<title>Page not\nfound &middot; Forge</title>",
            "was not found: Page not found · Forge",
        ),
        (
            500,
            "application/json",
            "{\"message\":\"no disk\"}",
            "HTTP status 500: {\"message\":\"no disk\"}",
        ),
        (503, "text/html", "<h1>no title", "HTTP status 503"),
        (
            200,
            "text/plain",
            "Not here.",
            "it answered with text/plain: Not here.",
        ),
    ] {
        let error = error_of(Fault::answer(status, content_type, body), On::Discovery);
        assert!(error.to_string().ends_with(said), "{error}");
    }
}

/// The line with which a server ends the conversation, in place of refs or of a pack.
#[test]
fn a_server_that_says_why_is_quoted() {
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let of = |on, kind: &str, lines: &[String]| {
        let kind = format!("application/x-git-upload-pack-{kind}");
        error_of(Fault::answer(200, &kind, &lines.concat()), on).to_string()
    };
    let service = line("# service=git-upload-pack\n");
    let refused = line("ERR no more\x07 of that.\n");
    let error = of(
        On::Discovery,
        "advertisement",
        &[service, "0000".to_owned(), refused],
    );
    assert!(error.ends_with("failed: no more  of that."), "{error}");
    let listing = error_of(
        Fault::answer(200, "application/x-git-upload-pack-result", &line("ERR not you")),
        On::Number(1),
    );
    assert!(listing.to_string().ends_with("failed: not you"), "{listing}");
    let out_of_luck = [line("packfile\n"), line("\x03out of luck.\n"), "0000".to_owned()];
    for lines in [&[line("ERR out of luck.\n")][..], &out_of_luck] {
        let error = of(On::Fetch, "result", lines);
        assert!(error.ends_with("failed: out of luck."), "{lines:?}: {error}");
    }
}

#[test]
fn hanging_up_is_told_apart_from_damage() {
    for after in [0, 10, 200, 400] {
        let error = remote(error_of(Fault::CutAfter(after), On::Fetch));
        assert!(
            matches!(error, RemoteError::HungUp { .. }),
            "after {after}: {error:?}"
        );
    }
    let error = remote(error_of(Fault::CutAfter(20), On::Discovery));
    assert!(error.is_retryable(), "{error:?}");
}

/// Of the two fetches, the one that does not fail is silent, and ends by being stopped only.
#[test]
fn a_failure_outranks_what_it_stops() {
    let mut bench = Bench::new();
    let hook = bench.origin.path().join("hook");
    let config = format!("[uploadpack]\n\tpackObjectsHook = {}\n", hook.display());
    std::fs::write(bench.path("origin/gitconfig"), config).unwrap();
    bench
        .vars
        .push(("GIT_CONFIG_GLOBAL".into(), bench.path("origin/gitconfig").into()));
    let mut options = bench.options("origin");
    options.filter = "blob:none".parse().unwrap();
    for (history, tip) in [("exit 1", "exec sleep 5"), ("exec sleep 5", "exit 1")] {
        let script =
            format!("#!/bin/sh\ncat >/dev/null\ncase \"$*\" in *--filter*) {history};; *) {tip};; esac\n");
        bench.origin.write_executable("hook", script);
        let error = remote(bench.clone(&options).unwrap_err());
        assert!(
            matches!(error, RemoteError::Server { .. }),
            "{history}, {tip}: {error:?}"
        );
    }
}

#[test]
fn a_filter_that_names_nothing_is_the_cause() {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    for url in ["origin", &server.url("origin")] {
        let mut options = bench.options(url);
        options.filter = "sparse:oid=HEAD:nope".parse().unwrap();
        let error = remote(bench.clone(&options).unwrap_err());
        assert!(
            matches!(&error, RemoteError::Server { message, .. } if !message.is_empty()),
            "{error:?}"
        );
    }
}

#[test]
fn redirects_are_followed_to_the_same_question_only() {
    let bench = Bench::new();
    let real = GitHttpServer::start(bench.dir.path());
    let other = GitHttpServer::start(bench.dir.path());
    other.fail(
        On::Discovery,
        Fault::Redirect(format!(
            "{}/info/refs?service=git-upload-pack",
            real.url("origin")
        )),
    );
    bench.clone(&bench.options(&other.url("moved"))).unwrap();
    assert!(real.requests().iter().any(headstart_testkit::Request::is_fetch));
    let error = remote(error_of(
        Fault::Redirect("http://127.0.0.1:1/login".to_owned()),
        On::Discovery,
    ));
    assert!(matches!(error, RemoteError::Redirected { .. }), "{error:?}");
}

#[test]
fn nobody_there() {
    let bench = Bench::new();
    for url in ["http://127.0.0.1:1/repo", "http://no-such-host.invalid/repo"] {
        let error = remote(bench.clone(&bench.options(url)).unwrap_err());
        assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
    for url in ["nowhere", "file:///nowhere/at/all", "/dev/null"] {
        let error = remote(bench.clone(&bench.options(url)).unwrap_err());
        assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    }
    let folder = bench.path("folder");
    std::fs::create_dir(folder).unwrap();
    let error = remote(bench.clone(&bench.options("folder")).unwrap_err());
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
}

#[test]
fn an_interrupt_ends_a_silent_transfer() {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail(On::Fetch, Fault::StallAfter(100));
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    let interrupt = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        let clone = scope.spawn(|| bench.clone_until(&options, &interrupt).unwrap_err());
        server.wait_for_stalls(2);
        interrupt.store(true, Ordering::Relaxed);
        clone.join().unwrap()
    });
    assert!(matches!(error, CloneError::Interrupted), "{error:?}");
    assert_eq!(bench.listing(), ["origin".to_owned()].into());
}

#[test]
fn silence_has_a_limit() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail(On::Fetch, Fault::StallAfter(100));
    bench.vars.push(("GIT_HTTP_LOW_SPEED_LIMIT".into(), "1".into()));
    bench.vars.push(("GIT_HTTP_LOW_SPEED_TIME".into(), "1".into()));
    let error = remote(bench.clone(&bench.options(&server.url("origin"))).unwrap_err());
    assert!(matches!(error, RemoteError::Stalled { .. }), "{error:?}");
}

#[test]
fn an_unknown_branch_is_named() {
    let bench = Bench::new();
    for single_branch in [false, true] {
        let mut options = bench.options(&bench.origin.file_url());
        options.branch = Some("nope".into());
        options.single_branch = single_branch;
        let error = bench.clone(&options).unwrap_err();
        assert!(
            matches!(&error, CloneError::NoSuchBranch { branch, .. } if branch == "nope"),
            "{error:?}"
        );
    }
}

#[test]
fn an_occupied_destination_is_left_alone() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("ours")).unwrap();
    std::fs::write(bench.path("ours/mine"), "mine").unwrap();
    let error = bench.clone(&bench.options("origin")).unwrap_err();
    assert!(matches!(error, CloneError::DestinationExists { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(bench.path("ours/mine")).unwrap(), "mine");
    std::fs::remove_file(bench.path("ours/mine")).unwrap();
    bench.clone(&bench.options("origin")).unwrap();
}

#[test]
fn sha256_repositories_are_refused() {
    let bench = Bench::new();
    let made = git_command()
        .args(["init", "-q", "--object-format=sha256"])
        .arg(bench.path("modern"))
        .status();
    assert!(made.unwrap().success());
    let error = remote(bench.clone(&bench.options("modern")).unwrap_err());
    assert!(
        matches!(error, RemoteError::UnsupportedObjectFormat { .. }),
        "{error:?}"
    );
}

#[test]
fn a_damaged_origin_is_reported_in_its_own_words() {
    let bench = Bench::new();
    let blob = bench.origin.git(["rev-parse", "HEAD:README"]);
    let path = bench
        .origin
        .path()
        .join(format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    std::fs::remove_file(path).unwrap();
    let error = remote(bench.clone(&bench.options(&bench.origin.file_url())).unwrap_err());
    assert!(
        matches!(&error, RemoteError::Server { message, .. } if message.contains("corruption")),
        "{error:?}"
    );
}

#[test]
fn refs_that_exclude_each_other_are_refused() {
    let bench = Bench::new();
    let tip = bench.origin.git(["rev-parse", "HEAD"]);
    let packed = format!("{tip} refs/heads/a\n{tip} refs/heads/a/b\n");
    std::fs::write(bench.origin.path().join(".git/packed-refs"), packed).unwrap();
    let error = remote(bench.clone(&bench.options("origin")).unwrap_err());
    assert!(matches!(error, RemoteError::Protocol { .. }), "{error:?}");
}

#[test]
fn a_pack_without_what_was_asked_for_makes_no_repository() {
    let mut bench = Bench::new();
    bench.origin.write_executable(
        "hook",
        "#!/bin/sh\ncat >/dev/null\ngit pack-objects -q --stdout </dev/null\n",
    );
    let hook = bench.origin.path().join("hook");
    let config = format!("[uploadpack]\n\tpackObjectsHook = {}\n", hook.display());
    std::fs::write(bench.path("origin/gitconfig"), config).unwrap();
    bench
        .vars
        .push(("GIT_CONFIG_GLOBAL".into(), bench.path("origin/gitconfig").into()));
    for checkout in [true, false] {
        let mut options = bench.options("origin");
        options.checkout = checkout;
        let error = bench.clone(&options).unwrap_err();
        let expected = match checkout {
            true => matches!(error, CloneError::Worktree { .. }),
            false => matches!(error, CloneError::CorruptPack { .. }),
        };
        assert!(expected, "{error:?}");
        assert_eq!(bench.listing(), ["origin".to_owned()].into());
    }
}
