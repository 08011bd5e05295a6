//! `headstart pull`: yesterday's checkout becomes today's.

use headstart_testkit::{Repository, fixtures, skipped};
use serde_json::Value;

use crate::{machine, support::assert_sound};

#[test]
fn a_clone_follows_its_origin() {
    let env = machine();
    let _ = fixtures::monorepo(env.root().join("mono.git"), 20, 10);
    let url = format!("file://{}", env.root().join("mono.git").display());
    let work = env.root().join("elsewhere");
    let cloned = env.git().args(["clone", "-q", &url]).arg(&work).status().unwrap();
    assert!(cloned.success());
    let work = Repository::at(work);
    let _ = env.run(["clone", &url, "ours"]).success();
    let ours = Repository::at(env.path("ours"));
    let pull = |args: &[&str]| {
        env.headstart()
            .current_dir(ours.path())
            .arg("pull")
            .args(args)
            .run()
    };
    let idle = pull(&[]).success();
    assert!(idle.stderr().contains("is up to date at"), "{}", idle.stderr());

    work.write("new/file.txt", "new\n").commit("new");
    let _ = work.git(["push", "-q"]);
    let report = pull(&["--json"]).success().json();
    assert_eq!(report["schema"], "headstart.pull/1");
    assert_eq!(report["new"], work.git(["rev-parse", "HEAD"]));
    assert_eq!(
        (&report["files_written"], &report["by_git"]),
        (&1.into(), &Value::Null)
    );
    assert_sound(&ours);
    assert_eq!(std::fs::read(ours.path().join("new/file.txt")).unwrap(), b"new\n");

    work.write("new/file.txt", "newer\n").commit("newer");
    let _ = work.git(["push", "-q"]);
    ours.write("new/file.txt", "mine\n");
    let refused = pull(&[]).code(1);
    assert!(refused.stderr().contains("new/file.txt"), "{}", refused.stderr());
    assert!(
        refused.stderr().contains("hint: commit, stash or move away"),
        "{}",
        refused.stderr()
    );
    assert_eq!(
        std::fs::read(ours.path().join("new/file.txt")).unwrap(),
        b"mine\n"
    );
}

/// Neither the files that were written nor those that were not are read by the next `git status`.
#[test]
fn a_status_after_a_pull_reads_no_file() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 20, 10);
    let old = origin.git(["rev-parse", "main~5"]);
    let tip = origin.git(["rev-parse", "main"]);
    let _ = origin.git(["update-ref", "refs/heads/main", &old]);
    let _ = env.run(["clone", &origin.file_url(), "ours"]).success();
    let _ = origin.git(["update-ref", "refs/heads/main", &tip]);
    let ours = env.path("ours");
    let _ = env.headstart().current_dir(&ours).arg("pull").run().success();
    let trace = env.root().join("trace");
    let status = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=openat,open", "-o"])
        .arg(&trace)
        .args(["git", "status", "--porcelain"])
        .current_dir(&ours)
        .output();
    let Ok(status) = status else {
        skipped("strace is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&status.stdout), "");
    let trace = std::fs::read_to_string(trace).unwrap();
    let in_worktree = |line: &&str| {
        let path = line.split('"').nth(1).unwrap_or_default();
        !line.contains("O_DIRECTORY") && !path.starts_with('/') && !path.contains(".git")
    };
    let opened: Vec<&str> = trace
        .lines()
        .filter(in_worktree)
        .filter(|line| line.contains("open"))
        .collect();
    assert!(opened.is_empty(), "{opened:?}");
}
