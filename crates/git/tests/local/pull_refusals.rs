//! What a pull refuses, and that nothing has changed then.

use std::fs;

use headstart_git::{LocalError, PullError};
use headstart_testkit::{Fault, Manifest, On, Repository};

use crate::{
    pull::{advance, with_everything},
    support::{Machine, git_pull, pull},
};

/// Branch, index and files.
fn state(clone: &Repository) -> (String, String, Manifest) {
    let files = Manifest::of(clone.path()).without(".git").without_root();
    (
        clone.git(["rev-parse", "HEAD"]),
        clone.git(["ls-files", "--stage", "-t"]),
        files,
    )
}

/// Prepares a clone, moves the origin on, and pulls: headstart refuses, git would too, and nothing is touched.
#[track_caller]
fn refused(prepare: impl Fn(&Repository)) -> PullError {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    prepare(&ours);
    advance(&machine.origin);
    let before = state(&ours);
    let error = pull(&machine, &ours).unwrap_err();
    let after = state(&ours);
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    before.2.assert_same(&after.2);
    assert!(!git_pull(&ours), "git would have pulled");
    error
}

#[test]
fn local_changes_are_not_overwritten() {
    let names = [
        ("README", "changed"),
        ("gone/too.txt", "removed there"),
        ("added/in/a/folder.txt", "untracked"),
        ("file-to-folder", "becomes a folder"),
        ("link-to-file", "followed"),
    ];
    for (name, why) in names {
        let error = refused(|clone| {
            fs::remove_file(clone.path().join(name)).ok();
            clone.write(name, "mine\n");
        });
        assert!(
            matches!(&error, PullError::InTheWay { said } if said.contains(name)),
            "{why}: {error:?}"
        );
    }
}

#[test]
fn staged_changes_are_not_overwritten() {
    let error = refused(|clone| {
        clone.write("README", "mine\n");
        let _ = clone.git(["add", "README"]);
        clone.write("README", "one\n");
    });
    assert!(matches!(error, PullError::InTheWay { .. }), "{error:?}");
}

/// Nothing is written through a symlink that stands where a folder will be.
#[test]
fn an_untracked_symlink_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let error = refused(|clone| {
        clone.symlink("added", outside.path());
    });
    assert!(matches!(error, PullError::InTheWay { .. }), "{error:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_diverged_branch_stays_but_refs_of_the_remote_move() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    ours.write("mine", "mine\n").commit("mine");
    advance(&machine.origin);
    let before = state(&ours);
    let error = pull(&machine, &ours).unwrap_err();
    assert!(
        matches!(&error, PullError::Diverged { upstream, .. } if upstream == "origin/main"),
        "{error:?}"
    );
    assert_eq!(before.0, state(&ours).0);
    assert_eq!(
        ours.git(["rev-parse", "origin/main"]),
        machine.origin.git(["rev-parse", "main"])
    );
}

/// A branch that is ahead is up to date.
#[test]
fn a_branch_that_is_ahead_is_left_alone() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    let mine = ours.write("mine", "mine\n").commit("mine");
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.new.to_string(), mine);
}

#[test]
fn without_a_branch_or_an_upstream_there_is_nothing_to_pull() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    let _ = ours.git(["switch", "-q", "-c", "local"]);
    let error = pull(&machine, &ours).unwrap_err();
    assert!(
        matches!(&error, PullError::NoUpstream { branch } if branch == "local"),
        "{error:?}"
    );
    let _ = ours.git(["switch", "-q", "--detach"]);
    assert!(matches!(pull(&machine, &ours).unwrap_err(), PullError::Detached));
    let _ = ours.git(["switch", "-q", "main"]);
    let _ = machine.origin.git(["branch", "-m", "main", "trunk"]);
    let error = pull(&machine, &ours).unwrap_err();
    assert!(
        matches!(&error, PullError::UpstreamGone { name, .. } if name == "refs/heads/main"),
        "{error:?}"
    );
}

#[test]
fn hostile_names_are_refused_before_anything_is_written() {
    let machine = with_everything();
    let ours = machine.clone("ours", &[]);
    let origin = &machine.origin;
    let blob = origin.write_object("blob", b"evil\n");
    let mut tree = Vec::new();
    for name in [".git", "zz"] {
        tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
        let hex = (0..20).map(|at| u8::from_str_radix(&blob[2 * at..2 * at + 2], 16).unwrap());
        tree.extend(hex);
    }
    let tree = origin.write_object("tree", &tree);
    let commit = origin.git(["commit-tree", "-p", "HEAD", "-m", "evil", &tree]);
    let _ = origin.git(["update-ref", "refs/heads/main", &commit]);
    let before = state(&ours);
    let error = pull(&machine, &ours).unwrap_err();
    assert!(matches!(error, PullError::Worktree { .. }), "{error:?}");
    before.2.assert_same(&state(&ours).2);
}

