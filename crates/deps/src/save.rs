//! Saving a dependency cache under its exact key.

use std::{collections::BTreeMap, path::PathBuf, sync::atomic::AtomicBool};

use headstart_store::{ChunkIndex, Entry, Progress, Runtime, SaveOptions, Saved, Store, Xattrs};
use jiff::Timestamp;

use crate::{DependencyCache, DepsError, Freshness, explain, status::entry_name};

/// What a save needs besides the cache.
#[derive(Debug, Clone)]
pub struct SaveSettings {
    /// Facts for people, kept in the entry beside the cache's own.
    pub facts: BTreeMap<String, String>,
    /// The time the entry is created at.
    pub now: Timestamp,
    /// Where saves note what they saw on disk: [`SaveOptions::stat_cache`].
    pub stat_cache: Option<PathBuf>,
}

/// What became of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The entry is new.
    Saved(Saved),
    /// The exact key was there already; nothing changed.
    KeyExists(Entry),
    /// There is nothing on disk to save.
    Nothing,
    /// What is installed is not what the lockfile asks for: saved under its key it would be a lie to the next machine.
    Stale {
        /// In what it differs.
        reason: String,
    },
}

/// Saves what the cache's key stands for.
pub fn save(
    cache: &DependencyCache,
    store: &dyn Store,
    index: Option<&ChunkIndex>,
    runtime: &Runtime,
    settings: &SaveSettings,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<SaveOutcome, DepsError> {
    let name = entry_name(&cache.key);
    match runtime.run(interrupt, store.read_entry(&name)) {
        Ok(entry) => return Ok(SaveOutcome::KeyExists(entry)),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    let parts = cache.find_paths_to_save()?;
    if parts.is_empty() {
        return Ok(SaveOutcome::Nothing);
    }
    if cache.freshness != Freshness::NotChecked
        && let Some(reason) = cache.find_why_stale()?
    {
        return Ok(SaveOutcome::Stale { reason });
    }
    let mut facts = settings.facts.clone();
    facts.insert("cache".to_owned(), cache.title());
    explain::note(cache, &mut facts);
    facts.insert("manager".to_owned(), cache.manager.name().to_owned());
    let options = SaveOptions {
        stat_cache: settings.stat_cache.clone(),
        name,
        root: cache.root.clone(),
        paths: cache.find_roots_of(&parts),
        xattrs: Xattrs::Drop,
        leave_out: None,
        facts,
        now: settings.now,
    };
    let outcome = match cache.is_shared() {
        true => {
            let parts = parts.into_iter().collect();
            headstart_store::save_only(store, index, runtime, &options, &parts, progress, interrupt)
        }
        false => headstart_store::save(store, index, runtime, &options, progress, interrupt),
    }?;
    Ok(match outcome {
        headstart_store::SaveOutcome::Saved(saved) => SaveOutcome::Saved(saved),
        headstart_store::SaveOutcome::KeyExists(entry) => SaveOutcome::KeyExists(entry),
    })
}
