//! A bucket that is stopped, slowed, cut off or filled with garbage while it is read: slower, never wrong.

use std::{fs, thread, time::Duration};

use headstart_testkit::{CacheServer, Headstart, Line, Manifest, RoughLine, Run, S3, Signal, TestEnv, noise};

use crate::{
    machine,
    support::{SmallDisk, assert_store_is_sound, many_files, names},
};

const BINARY: &str = env!("CARGO_BIN_EXE_headstart");

/// A bucket with one entry, `k`, behind a line of which the test disposes.
struct Bucket {
    s3: S3,
    line: RoughLine,
    tree: Manifest,
    _saver: TestEnv,
}

impl Bucket {
    /// One with a tree of some packs.
    fn with_packs(megabytes: u64) -> Option<Self> {
        let s3 = S3::start()?;
        let saver = machine();
        many_files(&saver.path("tree"), 300);
        for number in 0..megabytes / 4 {
            fs::write(saver.path(format!("tree/noise-{number}")), noise(number, 4 << 20)).unwrap();
        }
        let line = RoughLine::to(s3.address());
        let bucket = Bucket {
            tree: Manifest::of(saver.path("tree")),
            line,
            s3,
            _saver: machine(),
        };
        let command = saver.headstart().args(["save", "--key", "k", "tree"]);
        let saved = bucket.remote(command).run().success();
        assert!(!saved.stderr().contains("warning"), "{}", saved.stderr());
        Some(bucket)
    }

    fn remote<'a>(&self, command: Headstart<'a>) -> Headstart<'a> {
        command
            .envs(self.s3.client_environment_through(self.line.address()))
            .args(["--remote", &self.s3.url("cache")])
    }

    /// A machine with something else at the destination.
    fn other_machine(&self) -> (TestEnv, Manifest) {
        let env = machine();
        fs::create_dir(env.path("tree")).unwrap();
        fs::write(env.path("tree/mine"), "older").unwrap();
        let before = Manifest::of(env.path("tree"));
        (env, before)
    }

    fn restore<'a>(&self, env: &'a TestEnv) -> Headstart<'a> {
        self.remote(env.headstart().args(["restore", "--key", "k"]))
    }

    /// The restore brought the tree, and nothing had to be said.
    fn assert_restored(&self, env: &TestEnv, run: Run) {
        let run = run.success();
        assert!(!run.stderr().contains("warning"), "{}", run.stderr());
        self.tree.assert_same(&Manifest::of(env.path("tree")));
        assert_store_is_sound(env);
    }

    /// The restore was a miss, said why, and touched nothing.
    fn assert_missed(&self, env: &TestEnv, before: &Manifest, run: Run) {
        let run = run.success().says("warning").says("No entry matches");
        before.assert_same(&Manifest::of(env.path("tree")));
        assert_eq!(names(&env.work()), ["tree"]);
        // What is wrong, and what that means for the restore.
        assert!(run.stderr().matches("warning").count() <= 2, "{}", run.stderr());
        // In front of a remote a store may have a part of a snapshot only.
        let verify = env.headstart().args(["cache", "verify"]);
        let _ = self.remote(verify).run().success();
    }
}

#[test]
fn an_s3_engine_that_is_stopped_and_goes_on() {
    let Some(bucket) = Bucket::with_packs(48) else {
        return;
    };
    let (env, _) = bucket.other_machine();
    bucket.line.set(Line::Slow(4 << 20));
    let before = bucket.line.bytes();
    let mut run = bucket.restore(&env).start();
    assert!(run.wait_until(|| bucket.line.bytes() > before + (6 << 20)));
    bucket.s3.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    bucket.line.set(Line::Good);
    bucket.s3.signal(Signal::CONT);
    bucket.assert_restored(&env, run.wait());
}

#[test]
fn an_s3_engine_that_dies_in_the_middle() {
    let Some(bucket) = Bucket::with_packs(48) else {
        return;
    };
    let (warm, _) = bucket.other_machine();
    bucket.assert_restored(&warm, bucket.restore(&warm).run());
    let (env, tree_before) = bucket.other_machine();
    bucket.line.set(Line::Slow(4 << 20));
    let before = bucket.line.bytes();
    let mut run = bucket.restore(&env).start();
    assert!(run.wait_until(|| bucket.line.bytes() > before + (6 << 20)));
    bucket.s3.signal(Signal::KILL);
    bucket.line.set(Line::Good);
    bucket.assert_missed(&env, &tree_before, run.wait());
    // What a local store has needs no remote.
    fs::remove_dir_all(warm.path("tree")).unwrap();
    bucket.assert_restored(&warm, bucket.restore(&warm).run());
}

