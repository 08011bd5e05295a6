//! HTTPS: HTTP/2 where the host speaks it, certificates that are trusted or not, compressed answers.

use std::{collections::BTreeSet, io::Write as _, net::TcpListener};

use headstart_git::{CloneError, RemoteError};
use headstart_testkit::{GitHttpServer, TlsProxy};

use crate::support::{Bench, assert_same};

/// The versions of HTTP that were spoken, and how many connections there were.
fn spoken(proxy: &TlsProxy) -> (BTreeSet<String>, usize) {
    let (versions, connections): (BTreeSet<_>, BTreeSet<_>) = proxy.requests().into_iter().unzip();
    (versions, connections.len())
}

/// The host compresses whatever a client takes compressed, listings and packs alike.
#[test]
fn both_fetches_share_a_connection_of_http_2() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let Some(proxy) = TlsProxy::start(server.address()) else {
        return;
    };
    bench
        .vars
        .push(("GIT_SSL_CAINFO".into(), proxy.certificate().into()));
    // More than is sent without waiting for the reader.
    let noise: Vec<u8> = (0..20_000_000_u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8)
        .collect();
    bench.origin.write("noise.bin", noise).commit("noise");
    let url = proxy.url("origin");
    let mut options = bench.options(&url);
    options.filter = "blob:none".parse().unwrap();
    let cloned = bench.clone(&options).unwrap();
    assert_eq!(cloned.warnings, []);
    assert_eq!(spoken(&proxy), (["HTTP/2.0".to_owned()].into(), 1));
    let theirs = bench.git_clone(&["--filter=blob:none"], &server.url("origin"), &[]);
    let _ = cloned
        .repository()
        .git(["config", "remote.origin.url", &server.url("origin")]);
    for repository in [theirs.clone(), cloned.outcome.directory.clone()] {
        std::fs::remove_dir_all(repository.join(".git/logs")).unwrap();
    }
    assert_same(&cloned.outcome.directory, &theirs);
}

#[test]
fn the_version_of_http_is_the_users_choice() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let Some(proxy) = TlsProxy::start(server.address()) else {
        return;
    };
    let certificate = proxy.certificate().display().to_string();
    bench.set(&[("http.version", "HTTP/1.1"), ("http.sslCAInfo", &certificate)]);
    let mut options = bench.options(&proxy.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    bench.clone(&options).unwrap();
    assert_eq!(spoken(&proxy).0, ["HTTP/1.1".to_owned()].into());
}

/// A certificate will be the same the next time, so nothing is tried again.
#[test]
fn a_certificate_that_is_not_trusted_ends_it() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let Some(proxy) = TlsProxy::start(server.address()) else {
        return;
    };
    let (error, warnings) = bench.fail_to_clone(&bench.options(&proxy.url("origin")));
    assert_eq!(warnings, []);
    let CloneError::Remote(RemoteError::Unreachable { .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(with_causes(&error).contains("certificate"), "{error:?}");
    assert_eq!(server.requests().len(), 0);
    bench.vars.push(("GIT_SSL_NO_VERIFY".into(), "1".into()));
    bench.clone(&bench.options(&proxy.url("origin"))).unwrap();
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(|error| format!("{error}: ")).collect()
}

/// What answers is no TLS at all.
#[test]
fn a_host_without_tls_is_no_host() {
    let bench = Bench::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = bench
        .clone(&bench.options(&format!("https://{address}/origin")))
        .unwrap_err();
    assert!(
        matches!(error, CloneError::Remote(RemoteError::Unreachable { .. })),
        "{error:?}"
    );
}
