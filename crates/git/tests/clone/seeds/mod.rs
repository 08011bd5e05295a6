//! Clones from seeds are the clones there would be without, whatever the seed is worth.

mod built_on_another;
mod checks;
mod same_machine;
mod shelf;
mod useless;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_git::{
    CloneOptions, FilterSpec, SeedKey, Silent, Warning,
    seed::{BuildOptions, BuiltSeed, build_seed, check_tip},
};
use headstart_testkit::Repository;
use shelf::Shelf;

use crate::support::{Bench, Cloned, assert_same_but_for_objects};

/// A bench whose origin is served at a URL, and how it is cloned.
fn options(bench: &Bench) -> CloneOptions {
    let mut options = bench.options(&bench.origin.file_url());
    options.filter = "blob:none".parse().unwrap();
    options
}

fn key(bench: &Bench) -> SeedKey {
    key_of(bench, options(bench).filter)
}

fn key_of(bench: &Bench, filter: FilterSpec) -> SeedKey {
    let url = options(bench).url;
    SeedKey::find(url.as_ref(), filter, &bench.environment()).unwrap()
}

fn build_from(bench: &Bench, name: &str, seeds: &Shelf) -> BuiltSeed {
    build_for(bench, name, &key(bench), seeds)
}

fn build_for(bench: &Bench, name: &str, key: &SeedKey, seeds: &Shelf) -> BuiltSeed {
    let folder = bench.path(name);
    fs::create_dir(&folder).unwrap();
    let build = BuildOptions {
        url: options(bench).url,
        folder,
        created_at: "2026-01-02T03:04:05Z".to_owned(),
    };
    let stop = AtomicBool::new(false);
    build_seed(&build, key, seeds, &bench.environment(), &Silent, &stop).unwrap()
}

fn build(bench: &Bench) -> BuiltSeed {
    build_from(bench, "built", &Shelf::default())
}

/// Clones from the shelf and compares with git's clone of the same.
#[track_caller]
fn clone_from(bench: &Bench, shelf: &Shelf) -> Cloned {
    let cloned = bench.clone_with(&options(bench), Some(shelf)).unwrap();
    let url = bench.origin.file_url();
    let theirs = bench.git_clone(&["--filter=blob:none"], &url, &[]);
    assert_same_but_for_objects(&cloned.outcome.directory, &theirs);
    fs::remove_dir_all(theirs).unwrap();
    cloned
}

/// Goes on where the origin was: a file changed, one added, one gone, a branch and a tag more.
fn move_on(bench: &Bench) {
    let origin = &bench.origin;
    origin.write("README", "changed\n").write("new/file", "new\n");
    origin.write("src/.gitattributes", "*.txt text eol=crlf\n");
    let _ = origin.git(["rm", "-q", "docs/guide.txt"]);
    origin.commit("moved on");
    let _ = origin.git(["branch", "later"]);
    let _ = origin.git(["tag", "-a", "v2", "-m", "two"]);
    let _ = origin.git(["branch", "-D", "feature/x"]);
}

