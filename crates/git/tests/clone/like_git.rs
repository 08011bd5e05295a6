//! Every option gives what `git clone` gives with the same option, byte for byte where git promises bytes.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::AtomicBool,
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use headstart_fs::RelPath;
use headstart_git::{CloneOptions, Head, Progress, Step, Warning, clone};
use headstart_testkit::Repository;

use crate::support::{Bench, Cloned, assert_same};

/// Clones with both and compares.
#[track_caller]
fn same(bench: &Bench, args: &[&str], change: impl FnOnce(&mut CloneOptions)) -> Cloned {
    let url = bench.origin.file_url();
    let mut options = bench.options(&url);
    change(&mut options);
    let cloned = bench.clone(&options).unwrap();
    let theirs = bench.git_clone(args, &url, &[]);
    assert_same(&cloned.outcome.directory, &theirs);
    cloned
}

#[test]
fn full() {
    let cloned = same(&Bench::new(), &[], |_| {});
    assert!(cloned.warnings.is_empty());
    assert_eq!(cloned.outcome.tip_bytes, 0, "no object comes twice");
    assert!(cloned.outcome.history_bytes > 0);
}

#[test]
fn filtered() {
    for filter in [
        "blob:none",
        "blob:limit=1k",
        "tree:0",
        "tree:2",
        "combine:tree:3+blob:none",
    ] {
        let bench = Bench::new();
        let cloned = same(&bench, &[&format!("--filter={filter}")], |options| {
            options.filter = filter.parse().unwrap();
        });
        assert_eq!(cloned.outcome.filter.to_string(), filter.replace("1k", "1024"));
        assert!(cloned.outcome.tip_bytes > 0 && cloned.outcome.history_bytes > 0);
    }
}

#[test]
fn the_number_of_files_is_told_before_they_are_counted() {
    for filter in ["none", "blob:none"] {
        let bench = Bench::new();
        let mut options = bench.options(&bench.origin.file_url());
        options.filter = filter.parse().unwrap();
        let cloned = bench.clone(&options).unwrap();
        let files = cloned.outcome.files_written;
        assert_eq!(cloned.steps[&Step::WriteFiles], (Some(files), files), "{filter}");
    }
}

/// Tells when the history is complete.
struct HistoryWatch(Mutex<Sender<()>>);

impl Progress for HistoryWatch {
    fn start(&self, _step: Step, _total: Option<u64>) {}

    fn advance(&self, _step: Step, _amount: u64) {}

    fn finish(&self, step: Step) {
        if step == Step::ReceiveHistory {
            let _ = self.0.lock().unwrap().send(());
        }
    }

    fn warn(&self, _warning: &Warning) {}
}

#[test]
fn the_history_is_complete_however_long_the_ready_worktree_is_used() {
    for filter in ["none", "blob:none"] {
        let bench = Bench::new();
        let mut options = bench.options(&bench.origin.file_url());
        options.filter = filter.parse().unwrap();
        let (sender, history_came) = channel();
        let history_came = Mutex::new(history_came);
        let used_until = Mutex::new(None);
        let started = Instant::now();
        let outcome = clone(
            &options,
            &bench.environment(),
            &HistoryWatch(Mutex::new(sender)),
            &|_| {
                let came = history_came.lock().unwrap().recv_timeout(Duration::from_secs(60));
                came.unwrap();
                *used_until.lock().unwrap() = Some(started.elapsed());
            },
            &AtomicBool::new(false),
        )
        .unwrap();
        let complete = outcome.history_complete.unwrap();
        assert!(Some(complete) <= used_until.into_inner().unwrap(), "{filter}");
        assert!(complete <= outcome.total);
    }
    let bench = Bench::new();
    let mut options = bench.options(&bench.origin.file_url());
    options.depth = NonZeroU32::new(1);
    options.single_branch = true;
    options.tags = false;
    let outcome = bench.clone(&options).unwrap().outcome;
    assert_eq!((outcome.history_complete, outcome.history_bytes), (None, 0));
}

#[test]
fn shallow() {
    for depth in ["1", "2"] {
        let change = |options: &mut CloneOptions| {
            options.depth = NonZeroU32::new(depth.parse().unwrap());
            options.single_branch = true;
        };
        same(&Bench::new(), &["--depth", depth], change);
        same(
            &Bench::new(),
            &["--depth", depth, "--filter=blob:none"],
            |options| {
                change(options);
                options.filter = "blob:none".parse().unwrap();
            },
        );
        same(
            &Bench::new(),
            &["--depth", depth, "--no-single-branch"],
            |options| {
                change(options);
                options.single_branch = false;
            },
        );
    }
}

