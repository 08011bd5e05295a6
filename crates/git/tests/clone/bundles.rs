//! Bundles that a remote advertises: used where they fit, left where they do not, and never a reason to fail.

use std::{path::PathBuf, sync::atomic::AtomicBool};

use headstart_git::{CloneOptions, GitEnvironment, History, Silent, Warning, complete_clone};
use headstart_testkit::{Fault, GitHttpServer, On, Request};

use crate::support::{Bench, Cloned, assert_same};

/// Makes bundles of the origin at several times; the last commits are in none of them.
fn bundled() -> Bench {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("files")).unwrap();
    bundle(&bench, "base", &["--branches", "--tags"]);
    bundle(
        &bench,
        "base-blobless",
        &["--filter=blob:none", "--branches", "--tags"],
    );
    let base = bench.origin.git(["rev-parse", "HEAD"]);
    // Large enough to be sent as a delta, which is based on what the bundle does not have.
    for round in ["a", "b"] {
        let lines: String = (0..2000).map(|number| format!("{round} {number}\n")).collect();
        bench.origin.write("src/growing.txt", lines).commit("grow");
    }
    let middle = bench.origin.git(["rev-parse", "HEAD"]);
    let since = format!("^{base}");
    bundle(&bench, "more", &["main", &since]);
    bundle(&bench, "more-blobless", &["--filter=blob:none", "main", &since]);
    bench.origin.write("src/growing.txt", "b 1\n").commit("shrink");
    bundle(&bench, "last", &["main", &format!("^{middle}")]);
    bench
        .origin
        .write("README", "after all bundles\n")
        .commit("after");
    bench
}

fn bundle(bench: &Bench, name: &str, args: &[&str]) {
    let path = file(bench, name);
    let mut create = vec!["bundle", "create", "-q", path.to_str().unwrap()];
    create.extend(args);
    let _ = bench.origin.git(create);
}

fn file(bench: &Bench, name: &str) -> PathBuf {
    bench.path("files").join(format!("{name}.bundle"))
}

/// Serves the origin, and its bundles below `/files`, with these settings of the list.
fn serve(bench: &Bench, list: &[(&str, &str)]) -> GitHttpServer {
    let builder = GitHttpServer::builder(bench.dir.path())
        .files(bench.path("files"))
        .setting("uploadpack.advertiseBundleURIs", "true")
        .setting("bundle.version", "1");
    let builder = list.iter().fold(builder, |builder, (name, value)| {
        builder.setting(&format!("bundle.{name}"), value)
    });
    builder.start()
}

/// Lets the origin itself name bundles.
fn configure(bench: &Bench, bundles: &[(&str, &str)]) {
    let list = [
        ("uploadpack.advertiseBundleURIs", "true"),
        ("bundle.version", "1"),
        ("bundle.mode", "all"),
    ];
    for (name, value) in list.iter().chain(bundles) {
        let _ = bench.origin.git(["config", name, value]);
    }
}

fn options(bench: &Bench, server: &GitHttpServer, filter: &str) -> CloneOptions {
    let mut options = bench.options(&server.url("origin"));
    options.filter = filter.parse().unwrap();
    options
}

/// Clones, and compares with what git makes without bundles.
#[track_caller]
fn clone(bench: &Bench, server: &GitHttpServer, filter: &str) -> Cloned {
    let cloned = bench.clone(&options(bench, server, filter)).unwrap();
    let git_filter = format!("--filter={filter}");
    let args: &[&str] = if filter == "none" { &[] } else { &[&git_filter] };
    let theirs = bench.git_clone(args, &server.url("origin"), &[]);
    assert_same(&cloned.outcome.directory, &theirs);
    let _ = std::fs::remove_dir_all(theirs);
    cloned
}

/// The bundles that were asked for, in order.
fn downloads(server: &GitHttpServer) -> Vec<String> {
    let requests = server.requests().into_iter();
    let file = |request: Request| Some(request.target.strip_prefix("/files/")?.to_owned());
    requests.filter_map(file).collect()
}

/// Whether the origin was told that `commit` is here already.
fn is_told_of(server: &GitHttpServer, commit: &str) -> bool {
    let have = format!("have {commit}");
    let tells = |request: &Request| String::from_utf8_lossy(&request.body).contains(&have);
    server.requests().iter().any(tells)
}

#[track_caller]
fn assert_left(cloned: &Cloned, uri: &str, why: &str) {
    let [Warning::BundleLeft { uri: left, reason }] = &cloned.warnings[..] else {
        panic!("{uri}: {:?}", cloned.warnings)
    };
    assert!(left == uri && reason.contains(why), "{left}: {reason}");
}

