//! `headstart clone`.

use std::{
    io::{self, IsTerminal as _},
    num::NonZeroU32,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::{BString, ByteSlice as _};
use clap::Args;
use headstart_fs::RelPath;
use headstart_git::{
    CloneOptions, CloneOutcome, FilterSpec, GitEnvironment, Head, SeedSource, clone_with_seeds,
    default_directory,
};
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
    headstart clone --filter none --branch v2 ../big")]
pub(crate) struct CloneArgs {
    /// Where to clone from: http(s), ssh, user@host:path, file:// or a local path
    url: std::ffi::OsString,
    /// Folder to clone into; must not exist, or be empty [default: the last part of the URL]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) what: WhatToClone,
    /// Leave the working tree empty
    #[arg(long)]
    no_checkout: bool,
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
    let (checkout, seeding) = (!args.no_checkout, args.what.seeding());
    let (options, environment) = plan_clone(context, &args.url, args.dir, args.what, checkout)?;
    let outcome = run_clone(ui, context, &options, seeding, &environment, &|_| {})?;
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
        format!(
            "Cloned into {}: {ready}everything after {}.",
            self.directory,
            shown_seconds(self.total_seconds)
        )
    }
}

fn shown_seconds(value: f64) -> String {
    seconds(Duration::from_secs_f64(value))
}
