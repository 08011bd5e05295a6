//! A cache with a key and paths of the workflow's own.
//!
//! Each part, the paths that begin in one folder, has an entry of its own. The first part's is written last and looked
//! up first: where it is, the others were saved. Should one be gone, the restore is no exact hit, and the save after it
//! brings the missing one back.

use std::{collections::BTreeMap, time::Instant};

use headstart_store::{
    EntryName, LinkMode, Lookup, Namespace, RestoreError, RestoreOptions, RestoreOutcome, SaveOptions,
    SaveOutcome, Xattrs, find_entry,
};
use jiff::Timestamp;

use super::{
    outcome::{CacheLine, Hit, Outcome},
    paths::{CachePaths, Places},
    warned,
};
use crate::{
    context::Context,
    error::CommandError,
    stores::{Keys, Stores, Traffic},
    ui::Ui,
};

/// The cache as the command line names it.
#[derive(Debug)]
pub(super) struct KeyedCache {
    pub(super) key: String,
    pub(super) restore_keys: Vec<String>,
    pub(super) paths: CachePaths,
    pub(super) places: Places,
}

/// How to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestoreMode {
    /// Only look.
    Lookup,
    /// Write the files, made in this way.
    Write(LinkMode),
}

/// The namespace of these entries: `headstart save` has another, so that no key of one is a key of the other.
pub(super) fn namespace() -> Namespace {
    "ci".parse().expect("a plain word is a namespace")
}

/// What is looked for, for one part.
struct Wanted {
    part: usize,
    exact: String,
    restore_keys: Vec<String>,
}

impl KeyedCache {
    /// Restores, or looks up, all parts. What fails is a warning and a miss; an error is an interruption.
    pub(super) fn restore(
        &self,
        ui: &Ui,
        context: &Context,
        stores: &Stores,
        mode: RestoreMode,
    ) -> Result<Outcome, CommandError> {
        let mut outcome = Outcome::default();
        let mut hits = Vec::new();
        let mut matched: Option<String> = None;
        for part in 0..self.paths.parts.len() {
            let prefix = self.paths.key_prefix(part);
            // Parts belong together: the others are taken from where the first one is from.
            let key = matched.as_deref().unwrap_or(&self.key);
            let wanted = Wanted {
                part,
                exact: format!("{prefix}{key}"),
                restore_keys: match part {
                    0 => self
                        .restore_keys
                        .iter()
                        .map(|key| format!("{prefix}{key}"))
                        .collect(),
                    _ => Vec::new(),
                },
            };
            let (found, line) = self.restore_part(ui, context, stores, &wanted, mode)?;
            hits.push(match &found {
                None => Hit::Miss,
                Some(found) if *found == format!("{prefix}{}", self.key) => Hit::Exact,
                Some(_) => Hit::RestoreKey,
            });
            outcome.caches.push(line);
            let Some(found) = found else {
                if part == 0 {
                    break;
                }
                continue;
            };
            if part == 0 {
                matched = found.strip_prefix(&prefix).map(str::to_owned);
            }
        }
        outcome.hit = Hit::of_all(&hits);
        outcome.primary_keys = vec![self.key.clone()];
        outcome.matched_keys = matched.into_iter().collect();
        Ok(outcome)
    }

