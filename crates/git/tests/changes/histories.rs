//! Histories of every shape, in clones of every kind.

use headstart_git::{ChangesError, ChangesOptions, FileStatus};
use headstart_testkit::Repository;

use crate::support::{Bench, by_git, everything};

/// The kinds of clones, by git's options.
const KINDS: &[&[&str]] = &[
    &["--depth=1"],
    &["--depth=2"],
    &["--depth=5", "--no-single-branch"],
    &["--depth=1", "--filter=blob:none"],
    &["--depth=3", "--filter=tree:0", "--no-checkout"],
    &["--filter=blob:none"],
    &["--filter=tree:0", "--no-checkout"],
    &["--single-branch", "--branch=b0"],
];

/// A repository of random commits, merges and branches `b0` to `b4`; one seed, one history.
fn random_history(repository: &Repository, mut seed: u64, commits: usize) {
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut stream = String::new();
    let mut tips: Vec<usize> = Vec::new();
    for number in 1..=commits {
        let branch = random(5);
        // Clocks go wrong now and then, yet no two commits have the same time.
        let time = 1_700_000_000
            + if random(8) == 0 {
                random(1000)
            } else {
                number * 1000
            };
        stream.push_str(&format!(
            "commit refs/heads/b{branch}\nmark :{number}\ncommitter C <c@example.org> {time} +0000\ndata 1\nx\n"
        ));
        let parent = |tips: &[usize], random: &mut dyn FnMut(usize) -> usize| {
            tips[tips.len().saturating_sub(1 + random(8))]
        };
        if !tips.is_empty() {
            let first = parent(&tips, &mut random);
            stream.push_str(&format!("from :{first}\n"));
            let second = parent(&tips, &mut random);
            if random(3) == 0 && second != first {
                stream.push_str(&format!("merge :{second}\n"));
            }
        }
        tips.push(number);
        let path = format!("d{}/e{}/f{}", random(3), random(3), random(3));
        match random(5) {
            0 => stream.push_str(&format!("D d{}/e{}\n", random(3), random(3))),
            1 => stream.push_str(&format!("M 100755 inline {path}\ndata 2\n{}\n\n", random(10))),
            _ => stream.push_str(&format!("M 100644 inline {path}\ndata 2\n{}\n\n", random(10))),
        }
    }
    for branch in 0..5 {
        let tip = tips[tips.len() - 1 - branch];
        stream.push_str(&format!("reset refs/heads/b{branch}\nfrom :{tip}\n"));
    }
    repository.fast_import(stream.as_bytes());
    let _ = repository.git(["symbolic-ref", "HEAD", "refs/heads/b0"]);
}

#[test]
fn every_clone_gives_the_answer_of_a_complete_one() {
    for seed in [0x9e37_79b9, 77] {
        let bench = Bench::new();
        random_history(&bench.origin, seed, 120);
        for (number, kind) in KINDS.iter().enumerate() {
            let clone = bench.clone(&format!("clone-{number}"), &bench.origin.file_url(), kind);
            let is_partial = kind.iter().any(|option| option.starts_with("--filter"));
            let before = everything(&clone);
            for (base, head) in [
                ("origin/b1", "HEAD"),
                ("b3", "b4"),
                ("b0", "origin/b2"),
                ("origin/b4", ""),
            ] {
                let at_origin = |name: &str| match name.trim_start_matches("origin/") {
                    "" | "HEAD" => "b0".to_owned(),
                    name => name.to_owned(),
                };
                let answer = bench.compare(&clone, base, head).unwrap();
                let expected = by_git(&bench.origin, &at_origin(base), &at_origin(head));
                assert_eq!(answer.lines(), expected, "{seed} {kind:?}: {base} {head}");
            }
            let _ = clone.git(["fsck", "--no-dangling"]);
            if !is_partial {
                before.assert_same(&everything(&clone).without(".git/headstart").without_mtimes());
            }
        }
    }
}

#[test]
fn a_partial_clone_keeps_what_was_fetched() {
    let bench = Bench::new();
    random_history(&bench.origin, 5, 60);
    for kind in [
        &["--depth=1", "--filter=blob:none"][..],
        &["--filter=tree:0", "--no-checkout"],
    ] {
        let clone = bench.clone(kind[0].trim_start_matches('-'), &bench.origin.file_url(), kind);
        let first = bench.compare(&clone, "b1", "HEAD").unwrap();
        assert!(first.fetched.fetches > 0);
        let again = bench
            .compare(&clone, &first.changes.base.id.to_string(), "HEAD")
            .unwrap();
        assert_eq!(again.fetched.fetches, 0, "{kind:?}");
        assert_eq!(again.lines(), first.lines());
        let _ = clone.git(["fsck", "--no-dangling"]);
        let _ = clone.git(["gc", "-q", "--prune=now"]);
        let _ = clone.git(["fsck", "--no-dangling"]);
        assert_eq!(
            bench.compare(&clone, "b1", "HEAD").unwrap().lines(),
            first.lines()
        );
    }
}

