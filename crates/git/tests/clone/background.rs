//! A clone that leaves its history for later is a valid repository at every moment, and what git clones in the end.

use std::{fs, num::NonZeroU32, path::Path, sync::atomic::AtomicBool};

use headstart_git::{
    CloneOptions, CompletedHistory, GitEnvironment, History, HistoryState, LocalError, Progress, Silent,
    Step, Warning, background_log, complete_clone, history_state,
};
use headstart_testkit::{Manifest, Repository};

use crate::support::{Bench, objects};

fn start(bench: &Bench, change: impl FnOnce(&mut CloneOptions)) -> Repository {
    let mut options = bench.options(&bench.origin.file_url());
    options.filter = "blob:none".parse().unwrap();
    options.history = History::Later;
    change(&mut options);
    let cloned = bench.clone(&options).unwrap();
    assert!(cloned.outcome.history_pending && cloned.outcome.history_bytes == 0);
    let clone = cloned.repository();
    assert_valid(&clone);
    clone
}

fn environment(bench: &Bench, folder: &Path) -> GitEnvironment {
    GitEnvironment {
        folder: folder.to_owned(),
        ..bench.environment()
    }
}

fn complete(bench: &Bench, clone: &Repository) -> Result<CompletedHistory, LocalError> {
    complete_clone(
        &environment(bench, clone.path()),
        &Silent,
        &AtomicBool::new(false),
    )
}

#[track_caller]
fn assert_valid(clone: &Repository) {
    let _ = clone.git(["fsck", "--no-dangling"]);
    assert_eq!(clone.git(["status", "--porcelain"]), "");
    let _ = clone.git(["log", "-1"]);
}

/// Fails unless the repository is to git what its own clone is.
#[track_caller]
fn assert_like(ours: &Repository, theirs: &Path) {
    let theirs = Repository::at(theirs);
    for look in [
        &["for-each-ref"][..],
        &["fsck", "--no-dangling"],
        &["status", "--porcelain=v2", "--branch"],
        &["ls-files", "--stage", "-t"],
        &["config", "--list", "--local"],
        &["rev-parse", "--is-shallow-repository", "HEAD"],
        &["reflog", "show", "--all", "--format=%gd %h"],
    ] {
        assert_eq!(ours.git(look), theirs.git(look), "git {look:?}");
    }
    let shallow = |clone: &Repository| fs::read_to_string(clone.path().join(".git/shallow")).ok();
    assert_eq!(shallow(ours), shallow(&theirs));
    let all = ["cat-file", "--batch-all-objects", "--batch-check"];
    let (ours_has, theirs_has) = (objects(&ours.git(all)), objects(&theirs.git(all)));
    assert_eq!(ours_has, theirs_has);
    let files = |clone: &Repository| {
        Manifest::of(clone.path())
            .without_mtimes()
            .without(".git")
            .without_root()
    };
    files(&theirs).assert_same(&files(ours));
}

#[test]
fn every_kind_of_clone_is_completed_to_what_git_clones() {
    type Change = fn(&mut CloneOptions);
    let kinds: &[(&[&str], Change)] = &[
        (&["--filter=blob:none"], |_| {}),
        (&["--filter=tree:0"], |options| {
            options.filter = "tree:0".parse().unwrap()
        }),
        (&[], |options| options.filter = "none".parse().unwrap()),
        (&["--filter=blob:none", "--branch=feature/x"], |options| {
            options.branch = Some("feature/x".into());
        }),
        (&["--filter=blob:none", "--branch=annotated"], |options| {
            options.branch = Some("annotated".into());
        }),
        (&["--filter=blob:none", "--single-branch"], |options| {
            options.single_branch = true
        }),
        (
            &["--filter=blob:none", "--depth=2", "--no-single-branch"],
            |options| {
                options.depth = NonZeroU32::new(2);
            },
        ),
        (&["--depth=2", "--no-single-branch"], |options| {
            options.filter = "none".parse().unwrap();
            options.depth = NonZeroU32::new(2);
        }),
    ];
    for (args, change) in kinds {
        let bench = Bench::new();
        let clone = start(&bench, change);
        assert_eq!(
            clone.git(["rev-parse", "--is-shallow-repository"]).trim(),
            "true",
            "{args:?}"
        );
        let log = background_log(&clone.path().canonicalize().unwrap());
        let state = history_state(&environment(&bench, clone.path())).unwrap();
        assert_eq!(state, HistoryState::Waiting { log });

        let completed = complete(&bench, &clone).unwrap();
        assert!(completed.was_pending && completed.objects > 0, "{args:?}");
        let theirs = bench.git_clone(args, &bench.origin.file_url(), &[]);
        assert_like(&clone, &theirs);
        let state = history_state(&environment(&bench, clone.path())).unwrap();
        assert_eq!(state, HistoryState::Complete);
        assert_eq!(complete(&bench, &clone).unwrap(), CompletedHistory::default());
    }
}

