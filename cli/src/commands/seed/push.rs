//! `headstart seed push`.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStrExt as _, path::Path};

use bstr::BString;
use clap::Args;
use headstart_fs::RelPath;
use headstart_git::{
    FilterSpec,
    seed::{BuildOptions, BuiltSeed, SeedManifest, SeedPack, build_seed},
};
use headstart_store::{EntryName, SaveOptions, SaveOutcome, Xattrs, save};
use jiff::Timestamp;
use serde::Serialize;

use super::key_of;
use crate::{
    commands::clone::git_environment,
    context::Context,
    error::CommandError,
    seeds::{Neighbours, StoreSeeds, UnpackedSeeds, history_namespace, tip_namespace},
    stores::Stores,
    ui::{Ui, bytes, count},
};

/// Make a seed of a repository and save it
///
/// Starts from the newest seed there is, so that only what is new at the origin is fetched and only new packs are stored. A
/// seed of the refs of today is not made twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart seed push https://example.com/big.git\n  \
    headstart seed push --remote s3://bucket/headstart ssh://git@example.com/big.git")]
pub(crate) struct PushArgs {
    /// The origin: http(s), ssh, user@host:path, file:// or a local path
    url: OsString,
    /// Objects to leave at the origin; clones with the same filter use the seed
    #[arg(long, value_name = "SPEC", default_value = "blob:none")]
    filter: FilterSpec,
}

/// What `--json` prints: schema `headstart.seed-push/1`.
#[derive(Debug, Serialize)]
struct PushReport {
    schema: &'static str,
    /// The name of the seed.
    seed: String,
    /// `saved`, or `current` when the newest seed has the refs of the origin already.
    outcome: &'static str,
    /// When the seed was made that this one builds on; null for a first one.
    base: Option<String>,
    tip: String,
    refs: usize,
    /// Bytes of packs the origin sent.
    fetched_bytes: u64,
    /// Packs of the tip and of the history, and their bytes.
    tip_packs: usize,
    history_packs: usize,
    pack_bytes: u64,
    /// Bytes added to the store.
    stored_bytes: u64,
    /// Whether a seed that was saved before was given to the remote, which lacked it.
    uploaded: bool,
}

pub(super) fn run(ui: &Ui, context: &Context, args: PushArgs) -> Result<(), CommandError> {
    let environment = git_environment(context)?;
    let key = key_of(context, &args.url, args.filter)?;
    let stores = context.open_stores(ui)?;
    let unpacked = UnpackedSeeds::new(stores.seeds_dir());
    // Beside the seeds that are here, so that packs are linked and not copied.
    let work = unpacked.begin(&key)?;
    let now = Timestamp::now();
    let options = BuildOptions {
        url: BString::from(args.url.as_bytes()),
        folder: work.path().to_owned(),
        created_at: format!("{now:.3}"),
    };
    let seeds = StoreSeeds::new(ui, context, &environment, Neighbours::Ignore).over(stores);
    let bars = ui.progress();
    let built = build_seed(&options, &key, &seeds, &environment, &*bars, &context.interrupt)?;
    let stores = seeds.into_stores().expect("it was given open ones");

    let base_time = built.base.as_ref().map(|base| base.created_at.clone());
    let time = match (built.is_same, &base_time) {
        (true, Some(base)) => base.clone(),
        _ => built.manifest.created_at.clone(),
    };
    let pushing = Pushing {
        ui,
        context,
        stores: &stores,
        name: key.name_at(&time),
        now,
    };
    let mut report = PushReport {
        schema: "headstart.seed-push/1",
        seed: pushing.name.clone(),
        outcome: "current",
        base: base_time,
        tip: built.manifest.tip.to_string(),
        refs: built.manifest.refs.len(),
        fetched_bytes: built.fetched_bytes,
        tip_packs: 0,
        history_packs: 0,
        pack_bytes: 0,
        stored_bytes: 0,
        uploaded: false,
    };
    let described = match (&built.base, built.is_same) {
        (Some(base), true) => base,
        _ => &built.manifest,
    };
    report.tip_packs = described.tip_packs.len();
    report.history_packs = described.history_packs.len();
    report.pack_bytes = described.pack_bytes();
    if built.is_same {
        report.uploaded = pushing.upload()?;
    } else {
        report.outcome = "saved";
        report.stored_bytes = pushing.save(&built)?;
        unpacked.adopt(&key, &time, &built.tip, &built.history)?;
    }
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    ui.status(report.sentence());
    Ok(())
}

