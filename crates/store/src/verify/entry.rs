//! Repairing what one entry stands for: what a restore that met damage does, without reading the whole store.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Problem, ProblemKind, Repair, Repaired, VerifyReport,
    content::{self, Verdict},
};
use crate::{ContentId, Entry, EntryName, PruneStore, StoreError};

/// Checks an entry, its snapshot and the packs it needs. Corrupt content is moved aside; an entry that cannot be restored
/// from this store is dropped, so that a remote behind it is asked, or the next save stores it anew. What a newer program
/// wrote is told and left alone.
///
/// An entry that is not there is no problem.
pub async fn repair_entry(
    store: &dyn PruneStore,
    name: &EntryName,
    interrupt: &AtomicBool,
) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let damage = match store.read_entry(name).await {
        Ok(entry) => match report.repair_content(store, &entry, interrupt).await? {
            true => return Ok(report),
            false => ProblemKind::DanglingEntry {
                name: name.clone(),
                snapshot: entry.snapshot,
            },
        },
        Err(StoreError::Missing { .. }) => return Ok(report),
        Err(StoreError::Corrupt { reason, .. }) => ProblemKind::CorruptEntry {
            name: name.clone(),
            reason,
        },
        Err(StoreError::Unsupported(reason)) => {
            let name = name.clone();
            report.entries = 1;
            let kind = ProblemKind::UnsupportedEntry { name, reason };
            report.problems.push(Problem::left_alone(kind));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    store.delete_entry(name).await?;
    report.entries = 1;
    report.problems.push(Problem {
        kind: damage,
        repair: Repaired::Removed,
    });
    Ok(report)
}

impl VerifyReport {
    /// True when all an entry needs is here and not wrong.
    async fn repair_content(
        &mut self,
        store: &dyn PruneStore,
        entry: &Entry,
        interrupt: &AtomicBool,
    ) -> Result<bool, StoreError> {
        self.snapshots = 1;
        let id = ContentId::Snapshot(entry.snapshot);
        let verdict = content::check(store, id).await?;
        self.add_unsupported(id, &verdict);
        let packs = match verdict {
            Verdict::Snapshot(packs) => packs,
            Verdict::Unsupported(_) => return Ok(true),
            Verdict::Corrupt(reason) => {
                return self.add_corrupt(store, Repair::Yes, id, reason).await;
            }
            Verdict::Pack | Verdict::Gone => return Ok(false),
        };
        let mut good_packs = HashSet::new();
        for pack in &packs {
            if interrupt.load(Ordering::Relaxed) {
                return Err(StoreError::Interrupted);
            }
            let id = ContentId::Pack(*pack);
            self.packs += 1;
            let verdict = content::check(store, id).await?;
            self.add_unsupported(id, &verdict);
            match verdict {
                Verdict::Pack | Verdict::Unsupported(_) => {
                    good_packs.insert(*pack.digest());
                }
                Verdict::Corrupt(reason) => {
                    self.add_corrupt(store, Repair::Yes, id, reason).await?;
                }
                Verdict::Snapshot(_) | Verdict::Gone => {}
            }
        }
        let needed = vec![(entry.snapshot, packs)];
        let removed = self
            .add_incomplete(store, Repair::Yes, needed, &good_packs)
            .await?;
        Ok(removed.is_empty())
    }
}
