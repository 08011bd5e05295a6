//! The working tree, from the packs of a seed.

use std::{path::PathBuf, thread};

use gix::ObjectId;

use super::{NoClone, chain, history::History, top_up::TopUp};
use crate::{
    clone::transfer::{Meter, Transfer, Transferred},
    error::CloneError,
    progress::Step,
    remote::{FetchRequest, Session},
    seed::{LinkedPart, PackOrder, Seed, answer_of_system},
    worktree::{WorktreeError, WorktreeWriter},
};

/// What is to be checked out.
struct Tip<'a> {
    seed: &'a Seed,
    tip: ObjectId,
    /// Of the packs that are likely to have it.
    indexes: Vec<PathBuf>,
}

impl Transfer<'_> {
    /// Brings what the refs need beyond the seed, and writes the working tree.
    pub(super) fn tip_from_seed(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        linked: &LinkedPart,
        history: &mut History<'_>,
    ) -> Result<(Transferred, TopUp), NoClone> {
        let mut transferred = Transferred::default();
        let top_up = self.top_up(session, seed, &mut transferred)?;
        if let Some(tip) = self.plan.head.tip().filter(|_| self.checkout) {
            let mut indexes = linked.indexes().to_owned();
            indexes.extend(top_up.index.clone());
            let tip = Tip { seed, tip, indexes };
            self.write_tip(session, tip, history, &mut transferred)?;
        }
        Ok((transferred, top_up))
    }

    /// Writes the working tree from what is in the packs with these indexes, and from fetches of what is not.
    fn write_tip(
        &self,
        session: &mut Session<'_>,
        tip: Tip<'_>,
        history: &mut History<'_>,
        transferred: &mut Transferred,
    ) -> Result<(), NoClone> {
        let Tip {
            seed,
            tip,
            mut indexes,
        } = tip;
        let open = |indexes: &[PathBuf]| PackOrder::open(indexes).map_err(NoClone::of_seed);
        let mut order = open(&indexes)?;
        let writer = self.writer(tip, true)?;
        let meter = Meter::new(self.progress);
        let objects = self.opened.to_thread_local().objects;
        let on_progress = |writer: &WorktreeWriter| meter.update(writer);
        let take = |order: &PackOrder, ids| {
            let taken = writer.take_known(&objects, order.sort(ids), self.stop, &on_progress);
            taken.map_err(|error| no_clone(error.into()))
        };
        let take_structure = |order: &PackOrder| -> Result<(), NoClone> {
            loop {
                let missing = writer.missing_structure().into_iter();
                let here: Vec<_> = missing.filter(|id| order.contains(id)).collect();
                match here.is_empty() {
                    true => return Ok(()),
                    false => take(order, here)?,
                }
            }
        };
        take_structure(&order)?;
        // Of a commit that is older than the seed, or of another branch, the history has the trees.
        if writer.total_files().is_none()
            && let Ok(linked) = history.wait()
        {
            indexes.extend_from_slice(linked.indexes());
            order = open(&indexes)?;
            take_structure(&order)?;
        }
        if writer.total_files().is_none() {
            if !self.filter.leaves_out_trees() {
                return Err(NoClone::Refused("it lacks trees of the tip".to_owned()));
            }
            indexes.extend(self.fetch_trees(session, seed, transferred)?);
            order = open(&indexes)?;
            take_structure(&order)?;
        }
        let (here, absent): (Vec<_>, Vec<_>) =
            writer.missing().into_iter().partition(|id| order.contains(id));
        let (taken, fetched) = thread::scope(|scope| {
            let fetching = (!absent.is_empty()).then(|| {
                scope.spawn(|| {
                    let request = FetchRequest {
                        wants: absent,
                        ..FetchRequest::default()
                    };
                    self.progress.start(Step::ReceiveTip, None);
                    let on_bytes = |bytes| self.progress.advance(Step::ReceiveTip, bytes);
                    let fetched = self.fetch(session, &request, b"", &on_bytes, None);
                    self.progress.finish(Step::ReceiveTip);
                    fetched
                })
            });
            let taken = take(&order, here);
            let join = |fetching: thread::ScopedJoinHandle<'_, _>| {
                fetching
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (taken, fetching.map(join).transpose())
        });
        taken?;
        if let Some(fetched) = fetched? {
            transferred.objects += fetched.pack.objects;
            transferred.tip_bytes += fetched.pack.bytes;
        }
        self.finish_worktree(writer, &meter, transferred)
            .map_err(no_clone)
    }
}

/// Objects that are missing or wrong are the seed's fault; the rest is not.
fn no_clone(error: CloneError) -> NoClone {
    let CloneError::Worktree { source } = &error else {
        return NoClone::Failed(error);
    };
    match source.downcast_ref() {
        Some(WorktreeError::ReadObject { source, .. }) if answer_of_system(&**source).is_some() => {
            NoClone::Gone(chain(&error))
        }
        Some(
            WorktreeError::CorruptObject { .. }
            | WorktreeError::MissingObject { .. }
            | WorktreeError::ReadObject { .. },
        ) => NoClone::Refused(chain(&**source)),
        _ => NoClone::Failed(error),
    }
}
