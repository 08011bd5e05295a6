//! A part of a folder that others share.

use super::*;
use crate::{NoProgress, save_only};

#[test]
fn a_part_of_a_shared_folder_comes_back_beside_what_others_keep_there() {
    let bench = Bench::new();
    for name in [
        "pool/a/one",
        "pool/a/other",
        "pool/b/two/deep",
        "pool/b2",
        "pool/c/x",
    ] {
        write(bench.from().join(name), name);
        write(bench.to().join(name).with_extension("mine"), "mine");
    }
    let options = bench.save_options("k", &["pool"]);
    let only = ["pool/a/one", "pool/b"]
        .map(|path| RelPath::parse(path).unwrap())
        .into();
    save_only(
        &*bench.store,
        None,
        &bench.runtime,
        &options,
        &only,
        &NoProgress,
        &bench.interrupt,
    )
    .unwrap();
    let options = bench.restore_options("k", &[]);
    let restored = restore_beside(
        &*bench.store,
        &bench.runtime,
        &options,
        &NoProgress,
        &bench.interrupt,
    )
    .unwrap();
    let RestoreOutcome::Restored(restored) = restored else {
        panic!("it was saved");
    };
    assert_eq!(restored.files_removed, 0);
    let there = |name: &str| bench.to().join(name).exists();
    assert!(
        there("pool/a/one") && there("pool/b/two/deep"),
        "the part is back"
    );
    assert!(
        !there("pool/a/other") && !there("pool/b2"),
        "nothing but the part was saved"
    );
    assert!(there("pool/a/one.mine") && there("pool/b/two/deep.mine") && there("pool/c/x.mine"));
}

#[test]
fn a_folder_of_others_is_not_removed_for_a_file_of_the_part() {
    let bench = Bench::new();
    write(bench.from().join("pool/a"), "a file");
    bench.save("k", &["pool"]);
    write(bench.to().join("pool/a/mine"), "mine");
    let before = manifest(&bench.to());
    let options = bench.restore_options("k", &[]);
    let (store, runtime) = (&*bench.store, &bench.runtime);
    let error = restore_beside(store, runtime, &options, &NoProgress, &bench.interrupt).unwrap_err();
    assert!(
        matches!(&error, RestoreError::InTheWay { path, .. } if path.to_string() == "pool/a"),
        "{error}"
    );
    assert_eq!(manifest(&bench.to()), before);
}
