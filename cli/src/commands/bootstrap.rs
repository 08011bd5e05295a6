//! `headstart bootstrap`: clone, restore dependency caches, say what is ready and what was saved.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use headstart_deps::ThenInstall;
use headstart_git::{CloneOptions, GitEnvironment};
use headstart_process::Command;
use headstart_store::LinkMode;
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    clone::{CloneReport, Seeding, WhatToClone, plan_clone, run_clone},
    deps::{CacheReport, CacheRun, install_missing, restore_all},
};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, bytes, count, seconds},
};

/// Clone a repository and restore its dependency caches, ready to work
///
/// Dependencies are restored while the history still arrives. Run again on a finished clone, it only restores what is
/// missing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart bootstrap https://example.com/big.git\n  \
    headstart bootstrap --remote http://cache.example:7460 --install git@example.com:team/big.git\n  \
    headstart bootstrap --remote s3://bucket/headstart --sparse apps/web https://example.com/big.git web")]
pub(crate) struct BootstrapArgs {
    /// Where to clone from: http(s), ssh, user@host:path, file:// or a local path
    url: OsString,
    /// Folder to clone into [default: the last part of the URL]
    dir: Option<PathBuf>,
    #[command(flatten)]
    what: WhatToClone,
    /// Where no cache fits, run the package manager's own frozen install and save the result
    #[arg(long)]
    install: bool,
}

/// What `--json` prints: schema `headstart.bootstrap/1`.
#[derive(Debug, Serialize)]
struct BootstrapReport {
    schema: &'static str,
    /// The folder of the working tree.
    directory: String,
    /// The clone; null when the folder was a clone of the URL already.
    clone: Option<CloneReport>,
    /// One per dependency cache found.
    caches: Vec<CacheReport>,
    total_seconds: f64,
}

pub(super) fn run(ui: &Ui, context: Context, args: BootstrapArgs) -> Result<(), CommandError> {
    let started = Instant::now();
    let then = if args.install {
        ThenInstall::Yes
    } else {
        ThenInstall::No
    };
    let seeding = args.what.seeding();
    let (options, environment) = plan_clone(&context, &args.url, args.dir, args.what, true)?;
    let (clone, restored) = if is_clone_of(&options, &environment) {
        ui.status(format_args!(
            "{} is a clone of {} already",
            options.directory.display(),
            options.url
        ));
        (None, restore_in(ui, &context, &options.directory, then))
    } else {
        let (report, restored) = clone_and_restore(ui, &context, &options, seeding, &environment, then)?;
        (Some(report), restored)
    };
    let (mut caches, mut left_out) = match restored {
        Ok(caches) => (caches, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    if args.install && left_out.is_none() {
        let context = context.for_repository(&options.directory)?;
        let failures = install_missing(ui, &context, &options.directory, &mut caches)?;
        left_out = failures.into_iter().next();
    }
    let report = BootstrapReport {
        schema: "headstart.bootstrap/1",
        directory: options.directory.to_string_lossy().into_owned(),
        clone,
        caches: caches.into_iter().map(|run| run.report).collect(),
        total_seconds: started.elapsed().as_secs_f64(),
    };
    report.print(ui, args.install)?;
    match left_out {
        None => Ok(()),
        Some(error) => Err(error.into_partial(format!(
            "{} is cloned, but its dependencies are not ready",
            options.directory.display()
        ))),
    }
}

/// Clones; as soon as the working tree is there its dependencies are restored, while the history goes on arriving.
fn clone_and_restore(
    ui: &Ui,
    context: &Context,
    options: &CloneOptions,
    seeding: Seeding,
    environment: &GitEnvironment,
    then: ThenInstall,
) -> Result<(CloneReport, Restored), CommandError> {
    let restored = Mutex::new(Ok(Vec::new()));
    let outcome = run_clone(ui, context, options, seeding, environment, &|worktree| {
        *restored.lock() = restore_in(ui, context, worktree, then);
    })?;
    Ok((CloneReport::new(&outcome), restored.into_inner()))
}

/// The caches of a working tree, or why they could not even be looked for.
type Restored = Result<Vec<CacheRun>, CommandError>;

fn restore_in(ui: &Ui, context: &Context, worktree: &Path, then: ThenInstall) -> Restored {
    let context = context.for_repository(worktree)?;
    restore_all(ui, &context, worktree, then, LinkMode::Auto)
}

/// True when the destination is a repository whose origin is the URL: then there is nothing to clone.
fn is_clone_of(options: &CloneOptions, environment: &GitEnvironment) -> bool {
    if !options.directory.join(".git").exists() {
        return false;
    }
    let origin = Command::new(environment.program.clone())
        .args(["config", "--local", "--get", "remote.origin.url"])
        .current_dir(&options.directory)
        .deadline(Duration::from_secs(10))
        .run();
    origin.is_ok_and(|output| output.stdout.trim_ascii_end() == options.url.as_slice())
}

impl BootstrapReport {
    fn print(&self, ui: &Ui, installed: bool) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        let mut table = Table::new(["step", "outcome", "files", "fetched", "avoided", "time"])
            .right(2)
            .right(3)
            .right(4)
            .right(5);
        if let Some(clone) = &self.clone {
            for row in clone.rows() {
                table.row(row);
            }
        }
        for cache in &self.caches {
            table.row(cache.row());
        }
        let fetched = self.clone.as_ref().map_or(0, CloneReport::fetched_bytes)
            + self.caches.iter().map(|cache| cache.remote_bytes).sum::<u64>();
        let files = self.clone.as_ref().map_or(0, CloneReport::files)
            + self.caches.iter().map(|cache| cache.files_written).sum::<u64>();
        table.row([
            "total".into(),
            String::new(),
            count(files),
            bytes(fetched),
            bytes(self.caches.iter().map(|cache| cache.avoided_bytes()).sum()),
            seconds(Duration::from_secs_f64(self.total_seconds)),
        ]);
        ui.summary_table(&table)?;
        let missing = self.caches.iter().filter(|cache| !cache.is_ready()).count();
        if missing > 0 && !installed {
            ui.status(format_args!(
                "{missing} of {} dependency caches could not be restored; `--install` runs the package manager and saves \
                 the result for the next one.",
                self.caches.len()
            ));
        }
        ui.status(format_args!("Ready: {}", self.directory));
        Ok(())
    }
}
