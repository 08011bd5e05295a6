//! Clones from seeds are the clones there would be without, whatever the seed is worth.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use headstart_git::{
    CloneOptions, FilterSpec, Seed, SeedKey, SeedSource, Silent, Warning,
    seed::{
        BuildOptions, BuiltSeed, MANIFEST_FILE, SeedManifest, SeedPart, build_seed, check_history,
        check_objects, check_tip, find_in_repository,
    },
};
use headstart_testkit::Repository;

use crate::support::{Bench, Cloned, assert_same_but_for_objects};

/// Seeds in folders.
#[derive(Default)]
struct Shelf {
    seeds: Mutex<Vec<(Seed, SeedPart)>>,
    refused: AtomicUsize,
}

impl Shelf {
    fn of(built: &BuiltSeed) -> Self {
        let shelf = Shelf::default();
        shelf.put(&built.tip, &built.history);
        shelf
    }

    fn put(&self, tip: &Path, history: &Path) {
        let manifest = SeedManifest::load(tip).unwrap();
        check_tip(tip, &manifest, &AtomicBool::new(false)).unwrap();
        check_history(history, &manifest, &AtomicBool::new(false)).unwrap();
        self.put_unchecked(tip, history);
    }

    fn put_unchecked(&self, tip: &Path, history: &Path) {
        let manifest = SeedManifest::load(tip).unwrap();
        let seed = Seed {
            label: "the seed".to_owned(),
            tip: SeedPart::tip_in(tip, &manifest),
            manifest: manifest.clone(),
        };
        self.seeds
            .lock()
            .unwrap()
            .push((seed, SeedPart::history_in(history, &manifest)));
    }
}

impl SeedSource for Shelf {
    fn find_local(&self, _key: &SeedKey) -> Vec<Seed> {
        let seeds = self.seeds.lock().unwrap();
        seeds.iter().map(|(seed, _)| seed.clone()).collect()
    }

    fn fetch_newest(&self, _key: &SeedKey, _known: &[Seed], _interrupt: &AtomicBool) -> Option<Seed> {
        None
    }

    fn fetch_history(&self, seed: &Seed, _interrupt: &AtomicBool) -> Option<SeedPart> {
        let seeds = self.seeds.lock().unwrap();
        let (_, history) = seeds.iter().find(|(other, _)| other.manifest == seed.manifest)?;
        Some(history.clone())
    }

