//! `headstart clone`.

use std::{
    io::{self, IsTerminal as _},
    num::NonZeroU32,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bstr::{BString, ByteSlice as _};
use clap::Args;
use headstart_fs::{AtPath as _, RelPath};
use headstart_git::{
    CloneOptions, CloneOutcome, FilterSpec, GitEnvironment, Head, History, SeedSource, background_log,
    clone_with_seeds, complete_clone, default_directory,
};
use headstart_process::Command;
use serde::Serialize;

use crate::{
    context::Context,
    error::CommandError,
    seeds::{Neighbours, StoreSeeds},
    ui::{Table, Ui, bytes, count, seconds},
};

/// Clone a repository: the working tree first, history behind it
///
/// The result is an ordinary repository that git itself works on. By default file contents of the history are left at
/// the origin (`blob:none`) and fetched by git when something asks for them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart clone https://example.com/big.git\n  \
    headstart clone --sparse packages/web ssh://git@example.com/big.git web\n  \
    headstart clone --background https://example.com/big.git && cd big\n  \
    headstart clone --resume big\n  \
    headstart clone --filter none --branch v2 ../big")]
pub(crate) struct CloneArgs {
    /// Where to clone from: http(s), ssh, user@host:path, file:// or a local path
    #[arg(required_unless_present = "resume")]
    url: Option<std::ffi::OsString>,
    /// Folder to clone into; must not exist, or be empty [default: the last part of the URL]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) what: WhatToClone,
    /// Leave the working tree empty
    #[arg(long)]
    no_checkout: bool,
    /// Return as soon as the working tree is ready; a process in the background fetches the history
    ///
    /// Until it is done the clone is a shallow one. `headstart doctor` tells how far it is; what it says is in
    /// `.git/headstart/log`.
    #[arg(long, conflicts_with = "no_checkout")]
    background: bool,
    /// Fetch the history that `--background` left, in the clone at DIR [default: the current folder]
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        default_missing_value = ".",
        conflicts_with_all = ["url", "background", "no_checkout", "WhatToClone"],
    )]
    resume: Option<PathBuf>,
    /// Outlive the terminal: what `--background` starts
    #[arg(long, hide = true, requires = "resume")]
    detached: bool,
}

/// What a clone may be made from, beside the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seeding {
    /// Any seed that can be reached.
    Any,
    /// Nothing.
    None,
}

impl WhatToClone {
    pub(super) fn seeding(&self) -> Seeding {
        match self.no_seed {
            true => Seeding::None,
            false => Seeding::Any,
        }
    }
}

/// The part of a repository to clone; shared with `bootstrap`.
#[derive(Debug, Args)]
pub(crate) struct WhatToClone {
    /// Objects to leave at the origin, as git spells it: blob:none, blob:limit=<n>[kmg], tree:<depth>, object:type=<t>,
    /// sparse:oid=<id>, combine:<a>+<b>; none for a full clone
    #[arg(long, value_name = "SPEC", default_value = "blob:none")]
    filter: FilterSpec,
    /// Number of commits of each history to fetch [default: all]
    #[arg(long, value_name = "N")]
    depth: Option<NonZeroU32>,
    /// Branch or tag to check out [default: the origin's HEAD]
    #[arg(long, short, value_name = "NAME")]
    branch: Option<std::ffi::OsString>,
    /// Fetch the history of the checked-out branch only; `--depth` implies it
    #[arg(long)]
    single_branch: bool,
    /// Fetch the histories of all branches even with `--depth`
    #[arg(long, conflicts_with = "single_branch")]
    no_single_branch: bool,
    /// Fetch no tags
    #[arg(long)]
    no_tags: bool,
    /// Check out this folder and the files beside and above it only; may be repeated
    #[arg(long, value_name = "DIR")]
    sparse: Vec<PathBuf>,
    /// Fetch everything from the origin: use no seed from the store, and no clone on this machine
    #[arg(long)]
    pub(super) no_seed: bool,
}

/// What `--json` prints: schema `headstart.clone/1`.
#[derive(Debug, Serialize)]
pub(crate) struct CloneReport {
    schema: &'static str,
    /// The folder of the working tree.
    directory: String,
    /// The checked-out branch; null when `HEAD` is detached.
    branch: Option<String>,
    /// The checked-out commit; null for an empty repository.
    tip: Option<String>,
    /// The filter in force; `none` for a full clone.
    filter: String,
    /// Refs the origin listed.
    refs: usize,
    objects: u64,
    /// Bytes of packs received for the tip, and for the history or everything.
    tip_bytes: u64,
    history_bytes: u64,
    files_written: u64,
    file_bytes_written: u64,
    /// The seed it was made from; null without one.
    seed: Option<SeedReport>,
    /// Seconds until the working tree was complete; null without one.
    worktree_ready_seconds: Option<f64>,
    /// Seconds until the history, or everything, was received and indexed; null where only the tip was fetched, or nothing.
    history_seconds: Option<f64>,
    /// True where the history is still to come: by a process in the background, or, after a warning, by `--resume`.
    history_pending: bool,
    total_seconds: f64,
}

