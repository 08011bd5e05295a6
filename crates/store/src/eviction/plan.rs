//! Decides what goes.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{EvictionReason, GcPlan, GcPolicy, PlannedEntry};
use crate::{ContentId, ContentKind, EntryInfo, FormatError, PruneStore, Snapshot, StoreError};

/// Entries and snapshots read at once.
const PARALLEL_READS: usize = 8;

/// Stored bytes and last use of all content.
type Contents = HashMap<ContentId, (u64, Timestamp)>;

/// True when there is more than the budget allows, or a snapshot older than entries may get: a cheap look at names, sizes and
/// times, which reads nothing. [`plan_gc`] decides.
pub async fn is_gc_due(store: &dyn PruneStore, policy: &GcPolicy) -> Result<bool, StoreError> {
    let unused_since = policy.now.checked_sub(policy.grace).unwrap_or(Timestamp::MIN);
    let too_old = oldest_kept(policy).min(unused_since);
    let mut all_bytes = 0_u64;
    for kind in [ContentKind::Snapshot, ContentKind::Pack] {
        for (_, bytes, last_used) in store.list_content(kind).await? {
            all_bytes = all_bytes.saturating_add(bytes);
            if kind == ContentKind::Snapshot && last_used < too_old {
                return Ok(true);
            }
        }
    }
    Ok(policy.budget_bytes.is_some_and(|budget| all_bytes > budget))
}

/// Entries last used before then are too old.
fn oldest_kept(policy: &GcPolicy) -> Timestamp {
    policy
        .max_age
        .and_then(|max_age| policy.now.checked_sub(max_age).ok())
        .unwrap_or(Timestamp::MIN)
}

/// Plans what `policy` says must go. Reads all entries and their snapshots, and marks nothing as used.
pub async fn plan_gc(
    store: &dyn PruneStore,
    policy: &GcPolicy,
    interrupt: &AtomicBool,
) -> Result<GcPlan, StoreError> {
    // A time before all times when the grace period is longer than time.
    let unused_since = policy.now.checked_sub(policy.grace).unwrap_or(Timestamp::MIN);
    let mut contents = Contents::new();
    for kind in [ContentKind::Snapshot, ContentKind::Pack] {
        for (id, bytes, last_used) in store.list_content(kind).await? {
            contents.insert(id, (bytes, last_used));
        }
    }
    let mut candidates = Vec::new();
    for namespace in store.list_namespaces().await? {
        let entries = store.find_entries(&namespace, "", usize::MAX).await?;
        let found: Vec<Option<PlannedEntry>> = stream::iter(entries)
            .map(|info| read(store, info, &contents, interrupt))
            .buffer_unordered(PARALLEL_READS)
            .try_collect()
            .await?;
        candidates.extend(found.into_iter().flatten());
    }
    // Most recently used first; the name makes the plan the same every time.
    candidates.sort_by(|a, b| (b.last_used, &a.name).cmp(&(a.last_used, &b.name)));
    Ok(decide(policy, unused_since, candidates, &contents))
}

/// Reads an entry and its snapshot; `None` when it went in the meantime.
async fn read(
    store: &dyn PruneStore,
    info: EntryInfo,
    contents: &Contents,
    interrupt: &AtomicBool,
) -> Result<Option<PlannedEntry>, StoreError> {
    if interrupt.load(Ordering::Relaxed) {
        return Err(StoreError::Interrupted);
    }
    let mut candidate = PlannedEntry {
        name: info.name,
        needs: Vec::new(),
        last_used: info.modified_at,
        reason: EvictionReason::Broken,
    };
    let entry = match store.read_entry(&candidate.name).await {
        Ok(entry) => entry,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(StoreError::Corrupt { .. }) => return Ok(Some(candidate)),
        Err(error) => return Err(error),
    };
    let snapshot = ContentId::Snapshot(entry.snapshot);
    if let Some((_, last_used)) = contents.get(&snapshot) {
        candidate.last_used = candidate.last_used.max(*last_used);
    }
    match store.inspect(snapshot).await {
        Ok(stored) => match Snapshot::parse(&stored) {
            Ok(parsed) => {
                candidate.needs.push(snapshot);
                candidate
                    .needs
                    .extend(parsed.packs().iter().map(|pack| ContentId::Pack(pack.id)));
            }
            // A newer program's: which packs it needs is not for this one to say.
            Err(error @ FormatError::Version { .. }) => {
                return Err(error.in_store(snapshot, store.location()));
            }
            Err(_) => {}
        },
        Err(StoreError::Missing { .. } | StoreError::TooLarge { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(Some(candidate))
}

fn decide(
    policy: &GcPolicy,
    unused_since: Timestamp,
    candidates: Vec<PlannedEntry>,
    contents: &Contents,
) -> GcPlan {
    let oldest_kept = oldest_kept(policy);
    let budget = policy.budget_bytes.unwrap_or(u64::MAX);
    let mut kept: HashSet<ContentId> = HashSet::new();
    let mut kept_bytes: u64 = 0;
    let mut kept_entries = 0;
    let mut is_full = false;
    let mut entries = Vec::new();
    for mut candidate in candidates {
        let mut added: Vec<(ContentId, u64)> = candidate
            .needs
            .iter()
            .filter(|id| !kept.contains(*id))
            .filter_map(|id| Some((*id, contents.get(id)?.0)))
            .collect();
        added.sort_unstable();
        added.dedup();
        let added_bytes: u64 = added.iter().map(|(_, bytes)| bytes).sum();
        let is_young = candidate.last_used >= unused_since;
        let reason = if is_young {
            None
        } else if candidate.needs.is_empty() {
            Some(EvictionReason::Broken)
        } else if candidate.last_used < oldest_kept {
            Some(EvictionReason::Age)
        } else if added_bytes > 0 && (is_full || kept_bytes.saturating_add(added_bytes) > budget) {
            // Strictly by use: a small old entry does not stay in place of a large newer one. One that shares all it
            // needs with newer ones costs nothing and stays.
            is_full = true;
            Some(EvictionReason::Budget)
        } else {
            None
        };
        match reason {
            Some(reason) => {
                candidate.reason = reason;
                entries.push(candidate);
            }
            None => {
                kept_entries += 1;
                kept_bytes += added_bytes;
                kept.extend(added.iter().map(|(id, _)| *id));
            }
        }
    }
    entries.reverse();
    let mut content: Vec<(ContentId, u64)> = contents
        .iter()
        .filter(|(id, (_, last_used))| !kept.contains(*id) && *last_used < unused_since)
        .map(|(id, (bytes, _))| (*id, *bytes))
        .collect();
    content.sort_unstable();
    let all_bytes: u64 = contents.values().map(|(bytes, _)| bytes).sum();
    let freed_bytes: u64 = content.iter().map(|(_, bytes)| bytes).sum();
    GcPlan {
        entries,
        content,
        kept_entries,
        kept_bytes: all_bytes - freed_bytes,
        unused_since,
    }
}
