//! What may pass is tried again, and only that which failed.

use std::time::Duration;

use headstart_git::Warning;
use headstart_testkit::{Fault, GitHttpServer, On, Request};

use crate::support::{Bench, Cloned};

const TIP: On = On::FetchAsking("deepen 1");
const HISTORY: On = On::FetchAsking("filter blob:none");

/// Clones without blobs from a server with a fault that passes after `times` requests.
#[track_caller]
fn clone_through(times: usize, on: On, fault: Fault) -> (Cloned, Vec<Request>) {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail_times(times, on, fault);
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    let cloned = bench.clone(&options).unwrap();
    let repository = cloned.repository();
    assert_eq!(repository.git(["status", "--porcelain"]), "");
    assert_eq!(repository.git(["fsck", "--no-dangling"]), "");
    assert_eq!(
        repository.git(["rev-list", "--count", "HEAD"]),
        bench.origin.git(["rev-list", "--count", "HEAD"])
    );
    (cloned, server.requests())
}

fn count(requests: &[Request], what: &str) -> usize {
    let asks =
        |request: &&Request| request.is_fetch() && String::from_utf8_lossy(&request.body).contains(what);
    requests.iter().filter(asks).count()
}

/// Why something was tried again; nothing else may have been warned of.
fn reasons(cloned: &Cloned) -> Vec<&str> {
    let mut reasons = Vec::new();
    for warning in &cloned.warnings {
        match warning {
            Warning::Retrying { reason, .. } => reasons.push(reason.as_str()),
            other => panic!("{other:?}"),
        }
    }
    reasons
}

#[test]
fn a_server_that_is_away_for_a_moment() {
    for fault in [
        Fault::status(500),
        Fault::status(503),
        Fault::Busy(0),
        Fault::CutAfter(20),
    ] {
        let (cloned, _) = clone_through(2, On::Discovery, fault.clone());
        assert_eq!(reasons(&cloned).len(), 2, "{fault:?}");
    }
}

#[test]
fn history_that_breaks_off_is_fetched_again_and_the_tip_is_not() {
    for fault in [Fault::CutAfter(0), Fault::CutAfter(300), Fault::status(502)] {
        let (cloned, requests) = clone_through(1, HISTORY, fault);
        assert_eq!(reasons(&cloned).len(), 1);
        assert_eq!(count(&requests, "filter blob:none"), 2);
        assert_eq!(count(&requests, "deepen 1"), 1);
    }
}

/// Some files are written by then: they must not be in the way.
#[test]
fn a_tip_that_breaks_off_is_fetched_again_and_the_history_is_not() {
    for bytes in [0, 150, 400, 600, 700] {
        let (cloned, requests) = clone_through(2, TIP, Fault::CutAfter(bytes));
        assert_eq!(reasons(&cloned).len(), 2);
        assert_eq!(count(&requests, "deepen 1"), 3);
        assert_eq!(count(&requests, "filter blob:none"), 1);
    }
}

/// The trees are here: only the blobs of the cone are asked for again.
#[test]
fn a_sparse_clone_goes_on_with_its_second_round() {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let blob = bench.origin.git(["rev-parse", "HEAD:docs/guide.txt"]);
    let want: &'static str = Box::leak(format!("want {blob}").into_boxed_str());
    server.fail_times(1, On::FetchAsking(want), Fault::CutAfter(100));
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    options.sparse = vec![headstart_fs::RelPath::parse("docs").unwrap()];
    let cloned = bench.clone(&options).unwrap();
    assert_eq!(reasons(&cloned).len(), 1);
    assert_eq!(cloned.repository().git(["status", "--porcelain"]), "");
    assert_eq!(count(&server.requests(), "deepen 1"), 1);
    assert_eq!(count(&server.requests(), want), 2);
}

#[test]
fn a_bit_that_tipped_on_the_way_gets_one_more_chance() {
    for (on, at) in [(HISTORY, 500), (TIP, 500)] {
        let (cloned, _) = clone_through(1, on, Fault::FlipByte(at));
        let reasons = reasons(&cloned);
        assert!(
            reasons.len() == 1 && reasons[0].contains("pack that cannot be used"),
            "{reasons:?}"
        );
    }
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail(On::Fetch, Fault::FlipByte(500));
    let error = bench.clone(&bench.options(&server.url("origin"))).unwrap_err();
    assert!(
        matches!(error, headstart_git::CloneError::CorruptPack { .. }),
        "{error:?}"
    );
    assert_eq!(count(&server.requests(), "want"), 2);
}

#[test]
fn what_does_not_pass_is_tried_once() {
    for fault in [
        Fault::status(401),
        Fault::status(403),
        Fault::status(404),
        Fault::html(),
        Fault::Busy(3600),
    ] {
        let bench = Bench::new();
        let server = GitHttpServer::start(bench.dir.path());
        server.fail(On::Every, fault.clone());
        bench.clone(&bench.options(&server.url("origin"))).unwrap_err();
        assert_eq!(server.requests().len(), 1, "{fault:?}");
    }
}

#[test]
fn the_number_of_attempts_and_the_wait_are_gits_settings() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    server.fail(On::Every, Fault::status(503));
    for (retries, requests) in [("0", 1), ("4", 5)] {
        bench.vars.push(("GIT_HTTP_MAX_RETRIES".into(), retries.into()));
        let before = server.requests().len();
        bench.clone(&bench.options(&server.url("origin"))).unwrap_err();
        assert_eq!(server.requests().len() - before, requests);
    }
    server.heal();
    server.fail_times(1, On::Every, Fault::Busy(1));
    let cloned = bench.clone(&bench.options(&server.url("origin"))).unwrap();
    let [Warning::Retrying { wait, .. }] = &cloned.warnings[..] else {
        panic!("{:?}", cloned.warnings)
    };
    assert_eq!(*wait, Duration::from_secs(1));
}