    /// The whole key that was found, and what to tell.
    fn restore_part(
        &self,
        ui: &Ui,
        context: &Context,
        stores: &Stores,
        wanted: &Wanted,
        mode: RestoreMode,
    ) -> Result<(Option<String>, CacheLine), CommandError> {
        let started = Instant::now();
        let part = &self.paths.parts[wanted.part];
        let mut line = CacheLine {
            name: part.title.clone(),
            outcome: "miss".to_owned(),
            ..CacheLine::default()
        };
        let found = match mode {
            RestoreMode::Lookup => {
                let namespace = namespace();
                let lookup = find_entry(stores.store(), &namespace, &wanted.exact, &wanted.restore_keys);
                let found = stores.runtime().run(&context.interrupt, lookup);
                warned(ui, found.map_err(CommandError::from))?
                    .flatten()
                    .map(|(lookup, _)| lookup)
            }
            RestoreMode::Write(link) => {
                let options = RestoreOptions {
                    namespace: namespace(),
                    key: wanted.exact.clone(),
                    restore_keys: wanted.restore_keys.clone(),
                    root: part.root.clone(),
                    images: None,
                    within: Some(self.paths.within(wanted.part, &self.places)),
                    link,
                    pool: Some(stores.pool_dir()),
                    xattrs: Xattrs::Drop,
                    keep: warned(ui, stores.folder_on_disk())?,
                };
                let keys = Keys {
                    namespace: &options.namespace,
                    exact: &options.key,
                    restore_keys: &options.restore_keys,
                    interrupt: &context.interrupt,
                };
                let before = stores.traffic();
                let restored = stores.restore_or_mend(ui, keys, RestoreError::is_like_a_miss, || {
                    headstart_store::restore(
                        stores.store(),
                        stores.runtime(),
                        &options,
                        &*ui.progress(),
                        &context.interrupt,
                    )
                });
                let restored = warned(ui, restored.map_err(CommandError::from))?.flatten();
                match restored {
                    Some(RestoreOutcome::Restored(restored)) => {
                        let traffic: Traffic = stores.traffic_since(before, restored.fetched_bytes);
                        line.files = restored.files_written;
                        line.bytes = traffic.remote_bytes;
                        Some(restored.lookup)
                    }
                    Some(RestoreOutcome::Miss) | None => None,
                }
            }
        };
        line.seconds = started.elapsed().as_secs_f64();
        let key = found.map(|lookup| {
            let (word, key) = match lookup {
                Lookup::Exact => ("hit", wanted.exact.clone()),
                Lookup::RestoreKey { key } => ("older", key),
            };
            line.outcome = match mode {
                RestoreMode::Lookup => format!("{word} (looked up)"),
                RestoreMode::Write(_) => word.to_owned(),
            };
            key
        });
        Ok((key, line))
    }

    /// Saves all parts, the first one last. What fails is a warning, and ends the save.
    pub(super) fn save(&self, ui: &Ui, context: &Context, stores: &Stores) -> Result<Outcome, CommandError> {
        let mut outcome = Outcome {
            primary_keys: vec![self.key.clone()],
            ..Outcome::default()
        };
        let parts = &self.paths.parts;
        let found: Vec<_> = (0..parts.len())
            .map(|part| self.paths.find(part, &self.places))
            .collect();
        let saved: Vec<_> = parts
            .iter()
            .zip(&found)
            .flat_map(|(part, paths)| paths.iter().map(|path| path.join_to(&part.root)))
            .collect();
        for line in self.paths.exclusions.without_effect(&saved) {
            ui.warn(format_args!(
                "{line} excludes nothing: it lies in a folder that is saved whole"
            ));
        }
        if found.iter().all(Vec::is_empty) {
            ui.warn(format_args!(
                "nothing is saved under {}: none of its paths exists",
                self.key
            ));
            return Ok(outcome);
        }
        for (number, paths) in found.into_iter().enumerate().rev() {
            let started = Instant::now();
            let part = &parts[number];
            let name = EntryName::new(
                namespace(),
                format!("{}{}", self.paths.key_prefix(number), self.key),
            )?;
            // A part of which nothing is there is saved empty: it is known, then, that nothing is missing.
            let options = SaveOptions {
                stat_cache: Some(stores.stat_cache_dir()),
                name,
                root: part.root.clone(),
                paths,
                xattrs: Xattrs::Drop,
                leave_out: warned(ui, stores.folder_on_disk())?,
                facts: BTreeMap::from([("cache".to_owned(), part.title.clone())]),
                now: Timestamp::now(),
            };
            let Some(saved) = warned(ui, save_part(ui, context, stores, &options))? else {
                break;
            };
            outcome.caches.push(CacheLine {
                name: part.title.clone(),
                seconds: started.elapsed().as_secs_f64(),
                ..saved
            });
        }
        Ok(outcome)
    }
}

fn save_part(
    ui: &Ui,
    context: &Context,
    stores: &Stores,
    options: &SaveOptions,
) -> Result<CacheLine, CommandError> {
    let index = stores.chunk_index()?;
    let saved = headstart_store::save(
        stores.store(),
        Some(&index),
        stores.runtime(),
        options,
        &*ui.progress(),
        &context.interrupt,
    )?;
    Ok(match saved {
        SaveOutcome::Saved(saved) => CacheLine {
            outcome: "saved".to_owned(),
            files: saved.files,
            bytes: saved.stored_bytes,
            ..CacheLine::default()
        },
        SaveOutcome::KeyExists(entry) => CacheLine {
            outcome: match stores.push(&options.name, &context.interrupt)? {
                true => "uploaded".to_owned(),
                false => "exists".to_owned(),
            },
            files: entry.files,
            ..CacheLine::default()
        },
    })
}
