//! `headstart pull`.

use clap::Args;
use headstart_git::{PullOutcome, pull};
use serde::Serialize;

use super::clone::git_environment;
use crate::{
    context::Context,
    error::CommandError,
    ui::{Ui, bytes, count, seconds},
};

/// Bring a checkout up to date: fetch, and touch only what changed
///
/// Fast-forwards the branch that is checked out, as `git pull --ff-only` does, and fetches what its remote's refspecs name. In
/// partial clones the changed files come in one batch; shallow clones and sparse cones stay what they are. Killed at any time,
/// the next pull goes on from there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart pull\n  \
    headstart pull --json | jq .files_written")]
pub(crate) struct PullArgs {}

/// What `--json` prints: schema `headstart.pull/1`.
#[derive(Debug, Serialize)]
struct PullReport {
    schema: &'static str,
    /// The branch that is checked out.
    branch: String,
    remote: String,
    /// The full name of the branch at the remote.
    upstream: String,
    /// Where the branch was; null if it had no commits.
    old: Option<String>,
    /// Where it is.
    new: String,
    /// Refs of the remote, and tags, that were set.
    refs: usize,
    objects: u64,
    bytes: u64,
    /// Null where git updated the working tree, which does not say.
    files_written: Option<u64>,
    files_removed: Option<u64>,
    /// Why git updated the working tree; null where headstart did.
    by_git: Option<String>,
    /// Seconds until the last object was here.
    fetch_seconds: f64,
    total_seconds: f64,
}

pub(super) fn run(ui: &Ui, context: &Context, _args: PullArgs) -> Result<(), CommandError> {
    let environment = git_environment(context)?;
    let outcome = pull(&environment, &*ui.progress(), &context.interrupt)?;
    let report = PullReport::new(&outcome);
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    ui.status(report.sentence());
    Ok(())
}

impl PullReport {
    fn new(outcome: &PullOutcome) -> Self {
        let by_us = outcome.by_git.is_none();
        PullReport {
            schema: "headstart.pull/1",
            branch: outcome.branch.to_string(),
            remote: outcome.remote.to_string(),
            upstream: outcome.upstream.to_string(),
            old: outcome.old.map(|id| id.to_string()),
            new: outcome.new.to_string(),
            refs: outcome.refs,
            objects: outcome.objects,
            bytes: outcome.bytes,
            files_written: by_us.then_some(outcome.files_written),
            files_removed: by_us.then_some(outcome.files_removed),
            by_git: outcome.by_git.clone(),
            fetch_seconds: outcome.fetched.as_secs_f64(),
            total_seconds: outcome.total.as_secs_f64(),
        }
    }

    fn sentence(&self) -> String {
        let short = |id: &str| id.get(..10).unwrap_or(id).to_owned();
        let took = seconds(std::time::Duration::from_secs_f64(self.total_seconds));
        if self.old.as_ref() == Some(&self.new) {
            return format!("{} is up to date at {} ({took}).", self.branch, short(&self.new));
        }
        let old = self.old.as_deref().map_or_else(|| "nothing".to_owned(), short);
        let files = match (self.files_written, self.files_removed) {
            (Some(written), Some(removed)) => {
                format!("{} files written, {} removed", count(written), count(removed))
            }
            _ => format!(
                "files updated by git ({})",
                self.by_git.as_deref().unwrap_or_default()
            ),
        };
        format!(
            "{}: {old} to {}, {files}, {} received, in {took}.",
            self.branch,
            short(&self.new),
            bytes(self.bytes)
        )
    }
}
