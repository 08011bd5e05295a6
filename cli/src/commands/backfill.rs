//! `headstart backfill`.

use std::{ffi::OsString, num::NonZeroUsize, os::unix::ffi::OsStrExt as _, path::PathBuf};

use bstr::BString;
use clap::Args;
use headstart_git::{BackfillOptions, BackfillOutcome, BackfillRange, LocalError, RemoteError, backfill};
use serde::Serialize;

use super::clone::git_environment;
use crate::{
    context::Context,
    error::CommandError,
    ui::{Ui, bytes, count, seconds},
};

/// Fetch what a partial clone lacks, in bulk
///
/// Without options, everything that HEAD reaches, or of it what is inside the sparse cone. With a part of history, what
/// `git log -p`, `git diff` and `git blame` look at there: they fetch nothing afterwards, where they would have fetched
/// commit by commit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart backfill                             everything HEAD reaches\n  \
    headstart backfill -n 100                      before `git log --stat -100`\n  \
    headstart backfill --revs origin/main..HEAD    before a review of this branch\n  \
    headstart backfill --since '2 weeks ago' --paths packages/web\n  \
    headstart backfill --blame src/main.rs         before `git blame src/main.rs`")]
pub(crate) struct BackfillArgs {
    /// Only these files and folders; takes several
    #[arg(long, value_name = "PATH", num_args = 1..)]
    paths: Vec<PathBuf>,
    /// Only what changed after this date, in any of git's spellings
    #[arg(long, value_name = "DATE")]
    since: Option<String>,
    /// Only what changed in these revisions, as `git rev-list` takes them: main, A..B, A...B, ^A; takes several
    #[arg(long, value_name = "A..B", num_args = 1.., allow_hyphen_values = false)]
    revs: Vec<OsString>,
    /// Only what changed in the newest N commits
    #[arg(long, short = 'n', value_name = "N")]
    max_count: Option<u32>,
    /// Only what `git blame` of this file at HEAD needs, across renames
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "since", "revs", "max_count"])]
    blame: Option<PathBuf>,
    /// Fetch what is outside of the sparse cone too; parts of history are never narrowed by the cone
    #[arg(long, conflicts_with_all = ["blame", "since", "revs", "max_count"])]
    all: bool,
    /// Objects asked for at once
    #[arg(long, value_name = "N", default_value = "50000")]
    batch_size: NonZeroUsize,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` prints: schema `headstart.backfill/1`.
#[derive(Debug, Serialize)]
struct BackfillReport {
    schema: &'static str,
    /// Whether the clone is a partial one; no other lacks anything.
    partial: bool,
    dry_run: bool,
    missing_trees: u64,
    missing_blobs: u64,
    /// False when a dry run cannot tell all: more may be in trees that are missing themselves.
    complete: bool,
    /// Objects received.
    objects: u64,
    /// Bytes of the packs received.
    bytes: u64,
    /// Packs asked for, or to ask for.
    batches: u64,
    seconds: f64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: BackfillArgs) -> Result<(), CommandError> {
    let dry_run = args.dry_run;
    let options = plan_backfill(args);
    let environment = git_environment(context)?;
    let outcome = backfill(&options, &environment, &*ui.progress(), &context.interrupt).map_err(explain)?;
    if ui.is_json() {
        return ui.answer_json(&BackfillReport::new(&outcome, dry_run));
    }
    if dry_run {
        return ui.answer(plan_sentence(&outcome));
    }
    ui.status(sentence(&outcome));
    Ok(())
}

fn plan_backfill(args: BackfillArgs) -> BackfillOptions {
    let whole = args.revs.is_empty() && args.since.is_none() && args.max_count.is_none();
    let range = match args.blame {
        Some(file) => BackfillRange::Blame { file },
        None if whole => BackfillRange::History {
            ignore_sparse: args.all,
        },
        None => BackfillRange::Changes {
            revs: args
                .revs
                .iter()
                .map(|rev| BString::from(rev.as_bytes()))
                .collect(),
            since: args.since,
            max_count: args.max_count,
        },
    };
    BackfillOptions {
        range,
        paths: args.paths,
        batch_objects: args.batch_size,
        dry_run: args.dry_run,
    }
}

/// Adds what to do where a remote does not give objects by their names.
fn explain(error: LocalError) -> CommandError {
    let refused = matches!(
        &error,
        LocalError::Remote(RemoteError::Server { message, .. }) if message.contains("not our ref")
    );
    let command_error = CommandError::from(error);
    match refused {
        true => command_error.hint(
            "the remote gives only what its refs name: use protocol version 2, or have it set uploadpack.allowAnySHA1InWant",
        ),
        false => command_error,
    }
}

fn plan_sentence(outcome: &BackfillOutcome) -> String {
    if !outcome.partial {
        return "Nothing to fetch: this is no partial clone.".to_owned();
    }
    let at_least = if outcome.more { "at least " } else { "" };
    format!(
        "Would fetch {at_least}{} trees and {} blobs in {} batches.",
        count(outcome.missing_trees),
        count(outcome.missing_blobs),
        count(outcome.batches)
    )
}

fn sentence(outcome: &BackfillOutcome) -> String {
    let missing = outcome.missing_trees + outcome.missing_blobs;
    match (outcome.partial, missing) {
        (false, _) => "Nothing to fetch: this is no partial clone.".to_owned(),
        (true, 0) => "Nothing to fetch: everything is here.".to_owned(),
        (true, _) => format!(
            "Fetched {} objects ({}) in {} batches, in {}.",
            count(outcome.objects),
            bytes(outcome.bytes),
            count(outcome.batches),
            seconds(outcome.total)
        ),
    }
}

impl BackfillReport {
    fn new(outcome: &BackfillOutcome, dry_run: bool) -> Self {
        BackfillReport {
            schema: "headstart.backfill/1",
            partial: outcome.partial,
            dry_run,
            missing_trees: outcome.missing_trees,
            missing_blobs: outcome.missing_blobs,
            complete: !outcome.more,
            objects: outcome.objects,
            bytes: outcome.bytes,
            batches: outcome.batches,
            seconds: outcome.total.as_secs_f64(),
        }
    }
}
