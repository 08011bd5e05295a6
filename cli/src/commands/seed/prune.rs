//! `headstart seed prune`.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    sync::Arc,
};

use clap::Args;
use headstart_git::{FilterSpec, SeedKey};
use headstart_store::{EntryInfo, EntryName, PruneStore, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{find_in, find_seeds, prefix_of};
use crate::{
    commands::parse_age,
    context::Context,
    error::CommandError,
    seeds::{UnpackedSeeds, history_namespace, tip_namespace},
    ui::{Ui, count},
};

/// No push takes longer; a history without a tip that is older is of one that was broken off.
const PUSH_TAKES: SignedDuration = SignedDuration::from_hours(24);

/// Take away old seeds
///
/// Of each repository and filter the newest stay. What a push left that was broken off goes when it is a day old. Their content goes with the next `headstart cache gc`; a headstart-server
/// looks after its own.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart seed prune --keep 2 --older-than 14d --dry-run")]
pub(crate) struct PruneArgs {
    /// Those of this repository only
    url: Option<OsString>,
    /// How many of each repository and filter stay
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep: usize,
    /// Of the others, take away only those older than this: 14d, 12h
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<SignedDuration>,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `--json` prints: schema `headstart.seed-prune/1`.
#[derive(Debug, Serialize)]
struct PruneReport {
    schema: &'static str,
    dry_run: bool,
    /// Names of the seeds that go.
    pruned: Vec<String>,
    kept: usize,
}

/// What goes and what stays.
#[derive(Debug, Default, PartialEq, Eq)]
struct PrunePlan {
    goes: Vec<EntryName>,
    kept: usize,
}

pub(super) fn run(ui: &Ui, context: &Context, args: PruneArgs) -> Result<(), CommandError> {
    let prefix = prefix_of(context, args.url.as_deref())?;
    let stores = context.open_stores(ui)?;
    let found = find_seeds(context, &stores, &prefix)?;
    let histories = find_in(context, &stores, &history_namespace(), &prefix)?;
    let plan = plan_prune(found, histories, &args, Timestamp::now());
    if !args.dry_run {
        let mut places: Vec<Arc<dyn PruneStore>> = vec![Arc::new(stores.local().clone())];
        match context.open_remote_for_pruning() {
            Some(Ok(remote)) => places.push(remote),
            Some(Err(error)) => ui.warn(error.one_line()),
            None => {}
        }
        let unpacked = UnpackedSeeds::new(stores.seeds_dir());
        for name in &plan.goes {
            stores.runtime().run(&context.interrupt, delete(&places, name))?;
            remove_unpacked(&unpacked, name);
        }
    }
    let report = PruneReport {
        schema: "headstart.seed-prune/1",
        dry_run: args.dry_run,
        pruned: plan.goes.iter().map(|name| name.key().to_owned()).collect(),
        kept: plan.kept,
    };
    report.print(ui)
}

/// `found` is in the order of keys, of each the newest first.
fn plan_prune(
    found: Vec<EntryInfo>,
    histories: Vec<EntryInfo>,
    args: &PruneArgs,
    now: Timestamp,
) -> PrunePlan {
    let tips: HashSet<String> = found.iter().map(|info| info.name.key().to_owned()).collect();
    let oldest = args.older_than.map(|age| now - age);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut plan = PrunePlan::default();
    for info in found {
        let Some((repository, filter, time)) = SeedKey::split_name(info.name.key()) else {
            continue;
        };
        let rank = seen.entry(format!("{repository}#{filter}")).or_default();
        *rank += 1;
        let is_young = |oldest: Timestamp| time.parse().is_ok_and(|made: Timestamp| made >= oldest);
        if *rank <= args.keep || oldest.is_some_and(is_young) {
            plan.kept += 1;
        } else {
            plan.goes.push(info.name);
        }
    }
    // The history is saved before the tip: what is young may be a push that goes on.
    let is_left = |info: &EntryInfo| {
        let time = SeedKey::split_name(info.name.key()).and_then(|(_, _, time)| time.parse().ok());
        !tips.contains(info.name.key()) && time.is_some_and(|made: Timestamp| made < now - PUSH_TAKES)
    };
    let left = histories.into_iter().filter(is_left);
    plan.goes.extend(left.map(|info| info.name));
    plan
}

/// The tip first: nobody finds a seed then whose history is gone.
async fn delete(places: &[Arc<dyn PruneStore>], name: &EntryName) -> Result<(), StoreError> {
    for place in places {
        for namespace in [tip_namespace(), history_namespace()] {
            let part = EntryName::new(namespace, name.key())
                .map_err(|error| StoreError::Unsupported(error.to_string()))?;
            place.delete_entry(&part).await?;
        }
    }
    Ok(())
}

fn remove_unpacked(unpacked: &UnpackedSeeds, name: &EntryName) {
    let Some((repository, filter, time)) = SeedKey::split_name(name.key()) else {
        return;
    };
    if let Ok(filter) = filter.parse::<FilterSpec>() {
        unpacked.remove(&SeedKey::named(repository, filter), time);
    }
}

impl PruneReport {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        for name in &self.pruned {
            ui.answer(name)?;
        }
        let verb = if self.dry_run { "would go" } else { "gone" };
        ui.answer(format_args!(
            "{} seeds {verb}, {} stay",
            count(self.pruned.len() as u64),
            count(self.kept as u64)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<EntryInfo> {
        let info = |name: &&str| EntryInfo {
            name: EntryName::new(tip_namespace(), *name).unwrap(),
            modified_at: Timestamp::UNIX_EPOCH,
        };
        names.iter().map(info).collect()
    }

    #[test]
    fn the_newest_of_each_key_stay() {
        let names = [
            "h/a#blob:none#2026-01-03T00:00:00Z",
            "h/a#blob:none#2026-01-02T00:00:00Z",
            "h/a#blob:none#2026-01-01T00:00:00Z",
            "h/a#tree:0#2026-01-01T00:00:00Z",
            "h/b#blob:none#2026-01-01T00:00:00Z",
        ];
        let now = "2026-01-04T00:00:00Z".parse().unwrap();
        let goes = |keep, days: Option<i64>| {
            let args = PruneArgs {
                url: None,
                keep,
                older_than: days.map(|days| SignedDuration::from_hours(24 * days)),
                dry_run: true,
            };
            let plan = plan_prune(found(&names), found(&names), &args, now);
            assert_eq!(plan.kept + plan.goes.len(), names.len());
            plan.goes
                .iter()
                .map(|name| name.key().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(goes(1, None), names[1..3]);
        assert_eq!(goes(3, None), [""; 0]);
        assert_eq!(goes(1, Some(2)), names[2..3]);
        assert_eq!(goes(0, None), names);
    }

    #[test]
    fn what_a_broken_push_has_left_goes_when_no_push_can_need_it() {
        let histories = [
            "h/a#blob:none#2026-01-03T12:00:00Z",
            "h/a#blob:none#2026-01-02T00:00:00Z",
            "h/a#blob:none#2026-01-01T00:00:00Z",
        ];
        let args = PruneArgs {
            url: None,
            keep: 3,
            older_than: None,
            dry_run: true,
        };
        let now = "2026-01-04T00:00:00Z".parse().unwrap();
        let plan = plan_prune(found(&histories[1..2]), found(&histories), &args, now);
        assert_eq!(plan.kept, 1);
        assert_eq!(plan.goes, [found(&histories)[2].name.clone()]);
    }
}
