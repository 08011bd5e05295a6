//! The ways to reach a remote: HTTP with and without credentials, proxies and headers, ssh, remotes of old.

use headstart_git::{CloneError, RemoteError, Warning};
use headstart_testkit::{Fault, GitHttpServer, On, Sshd};

use crate::support::{Bench, assert_same};

impl Bench {
    /// Adds a setting as `git -c` would.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        let count = settings.len();
        self.vars
            .push(("GIT_CONFIG_COUNT".into(), count.to_string().into()));
        for (index, (name, value)) in settings.iter().enumerate() {
            self.vars
                .push((format!("GIT_CONFIG_KEY_{index}").into(), name.into()));
            self.vars
                .push((format!("GIT_CONFIG_VALUE_{index}").into(), value.into()));
        }
    }
}

#[test]
fn smart_http_takes_one_listing_and_two_fetches() {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let url = server.url("origin");
    let mut options = bench.options(&url);
    options.filter = "blob:none".parse().unwrap();
    let cloned = bench.clone(&options).unwrap();
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|request| request.is_fetch()).count(), 2);
    assert_eq!(
        requests.iter().filter(|request| request.method == "POST").count(),
        3
    );
    let theirs = bench.git_clone(&["--filter=blob:none"], &url, &[]);
    assert_same(&cloned.outcome.directory, &theirs);
}

#[test]
fn long_lists_of_wants_are_sent_compressed() {
    let bench = Bench::new();
    for number in 0..30 {
        let tree = bench.origin.git(["rev-parse", "HEAD^{tree}"]);
        let commit = bench
            .origin
            .git(["commit-tree", "-m", &number.to_string(), &tree]);
        let _ = bench.origin.git(["branch", &format!("b{number}"), &commit]);
    }
    let server = GitHttpServer::start(bench.dir.path());
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    bench.clone(&options).unwrap();
    for request in server.requests() {
        assert_eq!(
            request.is_gzipped,
            request.body.len() > 1024,
            "{} bytes",
            request.body.len()
        );
    }
    assert!(server.requests().iter().any(|request| request.is_gzipped));
}

#[test]
fn a_sparse_clone_asks_for_the_blobs_of_its_cone_at_once() {
    let bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    options.sparse = vec![headstart_fs::RelPath::parse("docs").unwrap()];
    let cloned = bench.clone(&options).unwrap();
    let fetches = server
        .requests()
        .iter()
        .filter(|request| request.is_fetch())
        .count();
    assert_eq!(fetches, 3, "trees of the tip, blobs of the cone, history");
    assert_eq!(cloned.repository().git(["status", "--porcelain"]), "");
    assert!(cloned.outcome.directory.join("docs/guide.txt").exists());
    assert!(!cloned.outcome.directory.join("src").exists());
}

#[test]
fn credentials_come_from_the_url_or_a_helper() {
    let mut bench = Bench::new();
    let server = GitHttpServer::builder(bench.dir.path())
        .basic_auth("me", "s3cret")
        .start();
    bench
        .clone(&bench.options(&server.url_with_login("me", "s3cret", "origin")))
        .unwrap();
    // A helper that writes down what it is asked.
    let log = bench.path("helper.log");
    let helper = format!(
        "!f() {{ echo \"$1\" in \"$GIT_DIR\" >>'{0}'; cat >>'{0}'; echo username=me; echo password=s3cret; }}; f",
        log.display()
    );
    bench.set(&[("credential.helper", &helper)]);
    let mut options = bench.options(&server.url("origin"));
    options.directory = "by-helper".into();
    bench.clone(&options).unwrap();
    let asked = std::fs::read_to_string(&log).unwrap();
    let new = bench.path(".by-helper.headstart-");
    for what in ["get", "store"] {
        let line = format!("{what} in {}", new.display());
        assert!(
            asked.contains(&line),
            "in the new repository, not in that of the shell: {asked}"
        );
    }
    assert!(
        asked.contains("password=s3cret"),
        "the helper gets back what it gave: {asked}"
    );
    assert!(
        !bench.path("by-helper/.git/config").exists() || {
            let config = std::fs::read_to_string(bench.path("by-helper/.git/config")).unwrap();
            !config.contains("s3cret")
        }
    );
}