fn cut(machine: &Machine, clone: &Repository, after: u64) -> PullError {
    machine.server.fail(On::Fetch, Fault::CutAfter(after));
    let error = pull(machine, clone).unwrap_err();
    machine.server.heal();
    error
}

#[test]
fn a_connection_that_breaks_leaves_what_was() {
    let machine = with_everything();
    let ours = machine.clone("ours", &["--filter=blob:none"]);
    advance(&machine.origin);
    let before = state(&ours);
    for after in [0, 50, 300] {
        let error = cut(&machine, &ours, after);
        assert!(error.is_retryable(), "{after}: {error:?}");
        assert!(
            matches!(error, PullError::Local(LocalError::Remote(_))),
            "{error:?}"
        );
        let now = state(&ours);
        assert_eq!(before.0, now.0);
        before.2.assert_same(&now.2);
        let _ = ours.git(["fsck"]);
    }
    let _ = pull(&machine, &ours).unwrap();
    assert_eq!(ours.git(["status", "--porcelain"]), "");
}

/// The folder of a submodule has a repository of the user's in it: what becomes of that is for git to say.
#[test]
fn a_submodule_that_became_a_folder_is_for_git() {
    let machine = with_everything();
    let origin = &machine.origin;
    let head = origin.git(["rev-parse", "HEAD"]);
    let _ = origin.git([
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{head},s"),
    ]);
    let _ = origin.git(["commit", "-q", "-m", "a submodule"]);
    let ours = machine.clone("ours", &[]);
    let _ = Repository::create(ours.path().join("s"));
    ours.write("s/mine", "mine\n");
    let _ = origin.git(["update-index", "--force-remove", "s"]);
    fs::remove_dir_all(origin.path().join("s")).ok();
    origin.write("s/f", "theirs\n").commit("a folder");
    let outcome = pull(&machine, &ours).unwrap();
    assert_eq!(outcome.by_git.as_deref(), Some("s is a submodule no more"));
    assert_eq!(fs::read(ours.path().join("s/mine")).unwrap(), b"mine\n");
}

#[test]
fn ignored_files_are_not_overwritten() {
    let machine = with_everything();
    machine.origin.write(".gitignore", "empty\n").commit("ignore");
    let ours = machine.clone("ours", &[]);
    ours.write("empty", "mine\n");
    machine.origin.write("README", "new\n").write("empty", "theirs\n");
    let _ = machine.origin.git(["add", "-f", "empty"]);
    machine.origin.commit("an ignored file");
    let error = pull(&machine, &ours).unwrap_err();
    assert!(matches!(error, PullError::InTheWay { .. }), "{error:?}");
    assert_eq!(fs::read(ours.path().join("empty")).unwrap(), b"mine\n");
    assert_eq!(fs::read(ours.path().join("README")).unwrap(), b"one\n");
}

#[test]
fn a_branch_of_another_working_tree_is_not_moved() {
    let machine = with_everything();
    let _ = machine.origin.git(["branch", "side"]);
    let ours = machine.clone("ours", &[]);
    let linked = machine.path("linked");
    let _ = ours.git(["worktree", "add", "-q", linked.to_str().unwrap(), "side"]);
    let _ = ours.git([
        "config",
        "--add",
        "remote.origin.fetch",
        "+refs/heads/side:refs/heads/side",
    ]);
    let before = ours.git(["rev-parse", "side"]);
    let _ = machine.origin.git(["switch", "-q", "side"]);
    machine.origin.write("README", "side\n").commit("on the side");
    let error = pull(&machine, &ours).unwrap_err();
    assert!(
        matches!(error, PullError::Local(LocalError::Setting { .. })),
        "{error:?}"
    );
    assert_eq!(ours.git(["rev-parse", "side"]), before);
}

#[test]
fn signatures_are_for_git_to_verify() {
    let error = refused(|clone| drop(clone.git(["config", "merge.verifySignatures", "true"])));
    assert!(matches!(error, PullError::InTheWay { .. }), "{error:?}");
}
