//! The merge base, and whether it is known for certain.
//!
//! The walk is git's own (`paint_down_to_common`): newest commits first, until all that is left to visit is known to be
//! older than a common ancestor. In a shallow clone it also meets commits whose parents are missing. What is behind such a commit
//! can only matter if the commit is an ancestor of one side and not of the other:
//! - behind one that both sides reach, everything is an ancestor of a common ancestor, thus not the best;
//! - behind one that a single side reaches may be a better common ancestor, or a path to one that is here.
//!
//! So the answer is certain when no such one-sided end was met, or when one side is an ancestor of the other. The same holds for
//! the question which of several candidates are ancestors of one another.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
};

use gix::ObjectId;

use super::{ChangesError, objects::Commit};

/// Where commits are looked up.
pub(super) trait Commits {
    /// `None` where it is not here.
    fn commit(&self, id: ObjectId) -> Result<Option<Commit>, ChangesError>;
}

impl Commits for super::Objects {
    fn commit(&self, id: ObjectId) -> Result<Option<Commit>, ChangesError> {
        super::Objects::commit(self, id)
    }
}

/// What a walk has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The newest of the best common ancestors, as far as is known.
    pub(super) newest: Option<ObjectId>,
    /// Commits whose parents are missing and could change the answer; certain without any.
    pub(super) open_ends: BTreeSet<ObjectId>,
}

/// Commits seen so far, and where history ends.
#[derive(Debug, Default)]
pub(super) struct Walk {
    commits: HashMap<ObjectId, Commit>,
    boundary: HashSet<ObjectId>,
}

const BASE: u8 = 1;
const HEAD: u8 = 2;
const BOTH: u8 = BASE | HEAD;
/// Behind a common ancestor.
const STALE: u8 = 4;

#[derive(Debug, Default)]
struct Painted {
    /// Common ancestors that are behind no other, as far as was walked.
    common: Vec<ObjectId>,
    /// Ends that only one side reaches.
    open_ends: BTreeSet<ObjectId>,
}

impl Walk {
    pub(super) fn new(boundary: Vec<ObjectId>) -> Self {
        Walk {
            commits: HashMap::new(),
            boundary: boundary.into_iter().collect(),
        }
    }

    /// The commits whose parents are missing: those that are said to be, and those found to be by a walk.
    pub(super) fn boundary(&self) -> &HashSet<ObjectId> {
        &self.boundary
    }

    /// After more was fetched.
    pub(super) fn set_boundary(&mut self, boundary: Vec<ObjectId>) {
        self.boundary = boundary.into_iter().collect();
    }

    /// Both commits must be here.
    pub(super) fn best_common_ancestors(
        &mut self,
        commits: &impl Commits,
        base: ObjectId,
        head: ObjectId,
    ) -> Result<Found, ChangesError> {
        let painted = self.paint(commits, base, head)?;
        if let Some(side) = [base, head]
            .into_iter()
            .find(|side| painted.common.contains(side))
        {
            return Ok(Found {
                newest: Some(side),
                open_ends: BTreeSet::new(),
            });
        }
        let mut open_ends = painted.open_ends;
        let mut best = Vec::new();
        for &candidate in &painted.common {
            let mut is_ancestor = false;
            for &other in painted.common.iter().filter(|other| **other != candidate) {
                let pair = self.paint(commits, candidate, other)?;
                is_ancestor |= pair.common.contains(&candidate);
                if !pair.common.iter().any(|id| *id == candidate || *id == other) {
                    open_ends.extend(pair.open_ends);
                }
            }
            if !is_ancestor {
                best.push(candidate);
            }
        }
        best.sort_by_key(|id| (Reverse(self.commits[id].time), *id));
        Ok(Found {
            newest: best.first().copied(),
            open_ends,
        })
    }

    /// The ends of the history of `tip`, which must be here.
    pub(super) fn ends(
        &mut self,
        commits: &impl Commits,
        tip: ObjectId,
    ) -> Result<BTreeSet<ObjectId>, ChangesError> {
        let mut ends = BTreeSet::new();
        let mut seen = HashSet::from([tip]);
        let mut next = vec![tip];
        self.load(commits, tip)?;
        while let Some(id) = next.pop() {
            match self.parents(commits, id)? {
                None => {
                    ends.insert(id);
                }
                Some(parents) => next.extend(parents.into_iter().filter(|parent| seen.insert(*parent))),
            }
        }
        Ok(ends)
    }