#[test]
fn the_origin_sends_only_what_is_in_no_bundle() {
    let bench = bundled();
    // Listed in the wrong order; the tokens say the right one.
    let server = serve(
        &bench,
        &[
            ("mode", "all"),
            ("heuristic", "creationToken"),
            ("c.uri", "/files/last.bundle"),
            ("c.creationToken", "30"),
            ("b.uri", "../files/more.bundle"),
            ("b.creationToken", "20"),
            ("a.uri", "/files/base.bundle"),
            ("a.creationToken", "10"),
            ("d.uri", "/files/base-blobless.bundle"),
            ("d.filter", "blob:none"),
        ],
    );
    let cloned = clone(&bench, &server, "none");
    assert_eq!(cloned.warnings, []);
    assert_eq!(downloads(&server), ["base.bundle", "more.bundle", "last.bundle"]);
    assert!(is_told_of(&server, &bench.origin.git(["rev-parse", "HEAD~1"])));
    let sizes = ["base", "more", "last"].map(|name| file(&bench, name).metadata().unwrap().len());
    let received = cloned.outcome.history_bytes;
    assert!(
        received < sizes.iter().sum::<u64>() + 1000,
        "{received} of {sizes:?}"
    );
    assert!(
        received > sizes.iter().sum::<u64>() - 3000,
        "{received} of {sizes:?}"
    );
    assert_eq!(cloned.steps[&headstart_git::Step::ReceiveHistory].1, received);
}

#[test]
fn a_partial_clone_uses_bundles_with_its_filter_only() {
    let bench = bundled();
    let list = [
        ("mode", "all"),
        ("full.uri", "/files/base.bundle"),
        ("more.uri", "/files/more-blobless.bundle"),
        ("more.filter", "blob:none"),
        ("base.uri", "/files/base-blobless.bundle"),
        ("base.filter", "blob:none"),
    ];
    let server = serve(&bench, &list);
    let cloned = clone(&bench, &server, "blob:none");
    assert_eq!(cloned.warnings, []);
    let mut downloads = downloads(&server);
    // Without tokens, what builds on another may have to be asked for again.
    downloads.sort();
    downloads.dedup();
    assert_eq!(downloads, ["base-blobless.bundle", "more-blobless.bundle"]);
    assert!(is_told_of(&server, &bench.origin.git(["rev-parse", "HEAD~2"])));
    let server = serve(&bench, &list);
    std::fs::remove_dir_all(bench.path("ours")).unwrap();
    clone(&bench, &server, "tree:0");
    assert_eq!(self::downloads(&server), [""; 0]);
}

#[test]
fn a_history_that_comes_later_uses_them_too() {
    for (filter, name) in [("blob:none", "base-blobless"), ("blob:limit=1g", "base")] {
        let bench = bundled();
        let uri = format!("/files/{name}.bundle");
        let server = serve(&bench, &[("mode", "all"), ("a.uri", &uri), ("a.filter", filter)]);
        let mut options = options(&bench, &server, filter);
        options.history = History::Later;
        let clone = bench.clone(&options).unwrap().repository();
        assert_eq!(downloads(&server), [""; 0]);
        let environment = GitEnvironment {
            folder: clone.path().to_owned(),
            ..bench.environment()
        };
        let completed = complete_clone(&environment, &Silent, &AtomicBool::new(false)).unwrap();
        assert!(completed.was_pending);
        assert_eq!(downloads(&server), [format!("{name}.bundle")]);
        let base = bench.origin.git(["rev-parse", "HEAD~4"]);
        assert_eq!(
            is_told_of(&server, &base),
            name != "base",
            "the other is not what the list says"
        );
        assert_eq!(clone.git(["fsck", "--no-dangling"]), "");
        assert_eq!(
            clone.git(["rev-list", "--count", "HEAD"]),
            bench.origin.git(["rev-list", "--count", "HEAD"])
        );
    }
}

#[test]
fn any_bundle_that_serves_will_do() {
    let bench = bundled();
    let server = serve(
        &bench,
        &[
            ("mode", "any"),
            ("a.uri", "/files/none.bundle"),
            ("b.uri", "/files/base.bundle"),
            ("c.uri", "/files/base.bundle"),
        ],
    );
    let cloned = clone(&bench, &server, "none");
    assert_eq!(cloned.warnings, []);
    assert_eq!(
        downloads(&server)
            .iter()
            .filter(|name| *name == "base.bundle")
            .count(),
        1
    );
}