fn refusals(cloned: &Cloned) -> Vec<String> {
    let reasons = cloned.warnings.iter().filter_map(|warning| match warning {
        Warning::SeedRefused { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

fn packs(clone: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<_> = fs::read_dir(clone.join(".git/objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .collect();
    packs.sort();
    packs
}

#[test]
fn a_seed_of_today_fetches_nothing() {
    let bench = Bench::new();
    let built = build(&bench);
    let cloned = clone_from(&bench, &Shelf::of(&built));
    assert_eq!(cloned.outcome.objects, 0);
    assert_eq!((cloned.outcome.tip_bytes, cloned.outcome.history_bytes), (0, 0));
    assert_eq!(cloned.outcome.seed.as_ref().unwrap().label, "the seed");
    assert!(cloned.warnings.is_empty(), "{:?}", cloned.warnings);
    assert!(cloned.ready.is_some());
    let linked = packs(&cloned.outcome.directory);
    assert!(
        linked.iter().all(|pack| fs::metadata(pack).unwrap().nlink() > 1),
        "packs are hardlinks"
    );
    assert!(
        cloned
            .repository()
            .path()
            .join(".git/objects/info/commit-graph")
            .exists()
    );
    let _ = cloned.repository().git(["commit-graph", "verify"]);
    // Git may do what it likes with it, and the seed is as it was.
    let _ = cloned.repository().git(["gc", "-q", "--prune=now"]);
    let _ = cloned.repository().git(["fsck", "--no-dangling"]);
    check_tip(&built.tip, &built.manifest, &AtomicBool::new(false)).unwrap();
}

#[test]
fn what_is_newer_comes_from_the_origin() {
    let bench = Bench::new();
    let built = build(&bench);
    move_on(&bench);
    let cloned = clone_from(&bench, &Shelf::of(&built));
    assert!(cloned.outcome.seed.is_some());
    assert!(cloned.warnings.is_empty(), "{:?}", cloned.warnings);
    // A commit, a tag, three trees; three blobs.
    assert!(cloned.outcome.objects <= 8, "{}", cloned.outcome.objects);
    assert_eq!(
        fs::read(cloned.outcome.directory.join("src/other.txt")).unwrap(),
        b"three\r\n"
    );
}

#[test]
fn every_way_to_clone_may_use_one() {
    let bench = Bench::new();
    let built = build(&bench);
    let shelf = Shelf::of(&built);
    let url = bench.origin.file_url();
    let sparse = ["sparse-checkout", "set", "src/deep"];
    type Change = fn(&mut CloneOptions);
    let cases: [(Change, &[&str], &[&str]); 4] = [
        (|options| options.checkout = false, &["--no-checkout"], &[]),
        (|options| options.tags = false, &["--no-tags"], &[]),
        (
            |options| options.branch = Some("feature/x".into()),
            &["--branch=feature/x"],
            &[],
        ),
        (
            |options| options.sparse = vec![headstart_fs::RelPath::parse(b"src/deep").unwrap()],
            &["--sparse"],
            &sparse,
        ),
    ];
    for (change, args, more) in cases {
        let mut options = options(&bench);
        change(&mut options);
        options.directory = format!("ours{}", args[0]).into();
        let ours = bench.clone_with(&options, Some(&shelf)).unwrap();
        assert!(ours.outcome.seed.is_some());
        let theirs = bench.git_clone(&[&["--filter=blob:none"], args].concat(), &url, more);
        let (ours, theirs_repository) = (ours.repository(), Repository::at(&theirs));
        for question in [
            &["status", "--porcelain=v2", "--branch"][..],
            &["ls-files", "--stage", "-t"],
            &["config", "--local", "remote.origin.partialclonefilter"],
            &["fsck", "--no-dangling"],
        ] {
            assert_eq!(
                ours.git(question),
                theirs_repository.git(question),
                "{args:?} {question:?}"
            );
        }
        fs::remove_dir_all(theirs).unwrap();
    }
    let mut shallow = options(&bench);
    shallow.depth = std::num::NonZeroU32::new(1);
    shallow.directory = "shallow".into();
    assert!(
        bench
            .clone_with(&shallow, Some(&shelf))
            .unwrap()
            .outcome
            .seed
            .is_none()
    );
}

#[test]
fn seeds_of_trees_left_out_work_too() {
    let bench = Bench::new();
    let filter: FilterSpec = "tree:0".parse().unwrap();
    let key = key_of(&bench, filter.clone());
    let built = build_for(&bench, "built", &key, &Shelf::default());
    move_on(&bench);
    let mut options = options(&bench);
    options.filter = filter;
    let cloned = bench.clone_with(&options, Some(&Shelf::of(&built))).unwrap();
    assert!(
        cloned.outcome.seed.is_some() && cloned.warnings.is_empty(),
        "{:?}",
        cloned.warnings
    );
    assert_eq!(cloned.repository().git(["status", "--porcelain"]), "");
    let _ = cloned.repository().git(["fsck", "--no-dangling"]);
}