#[test]
fn history_is_fetched_without_trees_and_no_further_than_needed() {
    let bench = Bench::new();
    let origin = &bench.origin;
    for number in 0..300 {
        origin.write("trunk", format!("{number}"));
        let _ = origin.git(["commit", "-q", "-a", "--allow-empty", "-m", "trunk"]);
    }
    origin.write("trunk", "").commit("added");
    let _ = origin.git(["checkout", "-q", "-b", "topic"]);
    for number in 0..5 {
        origin.write(format!("topic/{number}/file"), "x").commit("topic");
    }
    let _ = origin.git(["checkout", "-q", "main"]);
    origin.write("trunk", "more").commit("trunk");
    let clone = bench.clone("clone", &origin.file_url(), &["--depth=1", "--branch=topic"]);
    let answer = bench.compare(&clone, "origin/main", "").unwrap();
    assert_eq!(answer.lines(), by_git(origin, "main", "topic"));
    let fetched = answer.fetched;
    assert!(
        (6..=66 * 2).contains(&fetched.history_objects),
        "64 commits of each side at most: {fetched:?}"
    );
    assert_eq!(
        fetched.tree_objects, 1,
        "the root is all that differs: {fetched:?}"
    );
    assert_eq!((fetched.fetches, fetched.file_objects), (2, 0));
}