    fn refuse(&self, _seed: &Seed) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

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
    let folder = bench.path(name);
    fs::create_dir(&folder).unwrap();
    let build = BuildOptions {
        url: options(bench).url,
        folder,
        created_at: "2026-01-02T03:04:05Z".to_owned(),
    };
    let stop = AtomicBool::new(false);
    build_seed(&build, &key(bench), seeds, &bench.environment(), &Silent, &stop).unwrap()
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
fn a_second_push_adds_a_little() {
    let bench = Bench::new();
    for number in 0..200 {
        bench
            .origin
            .write(format!("many/{number}"), format!("{number}\n").repeat(50));
    }
    bench.origin.commit("many");
    let first = build(&bench);
    let shelf = Shelf::of(&first);
    let same = build_from(&bench, "again", &shelf);
    assert!(same.is_same && same.fetched_bytes == 0);
    // A seed without its history is none to rely on.
    let half = Shelf::of(&first);
    half.seeds.lock().unwrap()[0].1.packs = vec!["/nonexistent/pack-0.pack".into()];
    assert!(!build_from(&bench, "mended", &half).is_same);

    move_on(&bench);
    let second = build_from(&bench, "second", &shelf);
    assert_eq!(second.base.as_ref(), Some(&first.manifest));
    assert!(second.fetched_bytes < 5000, "{}", second.fetched_bytes);
    let [old, new] = [&first, &second].map(|built| &built.manifest.tip_packs);
    assert_eq!(new[..1], old[..], "what there was stays in its pack");
    assert!(new.len() == 2 && new[1].objects < 12, "{new:?}");
    let history = &second.manifest.history_packs;
    assert!(
        first
            .manifest
            .history_packs
            .iter()
            .all(|pack| history.contains(pack)),
        "{history:?}"
    );
    assert_eq!(clone_from(&bench, &Shelf::of(&second)).outcome.objects, 0);
}

#[test]
fn a_tip_that_is_mostly_gone_is_packed_anew() {
    let bench = Bench::new();
    let first = build(&bench);
    let _ = bench.origin.git(["rm", "-rq", "src", "docs", "bin", "link"]);
    bench.origin.write("other", "other\n");
    bench.origin.commit("another tree");
    let second = build_from(&bench, "second", &Shelf::of(&first));
    assert_eq!(second.manifest.tip_packs.len(), 1);
    assert_eq!(clone_from(&bench, &Shelf::of(&second)).outcome.objects, 0);
}

#[test]
fn a_rewritten_history_is_cloned_as_it_is_now() {
    let bench = Bench::new();
    let built = build(&bench);
    let origin = &bench.origin;
    // Some of it.
    let _ = origin.git(["reset", "-q", "--hard", "main~1"]);
    origin.write("README", "another way\n");
    origin.commit("instead");
    let cloned = bench
        .clone_with(&options(&bench), Some(&Shelf::of(&built)))
        .unwrap();
    assert!(cloned.outcome.seed.is_some() && refusals(&cloned).is_empty());
    assert_eq!(
        cloned.repository().git(["rev-parse", "HEAD"]),
        origin.git(["rev-parse", "HEAD"])
    );
    let _ = cloned.repository().git(["fsck", "--no-dangling"]);
    // All of it.
    let _ = origin.git(["checkout", "-q", "--orphan", "fresh"]);
    origin.commit("from nothing");
    let _ = origin.git(["branch", "-M", "fresh", "main"]);
    let _ = origin.git(["branch", "-D", "feature/x"]);
    let _ = origin.git(["tag", "-d", "light", "annotated", "tag-of-tag"]);
    fs::remove_dir_all(cloned.outcome.directory).unwrap();
    let shelf = Shelf::of(&built);
    let cloned = clone_from(&bench, &shelf);
    assert_eq!(refusals(&cloned).len(), 1, "{:?}", cloned.warnings);
    assert!(cloned.outcome.seed.is_none() && shelf.refused.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_seed_of_another_repository_is_dropped() {
    let (bench, other) = (Bench::new(), Bench::with_empty_origin());
    other.origin.write("secret", "of another\n");
    other.origin.commit("another");
    let shelf = Shelf::of(&build(&other));
    let cloned = clone_from(&bench, &shelf);
    assert!(cloned.outcome.seed.is_none());
    assert_eq!(refusals(&cloned), ["it is of another history than the origin's"]);
}

/// The refs of a hostile seed are the origin's, and so is its tip; the objects are not.
#[test]
fn a_seed_that_lies_about_its_refs_is_dropped() {
    let (bench, other) = (Bench::new(), Bench::with_empty_origin());
    other.origin.write("README", "evil\n");
    other.origin.commit("evil");
    let (honest, mut evil) = (build(&bench), build(&other));
    let text = fs::read_to_string(evil.tip.join(MANIFEST_FILE)).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let honest_text = fs::read_to_string(honest.tip.join(MANIFEST_FILE)).unwrap();
    let honest_manifest: serde_json::Value = serde_json::from_str(&honest_text).unwrap();
    manifest["refs"] = honest_manifest["refs"].clone();
    manifest["tip"] = honest_manifest["tip"].clone();
    fs::write(evil.tip.join(MANIFEST_FILE), manifest.to_string()).unwrap();
    evil.manifest = SeedManifest::load(&evil.tip).unwrap();
    // The check of its history notices.
    assert!(check_history(&evil.history, &evil.manifest, &AtomicBool::new(false)).is_err());
    // And if it were not made, the clone would.
    let shelf = Shelf::default();
    shelf.put_unchecked(&evil.tip, &evil.history);
    let cloned = clone_from(&bench, &shelf);
    assert!(cloned.outcome.seed.is_none());
    assert_eq!(refusals(&cloned).len(), 1);
}

#[test]
fn a_history_that_cannot_be_had_comes_from_the_origin() {
    let bench = Bench::new();
    let built = build(&bench);
    for lost in [true, false] {
        let shelf = Shelf::of(&built);
        let packs = match lost {
            true => vec!["/nonexistent/pack-0.pack".into()],
            false => Vec::new(),
        };
        shelf.seeds.lock().unwrap()[0].1.packs = packs;
        let mut options = options(&bench);
        options.directory = format!("ours-{lost}").into();
        let cloned = bench.clone_with(&options, Some(&shelf)).unwrap();
        assert_eq!(refusals(&cloned).len(), 1, "{:?}", cloned.warnings);
        // What another run has taken away is not wrong.
        assert_eq!(shelf.refused.load(Ordering::Relaxed), usize::from(!lost));
        assert!(!cloned.outcome.seed.as_ref().unwrap().history_used);
        assert!(cloned.outcome.history_bytes > 0);
        let _ = cloned.repository().git(["fsck", "--no-dangling"]);
        assert_eq!(cloned.repository().git(["status", "--porcelain"]), "");
        let commits = ["rev-list", "--all", "--topo-order", "--count"];
        assert_eq!(cloned.repository().git(commits), bench.origin.git(commits));
    }
}

/// Flips one byte in each of a number of places of each file: the checks, or at the latest the clone, must notice; what
/// comes out is the right tree in any case.
#[test]
fn damage_is_noticed_or_does_no_harm() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    let mut files = Vec::new();
    for part in [&built.tip, &built.history] {
        for entry in fs::read_dir(part.join("pack")).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.push(built.history.join("info/commit-graph"));
    for file in files {
        let whole = fs::read(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for step in 0..7 {
            let mut damaged = whole.clone();
            let at = step * (whole.len() - 1) / 6;
            damaged[at] ^= 0x10;
            // A new file: the old one has other names.
            fs::remove_file(&file).unwrap();
            fs::write(&file, &damaged).unwrap();
            let checked = check_tip(&built.tip, &built.manifest, &stop)
                .and_then(|()| check_history(&built.history, &built.manifest, &stop));
            assert!(checked.is_err(), "{}, byte {at}", file.display());
        }
        fs::write(&file, &whole).unwrap();
    }
    check_tip(&built.tip, &built.manifest, &stop).unwrap();
    check_history(&built.history, &built.manifest, &stop).unwrap();
}

#[test]
fn files_that_do_not_belong_to_a_seed_are_noticed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    let check = || check_history(&built.history, &built.manifest, &stop);
    let pack = built.history.join("pack");
    let extra = pack.join("extra");
    fs::write(&extra, "").unwrap();
    assert!(check().is_err());
    fs::remove_file(&extra).unwrap();
    let idx = SeedPart::history_in(&built.history, &built.manifest).packs[0].with_extension("idx");
    let kept = bench.path("kept");
    fs::rename(&idx, &kept).unwrap();
    assert!(check().is_err());
    std::os::unix::fs::symlink(&kept, &idx).unwrap();
    assert!(check().is_err(), "a link may lead anywhere");
    fs::remove_file(&idx).unwrap();
    fs::rename(&kept, &idx).unwrap();
    check().unwrap();
    let part = SeedPart::history_in(&built.history, &built.manifest);
    check_objects(&part, &bench.environment(), &stop).unwrap();
}

/// The checksums of packs and indexes are right, and the objects are not what the indexes call them.
#[test]
fn commits_under_other_names_are_noticed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    for (part, packs) in [
        (&built.tip, &built.manifest.tip_packs),
        (&built.history, &built.manifest.history_packs),
    ] {
        let idx = part.join(format!("pack/pack-{}.idx", packs[0].id));
        let whole = fs::read(&idx).unwrap();
        let mut forged = whole.clone();
        let count = packs[0].objects as usize;
        // Names and offsets no longer go together.
        let offsets = 8 + 256 * 4 + count * (20 + 4);
        forged[offsets..offsets + count * 4].rotate_left(4);
        let end = forged.len() - 20;
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&forged[..end]);
        let checksum = hasher.try_finalize().unwrap();
        forged[end..].copy_from_slice(checksum.as_slice());
        fs::remove_file(&idx).unwrap();
        fs::write(&idx, forged).unwrap();
        let checked = check_tip(&built.tip, &built.manifest, &stop)
            .and_then(|()| check_history(&built.history, &built.manifest, &stop));
        let error = checked.unwrap_err().to_string();
        assert!(error.contains("Hash was"), "{error}");
        fs::write(&idx, whole).unwrap();
    }
}

#[test]
fn an_interrupted_check_says_nothing_of_the_seed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(true);
    let checks = [
        check_tip(&built.tip, &built.manifest, &stop),
        check_history(&built.history, &built.manifest, &stop),
    ];
    for checked in checks {
        assert!(checked.unwrap_err().is_interrupted());
    }
}

