//! A machine with an origin behind a server that counts requests, and clones of it made by git.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::AtomicBool,
};

use headstart_git::{GitEnvironment, PullError, PullOutcome, Silent};
use headstart_testkit::{GitHttpServer, Manifest, Repository, Request, git_command};
use tempfile::TempDir;

/// A folder for everything a test makes.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) origin: Repository,
    pub(crate) server: GitHttpServer,
}

impl Machine {
    /// With an origin that has nothing yet and serves filters.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = Repository::create(dir.path().join("origin"));
        origin.serve_filters();
        Machine {
            server: GitHttpServer::start(dir.path()),
            dir,
            origin,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("origin")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Clones the origin with git into the folder `name`.
    pub(crate) fn clone(&self, name: &str, args: &[&str]) -> Repository {
        let status = git_command()
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .args(["clone", "-q"])
            .args(args)
            .args([&self.url(), name])
            .status()
            .unwrap();
        assert!(status.success());
        Repository::at(self.path(name))
    }

    /// The surroundings of a command that is run in `folder`.
    pub(crate) fn environment(&self, folder: &Path) -> GitEnvironment {
        let mut vars: Vec<(OsString, OsString)> = git_command()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        vars.push(("HOME".into(), self.dir.path().into()));
        GitEnvironment {
            program: "git".into(),
            vars,
            may_prompt: false,
            folder: folder.into(),
        }
    }

    /// Packs asked for so far.
    pub(crate) fn fetches(&self) -> usize {
        self.server
            .requests()
            .iter()
            .filter(|request| Request::is_fetch(request))
            .count()
    }
}

/// Runs git with nothing fetched on the way; panics when it would have had to.
#[track_caller]
pub(crate) fn git_offline(repository: &Repository, args: &[&str]) -> String {
    let output: Output = git_command()
        .current_dir(repository.path())
        .env("GIT_NO_LAZY_FETCH", "1")
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether git can do this without fetching.
pub(crate) fn works_offline(repository: &Repository, args: &[&str]) -> bool {
    let output = git_command()
        .current_dir(repository.path())
        .env("GIT_NO_LAZY_FETCH", "1")
        .args(args)
        .output()
        .unwrap();
    output.status.success()
}

/// The objects a clone lacks, of those that `revs` reach.
pub(crate) fn missing(repository: &Repository, revs: &str) -> Vec<String> {
    let listed = repository.git(["rev-list", "--objects", "--missing=print", revs]);
    listed
        .lines()
        .filter_map(|line| line.strip_prefix('?'))
        .map(str::to_owned)
        .collect()
}

/// Pulls with headstart.
pub(crate) fn pull(machine: &Machine, clone: &Repository) -> Result<PullOutcome, PullError> {
    let environment = machine.environment(clone.path());
    headstart_git::pull(&environment, &Silent, &AtomicBool::new(false))
}

/// Pulls with git; false when it refuses.
pub(crate) fn git_pull(clone: &Repository) -> bool {
    clone.try_git(["pull", "-q", "--ff-only"]).status.success()
}

/// Fails unless two clones are the same to everyone who looks, times and packs aside.
#[track_caller]
pub(crate) fn assert_same(ours: &Repository, theirs: &Repository) {
    let files = |clone: &Repository| {
        let manifest = Manifest::of(clone.path()).without_mtimes().without_root();
        manifest.without(".git")
    };
    files(theirs).assert_same(&files(ours));
    for look in [
        &["for-each-ref"][..],
        &["status", "--porcelain=v2", "--branch"],
        &["ls-files", "--stage", "-t"],
        &["rev-parse", "HEAD", "ORIG_HEAD"],
        &["reflog", "--format=%H %gs", "HEAD"],
        &["rev-list", "--all", "--count"],
        &["fsck", "--no-dangling"],
    ] {
        let answers = [ours, theirs].map(|clone| clone.try_git(look));
        let [ours, theirs] = answers.map(|output| {
            // Git's reflog names the arguments of the pull.
            String::from_utf8_lossy(&output.stdout).replace("pull -q --ff-only", "pull")
        });
        assert_eq!(ours, theirs, "git {look:?}: left is headstart's");
    }
}
