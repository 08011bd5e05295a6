//! `headstart try`: the main job on a sample made on the spot, through the same commands a user runs.

mod prose;
mod sample;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use headstart_fs::AtPath as _;
use headstart_process::Command;
use serde::{Deserialize, Serialize};

use crate::{
    context::Context,
    env_vars,
    error::{CommandError, Kind},
    ui::{Table, Ui, bytes, count, seconds},
};

/// Show what there is to gain on a sample monorepo made on the spot
///
/// Makes a repository of some hundred packages with a history and installed dependencies in a temporary folder, saves
/// the dependencies as one machine would, and bootstraps it as two others would: one that has never seen it (cold) and
/// one whose local store is filled (warm). `git clone` runs beside it. Touches nothing outside that folder.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart try --dir /tmp/sample")]
pub(crate) struct TryArgs {
    /// Make everything in this new folder and keep it [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What `--json` prints: schema `headstart.try/1`.
#[derive(Debug, Serialize)]
struct TryReport {
    schema: &'static str,
    packages: u64,
    commits: u64,
    runs: Vec<Run>,
}

/// One timed way to a working tree.
#[derive(Debug, Serialize)]
struct Run {
    name: &'static str,
    seconds: f64,
    /// Seconds until the files of the repository were there.
    worktree_ready_seconds: f64,
    /// Files of the working tree, dependencies included.
    files: u64,
    /// Bytes of dependency packs read from the remote; null where none were asked for.
    remote_bytes: Option<u64>,
    dependencies: &'static str,
}

/// The part of `headstart bootstrap --json` that is told on.
#[derive(Debug, Deserialize)]
struct Bootstrapped {
    clone: Option<Cloned>,
    caches: Vec<Restored>,
}

#[derive(Debug, Deserialize)]
struct Cloned {
    files_written: u64,
    worktree_ready_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Restored {
    outcome: String,
    files_written: u64,
    remote_bytes: u64,
}

/// The part of `headstart deps save --json` that is looked at.
#[derive(Debug, Deserialize)]
struct DepsSaved {
    caches: Vec<SavedCache>,
}

#[derive(Debug, Deserialize)]
struct SavedCache {
    outcome: String,
}

fn own_report<'a, T: Deserialize<'a>>(stdout: &'a [u8]) -> Result<T, CommandError> {
    serde_json::from_slice(stdout)
        .map_err(|error| CommandError::failed(format!("headstart's own report is not understood: {error}")))
}

pub(super) fn run(ui: &Ui, context: &Context, args: TryArgs) -> Result<(), CommandError> {
    let (folder, _removed_at_the_end) = match args.dir {
        Some(dir) => (create_new(&dir)?, None),
        None => {
            let temp = tempfile::Builder::new()
                .prefix("headstart-try-")
                .tempdir()
                .at("create a folder in", env::temp_dir())?;
            (temp.path().to_owned(), Some(temp))
        }
    };
    let trial = Trial::new(context, folder)?;
    let report = trial.run(ui)?;
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    report.print(ui)
}

fn create_new(dir: &Path) -> Result<PathBuf, CommandError> {
    fs::create_dir(dir).at("create", dir).map_err(|error| {
        CommandError::from_error(Kind::Failed, &error).hint("name a folder that does not exist yet")
    })?;
    Ok(fs::canonicalize(dir).at("resolve", dir)?)
}

/// The places of a trial.
struct Trial<'a> {
    context: &'a Context,
    headstart: PathBuf,
    git: PathBuf,
    folder: PathBuf,
    url: String,
}

impl<'a> Trial<'a> {
    fn new(context: &'a Context, folder: PathBuf) -> Result<Self, CommandError> {
        let headstart = env::current_exe().map_err(|error| {
            CommandError::failed(format!("headstart cannot find its own program: {error}"))
        })?;
        let url = url::Url::from_file_path(folder.join("origin.git"))
            .map_err(|()| CommandError::failed(format!("{} cannot be written as a URL", folder.display())))?;
        Ok(Trial {
            context,
            headstart,
            git: context.git(),
            folder,
            url: url.into(),
        })
    }

    fn run(&self, ui: &Ui) -> Result<TryReport, CommandError> {
        ui.status("Making a sample monorepo ...");
        let facts = sample::create_origin(&self.git, &self.folder.join("origin.git"))?;
        ui.status(format_args!(
            "  {} packages, {} commits",
            facts.packages, facts.commits
        ));

        let mut runs = vec![self.git_clone("git clone", "author", &[])?];
        ui.status("Installing its dependencies and saving them, as a colleague or a CI job did before ...");
        sample::create_node_modules(&self.folder.join("author"))?;
        self.save_dependencies()?;

        runs.push(self.git_clone(
            "git clone --filter=blob:none",
            "blobless",
            &["--filter=blob:none"],
        )?);
        ui.status("Bootstrapping on a machine that has never seen it, then once more ...");
        runs.push(self.bootstrap("headstart bootstrap, cold", "cold")?);
        runs.push(self.bootstrap("headstart bootstrap, warm", "warm")?);
        Ok(TryReport {
            schema: "headstart.try/1",
            packages: facts.packages,
            commits: facts.commits,
            runs,
        })
    }

