//! After a backfill, git asks the remote for nothing, and nothing was fetched that it would not have asked for.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::atomic::AtomicBool};

use headstart_git::{
    BackfillOptions, BackfillOutcome, BackfillRange, LocalError, RemoteError, Silent, backfill,
};
use headstart_testkit::{Fault, GitHttpServer, On, Repository};

use crate::support::{Machine, git_offline, missing, works_offline};

fn options(range: BackfillRange) -> BackfillOptions {
    BackfillOptions {
        range,
        paths: Vec::new(),
        batch_objects: 50_000.try_into().unwrap(),
        dry_run: false,
    }
}

fn history() -> BackfillOptions {
    options(BackfillRange::History { ignore_sparse: false })
}

fn changes(revs: &[&str]) -> BackfillOptions {
    options(BackfillRange::Changes {
        revs: revs.iter().map(|rev| (*rev).into()).collect(),
        since: None,
        max_count: None,
    })
}

fn blame(file: &str) -> BackfillOptions {
    options(BackfillRange::Blame { file: file.into() })
}

fn run(
    machine: &Machine,
    clone: &Repository,
    options: &BackfillOptions,
) -> Result<BackfillOutcome, LocalError> {
    let environment = machine.environment(clone.path());
    backfill(options, &environment, &Silent, &AtomicBool::new(false))
}

fn lines(from: usize, to: usize) -> String {
    (from..to)
        .map(|line| format!("line {line} of a file of some length\n"))
        .collect()
}

/// Ten commits on the main line with a side branch that is merged, a submodule and a name that is not UTF-8.
fn with_history() -> Machine {
    let machine = Machine::new();
    let origin = &machine.origin;
    for number in 0..5 {
        origin
            .write("src/busy.txt", lines(number, 40))
            .write(format!("src/deep/er/file-{number}.txt"), format!("{number}\n"))
            .write(OsStr::from_bytes(b"latin1-\xe9.txt"), format!("{number}\n"))
            .write("docs/guide.txt", format!("guide {number}\n"))
            .commit(&format!("change {number}"));
    }
    let _ = origin.git(["switch", "-q", "-c", "side", "HEAD~3"]);
    origin
        .write("docs/side.txt", "side\n")
        .write("src/busy.txt", format!("{}side\n", lines(1, 40)));
    origin.commit("side");
    let _ = origin.git(["switch", "-q", "main"]);
    let _ = origin.try_git(["merge", "-q", "--no-ff", "--no-commit", "side"]);
    origin.write("src/busy.txt", format!("{}side\n", lines(4, 40)));
    origin.commit("merge with a conflict");
    let submodule = format!("160000,{},vendored", origin.git(["rev-parse", "HEAD"]));
    let _ = origin.git(["update-index", "--add", "--cacheinfo", &submodule]);
    let _ = origin.git(["commit", "-q", "-m", "a submodule"]);
    for number in 5..8 {
        origin.write("src/busy.txt", lines(number, 45));
        let _ = origin.git(["commit", "-q", "-a", "-m", "more"]);
    }
    machine
}

#[test]
fn a_blobless_clone_lacks_nothing_after_one_fetch() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    let lacked = missing(&clone, "HEAD").len();
    let before = machine.fetches();
    let outcome = run(&machine, &clone, &history()).unwrap();
    assert_eq!(missing(&clone, "HEAD"), [""; 0]);
    assert_eq!((outcome.missing_blobs, outcome.missing_trees), (lacked as u64, 0));
    assert_eq!((outcome.objects, outcome.batches), (lacked as u64, 1));
    assert_eq!(machine.fetches() - before, 1);
    let _ = clone.git(["fsck", "--full"]);
    let packs = clone.path().join(".git/objects/pack");
    let promisors = std::fs::read_dir(packs).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension() == Some(OsStr::new("promisor"))
    });
    assert!(promisors.count() >= 3);

    let again = run(&machine, &clone, &history()).unwrap();
    assert_eq!((again.missing_blobs, again.batches), (0, 0));
    assert_eq!(machine.fetches() - before, 1);
}

#[test]
fn a_treeless_clone_gets_trees_level_by_level() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=tree:0"]);
    let before = machine.fetches();
    let outcome = run(&machine, &clone, &history()).unwrap();
    assert!(outcome.missing_trees > 10, "{outcome:?}");
    assert_eq!(
        outcome.objects,
        outcome.missing_trees + outcome.missing_blobs,
        "nothing comes twice"
    );
    assert_eq!(missing(&clone, "HEAD"), [""; 0]);
    // Trees of the root, of its folders, and of those two levels below; then blobs.
    assert_eq!(machine.fetches() - before, 5);
    let _ = clone.git(["fsck", "--full"]);
}

