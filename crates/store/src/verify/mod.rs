//! Verification: everything is read again and compared with its name.
//!
//! Changes nothing unless asked to repair, not even the last use that eviction goes by.

mod content;
mod entry;
mod pool;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use headstart_digest::{PackId, SnapshotId};

pub use self::{entry::repair_entry, pool::verify_pool};
use crate::{ContentId, ContentKind, EntryName, Progress, PruneStore, Step, Store, StoreError};

/// Pieces of content checked at once; each is held in memory.
const PARALLEL_CHECKS: usize = 4;

/// Whether verification changes anything.
#[derive(Debug, Clone, Copy)]
pub enum Repair<'a> {
    /// Look only.
    No,
    /// Move corrupt content aside, and drop snapshots and entries that can no longer be restored from here: their keys are
    /// free again, so that the next save stores them anew. Where there is a remote, it is asked for them again. What a newer
    /// program wrote is left alone.
    Yes,
    /// Like `Yes`, but what is moved aside is fetched from the remote of this store, in front of which is the one that is
    /// verified; and what lacks only packs that the remote has stays.
    From(&'a dyn Store),
}

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Packs read.
    pub packs: u64,
    /// Snapshots read.
    pub snapshots: u64,
    /// Entries read.
    pub entries: u64,
    /// Stored bytes read.
    pub bytes: u64,
    /// What is wrong, in the order packs, snapshots, entries.
    pub problems: Vec<Problem>,
}

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// What was done about it.
    pub repair: Repaired,
}

/// What may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// The bytes do not match their name or format.
    CorruptContent {
        /// The content.
        id: ContentId,
        /// In what it is wrong.
        reason: String,
    },
    /// A newer program wrote it. It is taken to be right and never repaired.
    UnsupportedContent {
        /// The content.
        id: ContentId,
        /// What it is.
        reason: String,
    },
    /// A snapshot needs packs that are not here. A store in front of a remote may hold a part only; without a remote the
    /// snapshot cannot be restored.
    IncompleteSnapshot {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The packs that are not here.
        missing: Vec<PackId>,
    },
    /// The entry cannot be read.
    CorruptEntry {
        /// Its name.
        name: EntryName,
        /// In what it is wrong.
        reason: String,
    },
    /// A newer program wrote the entry. It is never repaired.
    UnsupportedEntry {
        /// Its name.
        name: EntryName,
        /// What it is.
        reason: String,
    },
    /// The entry stands for a snapshot that is not here, or was moved aside.
    DanglingEntry {
        /// Its name.
        name: EntryName,
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// A file of the pool of expanded files is not what its name says.
    CorruptPoolFile {
        /// The file.
        path: PathBuf,
    },
}

/// What was done about a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// Nothing.
    No,
    /// It was moved there.
    MovedTo(PathBuf),
    /// It was removed.
    Removed,
    /// The remote's copy took its place.
    Fetched,
}

impl Problem {
    fn left_alone(kind: ProblemKind) -> Self {
        Problem {
            kind,
            repair: Repaired::No,
        }
    }
}

impl VerifyReport {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProblemKind::CorruptContent { id, reason } => write!(f, "{id} is corrupt: {reason}"),
            ProblemKind::UnsupportedContent { id, reason } => write!(f, "{id} cannot be judged: {reason}"),
            ProblemKind::IncompleteSnapshot { snapshot, missing } => {
                write!(
                    f,
                    "snapshot {snapshot} needs {} packs that are not here",
                    missing.len()
                )
            }
            ProblemKind::CorruptEntry { name, reason } => write!(f, "entry {name} is corrupt: {reason}"),
            ProblemKind::UnsupportedEntry { name, reason } => {
                write!(f, "entry {name} cannot be judged: {reason}")
            }
            ProblemKind::DanglingEntry { name, snapshot } => {
                write!(
                    f,
                    "entry {name} stands for snapshot {snapshot}, which is not here"
                )
            }
            ProblemKind::CorruptPoolFile { path } => {
                write!(f, "{} is not what its name says", path.display())
            }
        }
    }
}

