//! `headstart seed list`.

use std::ffi::OsString;

use clap::Args;
use headstart_git::SeedKey;
use serde::Serialize;

use super::{fact, find_seeds, prefix_of, read_entry};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, bytes},
};

/// List the seeds that can be reached
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart seed list https://example.com/big.git")]
pub(crate) struct ListArgs {
    /// Those of this repository only
    url: Option<OsString>,
}

/// What `--json` prints: schema `headstart.seed-list/1`.
#[derive(Debug, Serialize)]
struct ListReport {
    schema: &'static str,
    seeds: Vec<ListedSeed>,
}

#[derive(Debug, Serialize)]
struct ListedSeed {
    /// What `seed inspect` takes.
    name: String,
    repository: String,
    filter: String,
    created_at: String,
    /// The commit whose files it has.
    tip: String,
    pack_bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: ListArgs) -> Result<(), CommandError> {
    let prefix = prefix_of(context, args.url.as_deref())?;
    let stores = context.open_stores(ui)?;
    let mut seeds = Vec::new();
    for info in find_seeds(context, &stores, &prefix)? {
        let (Some(entry), Some((repository, filter, created_at))) = (
            read_entry(context, &stores, &info.name)?,
            SeedKey::split_name(info.name.key()),
        ) else {
            continue;
        };
        seeds.push(ListedSeed {
            name: info.name.key().to_owned(),
            repository: repository.to_owned(),
            filter: filter.to_owned(),
            created_at: created_at.to_owned(),
            tip: fact(&entry, "tip"),
            pack_bytes: fact(&entry, "pack-bytes").parse().unwrap_or_default(),
        });
    }
    let report = ListReport {
        schema: "headstart.seed-list/1",
        seeds,
    };
    report.print(ui)
}

impl ListReport {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        if self.seeds.is_empty() {
            ui.status("There are no seeds. `headstart seed push <url>` makes one.");
            return Ok(());
        }
        let mut table = Table::new(["repository", "filter", "made", "tip", "packs"]).right(4);
        for seed in &self.seeds {
            table.row([
                seed.repository.clone(),
                seed.filter.clone(),
                seed.created_at.clone(),
                seed.tip.chars().take(12).collect(),
                bytes(seed.pack_bytes),
            ]);
        }
        ui.answer_table(&table)
    }
}
