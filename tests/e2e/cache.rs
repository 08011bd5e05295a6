//! `headstart cache status|verify|gc`.

use std::fs;

use headstart_testkit::Manifest;

use crate::{
    machine,
    support::{assert_store_is_sound, many_files},
};

#[test]
fn an_empty_store_is_sound_and_has_nothing() {
    let env = machine();
    assert_store_is_sound(&env);
    let status = env.run(["cache", "status", "--json"]).success().json();
    assert_eq!(status["entry_count"], 0, "{status}");
    let _ = env.run(["cache", "gc"]).success();
}

#[test]
fn status_counts_what_was_saved() {
    let env = machine();
    many_files(&env.path("tree"), 300);
    let saved = env.run(["save", "--json", "--key", "k", "tree"]).success().json();
    let status = env
        .run(["cache", "status", "--entries", "--json"])
        .success()
        .json();
    assert_eq!(status["entry_count"], 1, "{status}");
    assert_eq!(status["entries"][0]["key"], "k", "{status}");
    assert_eq!(status["entries"][0]["files"], 300, "{status}");
    assert_eq!(status["snapshots"], 1, "{status}");
    let [packed, all] = [&saved, &status].map(|report| report["stored_bytes"].as_u64().unwrap());
    assert!(packed > 0 && all >= packed, "{saved}{status}");
}

#[test]
fn a_dry_run_of_gc_removes_nothing() {
    let env = machine();
    many_files(&env.path("tree"), 300);
    let _ = env.run(["save", "--key", "k", "tree"]).success();
    let before = Manifest::of(env.store()).without_mtimes();
    let _ = env.run(["cache", "gc", "--dry-run", "--max-size", "0"]).success();
    before.assert_same(&Manifest::of(env.store()).without_mtimes());
}

#[test]
fn gc_keeps_the_store_sound_and_what_is_left_restorable() {
    let env = machine();
    many_files(&env.path("tree"), 300);
    for key in ["first", "second"] {
        fs::write(env.path("tree/package-000/file-0.js"), key).unwrap();
        let _ = env.run(["save", "--key", key, "tree"]).success();
    }
    let _ = env.run(["cache", "gc", "--max-size", "0"]).success();
    assert_store_is_sound(&env);
    let _ = env.run(["save", "--key", "third", "tree"]).success();
    let _ = env
        .run(["restore", "--fail-on-miss", "--key", "third", "--root", "out"])
        .success();
    Manifest::of(env.path("tree")).assert_same(&Manifest::of(env.path("out/tree")));
    assert_store_is_sound(&env);
}
