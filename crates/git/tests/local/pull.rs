//! After a pull, a clone is what `git pull --ff-only` would have made of it.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

use headstart_git::PullOutcome;
use headstart_testkit::Repository;

use crate::support::{Machine, assert_same, git_offline, git_pull, missing, pull};

/// With an origin that has most of what repositories have.
pub(crate) fn with_everything() -> Machine {
    let machine = Machine::new();
    let origin = &machine.origin;
    origin
        .write(".gitattributes", "*.bat text eol=crlf\n*.id ident\n")
        .write("README", "one\n")
        .write("same.txt", "same\n")
        .write("gone/deep/er/file.txt", "gone\n")
        .write("gone/too.txt", "gone\n")
        .write("run.bat", "echo one\r\n")
        .write("keyword.id", "$Id$\n")
        .write(OsStr::from_bytes(b"latin1-\xe9.txt"), "one\n")
        .write("file-to-folder", "a file\n")
        .write("file-to-link", "a file\n")
        .write("sub/keep.txt", "kept\n")
        .write("sub/other/x.txt", "x\n")
        .symlink("link", "README")
        .symlink("link-to-file", "README")
        .write_executable("tool", "#!/bin/sh\n");
    origin.commit("one");
    machine
}

/// Moves the origin on, in several commits.
pub(crate) fn advance(origin: &Repository) {
    for number in 0..3 {
        origin.write("README", format!("{number}\n")).commit("more");
    }
    fs::remove_dir_all(origin.path().join("gone")).unwrap();
    fs::remove_file(origin.path().join("file-to-folder")).unwrap();
    fs::remove_file(origin.path().join("file-to-link")).unwrap();
    fs::remove_file(origin.path().join("link-to-file")).unwrap();
    fs::remove_file(origin.path().join("link")).unwrap();
    fs::remove_file(origin.path().join("tool")).unwrap();
    origin
        .write("run.bat", "echo two\r\n")
        .write("keyword.id", "$Id$\nmore\n")
        .write(OsStr::from_bytes(b"latin1-\xe9.txt"), "two\n")
        .write(OsStr::from_bytes(b"new-\xff/\xfe.txt"), "new\n")
        .write("file-to-folder/inside", "inside\n")
        .symlink("file-to-link", "README")
        .write("link-to-file", "a file\n")
        .symlink("link", "same.txt")
        .write("tool", "#!/bin/sh\n")
        .write("added/in/a/folder.txt", "new\n")
        .write("added/.gitattributes", "*.txt eol=crlf\n")
        .write_executable("new-tool", "#!/bin/sh\n")
        .write("empty", "")
        .write("sub/other/x.txt", "xx\n");
    origin.commit("much");
    let _ = origin.git(["tag", "-a", "v1", "-m", "a tag"]);
    let _ = origin.git(["branch", "feature"]);
}

/// Clones twice, changes both clones the same way, moves the origin on, pulls with either program, and compares.
fn race(clone_args: &[&str], prepare: impl Fn(&Repository)) -> (Machine, Repository, PullOutcome) {
    let machine = with_everything();
    let ours = machine.clone("ours", clone_args);
    let theirs = machine.clone("theirs", clone_args);
    prepare(&ours);
    prepare(&theirs);
    advance(&machine.origin);
    let outcome = pull(&machine, &ours).unwrap();
    assert!(git_pull(&theirs));
    assert_same(&ours, &theirs);
    (machine, ours, outcome)
}

#[test]
fn every_kind_of_change_arrives() {
    for filter in ["--filter=blob:none", "--filter=tree:0", "--no-tags", "--depth=1"] {
        let (_machine, ours, outcome) = race(&[filter], |_| {});
        assert_eq!(outcome.by_git, None, "{filter}");
        assert!(!ours.path().join("gone").exists());
        assert_eq!(
            fs::read(ours.path().join("added/in/a/folder.txt")).unwrap(),
            b"new\r\n"
        );
        assert_eq!(fs::read(ours.path().join("run.bat")).unwrap(), b"echo two\r\n");
        assert!(
            (outcome.files_written, outcome.files_removed) > (10, 2),
            "{outcome:?}"
        );
        assert_eq!(ours.git(["status", "--porcelain"]), "");
        assert_eq!(ours.git(["write-tree"]), ours.git(["rev-parse", "HEAD^{tree}"]));
    }
}

/// The refs, the commits and trees, and the blobs of files that changed.
#[test]
fn a_pull_of_a_partial_clone_takes_three_requests() {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    advance(&machine.origin);
    let before = machine.server.requests().len();
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(machine.server.requests().len() - before, 4);
    let _ = git_offline(&ours, &["status"]);
    // Of the commits in between, nothing was fetched but what is a part of the last one.
    assert!(missing(&ours, "HEAD").len() >= 2, "{outcome:?}");

    let before = machine.server.requests().len();
    let again = pull(&machine, &ours).unwrap();
    assert_eq!((again.old, again.objects, again.refs), (Some(outcome.new), 0, 0));
    assert_eq!(machine.server.requests().len() - before, 2);
}