/// Reads and checks all of a store: packs against their names and their chunks against theirs, snapshots, entries.
///
/// What goes away while it is read, through eviction, is no problem.
pub async fn verify(
    store: &dyn PruneStore,
    repair: Repair<'_>,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<VerifyReport, StoreError> {
    let packs = store.list_content(ContentKind::Pack).await?;
    let snapshots = store.list_content(ContentKind::Snapshot).await?;
    let total = packs.iter().chain(&snapshots).map(|(_, bytes, _)| bytes).sum();
    progress.start(Step::Verify, Some(total));
    let mut report = VerifyReport::default();

    let checked: Vec<_> = stream::iter(packs)
        .map(|(id, bytes, _)| check(store, id, bytes, progress, interrupt))
        .buffer_unordered(PARALLEL_CHECKS)
        .try_collect()
        .await?;
    let mut good_packs = HashSet::new();
    for (id, bytes, verdict) in checked {
        report.packs += 1;
        report.bytes += bytes;
        match verdict {
            content::Verdict::Corrupt(reason) => {
                if report.add_corrupt(store, repair, id, reason).await? {
                    good_packs.insert(*id.digest());
                }
            }
            verdict => {
                report.add_unsupported(id, &verdict);
                good_packs.insert(*id.digest());
            }
        }
    }

    let checked: Vec<_> = stream::iter(snapshots)
        .map(|(id, bytes, _)| check(store, id, bytes, progress, interrupt))
        .buffer_unordered(PARALLEL_CHECKS)
        .try_collect()
        .await?;
    let mut good_snapshots = HashSet::new();
    let mut needed: Vec<(SnapshotId, Vec<PackId>)> = Vec::new();
    for (id, bytes, verdict) in checked {
        report.snapshots += 1;
        report.bytes += bytes;
        let verdict = match verdict {
            content::Verdict::Corrupt(reason) => match report.add_corrupt(store, repair, id, reason).await? {
                true => content::check(store, id).await?,
                false => content::Verdict::Gone,
            },
            verdict => verdict,
        };
        match verdict {
            content::Verdict::Snapshot(packs) => {
                good_snapshots.insert(*id.digest());
                needed.push(((*id.digest()).into(), packs));
            }
            content::Verdict::Unsupported(_) => {
                report.add_unsupported(id, &verdict);
                good_snapshots.insert(*id.digest());
            }
            content::Verdict::Pack | content::Verdict::Corrupt(_) | content::Verdict::Gone => {}
        }
    }
    for snapshot in report.add_incomplete(store, repair, needed, &good_packs).await? {
        good_snapshots.remove(snapshot.digest());
    }
    report
        .check_entries(store, repair, &good_snapshots, interrupt)
        .await?;
    progress.finish(Step::Verify);
    Ok(report)
}

