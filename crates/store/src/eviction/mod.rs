//! Eviction: dropping entries by age and budget, and the content nobody names any more.
//!
//! First a plan is made, plain data that a dry run prints; applying it looks again at what it is about to take. An entry was
//! last used when its snapshot was; packs live as long as a kept entry's snapshot names them.
//!
//! Nothing younger than the grace period goes: a running save has written, or was told of, what its entry does not name
//! yet. On the local store a use at the very moment of eviction wins ([`PruneStore::evict`]). Buckets do not note uses, so
//! there the grace period must be longer than the oldest pack a running save may rely on: evict from a bucket while nobody
//! saves.

mod apply;
mod plan;
mod pool;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    apply::{GcOutcome, apply_gc},
    plan::{is_gc_due, plan_gc},
    pool::evict_expanded,
};
use crate::{ContentId, EntryName};

/// What may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The time to count from.
    pub now: Timestamp,
    /// Stored bytes of packs and snapshots that entries may hold on to; `None` for any number. The least recently used
    /// entries go first.
    pub budget_bytes: Option<u64>,
    /// Entries not used for longer go; `None` for never.
    pub max_age: Option<SignedDuration>,
    /// What was used or written since then stays, whatever the rest says.
    pub grace: SignedDuration,
}

impl GcPolicy {
    /// A grace period that outlasts any save.
    pub const DEFAULT_GRACE: SignedDuration = SignedDuration::from_hours(6);
}

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPlan {
    /// Entries, least recently used first.
    pub entries: Vec<PlannedEntry>,
    /// Packs and snapshots that no kept entry needs, and their stored bytes.
    pub content: Vec<(ContentId, u64)>,
    /// Entries that stay.
    pub kept_entries: u64,
    /// Stored bytes that stay.
    pub kept_bytes: u64,
    /// What was used since then stays.
    pub unused_since: Timestamp,
}

/// An entry that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEntry {
    /// Its name.
    pub name: EntryName,
    /// Its snapshot and the packs it names, as far as they can be read.
    pub needs: Vec<ContentId>,
    /// When it was last used.
    pub last_used: Timestamp,
    /// Why it goes.
    pub reason: EvictionReason,
}

/// Why an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionReason {
    /// It was not used for longer than the policy allows.
    Age,
    /// It does not fit into the budget.
    Budget,
    /// It cannot be read, or its snapshot is not there or cannot be read.
    Broken,
}

impl GcPlan {
    /// Stored bytes that are to go.
    pub fn freed_bytes(&self) -> u64 {
        self.content.iter().map(|(_, bytes)| bytes).sum()
    }

    /// True when nothing is to go.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.content.is_empty()
    }
}

#[cfg(test)]
mod tests;
