//! `headstart seed inspect`.

use std::ffi::OsString;

use clap::Args;
use headstart_git::{
    FilterSpec, Seed, SeedKey, SeedSource as _,
    seed::{SeedError, check_objects},
};
use headstart_store::{Entry, EntryName};
use serde::Serialize;

use super::{fact, find_seeds, key_of, prefix_of, read_entry};
use crate::{
    commands::clone::git_environment,
    context::Context,
    error::CommandError,
    seeds::{Neighbours, StoreSeeds, UnpackedSeeds},
    ui::{Table, Ui, bytes, count},
};

/// Show what a seed has, and check it on request
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart seed inspect https://example.com/big.git\n  \
    headstart seed inspect --verify https://example.com/big.git")]
pub(crate) struct InspectArgs {
    /// The repository, of which the newest seed is taken, or the name of a seed
    #[arg(value_name = "URL|NAME")]
    which: OsString,
    /// The filter of the seed
    #[arg(long, value_name = "SPEC", default_value = "blob:none")]
    filter: FilterSpec,
    /// Bring the newest seed to this machine and check every object in it
    #[arg(long)]
    verify: bool,
}

/// What `--json` prints: schema `headstart.seed-inspect/1`.
#[derive(Debug, Serialize)]
struct InspectReport {
    schema: &'static str,
    name: String,
    repository: String,
    filter: String,
    created_at: String,
    tip: String,
    refs: u64,
    commit_graph_bytes: u64,
    packs: Vec<InspectedPack>,
    /// True when every object was checked; null when that was not asked for.
    verified: Option<bool>,
}

#[derive(Debug, Serialize)]
struct InspectedPack {
    id: String,
    /// `tip` or `history`.
    part: &'static str,
    objects: u64,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: InspectArgs) -> Result<(), CommandError> {
    let stores = context.open_stores(ui)?;
    let by_name = args
        .which
        .to_str()
        .filter(|text| SeedKey::split_name(text).is_some());
    let prefix = match by_name {
        Some(name) => name.to_owned(),
        None => format!("{}{}#", prefix_of(context, Some(&args.which))?, args.filter),
    };
    let found = find_seeds(context, &stores, &prefix)?;
    let no_seed = || {
        CommandError::failed(format!("there is no seed of {}", args.which.to_string_lossy()))
            .hint("`headstart seed list` shows what there is; `headstart seed push` makes one")
    };
    let name = found.into_iter().next().ok_or_else(no_seed)?.name;
    let entry = read_entry(context, &stores, &name)?.ok_or_else(no_seed)?;
    let mut report = InspectReport::new(&name, &entry);
    if args.verify {
        if by_name.is_some() {
            let sentence = "--verify takes the URL of a repository, whose newest seed it checks";
            return Err(CommandError::usage(sentence));
        }
        let environment = git_environment(context)?;
        let key = key_of(context, &args.which, args.filter.clone())?;
        let unpacked = UnpackedSeeds::new(stores.seeds_dir());
        let seeds = StoreSeeds::new(ui, context, &environment, Neighbours::Ignore).over(stores);
        let interrupt = &context.interrupt;
        let here = seeds.find_local(&key);
        let seed = seeds
            .fetch_newest(&key, &here, interrupt)
            .or(here.into_iter().next());
        // An older one may be here, or a newer one that was not saved.
        let is_meant = |seed: &Seed| key.name_at(&seed.manifest.created_at) == name.key();
        let checked = seed
            .filter(is_meant)
            .and_then(|seed| Some((seeds.fetch_history(&seed, interrupt)?, seed)));
        let Some((history, seed)) = checked else {
            return Err(CommandError::failed(format!(
                "the seed {} cannot be used",
                name.key()
            )));
        };
        let result = [&seed.tip, &history]
            .into_iter()
            .try_for_each(|part| check_objects(part, &environment, interrupt));
        if let Err(error) = result {
            if !matches!(error, SeedError::Invalid { .. }) {
                return Err(error.into());
            }
            unpacked.refuse(&key, &seed.manifest.created_at);
            let sentence = format!(
                "the seed {} is damaged or forged, and is not used here any more",
                name.key()
            );
            return Err(CommandError::from(error).context(sentence));
        }
        report.verified = Some(true);
    }
    report.print(ui)
}

impl InspectReport {
    fn new(name: &EntryName, entry: &Entry) -> Self {
        let (repository, filter, created_at) = SeedKey::split_name(name.key()).unwrap_or_default();
        let number = |name| fact(entry, name).parse().unwrap_or_default();
        let packs = |part, fact_name| {
            let listed = fact(entry, fact_name);
            let parse = |line: &str| {
                let mut fields = line.split(' ');
                Some(InspectedPack {
                    id: fields.next()?.to_owned(),
                    part,
                    objects: fields.next()?.parse().ok()?,
                    bytes: fields.next()?.parse().ok()?,
                })
            };
            listed.lines().filter_map(parse).collect::<Vec<_>>()
        };
        let mut all = packs("tip", "tip-packs");
        all.extend(packs("history", "history-packs"));
        InspectReport {
            schema: "headstart.seed-inspect/1",
            name: name.key().to_owned(),
            repository: repository.to_owned(),
            filter: filter.to_owned(),
            created_at: created_at.to_owned(),
            tip: fact(entry, "tip"),
            refs: number("refs"),
            commit_graph_bytes: number("commit-graph-bytes"),
            packs: all,
            verified: None,
        }
    }

    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        ui.answer(format_args!(
            "{}: {} of {} with {} refs, commit-graph of {}{}",
            self.name,
            self.tip,
            self.repository,
            count(self.refs),
            bytes(self.commit_graph_bytes),
            if self.verified == Some(true) {
                ", every object checked"
            } else {
                ""
            }
        ))?;
        let mut table = Table::new(["pack", "part", "objects", "bytes"]).right(2).right(3);
        for pack in &self.packs {
            table.row([
                pack.id.clone(),
                pack.part.to_owned(),
                count(pack.objects),
                bytes(pack.bytes),
            ]);
        }
        ui.answer_table(&table)
    }
}