/// A seed on its way to the store.
struct Pushing<'a> {
    ui: &'a Ui,
    context: &'a Context,
    stores: &'a Stores,
    name: String,
    now: Timestamp,
}

impl Pushing<'_> {
    /// The names of its two entries, that of the history first: whoever finds the tip finds it.
    fn entries(&self) -> Result<[EntryName; 2], CommandError> {
        Ok([
            EntryName::new(history_namespace(), &*self.name)?,
            EntryName::new(tip_namespace(), &*self.name)?,
        ])
    }

    /// Saves both parts; the bytes that were added to the store.
    fn save(&self, built: &BuiltSeed) -> Result<u64, CommandError> {
        let facts = facts(&built.manifest);
        let mut stored = 0;
        for (name, root) in self.entries()?.into_iter().zip([&built.history, &built.tip]) {
            stored += self.save_part(name, root, facts.clone())?;
        }
        Ok(stored)
    }

    fn save_part(
        &self,
        name: EntryName,
        root: &Path,
        facts: BTreeMap<String, String>,
    ) -> Result<u64, CommandError> {
        let options = SaveOptions {
            stat_cache: None,
            name,
            root: root.to_owned(),
            paths: vec![RelPath::root()],
            leave_out: None,
            xattrs: Xattrs::Drop,
            facts,
            now: self.now,
        };
        let index = self.stores.chunk_index()?;
        let outcome = save(
            self.stores.store(),
            Some(&index),
            self.stores.runtime(),
            &options,
            &*self.ui.progress(),
            &self.context.interrupt,
        )?;
        Ok(match outcome {
            SaveOutcome::Saved(saved) => saved.stored_bytes,
            SaveOutcome::KeyExists(_) => 0,
        })
    }

    /// Gives the remote a seed that it lacks.
    fn upload(&self) -> Result<bool, CommandError> {
        let mut uploaded = false;
        for name in self.entries()? {
            uploaded |= self.stores.push(&name, &self.context.interrupt)?;
        }
        Ok(uploaded)
    }
}

/// What `seed list` and `seed inspect` tell without fetching a seed.
fn facts(manifest: &SeedManifest) -> BTreeMap<String, String> {
    let packs = |packs: &[SeedPack]| {
        let shown = packs
            .iter()
            .map(|pack| format!("{} {} {}", pack.id, pack.objects, pack.bytes));
        shown.collect::<Vec<_>>().join("\n")
    };
    let graph = manifest.commit_graph_bytes.unwrap_or_default();
    [
        ("tip", manifest.tip.to_string()),
        ("refs", manifest.refs.len().to_string()),
        ("pack-bytes", manifest.pack_bytes().to_string()),
        ("tip-packs", packs(&manifest.tip_packs)),
        ("history-packs", packs(&manifest.history_packs)),
        ("commit-graph-bytes", graph.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

impl PushReport {
    fn sentence(&self) -> String {
        match self.outcome {
            "current" if self.uploaded => {
                format!("The seed {} is up to date; the remote has it now too.", self.seed)
            }
            "current" => format!("The seed {} is up to date; nothing was changed.", self.seed),
            _ => format!(
                "Saved {}: {} refs, {} in {} packs; {} fetched, {} stored.",
                self.seed,
                count(self.refs as u64),
                bytes(self.pack_bytes),
                self.tip_packs + self.history_packs,
                bytes(self.fetched_bytes),
                bytes(self.stored_bytes)
            ),
        }
    }
}