#[test]
fn bundles_are_not_asked_for_where_they_do_not_serve() {
    let mut bench = bundled();
    let server = serve(&bench, &[("mode", "all"), ("a.uri", "/files/base.bundle")]);
    let mut options = options(&bench, &server, "none");
    options.depth = std::num::NonZeroU32::new(3);
    bench.clone(&options).unwrap();
    options.depth = None;
    options.directory = "forbidden".into();
    bench.set(&[("transfer.bundleURI", "false")]);
    bench.clone(&options).unwrap();
    let asks = |request: &Request| request.body.windows(10).any(|window| window == b"bundle-uri");
    assert!(!server.requests().iter().any(asks));
}

#[test]
fn a_bundle_that_does_not_serve_is_left_with_one_warning() {
    let bench = bundled();
    let base = std::fs::read(file(&bench, "base")).unwrap();
    let broken = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = base.clone();
        change(&mut content);
        std::fs::write(file(&bench, name), content).unwrap();
    };
    broken("flipped", &|content| {
        let middle = content.len() - 200;
        content[middle] ^= 1;
    });
    broken("short", &|content| content.truncate(content.len() - 100));
    broken("no-pack", &|content| content.truncate(30));
    broken("page", &|content| *content = b"<!doctype html>".to_vec());
    // It says that it has the newest commit, which would then be missed.
    let newest = bench.origin.git(["rev-parse", "HEAD"]);
    broken("liar", &|content| {
        let line = content.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        content.splice(line..line, format!("{newest} refs/heads/new\n").into_bytes());
    });
    // All commits, but the blob of the last one is not there.
    let tip = bench.origin.git(["rev-parse", "HEAD~4"]);
    let script = format!(
        "(printf '# v2 git bundle\n{tip} refs/heads/main\n\n'; git rev-list --objects {tip} | grep -v README \
        | cut -d' ' -f1 | git pack-objects -q --stdout) > {}",
        file(&bench, "hollow").display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(bench.origin.path())
        .status();
    assert!(status.unwrap().success());
    for (uri, why) in [
        ("/files/none.bundle", "not found"),
        ("/files/page.bundle", "no bundle"),
        ("/files/no-pack.bundle", "malformed"),
        ("/files/flipped.bundle", "corrupt"),
        ("/files/short.bundle", "ends before"),
        ("/files/liar.bundle", "missing"),
        ("/files/hollow.bundle", "missing"),
        ("/files/more.bundle", "needs commits"),
        ("/files/base-blobless.bundle", "its filter is blob:none"),
        ("http://127.0.0.1:1/x", "cannot connect"),
        ("file:///etc/passwd", "may not lead"),
        ("ext::sh -c true", "may not lead"),
    ] {
        let server = serve(&bench, &[("mode", "all"), ("a.uri", uri)]);
        let cloned = clone(&bench, &server, "none");
        assert_left(&cloned, uri, why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
    let server = serve(&bench, &[("mode", "some"), ("a.uri", "/files/base.bundle")]);
    let cloned = clone(&bench, &server, "none");
    assert_left(&cloned, &server.url("origin"), "no mode");
}

#[test]
fn a_bundle_that_stops_coming_is_left() {
    let mut bench = bundled();
    bench.vars.push(("GIT_HTTP_LOW_SPEED_LIMIT".into(), "1".into()));
    bench.vars.push(("GIT_HTTP_LOW_SPEED_TIME".into(), "1".into()));
    let server = serve(&bench, &[("mode", "all"), ("a.uri", "/files/base.bundle")]);
    for (fault, why) in [
        (Fault::StallAfter(300), "sent nothing"),
        (Fault::CutAfter(300), "hung up"),
    ] {
        server.fail(On::Path("/files/base.bundle"), fault);
        let cloned = clone(&bench, &server, "none");
        assert_left(&cloned, "/files/base.bundle", why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
}

#[test]
fn a_repository_on_this_machine_may_name_files_on_it() {
    let bench = bundled();
    let origin = &bench.origin;
    let uri = format!("file://{}", file(&bench, "base").display());
    configure(
        &bench,
        &[("bundle.a.uri", &uri), ("bundle.b.uri", "../files/more.bundle")],
    );
    let cloned = bench.clone(&bench.options(&origin.file_url())).unwrap();
    assert_eq!(cloned.warnings, []);
    let theirs = bench.git_clone(&[], &origin.file_url(), &[]);
    assert_same(&cloned.outcome.directory, &theirs);
    let objects = origin.git(["rev-list", "--objects", "--all"]).lines().count() as u64;
    assert_eq!(
        cloned.outcome.objects,
        objects + 1,
        "none came twice but the base of a thin delta"
    );
}

#[test]
fn a_remote_that_fails_to_list_its_bundles_is_cloned_without_them() {
    let mut bench = bundled();
    bench.vars.push(("GIT_HTTP_MAX_RETRIES".into(), "0".into()));
    let server = serve(&bench, &[("mode", "all"), ("a.uri", "/files/base.bundle")]);
    let answer = |body| Fault::answer(200, "application/x-git-upload-pack-result", body);
    for (fault, why) in [
        (answer("0013ERR no bundles\n0000"), "no bundles"),
        (answer("what?"), "hung up"),
        (Fault::CutAfter(10), "hung up"),
        (Fault::status(404), "not found"),
        (Fault::status(500), "status 500"),
    ] {
        server.fail_times(1, On::FetchAsking("command=bundle-uri"), fault);
        let cloned = clone(&bench, &server, "none");
        assert_left(&cloned, &server.url("origin"), why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
}

#[test]
fn a_bundle_that_the_user_does_not_allow_to_be_reached_is_left() {
    let mut bench = bundled();
    bench.vars.push(("GIT_ALLOW_PROTOCOL".into(), "http:file".into()));
    let uri = "https://127.0.0.1:1/x";
    for redirected in [false, true] {
        let listed = if redirected { "/files/base.bundle" } else { uri };
        let server = serve(&bench, &[("mode", "all"), ("a.uri", listed)]);
        if redirected {
            server.fail(On::Path(listed), Fault::Redirect(uri.to_owned()));
        }
        let why = if redirected {
            "which is not followed"
        } else {
            "https is not allowed"
        };
        let cloned = clone(&bench, &server, "none");
        assert_left(&cloned, listed, why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
}

#[test]
fn only_a_file_is_read_as_a_bundle() {
    let bench = bundled();
    let pipe = bench.path("files").join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for (uri, why) in [
        ("../files/pipe", "no regular file"),
        ("../files", "no regular file"),
    ] {
        configure(&bench, &[("bundle.a.uri", uri)]);
        let cloned = bench.clone(&bench.options(&bench.origin.file_url())).unwrap();
        assert_left(&cloned, uri, why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
}

#[test]
fn what_signs_a_url_is_not_shown() {
    let bench = bundled();
    for redirected in [false, true] {
        let signed = "http://me:s3cret@127.0.0.1:1/x?X-Amz-Signature=s3cret#s3cret";
        let listed = if redirected { "/files/base.bundle" } else { signed };
        let server = serve(&bench, &[("mode", "all"), ("a.uri", listed)]);
        let target = "ftp://me:s3cret@host/x?s3cret";
        server.fail(On::Path("/files/base.bundle"), Fault::Redirect(target.to_owned()));
        let cloned = clone(&bench, &server, "none");
        let [Warning::BundleLeft { uri, reason }] = &cloned.warnings[..] else {
            panic!("{:?}", cloned.warnings)
        };
        assert!(
            !uri.contains("s3cret") && !reason.contains("s3cret"),
            "{uri}: {reason}"
        );
        let (shown, why) = match redirected {
            true => (listed, "to ftp://host/x, which"),
            false => ("http://127.0.0.1:1/x", "cannot connect"),
        };
        assert_left(&cloned, shown, why);
        std::fs::remove_dir_all(&cloned.outcome.directory).unwrap();
    }
}

#[test]
fn a_chain_of_bundles_in_the_wrong_order_is_asked_for_twice_at_most() {
    let bench = bundled();
    let mut tips = vec![bench.origin.git(["rev-parse", "HEAD"])];
    bundle(&bench, "0", &["main"]);
    for number in 1..6 {
        bench.origin.write("README", format!("{number}\n")).commit("link");
        bundle(
            &bench,
            &number.to_string(),
            &["main", &format!("^{}", tips[number - 1])],
        );
        tips.push(bench.origin.git(["rev-parse", "HEAD"]));
    }
    let listed: Vec<_> = (0..6)
        .rev()
        .map(|number| (format!("{}.uri", 9 - number), format!("/files/{number}.bundle")))
        .collect();
    let mut list = vec![("mode", "all")];
    list.extend(listed.iter().map(|(name, uri)| (name.as_str(), uri.as_str())));
    let server = serve(&bench, &list);
    let cloned = clone(&bench, &server, "none");
    assert_eq!(cloned.warnings, []);
    assert!(is_told_of(&server, &tips[5]));
    let downloads = downloads(&server);
    for number in 0..6 {
        let name = format!("{number}.bundle");
        let times = downloads.iter().filter(|other| **other == name).count();
        assert_eq!(times, if number == 0 { 1 } else { 2 }, "{name}: {downloads:?}");
    }
}