async fn check(
    store: &dyn PruneStore,
    id: ContentId,
    bytes: u64,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<(ContentId, u64, content::Verdict), StoreError> {
    if interrupt.load(Ordering::Relaxed) {
        return Err(StoreError::Interrupted);
    }
    let verdict = content::check(store, id).await?;
    progress.advance(Step::Verify, bytes);
    Ok((id, bytes, verdict))
}

impl VerifyReport {
    /// Corrupt content. True when it is right now.
    async fn add_corrupt(
        &mut self,
        store: &dyn PruneStore,
        repair: Repair<'_>,
        id: ContentId,
        reason: String,
    ) -> Result<bool, StoreError> {
        let repair = match repair {
            Repair::No => Repaired::No,
            Repair::Yes | Repair::From(_) => {
                let moved_to = store.set_aside(id).await?;
                match repair {
                    // What comes is checked against its name.
                    Repair::From(source) if source.prepare(id).await > 0 => Repaired::Fetched,
                    _ => moved_to.map_or(Repaired::Removed, Repaired::MovedTo),
                }
            }
        };
        let is_right = repair == Repaired::Fetched;
        let kind = ProblemKind::CorruptContent { id, reason };
        self.problems.push(Problem { kind, repair });
        Ok(is_right)
    }

    /// Tells of what a newer program wrote, if it is that.
    fn add_unsupported(&mut self, id: ContentId, verdict: &content::Verdict) {
        if let content::Verdict::Unsupported(reason) = verdict {
            let reason = reason.clone();
            let kind = ProblemKind::UnsupportedContent { id, reason };
            self.problems.push(Problem::left_alone(kind));
        }
    }

    /// Snapshots that need what is not here; returns those that were removed. Packs may have come since the listing.
    async fn add_incomplete(
        &mut self,
        store: &dyn PruneStore,
        repair: Repair<'_>,
        needed: Vec<(SnapshotId, Vec<PackId>)>,
        good_packs: &HashSet<headstart_digest::Digest>,
    ) -> Result<Vec<SnapshotId>, StoreError> {
        let mut removed = Vec::new();
        let mut later: HashMap<PackId, bool> = HashMap::new();
        for (snapshot, packs) in needed {
            let mut missing = Vec::new();
            for pack in packs {
                if good_packs.contains(pack.digest()) {
                    continue;
                }
                let is_there = match later.get(&pack) {
                    Some(is_there) => *is_there,
                    None => {
                        let id = ContentId::Pack(pack);
                        content::check(store, id).await?.is_right()
                    }
                };
                later.insert(pack, is_there);
                if !is_there {
                    missing.push(pack);
                }
            }
            if let Repair::From(source) = repair {
                let asked: Vec<_> = missing.iter().copied().map(ContentId::Pack).collect();
                let nowhere: HashSet<_> = source.find_missing(&asked).await?.into_iter().collect();
                missing.retain(|pack| nowhere.contains(&ContentId::Pack(*pack)));
            }
            if missing.is_empty() {
                continue;
            }
            let repair = match repair {
                Repair::No => Repaired::No,
                Repair::Yes | Repair::From(_) => {
                    store.delete(ContentId::Snapshot(snapshot)).await?;
                    removed.push(snapshot);
                    Repaired::Removed
                }
            };
            let kind = ProblemKind::IncompleteSnapshot { snapshot, missing };
            self.problems.push(Problem { kind, repair });
        }
        Ok(removed)
    }

    async fn check_entries(
        &mut self,
        store: &dyn PruneStore,
        repair: Repair<'_>,
        good_snapshots: &HashSet<headstart_digest::Digest>,
        interrupt: &AtomicBool,
    ) -> Result<(), StoreError> {
        for namespace in store.list_namespaces().await? {
            for info in store.find_entries(&namespace, "", usize::MAX).await? {
                if interrupt.load(Ordering::Relaxed) {
                    return Err(StoreError::Interrupted);
                }
                let name = info.name;
                let kind = match store.read_entry(&name).await {
                    Ok(entry) if good_snapshots.contains(entry.snapshot.digest()) => None,
                    Ok(entry) => {
                        let id = ContentId::Snapshot(entry.snapshot);
                        match content::check(store, id).await? {
                            // It came since the listing.
                            verdict if verdict.is_right() => None,
                            _ => Some(ProblemKind::DanglingEntry {
                                name: name.clone(),
                                snapshot: entry.snapshot,
                            }),
                        }
                    }
                    Err(StoreError::Missing { .. }) => continue,
                    Err(StoreError::Corrupt { reason, .. }) => Some(ProblemKind::CorruptEntry {
                        name: name.clone(),
                        reason,
                    }),
                    Err(StoreError::Unsupported(reason)) => {
                        self.entries += 1;
                        let kind = ProblemKind::UnsupportedEntry { name, reason };
                        self.problems.push(Problem::left_alone(kind));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.entries += 1;
                let Some(kind) = kind else {
                    continue;
                };
                let repair = match repair {
                    Repair::No => Repaired::No,
                    Repair::Yes | Repair::From(_) => {
                        store.delete_entry(&name).await?;
                        Repaired::Removed
                    }
                };
                self.problems.push(Problem { kind, repair });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
