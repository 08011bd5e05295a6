//! `headstart clone`: the result is what git would have made, and git works on it.

use std::{collections::BTreeSet, fs};

use headstart_testkit::{GitHttpServer, Repository, fixtures};

use crate::{
    machine,
    support::{assert_like_git, assert_sound, clone_both, missing_objects, names},
};

#[test]
fn every_filter_gives_what_git_gives() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let attributes = origin.git(["rev-parse", "main:.gitattributes"]);
    for filter in [
        "blob:none",
        "blob:limit=0",
        "blob:limit=1k",
        "blob:limit=100m",
        "tree:0",
        "tree:1",
        "tree:3",
        "object:type=commit",
        "combine:blob:none+tree:3",
        &format!("sparse:oid={attributes}"),
    ] {
        let env = env.second_machine();
        let option = format!("--filter={filter}");
        let (ours, theirs) = clone_both(&env, &origin.file_url(), &[&option], &[&option]);
        assert_like_git(&ours, &theirs);
        let extra: Vec<_> = missing_objects(&ours)
            .difference(&missing_objects(&theirs))
            .cloned()
            .collect();
        assert_eq!(extra, [""; 0], "{filter}: git has these objects");
        if filter.starts_with("blob:") {
            assert_eq!(missing_objects(&ours), missing_objects(&theirs), "{filter}");
        }
    }
}

#[test]
fn a_full_clone_lacks_nothing_and_owes_nothing() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let (ours, theirs) = clone_both(&env, &origin.file_url(), &["--filter=none"], &[]);
    assert_like_git(&ours, &theirs);
    assert_eq!(missing_objects(&ours), BTreeSet::new());
    assert_eq!(
        names(&ours.path().join(".git/objects/pack"))
            .iter()
            .filter(|name| name.ends_with(".promisor"))
            .count(),
        0
    );
}

#[test]
fn only_blobs_are_missing_by_default() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let (ours, theirs) = clone_both(&env, &origin.file_url(), &[], &["--filter=blob:none"]);
    assert_like_git(&ours, &theirs);
    let missing = missing_objects(&ours);
    assert!(!missing.is_empty());
    for object in missing {
        assert_eq!(origin.git(["cat-file", "-t", &object]), "blob");
    }
}

#[test]
fn branches_tags_and_depths_are_chosen_as_git_does() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    for options in [
        ["--branch", "feature/x"].as_slice(),
        &["--branch", "v1.0"],
        &["--branch", "light"],
        &["--single-branch"],
        &["--single-branch", "--branch", "old"],
        &["--no-tags"],
        &["--depth", "1"],
        &["--depth", "3"],
        &["--depth", "1", "--branch", "tag-of-tag"],
        &["--no-checkout"],
    ] {
        let env = env.second_machine();
        let filter = [options, &["--filter=blob:none"]].concat();
        let (ours, theirs) = clone_both(&env, &origin.file_url(), &filter, &filter);
        assert_like_git(&ours, &theirs);
    }
}

#[test]
fn a_sparse_clone_has_the_cone_and_fetches_no_other_file() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 50, 20);
    let server = GitHttpServer::start(env.root());
    let url = server.url("mono.git");
    let _ = env
        .run([
            "clone",
            "--sparse",
            "packages/pkg-0007",
            "--sparse",
            "packages/pkg-0011",
            &url,
            "ours",
        ])
        .success();
    let ours = Repository::at(env.path("ours"));
    assert_sound(&ours);
    assert_eq!(names(&ours.path().join("packages")), ["pkg-0007", "pkg-0011"]);
    // The four files of either package, and the one at the top.
    let tip: BTreeSet<_> = origin
        .git(["rev-list", "--objects", "--no-object-names", "main^{tree}"])
        .lines()
        .map(str::to_owned)
        .collect();
    let missing = missing_objects(&ours);
    let present = tip
        .iter()
        .filter(|id| !missing.contains(*id) && origin.git(["cat-file", "-t", id]) == "blob")
        .count();
    assert!(present <= 9, "{present} files of the tip were fetched");

    let git = |args: &[&str]| {
        assert!(
            env.git()
                .current_dir(ours.path())
                .args(args)
                .status()
                .unwrap()
                .success(),
            "git {args:?}"
        )
    };
    git(&["sparse-checkout", "add", "packages/pkg-0001"]);
    assert_eq!(
        names(&ours.path().join("packages")),
        ["pkg-0001", "pkg-0007", "pkg-0011"]
    );
    git(&["sparse-checkout", "disable"]);
    assert_eq!(names(&ours.path().join("packages")).len(), 50);
    assert_sound(&ours);
}