/// What `--json` prints for `--resume`: schema `headstart.clone-resume/1`.
#[derive(Debug, Serialize)]
struct ResumeReport {
    schema: &'static str,
    /// False when the history was complete already.
    was_pending: bool,
    objects: u64,
    bytes: u64,
    /// Refs written.
    refs: usize,
    total_seconds: f64,
}

/// The seed of a clone.
#[derive(Debug, Serialize)]
struct SeedReport {
    /// What it is called: a time, or the path of a clone.
    label: String,
    /// Bytes of packs that were linked or copied instead of received.
    pack_bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: CloneArgs) -> Result<(), CommandError> {
    if let Some(directory) = args.resume {
        return resume(ui, context, directory, args.detached);
    }
    let url = args.url.expect("clap asks for the URL where nothing is resumed");
    let (checkout, seeding) = (!args.no_checkout, args.what.seeding());
    let (mut options, environment) = plan_clone(context, &url, args.dir, args.what, checkout)?;
    if args.background {
        options.history = History::Later;
    }
    let outcome = run_clone(ui, context, &options, seeding, &environment, &|_| {})?;
    if outcome.history_pending
        && let Err(error) = start_background(&outcome.directory)
    {
        ui.warn(format_args!(
            "the history cannot be fetched in the background: {}; `headstart clone --resume {}` fetches it",
            error.one_line(),
            outcome.directory.display()
        ));
    }
    let report = CloneReport::new(&outcome);
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    let mut table = Table::new(["fetched", "bytes"]).right(1);
    table.row(["tip".into(), bytes(report.tip_bytes)]);
    table.row([
        format!("history ({})", report.filter),
        bytes(report.history_bytes),
    ]);
    if let Some(seed) = &report.seed {
        table.row([format!("not fetched: {}", seed.label), bytes(seed.pack_bytes)]);
    }
    ui.summary_table(&table)?;
    ui.status(report.sentence());
    Ok(())
}

/// Starts a process that outlives this one and completes the clone in `directory`.
fn start_background(directory: &Path) -> Result<(), CommandError> {
    let program = std::env::current_exe().map_err(|error| {
        CommandError::failed(format!("the path of headstart itself is not known: {error}"))
    })?;
    Command::new(program)
        .args(["clone", "--detached", "--resume"])
        .arg(directory)
        .current_dir("/")
        .spawn_detached(&background_log(directory))?;
    Ok(())
}

fn resume(ui: &Ui, context: &Context, directory: PathBuf, detached: bool) -> Result<(), CommandError> {
    if detached {
        // Away from the terminal: neither its signals nor a question on it may stop what nobody looks at. Fails only where
        // somebody else than headstart started this process as the leader of a group.
        let _ = rustix::process::setsid();
    }
    let started = Instant::now();
    let folder = directory.canonicalize().at("find", &directory)?;
    let environment = GitEnvironment {
        folder,
        ..git_environment(context)?
    };
    let completed = complete_clone(&environment, &*ui.progress(), &context.interrupt)?;
    let report = ResumeReport {
        schema: "headstart.clone-resume/1",
        was_pending: completed.was_pending,
        objects: completed.objects,
        bytes: completed.bytes,
        refs: completed.refs,
        total_seconds: started.elapsed().as_secs_f64(),
    };
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    ui.status(match report.was_pending {
        false => "The history is complete; there was nothing left to do.".to_owned(),
        true => format!(
            "The history is complete: {} in {} objects, {} refs, after {}.",
            bytes(report.bytes),
            count(report.objects),
            count(report.refs as u64),
            shown_seconds(report.total_seconds)
        ),
    });
    Ok(())
}

/// Turns arguments into options; nothing is touched yet.
pub(super) fn plan_clone(
    context: &Context,
    url: &std::ffi::OsStr,
    dir: Option<PathBuf>,
    what: WhatToClone,
    checkout: bool,
) -> Result<(CloneOptions, GitEnvironment), CommandError> {
    let url = BString::from(url.as_bytes());
    let directory = match dir {
        Some(dir) => dir,
        None => default_directory(url.as_bstr())
            .map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(&name)))
            .ok_or_else(|| {
                CommandError::usage(format!("{url} does not end in a name for the folder"))
                    .hint("name the folder after the URL")
            })?,
    };
    let sparse = what
        .sparse
        .iter()
        .map(|path| RelPath::parse_lenient(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            CommandError::usage(error.to_string()).hint("--sparse takes folders of the repository")
        })?;
    let options = CloneOptions {
        url,
        directory,
        filter: what.filter,
        depth: what.depth,
        branch: what.branch.map(|branch| BString::from(branch.as_bytes())),
        // As with git.
        single_branch: what.single_branch || (what.depth.is_some() && !what.no_single_branch),
        tags: !what.no_tags,
        sparse,
        checkout,
        history: History::Beside,
    };
    Ok((options, git_environment(context)?))
}

