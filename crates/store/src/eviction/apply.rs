//! Carries out a plan.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use super::GcPlan;
use crate::{ContentId, ContentKind, PruneStore, StoreError};

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcOutcome {
    /// Entries that went.
    pub entries: u64,
    /// Packs and snapshots that went.
    pub content: u64,
    /// Their stored bytes, and those of debris.
    pub freed_bytes: u64,
    /// Entries and content of the plan that stayed, since they were used meanwhile or are gone.
    pub spared: u64,
}

/// Carries out `plan`: entries first, then snapshots, then packs, so that a reader never meets a dangling name and an
/// interruption leaves only what the next plan finds. What was used since the plan was made stays.
pub async fn apply_gc(
    store: &dyn PruneStore,
    plan: &GcPlan,
    interrupt: &AtomicBool,
) -> Result<GcOutcome, StoreError> {
    let stop = || match interrupt.load(Ordering::Relaxed) {
        true => Err(StoreError::Interrupted),
        false => Ok(()),
    };
    let mut outcome = GcOutcome::default();
    let used: HashMap<ContentId, jiff::Timestamp> = store
        .list_content(ContentKind::Snapshot)
        .await?
        .into_iter()
        .map(|(id, _, last_used)| (id, last_used))
        .collect();
    let mut needed: HashSet<ContentId> = HashSet::new();
    for entry in &plan.entries {
        stop()?;
        let is_used = |id: &ContentId| {
            used.get(id)
                .is_some_and(|last_used| *last_used >= plan.unused_since)
        };
        if entry.needs.iter().any(is_used) {
            outcome.spared += 1;
            needed.extend(&entry.needs);
            continue;
        }
        store.delete_entry(&entry.name).await?;
        outcome.entries += 1;
    }
    let snapshots = plan
        .content
        .iter()
        .filter(|(id, _)| id.kind() == ContentKind::Snapshot);
    let packs = plan
        .content
        .iter()
        .filter(|(id, _)| id.kind() == ContentKind::Pack);
    for (id, bytes) in snapshots.chain(packs) {
        stop()?;
        if !needed.contains(id) && store.evict(*id, plan.unused_since).await? {
            outcome.content += 1;
            outcome.freed_bytes += bytes;
        } else {
            outcome.spared += 1;
        }
    }
    outcome.freed_bytes += store.clear_debris().await?;
    Ok(outcome)
}
