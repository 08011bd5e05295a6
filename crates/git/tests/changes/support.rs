//! An origin, clones of it, and the question what changed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool},
};

use headstart_git::{
    Changes, ChangesError, ChangesOptions, FetchedObjects, GitEnvironment, Progress, Step, Warning, compare,
};
use headstart_testkit::{Manifest, Repository, git_command};
use tempfile::TempDir;

/// A folder for everything a test makes, with `origin` in it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) origin: Repository,
    /// Added to git's settings.
    pub(crate) settings: Vec<(String, String)>,
}

/// What was found, and what it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) changes: Changes,
    pub(crate) fetched: FetchedObjects,
    pub(crate) warnings: Vec<Warning>,
}

impl Answer {
    /// The merge base, then letter and path of each file, as `git diff --name-status` lists them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let files = self.changes.files.iter();
        let mut lines: Vec<String> = files
            .map(|file| format!("{}\t{}", file.status.letter(), file.path))
            .collect();
        lines.sort();
        lines.insert(0, self.changes.merge_base.to_string());
        lines
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = Repository::create(dir.path().join("origin"));
        origin.serve_filters();
        Bench {
            dir,
            origin,
            settings: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Clones `url` with git into `name`.
    pub(crate) fn clone(&self, name: &str, url: &str, args: &[&str]) -> Repository {
        let output = git_command()
            .current_dir(self.dir.path())
            .args(["clone", "-q"])
            .args(args)
            .args([url, name])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Repository::at(self.path(name))
    }

    pub(crate) fn compare(&self, clone: &Repository, base: &str, head: &str) -> Result<Answer, ChangesError> {
        let options = ChangesOptions {
            base: (!base.is_empty()).then(|| base.into()),
            head: (!head.is_empty()).then(|| head.into()),
            uncommitted: false,
        };
        self.compare_with(clone, &options)
    }

    pub(crate) fn compare_with(
        &self,
        clone: &Repository,
        options: &ChangesOptions,
    ) -> Result<Answer, ChangesError> {
        let told = Told::default();
        let found = compare(
            options,
            &self.environment(clone.path()),
            &told,
            &AtomicBool::new(false),
            |changes, tree| (changes, tree.fetched()),
        );
        let (changes, fetched) = found?;
        Ok(Answer {
            changes,
            fetched,
            warnings: told.0.into_inner().unwrap(),
        })
    }

    fn environment(&self, folder: &Path) -> GitEnvironment {
        let mut vars: Vec<(OsString, OsString)> = git_command()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let count = vars
            .iter()
            .position(|(name, _)| name == "GIT_CONFIG_COUNT")
            .unwrap();
        let (_, count) = vars.remove(count);
        let mut count: usize = count.to_str().unwrap().parse().unwrap();
        for (name, value) in &self.settings {
            vars.push((format!("GIT_CONFIG_KEY_{count}").into(), name.into()));
            vars.push((format!("GIT_CONFIG_VALUE_{count}").into(), value.into()));
            count += 1;
        }
        vars.push(("GIT_CONFIG_COUNT".into(), count.to_string().into()));
        vars.push(("HOME".into(), self.dir.path().into()));
        GitEnvironment {
            program: "git".into(),
            vars,
            may_prompt: false,
            folder: folder.into(),
        }
    }
}

/// What git says in a complete repository, in the form of [`Answer::lines`].
pub(crate) fn by_git(complete: &Repository, base: &str, head: &str) -> Vec<String> {
    let merge_base = complete.git(["merge-base", base, head]);
    let listing = complete.git([
        "diff-tree",
        "-r",
        "--no-renames",
        "--name-status",
        &merge_base,
        head,
    ]);
    let mut lines: Vec<String> = listing.lines().map(str::to_owned).collect();
    lines.sort();
    lines.insert(0, merge_base);
    lines
}

/// Everything on disk of a repository; modification times aside, which opening may change.
pub(crate) fn everything(repository: &Repository) -> Manifest {
    Manifest::of(repository.path()).without_mtimes()
}

#[derive(Default)]
struct Told(Mutex<Vec<Warning>>);

impl Progress for Told {
    fn start(&self, _step: Step, _total: Option<u64>) {}
    fn advance(&self, _step: Step, _amount: u64) {}
    fn finish(&self, _step: Step) {}

    fn warn(&self, warning: &Warning) {
        self.0.lock().unwrap().push(warning.clone());
    }
}