#[test]
fn a_sparse_clone_is_configured_as_git_does_it() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 20, 5);
    let (ours, theirs) = clone_both(
        &env,
        &origin.file_url(),
        &["--sparse", "packages/pkg-0003"],
        &["--filter=blob:none", "--sparse"],
    );
    let _ = theirs.git(["sparse-checkout", "set", "--cone", "packages/pkg-0003"]);
    assert_like_git(&ours, &theirs);
}

#[test]
fn git_goes_on_working_in_the_clone() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let _ = env.run(["clone", &origin.file_url(), "ours"]).success();
    let ours = Repository::at(env.path("ours"));
    assert_eq!(
        ours.git(["log", "--oneline"]).lines().count(),
        origin.git(["log", "--oneline", "main"]).lines().count()
    );
    // Lazy fetches bring what the filter left out.
    assert_eq!(
        ours.git(["show", "HEAD~20:plain.txt"]),
        origin.git(["show", "main~20:plain.txt"])
    );
    assert_eq!(
        ours.git(["log", "-p", "-3", "--format=%H", "--", "plain.txt"]),
        origin.git(["log", "-p", "-3", "--format=%H", "--", "plain.txt"])
    );
    let _ = ours.git(["checkout", "-q", "feature/x"]);
    assert_eq!(
        ours.git(["rev-parse", "--abbrev-ref", "@{upstream}"]),
        "origin/feature/x"
    );
    let _ = ours.git(["worktree", "add", "-q", "../second", "v1.0"]);
    assert_sound(&Repository::at(env.path("second")));
    let _ = ours.git(["switch", "-q", "main"]);

    // The origin moves on; fetch, pull and push work.
    let _ = env
        .git()
        .args(["clone", "-q", &origin.file_url(), "other"])
        .status()
        .unwrap();
    let other = Repository::at(env.path("other"));
    other.write("new.txt", "new\n").commit("new");
    let _ = other.git(["push", "-q", "origin", "main"]);
    let _ = ours.git(["pull", "-q", "--ff-only"]);
    ours.write("newer.txt", "newer\n").commit("newer");
    let _ = ours.git(["push", "-q", "origin", "main"]);
    assert_eq!(origin.git(["rev-parse", "main"]), ours.git(["rev-parse", "HEAD"]));
    let _ = ours.git(["gc", "-q"]);
    assert_sound(&ours);
}

#[test]
fn the_folder_is_named_after_the_url_and_may_be_an_empty_one() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 3, 3);
    let _ = env.run(["clone", &origin.file_url()]).success();
    fs::create_dir(env.path("empty")).unwrap();
    let _ = env.run(["clone", &origin.file_url(), "empty"]).success();
    let _ = env
        .run(["clone", &origin.file_url(), "new/parents/too"])
        .success();
    assert_eq!(names(&env.work()), ["empty", "mono", "new"]);
    for path in ["empty", "mono", "new/parents/too"] {
        assert_sound(&Repository::at(env.path(path)));
    }
}

#[test]
fn local_paths_are_urls_too() {
    let env = machine();
    let origin = fixtures::monorepo(env.path("mono.git"), 3, 3);
    for (number, path) in [origin.path().to_str().unwrap(), "mono.git", "./mono.git"]
        .into_iter()
        .enumerate()
    {
        let folder = format!("clone-{number}");
        let _ = env.run(["clone", path, &folder]).success();
        assert_sound(&Repository::at(env.path(folder)));
    }
}

#[test]
fn a_server_without_filters_is_cloned_in_full_with_a_warning() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let _ = origin.git(["config", "uploadpack.allowFilter", "false"]);
    let _ = env
        .run(["clone", &origin.file_url(), "ours"])
        .success()
        .says("filter");
    let ours = Repository::at(env.path("ours"));
    assert_sound(&ours);
    assert_eq!(missing_objects(&ours), BTreeSet::new());
}