#[test]
fn wrong_credentials_are_refused_and_forgotten() {
    let mut bench = Bench::new();
    let server = GitHttpServer::builder(bench.dir.path())
        .basic_auth("me", "s3cret")
        .start();
    let error = bench
        .clone(&bench.options(&server.url_with_login("me", "wrong", "origin")))
        .unwrap_err();
    assert!(
        matches!(error, CloneError::Remote(RemoteError::Refused { .. })),
        "{error:?}"
    );
    assert!(
        !format!("{error:?} {error}").contains("wrong"),
        "passwords are not shown: {error}"
    );
    let error = bench.clone(&bench.options(&server.url("origin"))).unwrap_err();
    assert!(
        matches!(error, CloneError::Remote(RemoteError::Unauthorized { .. })),
        "{error:?}"
    );
    let log = bench.path("helper.log");
    let helper = format!(
        "!f() {{ echo \"$1\" >>'{}'; echo username=me; echo password=no; }}; f",
        log.display()
    );
    bench.set(&[("credential.helper", &helper)]);
    let error = bench.clone(&bench.options(&server.url("origin"))).unwrap_err();
    assert!(
        matches!(error, CloneError::Remote(RemoteError::Refused { .. })),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "get\nerase\n");
    assert_eq!(
        bench.listing(),
        ["helper.log", "origin"].map(str::to_owned).into()
    );
}

#[test]
fn secrets_stay_with_the_host_they_are_for_when_a_redirect_leads_away() {
    let mut bench = Bench::new();
    let real = GitHttpServer::builder(bench.dir.path())
        .basic_auth("me", "s3cret")
        .start();
    let first = GitHttpServer::start(bench.dir.path());
    first.fail(
        On::Discovery,
        Fault::Redirect(format!(
            "{}/info/refs?service=git-upload-pack",
            real.url("origin")
        )),
    );
    let log = bench.path("helper.log");
    let helper = format!(
        "!f() {{ echo \"$1\" >>'{0}'; cat >>'{0}'; echo username=me; echo password=s3cret; }}; f",
        log.display()
    );
    bench.set(&[
        ("credential.helper", &helper),
        (
            &format!("http.http://{}/.extraHeader", first.address()),
            "Authorization: Bearer first",
        ),
    ]);
    let mut options = bench.options(&first.url("moved"));
    options.filter = "blob:none".parse().unwrap();
    bench.clone(&options).unwrap();
    for request in first.requests() {
        assert_eq!(request.authorization, "Bearer first");
    }
    for request in real.requests() {
        assert!(!request.authorization.contains("first"));
    }
    let asked = std::fs::read_to_string(&log).unwrap();
    assert!(
        asked.contains(&format!("host={}", real.address())) && !asked.contains("erase"),
        "{asked}"
    );
    assert!(!asked.contains(&format!("host={}", first.address())), "{asked}");
}

#[test]
fn a_netrc_is_looked_at_before_anybody_is_asked() {
    let mut bench = Bench::new();
    let server = GitHttpServer::builder(bench.dir.path())
        .basic_auth("me", "s3cret")
        .start();
    let home = bench.origin.path().to_owned();
    bench.vars.push(("HOME".into(), home.clone().into()));
    let login = |password: &str| {
        let text = format!("machine 127.0.0.1 login me password {password}\n");
        std::fs::write(home.join(".netrc"), text).unwrap();
    };
    login("s3cret");
    let mut options = bench.options(&server.url("origin"));
    options.filter = "blob:none".parse().unwrap();
    bench.clone(&options).unwrap();
    login("old");
    bench.set(&[(
        "credential.helper",
        "!f() { echo username=me; echo password=s3cret; }; f",
    )]);
    options.directory = "second".into();
    bench.clone(&options).unwrap();
}

#[test]
fn askpass_is_asked() {
    let mut bench = Bench::new();
    let server = GitHttpServer::builder(bench.dir.path())
        .basic_auth("me", "s3cret")
        .start();
    let askpass = bench.origin.path().join("askpass");
    bench.origin.write_executable(
        "askpass",
        "#!/bin/sh\ncase $1 in Username*) echo me;; *) echo s3cret;; esac\n",
    );
    bench.vars.push(("GIT_ASKPASS".into(), askpass.into()));
    bench.clone(&bench.options(&server.url("origin"))).unwrap();
}

