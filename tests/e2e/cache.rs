//! `headstart cache status|verify|gc`.

use std::{fs, thread, time::Duration};

use headstart_testkit::{Manifest, Signal, TestEnv};

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

/// A user's settings for the store.
fn with_settings<'a>(env: &'a TestEnv, lines: &str) -> headstart_testkit::Headstart<'a> {
    let path = env.root().join("settings.toml");
    fs::write(&path, format!("[store]\n{lines}\n")).unwrap();
    env.headstart().env("HEADSTART_CONFIG", path)
}

/// Makes all that is in the store as old as this.
fn age_store(env: &TestEnv, date: &str) {
    let script = "find \"$0\" -type f -exec touch -d \"$1\" {} +";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(env.store())
        .arg(date)
        .status()
        .unwrap();
    assert!(status.success());
}

fn entries(env: &TestEnv) -> u64 {
    let status = env.run(["cache", "status", "--json"]).success().json();
    status["entry_count"].as_u64().unwrap()
}

#[test]
fn entries_expire_by_the_age_in_the_settings() {
    let env = machine();
    many_files(&env.path("tree"), 50);
    let _ = env.run(["save", "--key", "old", "tree"]).success();
    age_store(&env, "3 days ago");
    let gc = |lines: &str| {
        let _ = with_settings(&env, lines).args(["cache", "gc"]).run().success();
    };
    gc("max-age = '5d'");
    assert_eq!(entries(&env), 1);
    gc("max-age = '2d'");
    assert_eq!(entries(&env), 0);
    let _ = with_settings(&env, "max-age = '-2d'")
        .args(["cache", "gc"])
        .run()
        .code(2)
        .says("settings.toml");
}

#[test]
fn a_save_starts_an_eviction_in_the_background() {
    let env = machine();
    many_files(&env.path("tree"), 50);
    let settings = "max-age = '2d'\nauto-gc = false";
    let save = |settings: &str, key: &str| {
        fs::write(env.path("tree/key"), key).unwrap();
        let _ = with_settings(&env, settings)
            .args(["save", "--key", key, "tree"])
            .run()
            .success();
    };
    for key in ["first", "second", "third"] {
        save(settings, key);
    }
    age_store(&env, "3 days ago");
    // Switched off.
    save(settings, "fourth");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(entries(&env), 4);
    age_store(&env, "3 days ago");
    // On. The new one stays, and those it was compared with, which is a use: the nearest by key, and the last of that folder.
    save("max-age = '2d'", "fifth");
    for _ in 0..500 {
        if entries(&env) <= 3 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let left = entries(&env);
    assert!((2..=3).contains(&left), "{left}");
    assert_store_is_sound(&env);
    // Not again so soon.
    age_store(&env, "3 days ago");
    fs::write(env.store().join("v1/auto-gc"), "").unwrap();
    save("max-age = '2d'", "sixth");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(entries(&env), left + 1);
}

/// Eight processes at one store, killed at moments of chance, and an eviction among them.
#[test]
fn killed_processes_and_evictions_leave_a_store_that_is_right() {
    const PROCESSES: usize = 8;
    const TREES: usize = 3;
    let env = machine();
    let trees: Vec<Manifest> = (0..TREES)
        .map(|tree| {
            let folder = env.path(format!("{tree}/tree"));
            many_files(&folder, 400 + tree * 50);
            fs::write(folder.join("which"), tree.to_string()).unwrap();
            Manifest::of(folder)
        })
        .collect();
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let mut chance = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut restored = 0;
    for round in 0..12 {
        let mut running = Vec::new();
        for process in 0..PROCESSES {
            let tree = chance(TREES as u64) as usize;
            let command = match (process, chance(2)) {
                // Young things stay: no process lives for this long.
                (0, _) => env
                    .headstart()
                    .args(["cache", "gc", "--max-size", "0", "--grace", "8s"]),
                (_, 0) => env.headstart().args([
                    "save",
                    "--key",
                    &format!("{tree}-{}", chance(6)),
                    "--root",
                    &tree.to_string(),
                    "tree",
                ]),
                _ => env.headstart().args([
                    "restore",
                    "--json",
                    "--key",
                    "none",
                    "--restore-key",
                    &format!("{tree}-"),
                    "--root",
                    &format!("out-{process}-{tree}"),
                ]),
            };
            running.push((process, tree, command.start()));
        }
        thread::sleep(Duration::from_millis(100 + chance(400)));
        for (process, tree, run) in running {
            // Some come to their end.
            if chance(3) > 0 {
                run.signal(Signal::KILL);
            }
            let run = run.wait();
            assert!(
                run.status().success() || run.status().code().is_none() || process == 0,
                "round {round}: {run:?}"
            );
            if run.status().success() && run.stdout().contains("\"restore-key\"") {
                restored += 1;
                let root = env.path(format!("out-{process}-{tree}"));
                trees[tree].assert_same(&Manifest::of(root.join("tree")));
            }
        }
        assert_store_is_sound(&env);
    }
    assert!(restored > 0, "nothing was restored");
    for (tree, saved) in trees.iter().enumerate() {
        let (key, root) = (format!("last-{tree}"), tree.to_string());
        let _ = env
            .run(["save", "--key", &key, "--root", &root, "tree"])
            .success();
        let _ = env
            .run(["restore", "--fail-on-miss", "--key", &key, "--root", "last"])
            .success();
        saved.assert_same(&Manifest::of(env.path("last/tree")));
    }
    assert_store_is_sound(&env);
}