#[test]
fn a_clone_on_the_same_machine_serves_as_a_seed() {
    let bench = Bench::new();
    let mut first = options(&bench);
    first.directory = "first".into();
    let first = bench.clone(&first).unwrap();
    // Work that nobody else has, and some that was pushed.
    let mine = first.repository();
    mine.write("mine", "mine\n");
    mine.commit("mine");
    let environment = bench.environment();
    let find = || find_in_repository(&mine.path().join(".git"), &key(&bench), &environment).unwrap();
    let seed = find().unwrap();
    let shelf = Shelf::default();
    shelf.seeds.lock().unwrap().push((seed, SeedPart::default()));
    move_on(&bench);
    let cloned = bench.clone_with(&options(&bench), Some(&shelf)).unwrap();
    assert!(
        cloned.outcome.seed.is_some() && cloned.warnings.is_empty(),
        "{:?}",
        cloned.warnings
    );
    let clone = cloned.repository();
    assert!(!clone.path().join(".git/objects/info/alternates").exists());
    // The first one may go.
    fs::remove_dir_all(mine.path()).unwrap();
    let _ = clone.git(["fsck", "--no-dangling"]);
    assert_eq!(clone.git(["status", "--porcelain"]), "");
    assert_eq!(
        clone.git(["rev-list", "--all"]),
        bench.origin.git(["rev-list", "--all"])
    );
    // Clones of other filters, and shallow ones, are of no use.
    let mut other = options(&bench);
    other.filter = "tree:0".parse().unwrap();
    other.directory = "other".into();
    let other = bench.clone(&other).unwrap();
    let git_dir = other.outcome.directory.join(".git");
    assert!(
        find_in_repository(&git_dir, &key(&bench), &environment)
            .unwrap()
            .is_none()
    );
    let _ = clone.git(["fetch", "-q", "--depth=1"]);
    let git_dir = clone.path().join(".git");
    assert!(
        find_in_repository(&git_dir, &key(&bench), &environment)
            .unwrap()
            .is_none()
    );
}

