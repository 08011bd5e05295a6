//! `headstart cache gc`.

use clap::Args;
use headstart_store::{
    EvictionReason, GcOutcome, GcPlan, GcPolicy, apply_gc, evict_pool, is_gc_due, plan_gc,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    commands::{
        layers::{evict_layers, layers_dir},
        parse_age,
    },
    config::ByteSize,
    context::Context,
    error::CommandError,
    seeds::{clones_dir, evict_unpacked, forget_gone, unpacked_dir},
    stores::{new_runtime, pool_dir},
    ui::{Ui, bytes, count},
};

/// The local store's budget where no setting names one: 20 GB.
const DEFAULT_MAX_BYTES: u64 = 20_000_000_000;
/// An eviction in the background keeps expanded files and seeds that were used this recently.
const AUTO_KEEPS_UNPACKED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Evict what was not used for longest until the budget is met
///
/// Content that no entry names goes too. What was used in the last six hours stays, so that a running save is never
/// disturbed.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart cache gc --max-size 5GB --max-age 30d --dry-run")]
pub(crate) struct GcArgs {
    /// Bytes to keep: 20GB, 512MiB [default: store.max-size of the settings, else 20GB]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Evict entries not used for longer, whatever the size: 30d, 12h [default: store.max-age of the settings]
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    max_age: Option<SignedDuration>,
    /// Keep what was used this recently [default: 6h]
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    grace: Option<SignedDuration>,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What saves start in the background: gives way to others, and reads no entry while nothing has to go
    #[arg(long, hide = true, conflicts_with = "dry_run")]
    auto: bool,
}

/// What `--json` prints: schema `headstart.cache-gc/1`.
#[derive(Debug, Serialize)]
struct GcDocument {
    schema: &'static str,
    dry_run: bool,
    entries: Vec<EvictedEntry>,
    /// Packs and snapshots that go, and their stored bytes.
    content: u64,
    freed_bytes: u64,
    kept_entries: u64,
    kept_bytes: u64,
}

#[derive(Debug, Serialize)]
struct EvictedEntry {
    namespace: String,
    key: String,
    last_used: String,
    /// `age`, `budget`, or `broken`.
    reason: &'static str,
}

pub(super) fn run(ui: &Ui, context: &Context, args: GcArgs) -> Result<(), CommandError> {
    let store = context.open_local_store()?;
    let runtime = new_runtime()?;
    let configured = context.settings.max_bytes.as_ref().map(|setting| setting.value);
    let configured_age = context.settings.max_age.as_ref().map(|setting| setting.value);
    let policy = GcPolicy {
        now: Timestamp::now(),
        budget_bytes: Some(
            args.max_size
                .map(ByteSize::bytes)
                .or(configured)
                .unwrap_or(DEFAULT_MAX_BYTES),
        ),
        max_age: args.max_age.or(configured_age),
        grace: args.grace.unwrap_or(GcPolicy::DEFAULT_GRACE),
    };
    if args.auto {
        step_back();
        let due = runtime.block_on(is_gc_due(&store, &policy))?;
        if !due {
            return Ok(());
        }
    }
    let plan = runtime.block_on(plan_gc(&store, &policy, &context.interrupt))?;
    let mut document = GcDocument::of_plan(&plan, args.dry_run);
    if !args.dry_run {
        let Some(_lock) = store.lock_eviction()? else {
            if args.auto {
                return Ok(());
            }
            let sentence = format!("another eviction of {} is running", store.root().display());
            return Err(CommandError::failed(sentence).hint("run the command again when it is done"));
        };
        let GcOutcome {
            content, freed_bytes, ..
        } = runtime.block_on(apply_gc(&store, &plan, &context.interrupt))?;
        document.content = content;
        // Nobody asked for it: what makes restores and clones fast stays for longer than a break of some hours.
        let unused_since = match args.auto {
            true => {
                let kept_since = policy.now.checked_sub(AUTO_KEEPS_UNPACKED);
                plan.unused_since.min(kept_since.unwrap_or(Timestamp::MIN))
            }
            false => plan.unused_since,
        };
        document.freed_bytes = freed_bytes + evict_unpacked(&unpacked_dir(&store), unused_since);
        document.freed_bytes += evict_layers(&layers_dir(&store), unused_since);
        forget_gone(&clones_dir(&store));
        // What only they and the pool had goes with the pool.
        document.freed_bytes += evict_pool(&pool_dir(&store), unused_since, &context.interrupt)?;
    }
    document.print(ui)
}

/// Leaves the terminal, whose signals are not for this process, and lets everybody else go first.
fn step_back() {
    // Both fail only where there is nothing to leave, or nothing to give.
    let _ = rustix::process::setsid();
    let _ = rustix::process::nice(19);
}

impl GcDocument {
    fn of_plan(plan: &GcPlan, dry_run: bool) -> Self {
        let entries = plan.entries.iter().map(|entry| EvictedEntry {
            namespace: entry.name.namespace().to_string(),
            key: entry.name.key().to_owned(),
            last_used: entry.last_used.to_string(),
            reason: match entry.reason {
                EvictionReason::Age => "age",
                EvictionReason::Budget => "budget",
                EvictionReason::Broken => "broken",
            },
        });
        GcDocument {
            schema: "headstart.cache-gc/1",
            dry_run,
            entries: entries.collect(),
            content: plan.content.len() as u64,
            freed_bytes: plan.freed_bytes(),
            kept_entries: plan.kept_entries,
            kept_bytes: plan.kept_bytes,
        }
    }

    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        for entry in &self.entries {
            ui.answer(format_args!(
                "{}/{}: last used {} ({})",
                entry.namespace, entry.key, entry.last_used, entry.reason
            ))?;
        }
        let verb = if self.dry_run { "would go" } else { "gone" };
        ui.answer(format_args!(
            "{} entries and {} packs and snapshots {verb}, {} freed; {} entries and {} stay",
            count(self.entries.len() as u64),
            count(self.content),
            bytes(self.freed_bytes),
            count(self.kept_entries),
            bytes(self.kept_bytes)
        ))
    }
}