#[test]
fn without_common_history_there_is_an_error_that_names_both() {
    let bench = Bench::new();
    bench.origin.write("a", "a").commit("one");
    bench.origin.commit("two");
    let _ = bench.origin.git(["checkout", "-q", "--orphan", "other"]);
    let other = bench.origin.commit("unrelated");
    let _ = bench.origin.git(["checkout", "-q", "main"]);
    for kind in [&["--depth=1"][..], &[], &["--filter=tree:0"]] {
        let name = format!("clone{}", kind.concat());
        let clone = bench.clone(&name, &bench.origin.file_url(), kind);
        let error = bench.compare(&clone, "origin/other", "HEAD").unwrap_err();
        assert!(matches!(error, ChangesError::NoMergeBase { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("origin/other ({other})")) && text.contains("HEAD ("),
            "{text}"
        );
    }
}

#[test]
fn one_side_may_be_behind_the_other() {
    let bench = Bench::new();
    let first = bench.origin.write("a", "1").commit("one");
    bench.origin.write("b", "1").commit("two");
    bench.origin.write("a", "2").commit("three");
    let clone = bench.clone("clone", &bench.origin.file_url(), &["--depth=1"]);
    let ahead = bench.compare(&clone, &first, "HEAD").unwrap();
    assert_eq!(ahead.lines(), [first.as_str(), "A\tb", "M\ta"]);
    let behind = bench.compare(&clone, "HEAD", &first).unwrap();
    assert_eq!(behind.lines(), [first.as_str()], "the base has all of it");
    let same = bench.compare(&clone, "HEAD", "HEAD").unwrap();
    assert_eq!((same.changes.files.len(), same.fetched.fetches), (0, 0));
}

#[test]
fn commits_that_were_never_pushed_are_compared_too() {
    let bench = Bench::new();
    bench.origin.write("a", "1").commit("one");
    let _ = bench.origin.git(["branch", "topic"]);
    bench.origin.write("b", "1").commit("two");
    let clone = bench.clone(
        "clone",
        &bench.origin.file_url(),
        &["--depth=1", "--branch=topic"],
    );
    clone.write("mine", "x").commit("unpushed");
    let answer = bench.compare(&clone, "origin/main", "").unwrap();
    assert_eq!(answer.lines()[1..], ["A\tmine"]);
    assert_eq!(
        answer.changes.merge_base.to_string(),
        bench.origin.git(["rev-parse", "topic"])
    );
}

#[test]
fn ancestors_of_what_is_cut_off_can_be_named() {
    let bench = Bench::new();
    for number in 0..5 {
        bench.origin.write("a", format!("{number}")).commit("trunk");
    }
    let clone = bench.clone("clone", &bench.origin.file_url(), &["--depth=1"]);
    for (base, at_origin) in [
        ("HEAD~1", "main~1"),
        ("HEAD^", "main^"),
        ("origin/main~4", "main~4"),
        ("main^^~1", "main~3"),
    ] {
        assert_eq!(
            bench.compare(&clone, base, "").unwrap().lines(),
            by_git(&bench.origin, at_origin, "main")
        );
    }
    for nothing in [
        "HEAD~5",
        "HEAD^2",
        "nope",
        "origin/nope",
        "HEAD^{tree}",
        "--all",
        "v1~x",
    ] {
        let error = bench.compare(&clone, nothing, "").unwrap_err();
        assert!(
            matches!(error, ChangesError::UnknownRevision { .. }),
            "{nothing}: {error:?}"
        );
    }
    let detached = clone.git(["rev-parse", "HEAD"]);
    let _ = clone.git(["checkout", "-q", "--detach", &detached]);
    assert_eq!(
        bench.compare(&clone, "HEAD~2", "").unwrap().lines(),
        by_git(&bench.origin, "main~2", "main")
    );
}

#[test]
fn the_default_base_is_the_default_branch_of_the_remote() {
    let bench = Bench::new();
    bench.origin.write("a", "1").commit("one");
    let _ = bench.origin.git(["checkout", "-q", "-b", "topic"]);
    let tip = bench.origin.write("b", "1").commit("two");
    let _ = bench.origin.git(["checkout", "-q", "main"]);
    // As CI services do it: no clone, one commit, no refs/remotes/origin/HEAD.
    let clone = Repository::create(bench.path("clone"));
    let _ = clone.git(["remote", "add", "origin", &bench.origin.file_url()]);
    let _ = clone.git(["fetch", "-q", "--depth=1", "origin", &tip]);
    let _ = clone.git(["checkout", "-q", "--detach", &tip]);
    let answer = bench.compare(&clone, "", "").unwrap();
    assert_eq!(answer.lines()[1..], ["A\tb"]);
    assert_eq!(answer.changes.base.name, "origin/HEAD");
    let alone = Repository::create(bench.path("alone"));
    alone.commit("one");
    let error = bench.compare(&alone, "", "").unwrap_err();
    assert!(matches!(error, ChangesError::NoDefaultBase), "{error:?}");
}

#[test]
fn every_way_to_change_is_told_apart() {
    let bench = Bench::new();
    let origin = &bench.origin;
    origin
        .write("modified", "1")
        .write("gone/deep/file", "1")
        .write("mode", "1")
        .write("became-link", "1");
    origin
        .write("became-folder", "1")
        .write("was-folder/file", "1")
        .symlink("link", "a");
    origin.commit("one");
    let _ = origin.git(["rm", "-rq", "gone", "became-link", "became-folder", "was-folder"]);
    origin
        .write("modified", "2")
        .write("new/deep/file", "1")
        .write_executable("mode", "1");
    origin
        .symlink("became-link", "x")
        .write("became-folder/file", "1")
        .write("was-folder", "1");
    origin.write(std::ffi::OsString::from("odd\nname"), "1");
    origin.commit("two");
    let answer = bench.compare(origin, "HEAD~1", "HEAD").unwrap();
    let files: Vec<_> = answer
        .changes
        .files
        .iter()
        .map(|file| (file.path.to_string(), file.status))
        .collect();
    let expected = [
        ("became-folder", FileStatus::Deleted),
        ("became-folder/file", FileStatus::Added),
        ("became-link", FileStatus::TypeChanged),
        ("gone/deep/file", FileStatus::Deleted),
        ("mode", FileStatus::Modified),
        ("modified", FileStatus::Modified),
        ("new/deep/file", FileStatus::Added),
        ("odd\nname", FileStatus::Added),
        ("was-folder", FileStatus::Added),
        ("was-folder/file", FileStatus::Deleted),
    ];
    assert_eq!(files, expected.map(|(path, status)| (path.to_owned(), status)));
}

#[test]
fn uncommitted_changes_count_when_asked_for() {
    let bench = Bench::new();
    bench
        .origin
        .write("a", "1")
        .write("b", "1")
        .write("c", "1")
        .commit("one");
    let clone = bench.clone("clone", &bench.origin.file_url(), &[]);
    clone
        .write("a", "2")
        .write("committed", "1")
        .write("then-gone", "1")
        .commit("two");
    let _ = clone.git(["rm", "-q", "b", "then-gone"]);
    clone
        .write("new/untracked", "1")
        .write("staged", "1")
        .write("c", "2");
    let _ = clone.git(["add", "staged"]);
    let options = ChangesOptions {
        uncommitted: true,
        ..ChangesOptions::default()
    };
    let answer = bench.compare_with(&clone, &options).unwrap();
    let expected = [
        "A\tcommitted",
        "A\tnew/untracked",
        "A\tstaged",
        "D\tb",
        "M\ta",
        "M\tc",
    ];
    assert_eq!(answer.lines()[1..], expected);
    let bare = Repository::at(clone.path().join(".git"));
    let error = bench.compare_with(&bare, &options).unwrap_err();
    assert!(matches!(error, ChangesError::NoWorkingTree), "{error:?}");
}
