//! What became of a restore or a save, for people and for the steps after it.

use std::time::Duration;

use serde::Serialize;

use crate::ui::{bytes, count, seconds};

/// What the lookup of all caches came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Hit {
    /// Every cache by its exact key.
    Exact,
    /// Something, but not all of it by the exact key.
    RestoreKey,
    #[default]
    Miss,
}

/// The outcome of a step.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) schema: &'static str,
    pub(super) hit: Hit,
    /// The exact keys that were looked for: one, or one of each dependency cache.
    pub(super) primary_keys: Vec<String>,
    /// The keys that were found.
    pub(super) matched_keys: Vec<String>,
    pub(super) caches: Vec<CacheLine>,
}

/// One cache, or one part of a cache.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CacheLine {
    pub(super) name: String,
    pub(super) outcome: String,
    /// Files written to disk by a restore; files in the snapshot after a save.
    pub(super) files: u64,
    /// Bytes read from the remote by a restore; bytes added to the store by a save.
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

impl Hit {
    /// The output `cache-hit`, as actions/cache words it: nothing at all after a miss.
    pub(super) fn output(self) -> &'static str {
        match self {
            Hit::Exact => "true",
            Hit::RestoreKey => "false",
            Hit::Miss => "",
        }
    }

    /// Of all caches together, from each one's.
    pub(super) fn of_all(hits: &[Hit]) -> Self {
        match hits {
            [] => Hit::Miss,
            hits if hits.iter().all(|hit| *hit == Hit::Exact) => Hit::Exact,
            hits if hits.iter().all(|hit| *hit == Hit::Miss) => Hit::Miss,
            _ => Hit::RestoreKey,
        }
    }
}

impl CacheLine {
    pub(super) fn row(&self) -> [String; 5] {
        [
            self.name.clone(),
            self.outcome.clone(),
            count(self.files),
            bytes(self.bytes),
            seconds(Duration::from_secs_f64(self.seconds)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_hits_of_everything_are_a_hit() {
        use Hit::{Exact, Miss, RestoreKey};
        assert_eq!(Hit::of_all(&[]).output(), "");
        assert_eq!(Hit::of_all(&[Exact, Exact]).output(), "true");
        assert_eq!(Hit::of_all(&[Exact, Miss]).output(), "false");
        assert_eq!(Hit::of_all(&[RestoreKey]).output(), "false");
        assert_eq!(Hit::of_all(&[Miss, Miss]).output(), "");
    }
}