#[test]
fn a_shallow_clone_stays_shallow() {
    let (_machine, ours, _) = race(&["--depth=1", "--filter=blob:none"], |_| {});
    assert_eq!(ours.git(["rev-parse", "--is-shallow-repository"]), "true");
    assert_eq!(ours.git(["rev-list", "--count", "HEAD"]), "5");
}

#[test]
fn a_sparse_cone_is_kept() {
    let cone = |clone: &Repository| {
        let _ = clone.git(["sparse-checkout", "set", "sub/other", "added/in"]);
    };
    let (_machine, ours, outcome) = race(&["--filter=blob:none", "--sparse"], cone);
    assert_eq!(outcome.by_git, None);
    assert!(ours.path().join("added/in/a/folder.txt").exists());
    assert!(!ours.path().join("file-to-folder").exists());
    let _ = ours.git(["sparse-checkout", "add", "file-to-folder"]);
    assert!(ours.path().join("file-to-folder/inside").exists());
}

/// Whatever only git can keep, git updates.
#[test]
fn an_index_of_another_kind_is_for_git() {
    for command in [
        &["update-index", "--split-index"][..],
        &["update-index", "--untracked-cache"],
        &["update-index", "--assume-unchanged", "same.txt"],
        &["sparse-checkout", "set", "--sparse-index", "sub"],
    ] {
        let prepare = |clone: &Repository| drop(clone.git(command));
        let (_machine, _, outcome) = race(&["--filter=blob:none"], prepare);
        assert!(outcome.by_git.is_some(), "{command:?}");
    }
}

#[test]
fn what_is_not_in_the_way_stays() {
    let (_machine, ours, outcome) = race(&[], |clone| {
        clone.write("same.txt", "mine\n").write("untracked", "mine\n");
        clone.write("staged", "mine\n").write("gone/untracked", "mine\n");
        let _ = clone.git(["add", "staged"]);
    });
    assert_eq!(outcome.by_git, None);
    assert_eq!(
        ours.git(["status", "--porcelain"]),
        " M same.txt\nA  staged\n?? gone/\n?? untracked"
    );
}

/// The content is compared where the times are not those in the index, as in a checkout that was copied.
#[test]
fn times_alone_are_no_change() {
    let (_machine, _, outcome) = race(&[], |clone| {
        for name in [
            "README",
            "run.bat",
            "keyword.id",
            "gone/too.txt",
            "same.txt",
            "tool",
        ] {
            let file = fs::File::options()
                .write(true)
                .open(clone.path().join(name))
                .unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    });
    assert_eq!(outcome.by_git, None);
}

/// A file of the old index that was written as late as the index may have changed since, unseen.
#[test]
fn a_change_in_the_second_of_the_old_index_is_still_seen() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    let index = ours.path().join(".git/index");
    let same = ours.path().join("same.txt");
    let written = fs::metadata(&same).unwrap().modified().unwrap();
    fs::write(&same, "SAME\n").unwrap();
    let file = fs::File::options().write(true).open(&same).unwrap();
    file.set_modified(written).unwrap();
    fs::File::options()
        .write(true)
        .open(&index)
        .unwrap()
        .set_modified(written)
        .unwrap();
    let racy = ours.git(["-c", "core.trustctime=false", "status", "--porcelain"]);
    assert_eq!(racy, " M same.txt");
    let _ = ours.git(["config", "core.trustctime", "false"]);
    fs::File::options()
        .write(true)
        .open(&index)
        .unwrap()
        .set_modified(written)
        .unwrap();
    advance(&machine.origin);
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git, None);
    assert_eq!(ours.git(["status", "--porcelain"]), " M same.txt");
}

#[test]
fn a_killed_pull_is_taken_up() {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    let theirs = machine.clone("theirs", &["--filter=blob:none"]);
    advance(&machine.origin);
    // As a kill leaves it: objects and refs of the remote, some files written, some removed, index and branch of before.
    let _ = ours.git(["fetch", "-q"]);
    for (path, content) in [
        ("README", "2\n"),
        ("run.bat", "echo two\r\n"),
        ("empty", ""),
        ("added/in/a/folder.txt", "new\r\n"),
    ] {
        ours.write(path, content);
    }
    fs::remove_file(ours.path().join("gone/too.txt")).unwrap();
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git, None);
    assert!(git_pull(&theirs));
    assert_same(&ours, &theirs);

    // And with the new index already, but the branch of before.
    let _ = ours.git(["update-ref", "HEAD", "HEAD~1"]);
    assert_ne!(ours.git(["status", "--porcelain"]), "");
    let _ = pull(&machine, &ours).unwrap();
    assert_eq!(ours.git(["status", "--porcelain"]), "");
}

