//! A machine with a repository to clone and the two programs that clone it.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool},
};

use headstart_git::{
    CloneError, CloneOptions, CloneOutcome, FilterSpec, GitEnvironment, History, Progress, SeedSource, Step,
    Warning, clone_with_seeds,
};
use headstart_testkit::{Manifest, Repository, git_command};
use tempfile::TempDir;

/// A folder for everything a test makes, with `origin` in it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) origin: Repository,
    /// Added to the environment of both programs.
    pub(crate) vars: Vec<(OsString, OsString)>,
}

impl Bench {
    /// With a repository that has most of what repositories have.
    pub(crate) fn new() -> Self {
        let bench = Self::with_empty_origin();
        let origin = &bench.origin;
        origin
            .write("README", "one\n")
            .write("src/deep/er/file.txt", "two\n");
        origin
            .write("src/other.txt", "three\n")
            .write("docs/guide.txt", "four\n");
        origin.write_executable("bin/tool", "#!/bin/sh\n");
        origin
            .symlink("link", "src/other.txt")
            .symlink("bin/dangling", "nowhere");
        origin.commit("one");
        let _ = origin.git(["tag", "light"]);
        let _ = origin.git(["tag", "-a", "annotated", "-m", "a tag"]);
        let _ = origin.git(["tag", "-a", "tag-of-tag", "annotated", "-m", "a tag of a tag"]);
        let _ = origin.git(["branch", "feature/x"]);
        origin.write("README", "one\nmore\n").write("empty", "");
        origin.write("big.bin", vec![b'x'; 5000]);
        origin.commit("two");
        let _ = origin.git(["checkout", "-q", "feature/x"]);
        origin.write("x", "x\n");
        origin.commit("on the branch");
        let _ = origin.git(["checkout", "-q", "main"]);
        let _ = origin.git(["merge", "-q", "--no-ff", "-m", "merge", "feature/x"]);
        origin.write("src/deep/late.txt", "five\n");
        origin.commit("three");
        bench
    }