#[test]
fn a_shallow_origin() {
    let bench = Bench::new();
    let shallow = bench.git_clone(&["--depth=2"], &bench.origin.file_url(), &[]);
    let shallow_path = bench.path("shallow");
    std::fs::rename(shallow, &shallow_path).unwrap();
    let shallow = Bench {
        origin: Repository::at(shallow_path),
        ..bench
    };
    shallow.origin.serve_filters();
    same(&shallow, &[], |_| {});
}

#[test]
fn one_branch_or_tag() {
    for name in ["feature/x", "annotated", "tag-of-tag", "light"] {
        for single in [false, true] {
            let filters = ["none", "blob:none"];
            for filter in filters {
                let bench = Bench::new();
                let mut args = vec!["--branch", name];
                if single {
                    args.push("--single-branch");
                }
                if filter != "none" {
                    args.push("--filter=blob:none");
                }
                same(&bench, &args, |options| {
                    options.branch = Some(name.into());
                    options.single_branch = single;
                    options.filter = filter.parse().unwrap();
                });
            }
        }
    }
}

#[test]
fn without_tags_or_files() {
    same(&Bench::new(), &["--no-tags"], |options| options.tags = false);
    let cloned = same(
        &Bench::new(),
        &["--no-checkout", "--filter=blob:none"],
        |options| {
            options.checkout = false;
            options.filter = "blob:none".parse().unwrap();
        },
    );
    assert_eq!(
        (cloned.outcome.files_written, cloned.outcome.worktree_ready),
        (0, None)
    );
    assert!(cloned.ready.is_none());
}

#[test]
fn sparse() {
    for filter in ["blob:none", "none"] {
        for dirs in [&["src/deep"][..], &["docs", "src/deep/er"]] {
            let bench = Bench::new();
            let url = bench.origin.file_url();
            let mut options = bench.options(&url);
            options.filter = filter.parse().unwrap();
            options.sparse = dirs.iter().map(|dir| RelPath::parse(*dir).unwrap()).collect();
            let cloned = bench.clone(&options).unwrap();
            let args: &[&str] = match filter {
                "none" => &["--sparse"],
                _ => &["--sparse", "--filter=blob:none"],
            };
            let theirs = bench.git_clone(args, &url, &[&["sparse-checkout", "set"], dirs].concat());
            assert_same(&cloned.outcome.directory, &theirs);
        }
    }
}