#[test]
fn submodules_are_left_to_their_commands() {
    let machine = with_everything();
    let head = machine.origin.git(["rev-parse", "HEAD"]);
    let add = |path: &str, id: &str| {
        let cacheinfo = format!("160000,{id},{path}");
        let _ = machine
            .origin
            .git(["update-index", "--add", "--cacheinfo", &cacheinfo]);
    };
    add("vendor/moved", &head);
    add("vendor/dropped", &head);
    let _ = machine.origin.git(["commit", "-q", "-m", "submodules"]);
    let [ours, theirs] = ["ours", "theirs"].map(|name| machine.clone(name, &["--filter=blob:none"]));
    add("vendor/moved", &machine.origin.git(["rev-parse", "HEAD"]));
    add("vendor/new", &head);
    let _ = machine
        .origin
        .git(["update-index", "--force-remove", "vendor/dropped"]);
    let _ = machine.origin.git(["commit", "-q", "-m", "more submodules"]);
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git, None);
    assert!(git_pull(&theirs));
    assert_same(&ours, &theirs);
    assert!(ours.path().join("vendor/new").is_dir() && !ours.path().join("vendor/dropped").exists());
}

/// A driver as LFS has one: it runs for files that changed, and for no other.
#[test]
fn filter_drivers_run() {
    let machine = with_everything();
    machine
        .origin
        .write(".gitattributes", "*.upper filter=upper\n")
        .write("a.upper", "one\n")
        .commit("a filter");
    let log = machine.path("smudged");
    let prepare = |clone: &Repository| {
        let smudge = format!("echo %f >> {}; tr a-z A-Z", log.display());
        let _ = clone.git(["config", "filter.upper.smudge", &smudge]);
        let _ = clone.git(["config", "filter.upper.clean", "tr A-Z a-z"]);
    };
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    prepare(&ours);
    machine
        .origin
        .write("b.upper", "two\n")
        .write("README", "again\n")
        .commit("more");
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git, None);
    assert_eq!(fs::read(ours.path().join("b.upper")).unwrap(), b"TWO\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "'b.upper'\n".replace('\'', ""));
    assert_eq!(ours.git(["status", "--porcelain"]), "");
}

#[test]
fn refs_follow_the_refspecs_and_tags() {
    let machine = with_everything();
    let origin = &machine.origin;
    let _ = origin.git(["branch", "rewritten"]);
    let _ = origin.git(["branch", "dropped"]);
    let [ours, theirs] = ["ours", "theirs"].map(|name| machine.clone(name, &["--filter=blob:none"]));
    // A tag on a commit that both have already, one that nothing else reaches, and branches of all fates.
    let _ = origin.git(["tag", "-a", "late", "-m", "late"]);
    let _ = origin.git(["branch", "-D", "dropped"]);
    let _ = origin.git(["switch", "-q", "--orphan", "other"]);
    origin.write("other", "other\n").commit("other");
    let _ = origin.git(["branch", "-f", "rewritten"]);
    let _ = origin.git(["tag", "on-other"]);
    let _ = origin.git(["switch", "-q", "main"]);
    advance(origin);
    let outcome = pull(&machine, &ours).unwrap();
    assert!(git_pull(&theirs));
    assert_same(&ours, &theirs);
    assert!(outcome.refs >= 6, "{outcome:?}");
    let log = ours.git(["reflog", "--format=%gs", "refs/remotes/origin/rewritten"]);
    assert_eq!(log, "pull: forced-update");
    let fetch_head = fs::read_to_string(ours.path().join(".git/FETCH_HEAD")).unwrap();
    assert!(fetch_head.starts_with(&outcome.new.to_string()), "{fetch_head}");
    assert!(
        fetch_head.contains("\t\tbranch 'main' of http://"),
        "{fetch_head}"
    );
}

#[test]
fn a_branch_without_commits_gets_some() {
    let machine = Machine::new();
    let [ours, theirs] = ["ours", "theirs"].map(|name| machine.clone(name, &[]));
    machine.origin.write("file", "file\n").commit("one");
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.old, None);
    assert!(git_pull(&theirs));
    assert_eq!(fs::read(ours.path().join("file")).unwrap(), b"file\n");
    assert_eq!(ours.git(["rev-parse", "HEAD"]), theirs.git(["rev-parse", "HEAD"]));
    assert_eq!(ours.git(["status", "--porcelain"]), "");
}