#[test]
fn a_range_gets_both_sides_of_what_changed_and_no_more() {
    let machine = with_history();
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        let clone = machine.clone(&filter[9..13], &[filter, "--no-checkout"]);
        let looks = [
            &["log", "--stat", "HEAD~3..HEAD"][..],
            &["log", "-p", "HEAD~3..HEAD"],
            &["diff", "HEAD~3", "HEAD"],
        ];
        for look in looks {
            assert!(!works_offline(&clone, look), "{look:?}");
        }
        let outcome = run(&machine, &clone, &changes(&["HEAD~3..HEAD"])).unwrap();
        // The file that three commits changed, as it was and became.
        assert_eq!(outcome.missing_blobs, 4, "{filter}");
        for look in looks {
            assert!(!git_offline(&clone, look).is_empty());
        }
        assert!(!works_offline(&clone, &["log", "-p", "HEAD~6..HEAD"]));
    }
}

#[test]
fn merges_are_compared_with_all_their_parents() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none", "--no-checkout"]);
    let _ = run(&machine, &clone, &changes(&["HEAD~5..HEAD"])).unwrap();
    let combined = git_offline(&clone, &["log", "-p", "-c", "HEAD~5..HEAD"]);
    assert!(combined.contains("diff --combined src/busy.txt"));
    let _ = git_offline(&clone, &["log", "-p", "-m", "--first-parent", "HEAD~5..HEAD"]);
}

#[test]
fn counts_dates_and_paths_narrow_it() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none", "--no-checkout"]);
    let mut last = options(BackfillRange::Changes {
        revs: Vec::new(),
        since: None,
        max_count: Some(1),
    });
    assert_eq!(run(&machine, &clone, &last).unwrap().missing_blobs, 2);
    let _ = git_offline(&clone, &["log", "-p", "-1"]);
    last.range = BackfillRange::Changes {
        revs: Vec::new(),
        since: Some("2100-01-01".into()),
        max_count: None,
    };
    assert_eq!(run(&machine, &clone, &last).unwrap().missing_blobs, 0);

    let mut docs = history();
    docs.paths = vec!["../docs".into(), "deep".into()];
    std::fs::create_dir_all(clone.path().join("src")).unwrap();
    let environment = machine.environment(&clone.path().join("src"));
    let outcome = backfill(&docs, &environment, &Silent, &AtomicBool::new(false)).unwrap();
    // Five guides, the side branch's file, and five files of which each has one version.
    assert_eq!(outcome.missing_blobs, 11);
    let _ = git_offline(&clone, &["log", "-p", "--no-renames", "--", "docs", "src/deep"]);
    assert!(!works_offline(&clone, &["log", "-p", "--", "src/busy.txt"]));
    docs.paths = vec!["../../outside".into()];
    assert!(matches!(
        backfill(&docs, &environment, &Silent, &AtomicBool::new(false)),
        Err(LocalError::OutsideWorktree { .. })
    ));
}

#[test]
fn the_sparse_cone_narrows_the_whole_history() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none", "--sparse"]);
    let _ = clone.git(["sparse-checkout", "set", "docs"]);
    let lacked = missing(&clone, "HEAD").len() as u64;
    let inside = run(&machine, &clone, &history()).unwrap();
    assert!(inside.missing_blobs > 0 && inside.missing_blobs < lacked);
    let _ = git_offline(&clone, &["log", "-p", "--", "docs"]);
    assert!(!works_offline(&clone, &["log", "-p", "--", "src"]));
    let all = run(
        &machine,
        &clone,
        &options(BackfillRange::History { ignore_sparse: true }),
    )
    .unwrap();
    assert_eq!(inside.missing_blobs + all.missing_blobs, lacked);
}

/// A file that was renamed twice: once as it was, once with changes, beside files that vanished or appeared.
fn with_renames() -> Machine {
    let machine = Machine::new();
    let origin = &machine.origin;
    origin
        .write("old/first.txt", lines(0, 50))
        .write("old/other.txt", "other\n")
        .commit("first");
    origin.write("old/first.txt", lines(1, 50)).commit("second");
    let _ = origin.git(["mv", "old/first.txt", "exact.txt"]);
    origin.commit("exact rename");
    origin.write("exact.txt", lines(1, 60)).commit("third");
    let _ = origin.git(["mv", "exact.txt", "final.txt"]);
    let _ = origin.git(["rm", "-q", "old/other.txt"]);
    origin
        .write("final.txt", lines(2, 60))
        .write("unrelated.txt", "new\n")
        .commit("rename with changes");
    for number in 3..9 {
        origin.write("final.txt", lines(number, 60)).commit("more");
    }
    machine
}

#[test]
fn a_blame_finds_everything_here_across_renames() {
    let machine = with_renames();
    let full = machine.clone("full", &[]);
    for (name, filter) in [
        ("blobless", "--filter=blob:none"),
        ("treeless", "--filter=tree:0"),
        ("deepened", "--filter=blob:none"),
    ] {
        let clone = match name {
            // With commits that came for their own sake, as to find a merge base.
            "deepened" => {
                let clone = machine.clone(name, &[filter, "--depth=1"]);
                let _ = clone.git(["fetch", "-q", "--unshallow", "--filter=tree:0"]);
                let _ = clone.git(["config", "remote.origin.partialCloneFilter", "blob:none"]);
                clone
            }
            _ => machine.clone(name, &[filter]),
        };
        assert!(!works_offline(&clone, &["blame", "final.txt"]));
        let before = machine.fetches();
        let outcome = run(&machine, &clone, &blame("final.txt")).unwrap();
        let blamed = git_offline(&clone, &["blame", "-p", "final.txt"]);
        assert_eq!(blamed, full.git(["blame", "-p", "final.txt"]) + "\n");
        assert!(blamed.contains("filename old/first.txt"));
        if name == "blobless" {
            // One fetch before it is known what the second rename was, one for the rest.
            assert_eq!(machine.fetches() - before, 2);
            assert_eq!(outcome.batches, 2);
        }
    }
}

