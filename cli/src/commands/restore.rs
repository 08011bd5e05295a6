//! `headstart restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use headstart_store::{
    LinkMode, Lookup, RestoreError, RestoreOptions, RestoreOutcome, Restored, Xattrs, restore,
};
use serde::Serialize;

use super::files_namespace;
use crate::{
    context::Context,
    error::CommandError,
    stores::{Keys, Traffic},
    ui::{Ui, bytes, count},
};

/// Restore what was saved under a key
///
/// Tries the exact key, then each restore key as a prefix, of which the newest entry is taken. Files that are right
/// already are left alone; below the restored paths, what the snapshot does not have is removed. A miss is no failure:
/// nothing is touched and the exit code is 0, as a CI step wants it; see --fail-on-miss.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart restore --key deps-4f1c --restore-key deps- --root web")]
pub(crate) struct RestoreArgs {
    /// The exact key
    #[arg(long)]
    key: String,
    /// A prefix to try when the key is a miss; may be repeated, tried in order
    #[arg(long = "restore-key", value_name = "PREFIX")]
    restore_keys: Vec<String>,
    /// Folder to restore into [default: the current folder]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    root: PathBuf,
    /// How files are made where the store's pool of expanded files has them
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Link::Auto)]
    link: Link,
    /// Restore extended attributes of the `user.` namespace
    #[arg(long)]
    xattrs: bool,
    /// Mount the tree instead of writing its files: one image of it, made once, with a layer for changes above it; `headstart
    /// unmount` takes it away. As root, on Linux 6.15 or newer; elsewhere it is restored
    #[arg(long, conflicts_with = "link")]
    mount: bool,
    /// End with exit code 1 when no key matches
    #[arg(long)]
    fail_on_miss: bool,
}

/// `--link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// Reflink where the file system can, else copy
    Auto,
    /// Write every file
    Copy,
    /// Hardlink to the pool: fastest, but an edit in place changes every tree linked to it
    Hardlink,
    /// Share blocks until a file is changed
    Reflink,
}

impl From<Link> for LinkMode {
    fn from(link: Link) -> Self {
        match link {
            Link::Auto => LinkMode::Auto,
            Link::Copy => LinkMode::Copy,
            Link::Hardlink => LinkMode::Hardlink,
            Link::Reflink => LinkMode::Reflink,
        }
    }
}

/// What `--json` prints: schema `headstart.restore/1`.
#[derive(Debug, Default, Serialize)]
struct RestoreReport {
    schema: &'static str,
    key: String,
    /// `exact`, `restore-key` or `miss`.
    outcome: &'static str,
    /// The key that matched; null on a miss.
    matched_key: Option<String>,
    snapshot: Option<String>,
    files_written: u64,
    files_kept: u64,
    files_removed: u64,
    files_linked: u64,
    /// Files, links and folders that are mounted instead.
    files_mounted: u64,
    bytes_written: u64,
    /// Stored bytes read from the local store and from the remote.
    local_bytes: u64,
    remote_bytes: u64,
    /// Questions put to the remote: entries, lists, packs, and the rest of what broke off.
    remote_requests: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: RestoreArgs) -> Result<(), CommandError> {
    let stores = context.open_stores(ui)?;
    let options = RestoreOptions {
        images: if args.mount { stores.images_dir() } else { None },
        within: None,
        namespace: files_namespace(),
        key: args.key,
        restore_keys: args.restore_keys,
        root: args.root,
        link: args.link.into(),
        pool: Some(stores.pool_dir()),
        xattrs: if args.xattrs { Xattrs::Keep } else { Xattrs::Drop },
        keep: Some(stores.folder_on_disk()?),
    };
    let keys = Keys {
        namespace: &options.namespace,
        exact: &options.key,
        restore_keys: &options.restore_keys,
        interrupt: &context.interrupt,
    };
    let outcome = stores.restore_or_mend(ui, keys, RestoreError::is_like_a_miss, || {
        restore(
            stores.store(),
            stores.runtime(),
            &options,
            &*ui.progress(),
            &context.interrupt,
        )
    })?;
    let outcome = outcome.unwrap_or(RestoreOutcome::Miss);
    let report = match &outcome {
        RestoreOutcome::Miss => RestoreReport {
            schema: RestoreReport::SCHEMA,
            key: options.key.clone(),
            outcome: "miss",
            ..RestoreReport::default()
        },
        RestoreOutcome::Restored(restored) => {
            let traffic = stores.traffic_since(Traffic::default(), restored.fetched_bytes);
            RestoreReport::new(&options.key, restored, traffic)
        }
    };
    if outcome == RestoreOutcome::Miss && args.fail_on_miss {
        return Err(CommandError::failed(format!("no entry matches {}", options.key))
            .hint("save it first, or give a --restore-key"));
    }
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    ui.status(report.sentence());
    Ok(())
}

impl RestoreReport {
    const SCHEMA: &str = "headstart.restore/1";

    fn new(key: &str, restored: &Restored, traffic: Traffic) -> Self {
        let (outcome, matched) = match &restored.lookup {
            Lookup::Exact => ("exact", key.to_owned()),
            Lookup::RestoreKey { key } => ("restore-key", key.clone()),
        };
        RestoreReport {
            schema: Self::SCHEMA,
            key: key.to_owned(),
            outcome,
            matched_key: Some(matched),
            snapshot: Some(restored.snapshot.to_string()),
            files_written: restored.files_written,
            files_kept: restored.files_kept,
            files_removed: restored.files_removed,
            files_linked: restored.files_linked,
            files_mounted: restored.files_mounted,
            bytes_written: restored.bytes_written,
            local_bytes: traffic.local_bytes,
            remote_bytes: traffic.remote_bytes,
            remote_requests: traffic.remote_requests,
        }
    }

    fn sentence(&self) -> String {
        let Some(matched) = &self.matched_key else {
            return format!("No entry matches {}; nothing was touched.", self.key);
        };
        let how = match self.outcome {
            "exact" => "",
            _ => " (by restore key)",
        };
        let read = format!(
            "read {} locally, {} from the remote",
            bytes(self.local_bytes),
            bytes(self.remote_bytes)
        );
        if self.files_mounted > 0 {
            let mounted = count(self.files_mounted);
            return format!("Mounted {matched}{how}: {mounted} files, links and folders; {read}.");
        }
        format!(
            "Restored {matched}{how}: {} files written, {} right already, {} removed; {read}.",
            count(self.files_written),
            count(self.files_kept),
            count(self.files_removed),
        )
    }
}