/// Clones, with progress; `on_worktree_ready` is told the folder as soon as all files are there.
pub(super) fn run_clone(
    ui: &Ui,
    context: &Context,
    options: &CloneOptions,
    seeding: Seeding,
    environment: &GitEnvironment,
    on_worktree_ready: &(dyn Fn(&Path) + Sync),
) -> Result<CloneOutcome, CommandError> {
    let seeds = StoreSeeds::new(ui, context, environment, Neighbours::Use);
    let outcome = clone_with_seeds(
        options,
        (seeding == Seeding::Any).then_some(&seeds as &dyn SeedSource),
        environment,
        &*ui.progress(),
        on_worktree_ready,
        &context.interrupt,
    )?;
    seeds.remember_clone(&outcome.directory);
    Ok(outcome)
}

/// What git is run with and sees: this process's surroundings.
pub(super) fn git_environment(context: &Context) -> Result<GitEnvironment, CommandError> {
    let folder = std::env::current_dir()
        .map_err(|error| CommandError::failed(format!("the current folder cannot be read: {error}")))?;
    Ok(GitEnvironment {
        program: context.git().into_os_string(),
        vars: context.environment.clone().into_iter().collect(),
        may_prompt: io::stdin().is_terminal() && io::stderr().is_terminal(),
        folder,
    })
}

impl CloneReport {
    pub(super) fn new(outcome: &CloneOutcome) -> Self {
        let (branch, tip) = match &outcome.head {
            Head::Branch { name, tip } => (Some(name.to_string()), Some(tip.to_string())),
            Head::Detached { tip } => (None, Some(tip.to_string())),
            Head::Unborn { name } => (Some(name.to_string()), None),
        };
        CloneReport {
            schema: "headstart.clone/1",
            directory: outcome.directory.to_string_lossy().into_owned(),
            branch,
            tip,
            filter: outcome.filter.to_string(),
            refs: outcome.refs,
            objects: outcome.objects,
            tip_bytes: outcome.tip_bytes,
            history_bytes: outcome.history_bytes,
            files_written: outcome.files_written,
            file_bytes_written: outcome.bytes_written,
            seed: outcome.seed.as_ref().map(|seed| SeedReport {
                label: seed.label.clone(),
                pack_bytes: seed.pack_bytes,
            }),
            worktree_ready_seconds: outcome.worktree_ready.map(|ready| ready.as_secs_f64()),
            history_seconds: outcome.history_complete.map(|complete| complete.as_secs_f64()),
            history_pending: outcome.history_pending,
            total_seconds: outcome.total.as_secs_f64(),
        }
    }

    /// Bytes received from the origin.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.tip_bytes + self.history_bytes
    }

    /// Files of the working tree.
    pub(super) fn files(&self) -> u64 {
        self.files_written
    }

    /// The rows of the table that ends a bootstrap: step, outcome, files, fetched, avoided, time.
    pub(super) fn rows(&self) -> Vec<[String; 6]> {
        let nothing = || "-".to_owned();
        let shown = |time: Option<f64>| time.map_or_else(nothing, shown_seconds);
        vec![
            [
                "working tree".into(),
                self.branch.clone().unwrap_or_else(|| "detached".into()),
                count(self.files_written),
                bytes(self.tip_bytes),
                nothing(),
                shown(self.worktree_ready_seconds),
            ],
            [
                "history".into(),
                self.filter.clone(),
                nothing(),
                bytes(self.history_bytes),
                nothing(),
                shown(self.history_seconds),
            ],
        ]
    }

    fn sentence(&self) -> String {
        let ready = match self.worktree_ready_seconds {
            Some(ready) => format!(
                "{} files ready after {}, ",
                count(self.files_written),
                shown_seconds(ready)
            ),
            None => String::new(),
        };
        match self.history_pending {
            true => format!(
                "Cloned into {}: {ready}the history is still to come (`headstart doctor` tells how far it is).",
                self.directory
            ),
            false => format!(
                "Cloned into {}: {ready}everything after {}.",
                self.directory,
                shown_seconds(self.total_seconds)
            ),
        }
    }
}

fn shown_seconds(value: f64) -> String {
    seconds(Duration::from_secs_f64(value))
}