#[test]
fn a_blame_of_nothing_is_an_error() {
    let machine = with_renames();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    for name in ["nope.txt", "old"] {
        let error = run(&machine, &clone, &blame(name)).unwrap_err();
        assert!(matches!(error, LocalError::NoSuchPath { .. }), "{error:?}");
    }
}

#[test]
fn a_dry_run_tells_and_fetches_nothing() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    let lacked = missing(&clone, "HEAD").len() as u64;
    let requests = machine.server.requests().len();
    let mut options = history();
    options.dry_run = true;
    options.batch_objects = 10.try_into().unwrap();
    let outcome = run(&machine, &clone, &options).unwrap();
    assert_eq!(
        (outcome.missing_blobs, outcome.objects, outcome.more),
        (lacked, 0, false)
    );
    assert_eq!(outcome.batches, lacked.div_ceil(10));
    assert_eq!(machine.server.requests().len(), requests);

    options.dry_run = false;
    let outcome = run(&machine, &clone, &options).unwrap();
    assert_eq!(outcome.batches, lacked.div_ceil(10));
    assert_eq!(missing(&clone, "HEAD"), [""; 0]);

    let treeless = machine.clone("treeless", &["--filter=tree:0"]);
    options.dry_run = true;
    assert!(run(&machine, &treeless, &options).unwrap().more);
}

#[test]
fn a_full_clone_lacks_nothing() {
    let machine = with_history();
    let clone = machine.clone("clone", &[]);
    let requests = machine.server.requests().len();
    let outcome = run(&machine, &clone, &history()).unwrap();
    assert!(!outcome.partial);
    assert_eq!(machine.server.requests().len(), requests);
}

#[test]
fn a_shallow_clone_is_filled_up_to_its_boundary() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none", "--depth=3"]);
    let _ = run(&machine, &clone, &changes(&["HEAD"])).unwrap();
    let _ = git_offline(&clone, &["log", "-p"]);
    let _ = run(&machine, &clone, &blame("src/busy.txt")).unwrap();
    let _ = git_offline(&clone, &["blame", "src/busy.txt"]);
    assert_eq!(clone.git(["rev-parse", "--is-shallow-repository"]), "true");
}

#[test]
fn a_batch_that_breaks_off_is_asked_for_again() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    let _ = clone.git(["config", "http.retryAfter", "0"]);
    let lacked = missing(&clone, "HEAD").len();
    let mut options = history();
    options.batch_objects = 5.try_into().unwrap();
    // The handshake, one batch, and then the line goes dead.
    let next = machine.server.requests().len() + 2;
    machine.server.fail(On::Number(next), Fault::CutAfter(200));
    let outcome = run(&machine, &clone, &options).unwrap();
    assert_eq!(
        outcome.objects as usize, lacked,
        "what came before does not come again"
    );
    assert_eq!(missing(&clone, "HEAD"), [""; 0]);
    let _ = clone.git(["fsck"]);
}

/// Before version 2, a server gives only what its refs name unless told otherwise.
#[test]
fn a_remote_that_refuses_says_so() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    let _ = machine
        .origin
        .git(["config", "uploadpack.allowAnySHA1InWant", "false"]);
    let _ = clone.git(["config", "protocol.version", "0"]);
    let _ = clone.git(["remote", "set-url", "origin", &machine.origin.file_url()]);
    let error = run(&machine, &clone, &history()).unwrap_err();
    assert!(
        matches!(&error, LocalError::Remote(RemoteError::Server { message, .. }) if message.contains("not our ref")),
        "{error:?}"
    );
    let _ = machine
        .origin
        .git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let mut options = history();
    options.batch_objects = 20.try_into().unwrap();
    let _ = run(&machine, &clone, &options).unwrap();
    assert_eq!(missing(&clone, "HEAD"), [""; 0]);
}

#[test]
fn an_object_that_the_remote_lost_is_named() {
    let machine = with_history();
    let clone = machine.clone("clone", &["--filter=blob:none"]);
    let other = Repository::create(machine.path("other"));
    other.write("file", "file\n").commit("another history");
    let server = GitHttpServer::start(machine.dir.path());
    let _ = clone.git(["remote", "set-url", "origin", &server.url("other")]);
    let error = run(&machine, &clone, &history()).unwrap_err();
    assert!(
        matches!(&error, LocalError::Remote(RemoteError::Server { message, .. }) if message.contains("not our ref")),
        "{error:?}"
    );
}
