//! `headstart save`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use headstart_fs::RelPath;
use headstart_store::{EntryName, SaveOptions, SaveOutcome, Xattrs, save};
use jiff::Timestamp;
use serde::Serialize;

use super::files_namespace;
use crate::{
    context::Context,
    error::CommandError,
    ui::{Ui, bytes, count},
};

/// Save files and folders under a key
///
/// A key is written once: saving an existing key says so and changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: headstart save --key deps-$(sha256sum < package-lock.json | cut -c1-16) node_modules"
)]
pub(crate) struct SaveArgs {
    /// The key, 1 to 512 bytes of text
    #[arg(long)]
    key: String,
    /// Folder the paths are relative to [default: the current folder]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    root: PathBuf,
    /// Keep extended attributes of the `user.` namespace
    #[arg(long)]
    xattrs: bool,
    /// Files and folders below the root
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// What `--json` prints: schema `headstart.save/1`.
#[derive(Debug, Serialize)]
struct SaveReport<'a> {
    schema: &'static str,
    key: &'a str,
    /// `saved`, or `exists` when the key was taken and nothing changed.
    outcome: &'static str,
    snapshot: String,
    files: u64,
    content_bytes: u64,
    /// Of the content, bytes in chunks the store had before.
    reused_bytes: u64,
    /// Bytes added to the store.
    stored_bytes: u64,
    /// Whether an existing entry was given to the remote, which lacked it.
    uploaded: bool,
}

pub(super) fn run(ui: &Ui, context: &Context, args: SaveArgs) -> Result<(), CommandError> {
    let paths = args
        .paths
        .iter()
        .map(|path| RelPath::parse_lenient(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CommandError::usage(error.to_string()).hint("name paths relative to --root"))?;
    let name = EntryName::new(files_namespace(), args.key)?;
    let stores = context.open_stores(ui)?;
    let options = SaveOptions {
        stat_cache: Some(stores.stat_cache_dir()),
        name,
        root: args.root,
        paths,
        xattrs: if args.xattrs { Xattrs::Keep } else { Xattrs::Drop },
        leave_out: Some(stores.folder_on_disk()?),
        facts: BTreeMap::new(),
        now: Timestamp::now(),
    };
    let index = stores.chunk_index()?;
    let outcome = save(
        stores.store(),
        Some(&index),
        stores.runtime(),
        &options,
        &*ui.progress(),
        &context.interrupt,
    )?;
    let mut report = SaveReport::new(options.name.key(), &outcome);
    if matches!(outcome, SaveOutcome::KeyExists(_)) {
        report.uploaded = stores.push(&options.name, &context.interrupt)?;
    }
    context.collect_in_background();
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    ui.status(report.sentence());
    Ok(())
}

impl<'a> SaveReport<'a> {
    fn new(key: &'a str, outcome: &SaveOutcome) -> Self {
        let schema = "headstart.save/1";
        match outcome {
            SaveOutcome::Saved(saved) => SaveReport {
                schema,
                key,
                outcome: "saved",
                snapshot: saved.snapshot.to_string(),
                files: saved.files,
                content_bytes: saved.content_bytes,
                reused_bytes: saved.reused_bytes,
                stored_bytes: saved.stored_bytes,
                uploaded: false,
            },
            SaveOutcome::KeyExists(entry) => SaveReport {
                schema,
                key,
                outcome: "exists",
                snapshot: entry.snapshot.to_string(),
                files: entry.files,
                content_bytes: entry.content_bytes,
                reused_bytes: entry.content_bytes,
                stored_bytes: 0,
                uploaded: false,
            },
        }
    }

    fn sentence(&self) -> String {
        match self.outcome {
            "exists" if self.uploaded => format!("{} exists already; the remote has it now too.", self.key),
            "exists" => format!("{} exists already; nothing was changed.", self.key),
            _ => format!(
                "Saved {}: {} files, {}; {} were known, {} stored.",
                self.key,
                count(self.files),
                bytes(self.content_bytes),
                bytes(self.reused_bytes),
                bytes(self.stored_bytes)
            ),
        }
    }
}