    /// The commit `steps` away from `start`, each a number of the parent to go to, from 1.
    pub(super) fn follow(
        &mut self,
        commits: &impl Commits,
        start: ObjectId,
        steps: &[usize],
    ) -> Result<Followed, ChangesError> {
        let mut at = start;
        for &step in steps {
            self.load(commits, at)?;
            let Some(parents) = self.parents(commits, at)? else {
                return Ok(Followed::EndOfKnown(at));
            };
            match parents.get(step - 1) {
                Some(parent) => at = *parent,
                None => return Ok(Followed::NoSuchParent),
            }
        }
        Ok(Followed::To(at))
    }

    fn paint(
        &mut self,
        commits: &impl Commits,
        base: ObjectId,
        head: ObjectId,
    ) -> Result<Painted, ChangesError> {
        let mut flags: HashMap<ObjectId, u8> = HashMap::new();
        let mut queue = Queue::default();
        for (tip, flag) in [(base, BASE), (head, HEAD)] {
            *flags.entry(tip).or_default() |= flag;
            self.load(commits, tip)?;
            queue.push(tip, self.commits[&tip].time, flags[&tip]);
        }
        let mut common = Vec::new();
        let mut open_ends = BTreeSet::new();
        // Being behind a common ancestor spreads last: an end that looks one-sided may turn out to be reached by both.
        while !queue.is_settled() || !open_ends.is_empty() {
            let Some(id) = queue.pop(&flags) else { break };
            let mut passed_on = flags[&id];
            if passed_on == BOTH {
                if !common.contains(&id) {
                    common.push(id);
                }
                passed_on |= STALE;
            }
            let Some(parents) = self.parents(commits, id)? else {
                match passed_on & BOTH == BOTH {
                    true => open_ends.remove(&id),
                    false => open_ends.insert(id),
                };
                continue;
            };
            for parent in parents {
                let before = flags.get(&parent).copied().unwrap_or_default();
                if before & passed_on == passed_on {
                    continue;
                }
                flags.insert(parent, before | passed_on);
                queue.repaint(parent, self.commits[&parent].time, before, before | passed_on);
            }
        }
        common.retain(|id| flags[id] & STALE == 0);
        Ok(Painted { common, open_ends })
    }

    /// The parents of a commit, all of them loaded; `None` where history ends.
    fn parents(
        &mut self,
        commits: &impl Commits,
        id: ObjectId,
    ) -> Result<Option<Vec<ObjectId>>, ChangesError> {
        if self.boundary.contains(&id) {
            return Ok(None);
        }
        let parents = self.commits[&id].parents.clone();
        for parent in &parents {
            if !self.load(commits, *parent)? {
                // A fetch that was killed leaves commits whose parents never came.
                self.boundary.insert(id);
                return Ok(None);
            }
        }
        Ok(Some(parents))
    }

    fn load(&mut self, commits: &impl Commits, id: ObjectId) -> Result<bool, ChangesError> {
        if self.commits.contains_key(&id) {
            return Ok(true);
        }
        let Some(commit) = commits.commit(id)? else {
            return Ok(false);
        };
        self.commits.insert(id, commit);
        Ok(true)
    }
}

/// Where a walk along parents has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    To(ObjectId),
    /// A commit on the way has fewer parents.
    NoSuchParent,
    /// The parents of this commit on the way are missing.
    EndOfKnown(ObjectId),
}

/// Commits to visit, newest first, each once at a time.
#[derive(Debug, Default)]
struct Queue {
    heap: BinaryHeap<(i64, Reverse<ObjectId>)>,
    queued: HashSet<ObjectId>,
    /// Of these, how many are not stale.
    fresh: usize,
}

impl Queue {
    fn push(&mut self, id: ObjectId, time: i64, flags: u8) {
        if self.queued.insert(id) {
            self.heap.push((time, Reverse(id)));
            self.fresh += usize::from(flags & STALE == 0);
        }
    }

    /// Visits a commit (again) whose flags have changed.
    fn repaint(&mut self, id: ObjectId, time: i64, before: u8, after: u8) {
        if self.queued.contains(&id) {
            self.fresh -= usize::from(before & STALE == 0 && after & STALE != 0);
        } else {
            self.push(id, time, after);
        }
    }

    fn pop(&mut self, flags: &HashMap<ObjectId, u8>) -> Option<ObjectId> {
        let (_, Reverse(id)) = self.heap.pop()?;
        self.queued.remove(&id);
        self.fresh -= usize::from(flags[&id] & STALE == 0);
        Some(id)
    }

    /// Whether only commits behind common ancestors are left.
    fn is_settled(&self) -> bool {
        self.fresh == 0
    }
}

#[cfg(test)]
mod tests;
