//! `headstart doctor`: what headstart finds on this machine and in this clone, and what to do about it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use headstart_fs::AtPath as _;
use headstart_git::{GitEnvironment, HistoryState, LocalError, history_state};
use serde::Serialize;

use super::clone::git_environment;
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, clean},
};

/// Look for what keeps headstart from working, here and in a clone
///
/// Checks git, the local store, the remote, and how far the history of the clone is. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart doctor\n  \
    headstart doctor ~/src/big --json")]
pub(crate) struct DoctorArgs {
    /// The clone to look at; none where this is no repository
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// What `--json` prints: schema `headstart.doctor/1`.
#[derive(Debug, Serialize)]
struct DoctorReport {
    schema: &'static str,
    healthy: bool,
    checks: Vec<Check>,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// `git`, `store`, `remote` or `history`.
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it; null when nothing is to be done.
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// Works, but not as it could.
    Warning,
    Bad,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Check {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            hint: None,
        }
    }

    fn failed(name: &'static str, error: impl Into<CommandError>) -> Self {
        Check {
            name,
            verdict: Verdict::Bad,
            found: error.into().one_line(),
            hint: None,
        }
    }
}

pub(super) fn run(ui: &Ui, context: &Context, args: DoctorArgs) -> Result<(), CommandError> {
    let folder = args.dir.canonicalize().at("find", &args.dir)?;
    let environment = GitEnvironment {
        folder,
        ..git_environment(context)?
    };
    let mut checks = vec![check_git(&environment), check_store(context)];
    checks.extend(check_remote(context));
    checks.extend(check_history(&environment));
    let report = DoctorReport {
        schema: "headstart.doctor/1",
        healthy: checks.iter().all(|check| check.verdict != Verdict::Bad),
        checks,
    };
    if ui.is_json() {
        ui.answer_json(&report)?;
    } else {
        let mut table = Table::new(["check", "verdict", "found"]);
        for check in &report.checks {
            let verdict = match check.verdict {
                Verdict::Good => "good",
                Verdict::Warning => "warning",
                Verdict::Bad => "bad",
            };
            let found = match &check.hint {
                Some(hint) => format!("{}; {hint}", check.found),
                None => check.found.clone(),
            };
            table.row([check.name.into(), verdict.into(), clean(&found)]);
        }
        ui.answer_table(&table)?;
    }
    match report.healthy {
        true => Ok(()),
        false => Err(CommandError::failed("something is not as it should be")),
    }
}

fn check_git(environment: &GitEnvironment) -> Check {
    match environment.git_version() {
        Ok(version) => Check::good("git", version),
        Err(error) => Check::failed("git", error),
    }
}

fn check_store(context: &Context) -> Check {
    let opened = context.store_dir().and_then(|dir| {
        let found = format!("{} ({})", dir.value.display(), dir.origin);
        if !dir.value.exists() {
            return Ok(format!("{found}, not made yet"));
        }
        context.open_local_store()?;
        Ok(found)
    });
    match opened {
        Ok(found) => Check::good("store", found),
        Err(error) => Check::failed("store", error),
    }
}

/// A remote that is down costs time, not correctness.
fn check_remote(context: &Context) -> Option<Check> {
    let remote = context.remote()?;
    Some(match context.reach_remote(&remote) {
        Ok(location) => Check::good("remote", format!("{location} ({})", remote.origin)),
        Err(error) => Check {
            verdict: Verdict::Warning,
            hint: Some("everything works without it, only slower".into()),
            ..Check::failed("remote", error)
        },
    })
}

/// Nothing, where there is no repository.
fn check_history(environment: &GitEnvironment) -> Option<Check> {
    const NAME: &str = "history";
    Some(match history_state(environment) {
        Err(LocalError::NoRepository { .. }) => return None,
        Err(error) => Check::failed(NAME, error),
        Ok(HistoryState::Complete) => Check::good(NAME, "complete, as far as the clone goes"),
        Ok(HistoryState::Arriving { log }) => Check {
            hint: Some(format!("{} has what it said", log.display())),
            ..Check::good(NAME, "arriving in the background")
        },
        Ok(HistoryState::Waiting { log }) => Check {
            name: NAME,
            verdict: Verdict::Warning,
            found: match last_line(&log) {
                Some(said) => format!("not complete, and nobody fetches it ({said})"),
                None => "not complete, and nobody fetches it".into(),
            },
            hint: Some(format!(
                "`headstart clone --resume {}` does",
                environment.folder.display()
            )),
        },
    })
}

fn last_line(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .map(str::to_owned)
}