#[test]
fn what_git_unshallows_needs_no_more_than_the_refs() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    let _ = clone.git(["fetch", "-q", "--unshallow"]);
    assert_valid(&clone);
    let completed = complete(&bench, &clone).unwrap();
    assert_eq!((completed.was_pending, completed.objects), (true, 0));
    let theirs = bench.git_clone(&["--filter=blob:none"], &bench.origin.file_url(), &[]);
    assert_eq!(
        clone.git(["for-each-ref"]),
        Repository::at(theirs).git(["for-each-ref"])
    );
    assert_valid(&clone);
}

#[test]
fn the_origin_may_move_on_and_lose_branches_meanwhile() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    let _ = bench.origin.git(["branch", "-q", "-D", "feature/x"]);
    bench.origin.write("README", "later\n");
    bench.origin.commit("later");
    let _ = clone.git(["commit", "-q", "--allow-empty", "-m", "mine"]);
    let mine = clone.git(["rev-parse", "HEAD"]);
    let _ = complete(&bench, &clone).unwrap();
    assert_valid(&clone);
    assert_eq!(clone.git(["rev-parse", "HEAD"]), mine, "the branch is the user's");
    assert_eq!(
        clone.git(["rev-parse", "refs/remotes/origin/main"]),
        bench.origin.git(["rev-parse", "main"])
    );
    assert!(
        !clone
            .try_git(["rev-parse", "-q", "--verify", "refs/remotes/origin/feature/x"])
            .status
            .success()
    );
    assert_eq!(clone.git(["merge-base", "HEAD", "origin/main~1"]).len(), 40);
}

/// Moves a ref when the remote has said where its refs are, and nothing was fetched yet.
struct Mover<'a> {
    clone: &'a Repository,
    to: &'a str,
}

impl Progress for Mover<'_> {
    fn start(&self, step: Step, _total: Option<u64>) {
        if step == Step::ReceiveHistory {
            let _ = self
                .clone
                .git(["update-ref", "refs/remotes/origin/main", self.to]);
        }
    }

    fn advance(&self, _step: Step, _amount: u64) {}

    fn finish(&self, _step: Step) {}

    fn warn(&self, warning: &Warning) {
        panic!("{warning:?}");
    }
}

#[test]
fn what_the_user_moves_meanwhile_stays_moved() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    bench.origin.write("README", "later\n");
    bench.origin.commit("the remote has moved on too");
    // As a push does.
    let _ = clone.git(["commit", "-q", "--allow-empty", "-m", "pushed"]);
    let pushed = clone.git(["rev-parse", "HEAD"]).trim().to_owned();
    let mover = Mover {
        clone: &clone,
        to: &pushed,
    };
    let environment = environment(&bench, clone.path());
    let completed = complete_clone(&environment, &mover, &AtomicBool::new(false)).unwrap();
    assert!(completed.objects > 0);
    assert_eq!(
        clone.git(["rev-parse", "refs/remotes/origin/main"]).trim(),
        pushed
    );
    assert_valid(&clone);
}

#[test]
fn a_ref_in_the_way_costs_that_ref_only() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    let _ = clone.git(["update-ref", "refs/remotes/origin/feature", "HEAD"]);
    let _ = complete(&bench, &clone).unwrap();
    assert_valid(&clone);
    let _ = clone.git(["rev-parse", "--verify", "refs/tags/annotated"]);
    let state = history_state(&environment(&bench, clone.path())).unwrap();
    assert_eq!(state, HistoryState::Complete);
}

#[test]
fn what_fails_is_tried_again() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    let away = bench.path("away");
    fs::rename(bench.origin.path(), &away).unwrap();
    assert!(complete(&bench, &clone).is_err());
    assert_valid(&clone);
    fs::rename(&away, bench.origin.path()).unwrap();
    let stopped = complete_clone(
        &environment(&bench, clone.path()),
        &Silent,
        &AtomicBool::new(true),
    );
    assert!(
        matches!(stopped, Err(LocalError::Interrupted | LocalError::Remote(_))),
        "{stopped:?}"
    );
    assert_valid(&clone);
    assert!(complete(&bench, &clone).unwrap().was_pending);
    assert_valid(&clone);
}

#[test]
fn one_of_two_completes_it() {
    let bench = Bench::new();
    let clone = start(&bench, |_| {});
    let lock = headstart_fs::FileLock::exclusive(clone.path().join(".git/headstart/lock")).unwrap();
    assert!(matches!(complete(&bench, &clone), Err(LocalError::Busy { .. })));
    let state = history_state(&environment(&bench, clone.path())).unwrap();
    assert!(matches!(state, HistoryState::Arriving { .. }));
    drop(lock);
    assert!(complete(&bench, &clone).unwrap().was_pending);
}
