//! A clone on the same machine in place of a seed.

use headstart_git::seed::{SeedPart, find_in_repository};

use super::*;

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