#[test]
fn an_empty_origin() {
    let bench = Bench::with_empty_origin();
    let _ = bench.origin.git(["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let cloned = same(&bench, &[], |_| {});
    assert_eq!(cloned.outcome.head, Head::Unborn { name: "trunk".into() });
    assert_eq!(cloned.warnings, [Warning::EmptyRepository]);
}

#[test]
fn a_detached_origin() {
    let bench = Bench::new();
    let _ = bench.origin.git(["checkout", "-q", "--detach"]);
    same(&bench, &["--filter=blob:none"], |options| {
        options.filter = "blob:none".parse().unwrap()
    });
    let bench = Bench::new();
    let _ = bench.origin.git(["checkout", "-q", "--detach"]);
    bench.origin.write("detached", "x");
    bench.origin.commit("on no branch");
    let cloned = same(&bench, &["--filter=blob:none"], |options| {
        options.filter = "blob:none".parse().unwrap();
    });
    assert!(matches!(cloned.outcome.head, Head::Detached { .. }));
}

#[test]
fn an_origin_whose_head_names_nothing() {
    let bench = Bench::new();
    let _ = bench.origin.git(["symbolic-ref", "HEAD", "refs/heads/gone"]);
    let cloned = same(&bench, &[], |_| {});
    assert_eq!(cloned.warnings, [Warning::RemoteHeadMissing]);
}

#[test]
fn settings_of_the_user() {
    let mut bench = Bench::new();
    let config = "[user]\n\tname = Zoe\n[clone]\n\tdefaultRemoteName = up\n[branch]\n\tautoSetupRebase = always\n\
                  [init]\n\tdefaultBranch = other\n";
    std::fs::write(bench.path("gitconfig"), config).unwrap();
    bench
        .vars
        .push(("GIT_CONFIG_GLOBAL".into(), bench.path("gitconfig").into()));
    bench.vars.push(("GIT_CONFIG_COUNT".into(), "0".into()));
    same(&bench, &["--filter=blob:none"], |options| {
        options.filter = "blob:none".parse().unwrap()
    });
}

#[test]
fn logs_name_a_user_without_an_identity() {
    let mut bench = Bench::new();
    for name in ["GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        bench.vars.push((name.into(), "".into()));
    }
    same(&bench, &[], |_| {});
}

#[test]
fn logs_have_a_time_even_if_git_knows_none() {
    let mut bench = Bench::new();
    bench.vars.push(("GIT_COMMITTER_DATE".into(), "one day".into()));
    bench.vars.push(("USER".into(), "zoe".into()));
    bench.vars.push(("HOSTNAME".into(), "<home>".into()));
    let cloned = bench.clone(&bench.options("origin")).unwrap();
    let path = cloned.outcome.directory.join(".git/logs/HEAD");
    let log = std::fs::read_to_string(path).unwrap();
    assert!(log.contains(" zoe <zoe@localhost> "), "{log}");
    let age = cloned
        .repository()
        .git(["log", "-g", "--format=%gd", "--date=relative"]);
    assert!(age.contains("second"), "{age}");
}

#[test]
fn hooks_of_the_template_run() {
    let mut bench = Bench::new();
    let template = Repository::create(bench.path("template"));
    let hook = |script: &str| {
        template.write_executable("hooks/post-checkout", format!("#!/bin/sh\n{script}\n"));
    };
    bench
        .vars
        .push(("GIT_TEMPLATE_DIR".into(), template.path().into()));
    hook("echo \"$@\" >hook-was-here");
    same(&bench, &[], |_| {});
    hook("echo oh no; exit 3");
    let mut options = bench.options(&bench.origin.file_url());
    options.directory = "second".into();
    let warnings = bench.clone(&options).unwrap().warnings;
    assert!(
        matches!(&warnings[..], [Warning::HookFailed { message }] if message.contains("oh no")),
        "{warnings:?}"
    );
}

#[test]
fn a_submodule_is_an_empty_folder() {
    let bench = Bench::new();
    let commit = bench.origin.git(["rev-parse", "HEAD"]);
    bench.origin.write(
        ".gitmodules",
        "[submodule \"sub\"]\n\tpath = sub\n\turl = ../sub\n",
    );
    let _ = bench.origin.git(["add", ".gitmodules"]);
    let _ = bench.origin.git([
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{commit},sub"),
    ]);
    let _ = bench.origin.git(["commit", "-q", "-m", "submodule"]);
    same(&bench, &["--filter=blob:none"], |options| {
        options.filter = "blob:none".parse().unwrap()
    });
}

#[test]
fn a_path_becomes_absolute() {
    let bench = Bench::new();
    let cloned = bench.clone(&bench.options("origin")).unwrap();
    let theirs = bench.git_clone(&["--no-local"], "origin", &[]);
    assert_same(&cloned.outcome.directory, &theirs);
}

#[test]
fn into_the_empty_folder_one_is_in() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("ours")).unwrap();
    let cloned = same(&bench, &["--filter=blob:none"], |options| {
        options.filter = "blob:none".parse().unwrap();
        options.directory = "ours/.".into();
    });
    assert!(cloned.outcome.directory.ends_with("ours"));
}

#[test]
fn the_suffix_of_a_repository_may_be_left_out() {
    let bench = Bench::new();
    std::fs::rename(bench.origin.path().join(".git"), bench.path("bare.git")).unwrap();
    let _ = Repository::at(bench.path("bare.git")).git(["config", "core.bare", "true"]);
    for url in [
        "bare".to_owned(),
        format!("file://{}", bench.path("bare").display()),
    ] {
        let mut options = bench.options(&url);
        options.directory = format!("from-{}", url.len()).into();
        bench.clone(&options).unwrap();
    }
}

#[test]
fn git_goes_on_from_there() {
    let bench = Bench::new();
    let mut options = bench.options(&bench.origin.file_url());
    options.filter = "blob:none".parse().unwrap();
    let clone = bench.clone(&options).unwrap().repository();
    let old = clone.git(["rev-parse", "light:README"]);
    assert!(
        clone
            .git(["rev-list", "--objects", "--missing=print", "HEAD"])
            .contains(&format!("?{old}"))
    );
    assert_eq!(
        clone.git(["cat-file", "-p", &old]),
        "one",
        "a missing blob is fetched when it is needed"
    );
    bench.origin.write("new", "new\n");
    bench.origin.commit("four");
    let _ = clone.git(["pull", "-q", "--ff-only"]);
    assert_eq!(clone.git(["show", "HEAD:new"]), "new");
    let _ = clone.git(["worktree", "add", "-q", "../second", "origin/feature/x"]);
    let _ = clone.git(["sparse-checkout", "set", "docs"]);
    let _ = clone.git(["gc", "-q"]);
    let _ = clone.git(["fsck"]);
    assert_eq!(clone.git(["status", "--porcelain"]), "");
}
