//! The fixtures against git itself.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use headstart_testkit::{Repository, S3, Sshd, TestEnv, fixtures, git_command};

#[test]
fn the_rich_origin_is_sound_and_clones_by_git() {
    let folder = tempfile::tempdir().unwrap();
    let origin = fixtures::rich(folder.path().join("rich.git"));
    let _ = origin.git(["fsck", "--strict"]);
    assert!(
        origin
            .git(["rev-list", "--all", "--count"])
            .parse::<u32>()
            .unwrap()
            > 35
    );
    assert_eq!(
        origin
            .git(["for-each-ref", "refs/tags", "--format=x"])
            .lines()
            .count(),
        4
    );
    let clone = clone(&folder.path().join("clone"), &origin.file_url());
    assert_eq!(clone.git(["status", "--porcelain"]), "");
}

#[test]
fn a_monorepo_has_the_same_commit_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let tips = ["a", "b"].map(|name| {
        let origin = fixtures::monorepo(folder.path().join(name), 20, 30);
        let _ = origin.git(["fsck", "--strict"]);
        origin.git(["rev-parse", "main"])
    });
    assert_eq!(tips[0], tips[1]);
}

#[test]
fn heads_are_as_odd_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(
        !fixtures::empty(at("empty"))
            .try_git(["rev-parse", "-q", "--verify", "HEAD"])
            .status
            .success()
    );
    assert!(
        !fixtures::unborn_head(at("unborn"))
            .try_git(["rev-parse", "-q", "--verify", "HEAD"])
            .status
            .success()
    );
    assert!(
        !fixtures::detached_head(at("detached"))
            .try_git(["symbolic-ref", "-q", "HEAD"])
            .status
            .success()
    );
    assert_eq!(
        fixtures::many_refs(at("refs"), 40)
            .git(["for-each-ref", "--format=x"])
            .lines()
            .count(),
        41
    );
}

#[test]
fn sshd_lets_in_the_key_it_knows_and_nobody_else() {
    let Some(sshd) = Sshd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let origin = fixtures::monorepo(folder.path().join("r.git"), 3, 5);
    for url in [sshd.url(origin.path()), sshd.scp_like_url(origin.path())] {
        let listed = git_command()
            .env("GIT_SSH_COMMAND", sshd.client_command())
            .args(["ls-remote", &url])
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let refused = git_command()
            .env("GIT_SSH_COMMAND", sshd.stranger_command())
            .args(["ls-remote", &url])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("Permission denied"),
            "{refused:?}"
        );
    }
}

#[test]
fn s3_starts_with_its_bucket() {
    let Some(s3) = S3::start() else { return };
    assert!(s3.url("p").starts_with("s3://"));
}

#[test]
fn a_machine_shows_nothing_of_the_real_user() {
    let env = TestEnv::new("/usr/bin/env");
    let run = env.headstart().env("EXTRA", "1").run().success();
    let allowed = [
        "GIT_",
        "HOME=",
        "HEADSTART_STORE=",
        "PATH=",
        "TMPDIR=",
        "LC_ALL=",
        "TZ=",
        "EXTRA=1",
    ];
    let leaked: Vec<_> = run
        .stdout()
        .lines()
        .filter(|line| !allowed.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    assert_eq!(leaked, [""; 0]);
}

fn clone(path: &std::path::Path, url: &str) -> Repository {
    assert!(
        git_command()
            .args(["clone", "-q", url])
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
    Repository::at(path)
}