    /// With a repository that has nothing yet.
    pub(crate) fn with_empty_origin() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let origin = Repository::create(dir.path().join("origin"));
        origin.serve_filters();
        Bench {
            dir,
            origin,
            vars: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn environment(&self) -> GitEnvironment {
        let mut vars: Vec<(OsString, OsString)> = git_command()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        vars.push(("HOME".into(), self.dir.path().into()));
        for (name, value) in &self.vars {
            vars.retain(|(other, _)| other != name);
            vars.push((name.clone(), value.clone()));
        }
        GitEnvironment {
            program: "git".into(),
            vars,
            may_prompt: false,
            folder: self.dir.path().into(),
        }
    }

    /// What `headstart clone` would be asked for without options, but for a full clone.
    pub(crate) fn options(&self, url: &str) -> CloneOptions {
        CloneOptions {
            url: url.into(),
            directory: "ours".into(),
            filter: FilterSpec::None,
            depth: None,
            branch: None,
            single_branch: false,
            tags: true,
            sparse: Vec::new(),
            checkout: true,
            history: History::Beside,
        }
    }

    pub(crate) fn clone(&self, options: &CloneOptions) -> Result<Cloned, CloneError> {
        self.clone_until(options, &AtomicBool::new(false))
    }

    pub(crate) fn clone_until(
        &self,
        options: &CloneOptions,
        interrupt: &AtomicBool,
    ) -> Result<Cloned, CloneError> {
        self.clone_fully(options, None, interrupt)
    }

    pub(crate) fn clone_with(
        &self,
        options: &CloneOptions,
        seeds: Option<&dyn SeedSource>,
    ) -> Result<Cloned, CloneError> {
        self.clone_fully(options, seeds, &AtomicBool::new(false))
    }

    fn clone_fully(
        &self,
        options: &CloneOptions,
        seeds: Option<&dyn SeedSource>,
        interrupt: &AtomicBool,
    ) -> Result<Cloned, CloneError> {
        let told = Told::default();
        let ready = Mutex::new(None);
        let on_ready = |path: &Path| {
            *ready.lock().expect("nobody panics with it") = Some(path.join(".git/index").is_file());
        };
        let environment = self.environment();
        let outcome = clone_with_seeds(options, seeds, &environment, &told, &on_ready, interrupt)?;
        Ok(Cloned {
            outcome,
            warnings: told.warnings.into_inner().expect("nobody panics with it"),
            steps: told.steps.into_inner().expect("nobody panics with it"),
            ready: ready.into_inner().expect("nobody panics with it"),
        })
    }

    /// Tries to clone; answers why that failed, and the warnings before.
    pub(crate) fn fail_to_clone(&self, options: &CloneOptions) -> (CloneError, Vec<Warning>) {
        let told = Told::default();
        let (environment, never) = (self.environment(), AtomicBool::new(false));
        let error = clone_with_seeds(options, None, &environment, &told, &|_| {}, &never).unwrap_err();
        (error, told.warnings.into_inner().expect("nobody panics with it"))
    }

    /// Clones with git into `theirs`, then runs `more` in the result.
    pub(crate) fn git_clone(&self, args: &[&str], url: &str, more: &[&str]) -> PathBuf {
        let path = self.path("theirs");
        let run = |folder: &Path, args: Vec<&str>| {
            let output = git_command()
                .current_dir(folder)
                .envs(self.vars.iter().map(|(name, value)| (name, value)))
                .env("HOME", self.dir.path())
                .args(&args)
                .output()
                .expect("git runs");
            assert!(
                output.status.success(),
                "git {args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        run(
            self.dir.path(),
            [&["clone", "-q"], args, &[url, "theirs"]].concat(),
        );
        if !more.is_empty() {
            run(&path, more.to_vec());
        }
        path
    }

    /// What lies in the folder beside the origin.
    pub(crate) fn listing(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.path()).expect("our own folder");
        entries
            .map(|entry| {
                entry
                    .expect("our own folder")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }
}

/// A finished clone.
#[derive(Debug)]
pub(crate) struct Cloned {
    pub(crate) outcome: CloneOutcome,
    pub(crate) warnings: Vec<Warning>,
    /// The total and the count of each step.
    pub(crate) steps: HashMap<Step, (Option<u64>, u64)>,
    /// Whether there was an index when the working tree was said to be ready; history may still have been coming.
    pub(crate) ready: Option<bool>,
}

impl Cloned {
    pub(crate) fn repository(&self) -> Repository {
        Repository::at(&self.outcome.directory)
    }
}

/// Remembers what it is told.
#[derive(Default)]
struct Told {
    warnings: Mutex<Vec<Warning>>,
    steps: Mutex<HashMap<Step, (Option<u64>, u64)>>,
}

impl Progress for Told {
    fn start(&self, step: Step, total: Option<u64>) {
        let mut steps = self.steps.lock().expect("nobody panics with it");
        let (before, _) = steps.entry(step).or_default();
        assert!(before.is_none(), "{step:?} is told a total twice");
        *before = total;
    }

    fn advance(&self, step: Step, amount: u64) {
        let mut steps = self.steps.lock().expect("nobody panics with it");
        steps.entry(step).or_default().1 += amount;
    }

    fn finish(&self, _step: Step) {}

    fn warn(&self, warning: &Warning) {
        self.warnings
            .lock()
            .expect("nobody panics with it")
            .push(warning.clone());
    }
}

/// Fails unless both repositories are the same to everyone who looks: files, git's own files, objects.
#[track_caller]
pub(crate) fn assert_same(ours: &Path, theirs: &Path) {
    assert_same_files(ours, theirs);
    let all = ["cat-file", "--batch-all-objects", "--batch-check"];
    let [our_objects, their_objects] = [ours, theirs].map(|path| objects(&Repository::at(path).git(all)));
    assert_eq!(our_objects, their_objects);
    assert_looks_same(ours, theirs);
}

#[track_caller]
fn assert_same_files(ours: &Path, theirs: &Path) {
    let outside_git = |path: &Path| Manifest::of(path).without_mtimes().without(".git").without_root();
    outside_git(theirs).assert_same(&outside_git(ours));
    let git_files = |path: &Path| {
        // Packs are cut differently, and the index holds the times of the files.
        let manifest = Manifest::of(path.join(".git")).without_mtimes().without_root();
        manifest.without("objects").without("index").without("hooks")
    };
    git_files(theirs).assert_same(&git_files(ours));
}

/// The same, where one may have objects that are of no use to it.
#[track_caller]
pub(crate) fn assert_same_but_for_objects(ours: &Path, theirs: &Path) {
    assert_same_files(ours, theirs);
    assert_looks_same(ours, theirs);
}

#[track_caller]
fn assert_looks_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (Repository::at(ours), Repository::at(theirs));
    for look in [
        &["status", "--porcelain=v2", "--branch"][..],
        &["ls-files", "--stage", "-t"],
        &["for-each-ref"],
        &["fsck", "--no-dangling"],
    ] {
        assert_eq!(ours.git(look), theirs.git(look), "git {look:?}");
    }
}

pub(crate) fn objects(listing: &str) -> BTreeSet<String> {
    listing.lines().map(str::to_owned).collect()
}
