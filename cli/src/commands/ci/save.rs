//! `headstart ci save`.

use std::{path::Path, time::Instant};

use clap::Args;
use headstart_deps::SaveOutcome;

use super::{
    CacheArgs, Outcome, Reporter,
    outcome::CacheLine,
    system::{JobStatus, System, text},
    warned, with_repository,
};
use crate::{
    commands::deps::{caches, save_one},
    config::CiSave,
    context::Context,
    env_vars,
    error::CommandError,
    ui::Ui,
};

/// Save the caches of a CI job
///
/// What was an exact hit, or is saved already, is left alone. After a failed or cancelled job nothing is saved, unless
/// asked for. A store that fails is a warning.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: headstart ci save --path node_modules --key npm-$(sha256sum < package-lock.json | cut -c1-16)"
)]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    cache: CacheArgs,
    /// What became of the job [default: what GitLab and Buildkite say, else success]
    #[arg(long, value_enum, value_name = "STATUS")]
    job_status: Option<JobStatus>,
    /// Save whatever became of the job [default: `ci.save` in the settings, else only after success]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    save_always: Option<bool>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: &SaveArgs) -> Result<(), CommandError> {
    let reporter = Reporter::new(ui, context);
    let keyed = args.cache.keyed(context, &[])?;
    let section = reporter.open_section("headstart ci save");
    let context = with_repository(ui, context);
    let outcome = match keyed {
        _ if !is_wanted(ui, &context, args) => Outcome::default(),
        Some(mut cache) => {
            let state = |name| match System::detect(&context.environment) {
                System::GitHub => text(&context.environment, name),
                _ => None,
            };
            // The key that was looked for: in the meantime the files it is computed from may have changed.
            if let Some(primary) = state(env_vars::ci::STATE_PRIMARY_KEY) {
                cache.key = primary.to_owned();
            }
            if state(env_vars::ci::STATE_MATCHED_KEY) == Some(cache.key.as_str()) {
                ui.status(format_args!("{} was restored; it is not saved again.", cache.key));
                Outcome::default()
            } else {
                match warned(ui, context.open_usable_stores(ui))? {
                    Some(stores) => cache.save(ui, &context, &stores)?,
                    None => Outcome::default(),
                }
            }
        }
        None => save_found(ui, &context)?,
    };
    tell(&reporter, outcome)?;
    context.collect_in_background();
    reporter.close_section(section);
    Ok(())
}

/// Nothing is saved, whatever there is.
pub(super) fn run_without_settings(ui: &Ui, context: &Context, args: &SaveArgs) -> Result<(), CommandError> {
    args.cache.keyed(context, &[])?;
    tell(&Reporter::new(ui, context), Outcome::default())
}

/// Tells people.
fn tell(reporter: &Reporter<'_>, outcome: Outcome) -> Result<(), CommandError> {
    let outcome = Outcome {
        schema: "headstart.ci-save/1",
        ..outcome
    };
    reporter.saved(&outcome);
    reporter.print(&outcome, ["cache", "outcome", "files", "stored", "time"])
}

/// Whether the job is one to save from.
fn is_wanted(ui: &Ui, context: &Context, args: &SaveArgs) -> bool {
    let always = args
        .save_always
        .unwrap_or(context.settings.ci_save == Some(CiSave::Always));
    let status = args
        .job_status
        .or_else(|| System::detect(&context.environment).job_status(&context.environment));
    let became = match status {
        _ if always => return true,
        None | Some(JobStatus::Success) => return true,
        Some(JobStatus::Failure) => "failed",
        Some(JobStatus::Cancelled) => "was cancelled",
    };
    ui.status(format_args!(
        "The job {became}; nothing is saved. --save-always, or `save = \"always\"` in [ci], saves then, too."
    ));
    false
}

/// The dependency caches that lockfiles ask for.
fn save_found(ui: &Ui, context: &Context) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    let folder = Path::new(".")
        .canonicalize()
        .map_err(|error| CommandError::failed(format!("cannot find the current folder: {error}")))?;
    let caches = warned(ui, caches(context, &folder))?.unwrap_or_default();
    if caches.is_empty() {
        ui.status("No lockfile of a known package manager was found.");
        return Ok(outcome);
    }
    let Some(stores) = warned(ui, context.open_usable_stores(ui))? else {
        return Ok(outcome);
    };
    for cache in caches {
        let started = Instant::now();
        let saved = warned(ui, save_one(ui, context, &stores, &cache))?;
        let (became, files, stored_bytes) = match saved {
            Some(SaveOutcome::Saved(saved)) => ("saved", saved.files, saved.stored_bytes),
            Some(SaveOutcome::KeyExists(entry)) => ("exists", entry.files, 0),
            Some(SaveOutcome::Nothing) => ("nothing", 0, 0),
            Some(SaveOutcome::Stale { reason }) => {
                ui.warn(format_args!("{} is not saved: {reason}", cache.title()));
                ("stale", 0, 0)
            }
            None => ("failed", 0, 0),
        };
        outcome.caches.push(CacheLine {
            name: cache.title(),
            outcome: became.to_owned(),
            files,
            bytes: stored_bytes,
            seconds: started.elapsed().as_secs_f64(),
        });
        outcome.primary_keys.push(cache.key);
    }
    Ok(outcome)
}