#[test]
fn a_linked_worktree_is_pulled_by_itself() {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    let linked = machine.path("linked");
    let _ = machine.origin.git(["branch", "side"]);
    let _ = ours.git(["fetch", "-q"]);
    let _ = ours.git([
        OsStr::new("worktree"),
        "add".as_ref(),
        "-q".as_ref(),
        linked.as_os_str(),
        "side".as_ref(),
    ]);
    let _ = machine.origin.git(["switch", "-q", "side"]);
    machine.origin.write("README", "side\n").commit("on the side");
    let linked = Repository::at(linked);
    let outcome = pull(&machine, &linked).unwrap();
    assert_eq!(outcome.branch, "side");
    assert_eq!(fs::read(linked.path().join("README")).unwrap(), b"side\n");
    assert_eq!(linked.git(["status", "--porcelain"]), "");
    assert_eq!(ours.git(["status", "--porcelain"]), "");
}

#[test]
fn the_post_merge_hook_runs() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    ours.write_executable(".git/hooks/post-merge", "#!/bin/sh\necho \"$1\" > hooked\n");
    advance(&machine.origin);
    let _ = pull(&machine, &ours).unwrap();
    assert_eq!(fs::read_to_string(ours.path().join("hooked")).unwrap(), "0\n");
}

/// Files of a commit in between are neither those of the old nor of the new one.
#[test]
fn a_killed_pull_is_taken_up_when_the_origin_has_moved_on() {
    let machine = with_everything();
    let [ours, theirs] = ["ours", "theirs"].map(|name| machine.clone(name, &["--filter=blob:none"]));
    let origin = &machine.origin;
    let between = origin
        .write("README", "between\n")
        .write("passing", "between\n")
        .write("same.txt", "between\n")
        .commit("between");
    let _ = ours.git(["fetch", "-q"]);
    ours.write("README", "between\n").write("passing", "between\n");
    ours.write(".git/headstart/pull", format!("{between}\n"));
    fs::remove_file(origin.path().join("passing")).unwrap();
    origin.write("same.txt", "same\n").commit("back");
    advance(origin);
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git, None);
    assert!(!ours.path().join(".git/headstart/pull").exists());
    assert!(git_pull(&theirs));
    assert_eq!(ours.git(["status", "--porcelain"]), "");
    assert_eq!(ours.git(["rev-parse", "HEAD"]), theirs.git(["rev-parse", "HEAD"]));
    assert!(!ours.path().join("passing").exists());
}

/// A commit that something fetched for its own sake has no history here.
#[test]
fn a_tip_that_is_here_alone_gets_its_history() {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    advance(&machine.origin);
    let tip = machine.origin.git(["rev-parse", "HEAD"]);
    let _ = machine
        .origin
        .git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let commit = machine.origin.git(["cat-file", "commit", &tip]) + "\n";
    assert_eq!(ours.write_object("commit", commit.as_bytes()), tip);
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.new.to_string(), tip);
    assert_eq!(ours.git(["status", "--porcelain"]), "");
    let _ = ours.git(["rev-list", "HEAD"]);
}

/// An editor looks at the state of the working tree all the time.
#[test]
fn a_lock_of_the_index_is_waited_for() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    advance(&machine.origin);
    let lock = ours.path().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let outcome = std::thread::scope(|scope| {
        let pulled = scope.spawn(|| pull(&machine, &ours));
        scope.spawn(|| {
            let has_come = |ours: &Repository| ours.path().join(".git/FETCH_HEAD").exists();
            while !has_come(&ours) {
                std::thread::yield_now();
            }
            fs::remove_file(&lock).unwrap();
        });
        pulled.join().unwrap().unwrap()
    });
    assert_eq!(outcome.by_git, None);
}

/// Other tools wrote trees in an order of their own.
#[test]
fn trees_in_the_wrong_order_lose_nothing() {
    let machine = with_everything();
    let origin = &machine.origin;
    let tree = |names: &[&str]| {
        let mut data = Vec::new();
        for name in names {
            let blob = origin.write_object("blob", &name.as_bytes()[..1]);
            data.extend_from_slice(format!("100644 {}\0", &name[..1]).as_bytes());
            data.extend((0..20).map(|at| u8::from_str_radix(&blob[2 * at..2 * at + 2], 16).unwrap()));
        }
        let tree = origin.write_object("tree", &data);
        let commit = origin.git(["commit-tree", "-p", "HEAD", "-m", "tree", &tree]);
        let _ = origin.git(["update-ref", "refs/heads/main", &commit]);
    };
    tree(&["a", "b", "c"]);
    let ours = machine.clone("ours", &[]);
    tree(&["c", "d", "b", "a"]);
    let _ = pull(&machine, &ours).unwrap();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(fs::read(ours.path().join(name)).unwrap(), name.as_bytes());
    }
}