#[test]
fn headers_and_rewrites_of_the_configuration_are_used() {
    let mut bench = Bench::new();
    let server = GitHttpServer::start(bench.dir.path());
    let base = format!("http://{}/", server.address());
    bench.set(&[
        (&format!("url.{base}.insteadOf"), "short:"),
        (&format!("http.{base}.extraHeader"), "Authorization: Bearer token"),
        (
            "http.https://elsewhere.example/.extraHeader",
            "Authorization: Bearer other",
        ),
    ]);
    let cloned = bench.clone(&bench.options("short:origin")).unwrap();
    assert_eq!(
        cloned.repository().git(["config", "remote.origin.url"]),
        "short:origin"
    );
    for request in server.requests() {
        assert_eq!(request.authorization, "Bearer token");
    }
}

#[test]
fn settings_that_forbid_or_mean_nothing_stop_the_clone() {
    for setting in [
        ("protocol.file.allow", "never"),
        ("protocol.allow", "never"),
        ("clone.defaultRemoteName", "../out"),
    ] {
        let mut bench = Bench::new();
        bench.set(&[setting]);
        let error = bench.clone(&bench.options("origin")).unwrap_err();
        assert!(
            matches!(error, CloneError::Remote(RemoteError::Setting { .. })),
            "{setting:?}: {error:?}"
        );
    }
}

#[test]
fn a_proxy_gets_the_requests() {
    for by in ["http.proxy", "http_proxy", "all_proxy"] {
        let mut bench = Bench::new();
        let proxy = GitHttpServer::start(bench.dir.path());
        let address = proxy.address().to_string();
        match by {
            "http.proxy" => bench.set(&[(by, &address)]),
            _ => bench.vars.push((by.into(), format!("http://{address}").into())),
        }
        bench
            .clone(&bench.options("http://elsewhere.invalid/origin"))
            .unwrap();
        for request in proxy.requests() {
            assert!(
                request.target.starts_with("http://elsewhere.invalid/origin/"),
                "{by}: {}",
                request.target
            );
        }
    }
}

#[test]
fn ssh_in_both_spellings() {
    let Some(sshd) = Sshd::start() else { return };
    let mut bench = Bench::new();
    bench
        .vars
        .push(("GIT_SSH_COMMAND".into(), sshd.client_command().into()));
    let urls = [
        sshd.url(bench.origin.path()),
        sshd.scp_like_url(bench.origin.path()),
    ];
    for (url, directory) in urls.iter().zip(["one", "two"]) {
        let mut options = bench.options(url);
        options.filter = "blob:none".parse().unwrap();
        options.directory = directory.into();
        let cloned = bench.clone(&options).unwrap();
        assert_eq!(cloned.repository().git(["fsck"]), "");
        assert_eq!(cloned.repository().git(["config", "remote.origin.url"]), *url);
    }
    let missing = bench
        .clone(&bench.options(&sshd.url(bench.path("nowhere"))))
        .unwrap_err();
    assert!(
        matches!(missing, CloneError::Remote(RemoteError::NotFound { .. })),
        "{missing:?}"
    );
    bench.vars = vec![("GIT_SSH_COMMAND".into(), sshd.stranger_command().into())];
    let refused = bench.clone(&bench.options(&urls[0])).unwrap_err();
    assert!(
        matches!(refused, CloneError::Remote(RemoteError::Unreachable { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_remote_without_filters_gives_everything() {
    let bench = Bench::new();
    let _ = bench.origin.git(["config", "uploadpack.allowFilter", "false"]);
    let mut options = bench.options(&bench.origin.file_url());
    options.filter = "blob:none".parse().unwrap();
    let cloned = bench.clone(&options).unwrap();
    assert_eq!(
        cloned.warnings,
        [Warning::FilterUnsupported {
            filter: options.filter
        }]
    );
    assert!(cloned.outcome.filter.is_none());
    let theirs = bench.git_clone(&[], &bench.origin.file_url(), &[]);
    assert_same(&cloned.outcome.directory, &theirs);
}

#[test]
fn protocols_of_old_still_serve() {
    for version in ["0", "1"] {
        for filter in ["none", "blob:none"] {
            for http in [false, true] {
                let mut bench = Bench::new();
                bench.set(&[("protocol.version", version)]);
                let server = GitHttpServer::start(bench.dir.path());
                let url = if http {
                    server.url("origin")
                } else {
                    bench.origin.file_url()
                };
                let mut options = bench.options(&url);
                options.filter = filter.parse().unwrap();
                let cloned = bench.clone(&options).unwrap();
                let args: &[&str] = if filter == "none" {
                    &[]
                } else {
                    &["--filter=blob:none"]
                };
                let theirs = bench.git_clone(args, &url, &[]);
                assert_same(&cloned.outcome.directory, &theirs);
            }
        }
    }
}