#[test]
fn lines_that_break_off_or_fall_silent_cost_time_only() {
    let Some(bucket) = Bucket::with_packs(48) else {
        return;
    };
    for fault in [Line::Cut, Line::Silent] {
        let (env, _) = bucket.other_machine();
        bucket.line.set(Line::Slow(4 << 20));
        let before = bucket.line.bytes();
        let mut run = bucket.restore(&env).start();
        assert!(run.wait_until(|| bucket.line.bytes() > before + (6 << 20)));
        bucket.line.set(fault);
        bucket.assert_restored(&env, run.wait());
        // What had come was not asked for again.
        let passed = bucket.line.bytes() - before;
        assert!(passed < 75 << 20, "{fault:?}: {passed} bytes came");
        bucket.line.set(Line::Good);
    }
}

#[test]
fn a_line_that_trickles_is_waited_for() {
    let Some(bucket) = Bucket::with_packs(0) else {
        return;
    };
    let (env, _) = bucket.other_machine();
    bucket.line.set(Line::Slow(100_000));
    bucket.assert_restored(&env, bucket.restore(&env).run());
}

#[test]
fn what_a_killed_restore_had_fetched_is_not_fetched_again() {
    let Some(bucket) = Bucket::with_packs(48) else {
        return;
    };
    let (env, _) = bucket.other_machine();
    // One after the other, so that some are complete when the first is killed.
    bucket.line.set(Line::Slow(16 << 20));
    let mut run = bucket.restore(&env).start();
    let packs = env.store().join("v1/packs");
    assert!(run.wait_until(|| files_below(&packs) > 0));
    let _ = run.kill().killed_by(Signal::KILL);
    bucket.line.set(Line::Good);
    assert_eq!(fs::read(env.path("tree/mine")).unwrap(), b"older");
    let report = bucket.restore(&env).arg("--json").run().success().json();
    assert!(report["local_bytes"].as_u64().unwrap() > 8 << 20, "{report}");
    bucket.tree.assert_same(&Manifest::of(env.path("tree")));
    // An entry, its snapshot, and each pack once.
    assert!(report["remote_requests"].as_u64().unwrap() < 8, "{report}");
}

fn files_below(folder: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.path().is_dir() {
            true => files_below(&entry.path()),
            false => 1,
        })
        .sum()
}

#[test]
fn garbage_in_a_bucket_is_never_used() {
    let Some(bucket) = Bucket::with_packs(48) else {
        return;
    };
    let packs = bucket.s3.list("cache/v1/packs");
    assert!(packs.len() > 2, "{packs:?}");
    let good: Vec<Vec<u8>> = packs.iter().map(|key| bucket.s3.read(key)).collect();
    let random = |bytes: &[u8]| noise(7, bytes.len());
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let other = |_: &[u8]| good[0].clone();
    type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    for damage in [&random as Damage<'_>, &cut, &other] {
        for (key, bytes) in packs.iter().zip(&good).skip(1) {
            bucket.s3.overwrite(key, &damage(bytes));
        }
        let (env, before) = bucket.other_machine();
        bucket.assert_missed(&env, &before, bucket.restore(&env).run());
        for (key, bytes) in packs.iter().zip(&good) {
            bucket.s3.overwrite(key, bytes);
        }
        bucket.assert_restored(&env, bucket.restore(&env).run());
    }
    // On the way, too.
    let (env, before) = bucket.other_machine();
    let start = bucket.line.bytes();
    bucket.line.set(Line::Slow(4 << 20));
    let mut run = bucket.restore(&env).start();
    assert!(run.wait_until(|| bucket.line.bytes() > start + (6 << 20)));
    bucket.line.set(Line::Garbled);
    bucket.assert_missed(&env, &before, run.wait());
}

