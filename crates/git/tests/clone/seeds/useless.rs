//! Seeds that are of no use, in part or at all: the origin has what they lack.

use headstart_git::seed::{MANIFEST_FILE, SeedManifest, check_history};

use super::*;

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
