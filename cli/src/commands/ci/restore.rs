//! `headstart ci restore`.

use std::path::{Path, PathBuf};

use clap::Args;
use headstart_deps::{InStore, ThenInstall};

use super::{
    CacheArgs, Outcome, Reporter,
    keyed::RestoreMode,
    outcome::{CacheLine, Hit},
    warned, with_repository,
};
use crate::{
    commands::{
        deps::{self, CacheReport, caches, restore_all},
        restore::Link,
    },
    context::Context,
    error::CommandError,
    ui::Ui,
};

/// Restore the caches of a CI job
///
/// A miss, and a cache that cannot be reached, leave the job as it is and end with 0.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: headstart ci restore --path node_modules --key npm-$(sha256sum < package-lock.json | cut -c1-16) \
    --restore-keys npm-"
)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    cache: CacheArgs,
    /// Prefixes to try when the key is a miss, one a line, in order; may be repeated
    #[arg(long, value_name = "PREFIXES", requires = "key")]
    restore_keys: Vec<String>,
    /// Only look whether there is a cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    lookup_only: Option<bool>,
    /// End with exit code 1 when nothing matches [default: `ci.fail-on-cache-miss`, else false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    fail_on_cache_miss: Option<bool>,
    /// How files are made where the store's pool of expanded files has them
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Link::Auto)]
    link: Link,
    /// Also write the outcome to this file as `NAME=value` lines, for a dotenv report
    #[arg(long, value_name = "FILE")]
    dotenv: Option<PathBuf>,
}

impl RestoreArgs {
    fn mode(&self) -> RestoreMode {
        match self.lookup_only {
            Some(true) => RestoreMode::Lookup,
            _ => RestoreMode::Write(self.link.into()),
        }
    }
}

pub(super) fn run(ui: &Ui, context: &Context, args: &RestoreArgs) -> Result<(), CommandError> {
    let reporter = Reporter::new(ui, context);
    let keyed = args.cache.keyed(context, &args.restore_keys)?;
    let section = reporter.open_section("headstart ci restore");
    let context = with_repository(ui, context);
    let outcome = match keyed {
        Some(cache) => match warned(ui, context.open_usable_stores(ui))? {
            Some(stores) => cache.restore(ui, &context, &stores, args.mode())?,
            None => Outcome {
                primary_keys: vec![cache.key],
                ..Outcome::default()
            },
        },
        None => restore_found(ui, &context, args)?,
    };
    let outcome = tell(&reporter, args, outcome)?;
    reporter.close_section(section);
    let fails = args.fail_on_cache_miss.or(context.settings.ci_fail_on_cache_miss);
    if outcome.hit == Hit::Miss && fails == Some(true) {
        let keys = outcome.primary_keys.join(", ");
        let sentence = match keys.as_str() {
            "" => "no dependency cache was found".to_owned(),
            keys => format!("no cache matches {keys}"),
        };
        return Err(CommandError::failed(sentence)
            .hint("the step fails because of fail-on-cache-miss; without it a miss is no failure"));
    }
    Ok(())
}

/// A miss, whatever there is.
pub(super) fn run_without_settings(
    ui: &Ui,
    context: &Context,
    args: &RestoreArgs,
    error: CommandError,
) -> Result<(), CommandError> {
    let keyed = args.cache.keyed(context, &args.restore_keys)?;
    let outcome = Outcome {
        primary_keys: keyed.into_iter().map(|cache| cache.key).collect(),
        ..Outcome::default()
    };
    tell(&Reporter::new(ui, context), args, outcome)?;
    match args.fail_on_cache_miss {
        Some(true) => Err(error),
        _ => Ok(()),
    }
}

/// Tells the steps after this one, and people.
fn tell(reporter: &Reporter<'_>, args: &RestoreArgs, outcome: Outcome) -> Result<Outcome, CommandError> {
    let outcome = Outcome {
        schema: "headstart.ci-restore/1",
        ..outcome
    };
    reporter.restored(&outcome, args.cache.key.is_some(), args.dotenv.as_deref());
    reporter.print(&outcome, ["cache", "outcome", "files", "from the remote", "time"])?;
    Ok(outcome)
}

/// The dependency caches that lockfiles ask for.
fn restore_found(ui: &Ui, context: &Context, args: &RestoreArgs) -> Result<Outcome, CommandError> {
    let folder = Path::new(".")
        .canonicalize()
        .map_err(|error| CommandError::failed(format!("cannot find the current folder: {error}")))?;
    let lines = match args.mode() {
        RestoreMode::Write(link) => {
            let runs = restore_all(ui, context, &folder, ThenInstall::No, link);
            let reports = warned(ui, runs)?.unwrap_or_default();
            reports.into_iter().map(|run| found_line(&run.report)).collect()
        }
        RestoreMode::Lookup => warned(ui, look_up_found(ui, context, &folder))?.unwrap_or_default(),
    };
    let mut outcome = Outcome::default();
    let mut hits = Vec::new();
    for Found {
        hit,
        key,
        matched,
        line,
    } in lines
    {
        hits.push(hit);
        outcome.primary_keys.push(key);
        outcome.matched_keys.extend(matched);
        outcome.caches.push(line);
    }
    outcome.hit = Hit::of_all(&hits);
    if outcome.caches.is_empty() {
        ui.status("No lockfile of a known package manager was found.");
    }
    Ok(outcome)
}

/// One dependency cache and what was found for it.
struct Found {
    hit: Hit,
    key: String,
    matched: Option<String>,
    line: CacheLine,
}

fn found_line(report: &CacheReport) -> Found {
    let [name, outcome, ..] = report.row();
    let (hit, matched) = match report.outcome {
        deps::Outcome::Exact => (Hit::Exact, Some(report.key.clone())),
        // Made unnecessary by an exact hit.
        deps::Outcome::Superseded => (Hit::Exact, None),
        deps::Outcome::Older => (Hit::RestoreKey, report.matched_key.clone()),
        deps::Outcome::Miss | deps::Outcome::LeftAlone | deps::Outcome::Failed => (Hit::Miss, None),
    };
    Found {
        hit,
        key: report.key.clone(),
        matched,
        line: CacheLine {
            name,
            outcome,
            files: report.files_written,
            bytes: report.remote_bytes,
            seconds: report.seconds,
        },
    }
}

fn look_up_found(ui: &Ui, context: &Context, folder: &Path) -> Result<Vec<Found>, CommandError> {
    let caches = caches(context, folder)?;
    let stores = context.open_usable_stores(ui)?;
    let states = headstart_deps::status(&caches, stores.store(), stores.runtime())?;
    let found = caches.iter().zip(states).map(|(cache, state)| {
        let (hit, matched, outcome) = match state.in_store {
            InStore::Exact(_) => (Hit::Exact, Some(cache.key.clone()), "hit (looked up)"),
            InStore::Older(info) => (
                Hit::RestoreKey,
                Some(info.name.key().to_owned()),
                "older (looked up)",
            ),
            InStore::Miss => (Hit::Miss, None, "miss"),
        };
        Found {
            hit,
            key: cache.key.clone(),
            matched,
            line: CacheLine {
                name: cache.title(),
                outcome: outcome.to_owned(),
                ..CacheLine::default()
            },
        }
    });
    Ok(found.collect())
}