    fn git_clone(&self, name: &'static str, dir: &str, flags: &[&str]) -> Result<Run, CommandError> {
        let started = Instant::now();
        Command::new(&self.git)
            .args(["clone", "--quiet"])
            .args(flags)
            .arg(&self.url)
            .arg(self.folder.join(dir))
            .run_interruptible(&self.context.interrupt)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Run {
            name,
            seconds,
            worktree_ready_seconds: seconds,
            files: self.tracked_files(dir)?,
            remote_bytes: None,
            dependencies: "not installed",
        })
    }

    fn tracked_files(&self, dir: &str) -> Result<u64, CommandError> {
        let listed = Command::new(&self.git)
            .args(["ls-files", "-z"])
            .current_dir(self.folder.join(dir))
            .run_interruptible(&self.context.interrupt)?;
        Ok(listed.stdout.iter().filter(|byte| **byte == 0).count() as u64)
    }

    fn save_dependencies(&self) -> Result<(), CommandError> {
        let remote = self.folder.join("remote");
        fs::create_dir(&remote).at("create", &remote)?;
        let output = self
            .headstart("author-store")
            .args(["deps", "save", "--json"])
            .current_dir(self.folder.join("author"))
            .run_interruptible(&self.context.interrupt)?;
        let report: DepsSaved = own_report(&output.stdout)?;
        if report.caches.iter().any(|cache| cache.outcome == "saved") {
            return Ok(());
        }
        Err(CommandError::failed("the sample's dependencies were not saved")
            .hint("this is a bug worth reporting"))
    }

    fn bootstrap(&self, name: &'static str, dir: &str) -> Result<Run, CommandError> {
        let started = Instant::now();
        let output = self
            .headstart("store")
            .args(["bootstrap", "--json", &self.url])
            .arg(self.folder.join(dir))
            .run_interruptible(&self.context.interrupt)?;
        let seconds = started.elapsed().as_secs_f64();
        let report: Bootstrapped = serde_json::from_slice(&output.stdout).map_err(|error| {
            CommandError::failed(format!("bootstrap's own report is not understood: {error}"))
        })?;
        self.check(dir)?;
        let clone = report.clone.as_ref();
        let hits = report
            .caches
            .iter()
            .filter(|cache| cache.outcome == "exact")
            .count();
        Ok(Run {
            name,
            seconds,
            worktree_ready_seconds: clone.map_or(seconds, |clone| clone.worktree_ready_seconds),
            files: clone.map_or(0, |clone| clone.files_written)
                + report.caches.iter().map(|cache| cache.files_written).sum::<u64>(),
            remote_bytes: Some(report.caches.iter().map(|cache| cache.remote_bytes).sum()),
            dependencies: if hits > 0 { "restored" } else { "not restored" },
        })
    }

    /// Git itself must find the working tree clean; otherwise the times above mean nothing.
    fn check(&self, dir: &str) -> Result<(), CommandError> {
        let status = Command::new(&self.git)
            .args(["status", "--porcelain"])
            .current_dir(self.folder.join(dir))
            .run_interruptible(&self.context.interrupt)?;
        if status.stdout.is_empty() {
            return Ok(());
        }
        Err(CommandError::failed(format!(
            "git finds differences in {}: {}",
            self.folder.join(dir).display(),
            String::from_utf8_lossy(&status.stdout)
        )))
    }

    /// This program, with a store of the trial's own.
    fn headstart(&self, store: &str) -> Command {
        let remote = format!("file://{}", self.folder.join("remote").display());
        Command::new(&self.headstart)
            .env(env_vars::STORE, self.folder.join(store))
            .env(env_vars::REMOTE, remote)
            .env_remove(env_vars::TOKEN)
    }
}

impl TryReport {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        let mut table = Table::new([
            "",
            "files there",
            "all done",
            "files",
            "fetched for dependencies",
            "dependencies",
        ])
        .right(1)
        .right(2)
        .right(3)
        .right(4);
        for run in &self.runs {
            table.row([
                run.name.to_owned(),
                seconds(Duration::from_secs_f64(run.worktree_ready_seconds)),
                seconds(Duration::from_secs_f64(run.seconds)),
                count(run.files),
                run.remote_bytes.map_or_else(|| "-".to_owned(), bytes),
                run.dependencies.to_owned(),
            ]);
        }
        ui.answer_table(&table)?;
        ui.status("Each row is one run, measured now; git status was clean after each bootstrap.");
        ui.status("Next: headstart bootstrap <url>, on a repository of your own.");
        Ok(())
    }
}