#[test]
fn a_server_that_is_busy_is_waited_for() {
    let server = CacheServer::start(BINARY);
    let saver = machine();
    many_files(&saver.path("tree"), 50);
    let _ = saver
        .run(["save", "--key", "k", "--remote", server.url(), "tree"])
        .success();
    let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
    let line = RoughLine::to(address);
    line.set(Line::Answer(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    let env = machine();
    let remote = format!("http://{}", line.address());
    let started = std::time::Instant::now();
    let mut run = env
        .headstart()
        .args(["restore", "--fail-on-miss", "--key", "k", "--remote", &remote])
        .start();
    assert!(run.wait_until(|| line.connections() > 0));
    line.set(Line::Good);
    let run = run.wait().success();
    assert!(!run.stderr().contains("warning"), "{}", run.stderr());
    assert!(started.elapsed() >= Duration::from_secs(3), "it did not wait");
    Manifest::of(saver.path("tree")).assert_same(&Manifest::of(env.path("tree")));
}

#[test]
fn a_bucket_that_is_busy_is_waited_for() {
    let Some(bucket) = Bucket::with_packs(0) else {
        return;
    };
    let (env, _) = bucket.other_machine();
    bucket.line.set(Line::Answer(
        "HTTP/1.1 503 Slow Down\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    let connections = bucket.line.connections();
    let started = std::time::Instant::now();
    let mut run = bucket.restore(&env).start();
    assert!(run.wait_until(|| bucket.line.connections() > connections));
    bucket.line.set(Line::Good);
    bucket.assert_restored(&env, run.wait());
    assert!(started.elapsed() >= Duration::from_secs(3), "it did not wait");
}

#[test]
fn a_local_store_that_cannot_be_used_leaves_the_remote() {
    let server = CacheServer::start(BINARY);
    let saver = machine();
    many_files(&saver.path("tree"), 2000);
    let _ = saver
        .run(["save", "--key", "k", "--remote", server.url(), "tree"])
        .success();
    let tree = Manifest::of(saver.path("tree"));
    let restore = |env: &TestEnv| -> Run {
        env.run([
            "restore",
            "--fail-on-miss",
            "--key",
            "k",
            "--remote",
            server.url(),
        ])
        .success()
        .says("warning")
    };
    // Something else is in its place.
    let env = machine();
    fs::write(env.store(), "a file").unwrap();
    let run = restore(&env);
    assert_eq!(run.stderr().matches("warning").count(), 1, "{}", run.stderr());
    tree.assert_same(&Manifest::of(env.path("tree")));
    let _ = env
        .run(["save", "--key", "other", "--remote", server.url(), "tree"])
        .success()
        .says("warning");
    let _ = saver
        .run([
            "restore",
            "--fail-on-miss",
            "--key",
            "other",
            "--remote",
            server.url(),
        ])
        .success();
    assert!(
        names(env.root())
            .iter()
            .all(|name| !name.starts_with("headstart-store-")),
        "the store of the run is left"
    );
    // Without a remote it stays an error.
    let _ = env.run(["restore", "--key", "k"]).code(1).says("--store");

    // Its disk is full.
    let env = machine();
    let Some(disk) = SmallDisk::new(&env, "disk", "size=200k") else {
        return;
    };
    let command = env
        .headstart()
        .args([
            "restore",
            "--fail-on-miss",
            "--key",
            "k",
            "--remote",
            server.url(),
            "--store",
        ])
        .arg(disk.path().join("store"));
    let run = disk.mounted_for(command).run().success().says("warning");
    assert_eq!(run.stderr().matches("warning").count(), 1, "{}", run.stderr());
    tree.assert_same(&Manifest::of(env.path("tree")));
    assert!(
        !disk
            .leftovers()
            .iter()
            .any(|path| path.contains("/tmp/") || path.contains("/packs/"))
    );
}

#[test]
fn a_save_onto_a_full_disk_goes_to_the_remote() {
    let server = CacheServer::start(BINARY);
    let env = machine();
    many_files(&env.path("tree"), 2000);
    let Some(disk) = SmallDisk::new(&env, "disk", "size=1m") else {
        return;
    };
    let command = env
        .headstart()
        .args(["save", "--key", "k", "tree", "--remote", server.url(), "--store"])
        .arg(disk.path().join("store"));
    let run = disk.mounted_for(command).run().success();
    assert_eq!(run.stderr().matches("warning").count(), 1, "{}", run.stderr());
    let other = machine();
    let _ = other
        .run([
            "restore",
            "--fail-on-miss",
            "--key",
            "k",
            "--remote",
            server.url(),
        ])
        .success();
    Manifest::of(env.path("tree")).assert_same(&Manifest::of(other.path("tree")));
}

#[test]
fn a_repair_fetches_from_the_remote_what_was_damaged() {
    let server = CacheServer::start(BINARY);
    let env = machine();
    many_files(&env.path("tree"), 300);
    let remote = ["--remote", server.url()];
    let _ = env
        .headstart()
        .args(["save", "--key", "k", "tree"])
        .args(remote)
        .run()
        .success();
    let script = "find \"$0\" -path '*/packs/*' -type f -exec chmod u+w {} + -exec truncate -s 5 {} +";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(env.store())
        .status();
    assert!(status.unwrap().success());
    let repair = env
        .headstart()
        .args(["cache", "verify", "--repair"])
        .args(remote)
        .run();
    let _ = repair.success().prints("fetched from the remote");
    assert_store_is_sound(&env);
    let _ = env
        .run(["restore", "--fail-on-miss", "--key", "k", "--root", "out"])
        .success();
    Manifest::of(env.path("tree")).assert_same(&Manifest::of(env.path("out/tree")));
}