/// A commit that was pushed from a clone is not fetched into it again when others build on it.
#[test]
fn what_a_clone_has_pushed_comes_from_the_origin() {
    let bench = Bench::new();
    let mut first = options(&bench);
    first.directory = "first".into();
    let first = bench.clone(&first).unwrap();
    let mine = first.repository();
    let origin = &bench.origin;
    mine.write("mine", "mine\n");
    mine.commit("mine");
    let _ = mine.git(["push", "-q", "origin", "HEAD:refs/heads/shared"]);
    let _ = origin.git(["checkout", "-q", "shared"]);
    origin.write("theirs", "theirs\n");
    origin.commit("theirs, on top");
    let _ = origin.git(["checkout", "-q", "main"]);
    let _ = mine.git(["fetch", "-q", "origin"]);
    for packed in [false, true] {
        if packed {
            let _ = mine.git(["repack", "-q", "-d"]);
            let _ = mine.git(["prune-packed"]);
        }
        let git_dir = mine.path().join(".git");
        let seed = find_in_repository(&git_dir, &key(&bench), &bench.environment()).unwrap();
        let seed = seed.unwrap();
        let names: Vec<_> = seed.manifest.refs.iter().map(|one| one.name.as_str()).collect();
        assert!(names.contains(&"refs/heads/main"), "{names:?}");
        assert!(!names.contains(&"refs/heads/shared"), "{names:?}");
        let shelf = Shelf::default();
        shelf.seeds.lock().unwrap().push((seed, SeedPart::default()));
        let cloned = clone_from(&bench, &shelf);
        assert!(cloned.outcome.seed.is_some() && refusals(&cloned).is_empty());
        let commits = ["rev-list", "--all", "--topo-order"];
        assert_eq!(cloned.repository().git(commits), origin.git(commits));
        fs::remove_dir_all(cloned.outcome.directory).unwrap();
    }
}

#[test]
fn seeds_of_trees_left_out_work_too() {
    let bench = Bench::new();
    let folder = bench.path("built");
    fs::create_dir(&folder).unwrap();
    let filter: FilterSpec = "tree:0".parse().unwrap();
    let build = BuildOptions {
        url: options(&bench).url,
        folder,
        created_at: "2026-01-02T03:04:05Z".to_owned(),
    };
    let stop = AtomicBool::new(false);
    let key = key_of(&bench, filter.clone());
    let built = build_seed(
        &build,
        &key,
        &Shelf::default(),
        &bench.environment(),
        &Silent,
        &stop,
    )
    .unwrap();
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
