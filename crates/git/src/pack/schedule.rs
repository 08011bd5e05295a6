//! Which entries can be resolved now, and which wait for what. No I/O, no threads: one lock holds a [`Schedule`].
//!
//! An entry is queued when all it needs is known. A delta whose base is not resolved waits at its base; resolving the
//! base queues it. A delta *stalls* when it cannot be resolved soon: its base is an object not seen yet, or has to be
//! read back from a part of the file not yet written. What stalls, and everything based on it, gives up its data and is
//! read back when the stream is over. So whatever holds data only waits for workers, never for the reader, who may
//! therefore wait until less is held.

use std::collections::{HashMap, VecDeque};

use gix::{ObjectId, objs::Kind};

use super::budget::TASK_OVERHEAD_BYTES;

/// One entry of the pack.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where it starts in the pack.
    pub(super) offset: u64,
    /// CRC-32 of its bytes in the pack.
    pub(super) crc: u32,
    /// Index of the entry it is a delta of, [`NO_BASE`] when none or not known yet.
    base: u32,
    /// The object it holds; zeroes until it is resolved.
    pub(super) id: ObjectId,
    progress: Progress,
}

/// A pack has at most `u32::MAX` entries, so the last index is one less.
const NO_BASE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Queued, being resolved, or waiting for a base that is.
    Pending,
    /// Holds no data and waits for the end of the stream, or for what does.
    Stalled,
    Resolved(Kind),
}

impl Entry {
    /// The entry this one is a delta of.
    pub(super) fn base(&self) -> Option<u32> {
        (self.base != NO_BASE).then_some(self.base)
    }

    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.progress, Progress::Resolved(_))
    }
}

/// An entry as the reader hands it over.
pub(super) struct Arrival {
    pub(super) offset: u64,
    pub(super) crc: u32,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// The inflated object.
    Whole(Kind, Vec<u8>),
    /// Hashed by the reader, because it is too large to hold.
    Hashed(Kind, ObjectId),
    /// Instructions to apply to the entry of that index, which comes earlier.
    Delta { base: u32, instructions: Vec<u8> },
    /// Instructions to apply to the object of that id, wherever it is.
    DeltaOfId { base: ObjectId, instructions: Vec<u8> },
}

impl Content {
    /// About what the entry adds to [`Schedule::held_bytes`].
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Content::Whole(_, data)
            | Content::Delta {
                instructions: data, ..
            }
            | Content::DeltaOfId {
                instructions: data, ..
            } => held_bytes(Some(data)),
            Content::Hashed(..) => 0,
        }
    }
}

/// Something a worker can do now.
pub(super) struct Task {
    pub(super) index: u32,
    pub(super) work: Work,
}

pub(super) enum Work {
    Hash(Kind, Vec<u8>),
    /// Instructions are read back from the file when absent.
    Apply {
        base: u32,
        kind: Kind,
        instructions: Option<Vec<u8>>,
    },
}

impl Work {
    /// What the task adds to [`Schedule::held_bytes`] until it is settled.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Work::Hash(_, data) => held_bytes(Some(data)),
            Work::Apply { instructions, .. } => held_bytes(instructions.as_ref()),
        }
    }
}

fn held_bytes(data: Option<&Vec<u8>>) -> usize {
    data.map_or(0, |data| data.capacity() + TASK_OVERHEAD_BYTES)
}

/// What became of a task.
pub(super) enum Outcome {
    Resolved(Kind, ObjectId),
    Stalled,
}

/// A delta that waits for its base, with its instructions unless it is stalled.
type Waiting = (u32, Option<Vec<u8>>);

#[derive(Default)]
pub(super) struct Schedule {
    pub(super) entries: Vec<Entry>,
    /// Arrived with all they need, oldest first: trees come before the blobs they name, and should be seen first.
    arrived: VecDeque<Task>,
    /// Deltas of what was just resolved, taken first and newest first: their base is still in the cache.
    unblocked: Vec<Task>,
    /// Tasks queued or in the hands of workers.
    unfinished: usize,
    /// Deltas by the entry they wait for.
    waiting: HashMap<u32, Vec<Waiting>>,
    /// Deltas by the object they wait for, which no entry resolved to yet. All stalled.
    waiting_for_id: HashMap<ObjectId, Vec<u32>>,
    /// Resolved entries by id; kept from the first delta of an id on, since most packs have none.
    by_id: Option<HashMap<ObjectId, u32>>,
    /// Stalled though their base is resolved: to be queued when the stream is over.
    stalled: Vec<u32>,
    held_bytes: usize,
    stream_is_over: bool,
}

impl Schedule {
    /// Bytes held by tasks and waiting deltas.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// True when everything that can be resolved is.
    pub(super) fn is_idle(&self) -> bool {
        self.unfinished == 0
    }

    /// Adds the next entry of the pack.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            offset: arrival.offset,
            crc: arrival.crc,
            base: NO_BASE,
            id: ObjectId::null(gix::hash::Kind::Sha1),
            progress: Progress::Pending,
        });
        match arrival.content {
            Content::Whole(kind, data) => {
                self.held_bytes += held_bytes(Some(&data));
                self.unfinished += 1;
                self.arrived.push_back(Task {
                    index,
                    work: Work::Hash(kind, data),
                });
            }
            Content::Hashed(kind, id) => self.resolved(index, kind, id),
            Content::Delta { base, instructions } => self.attach(index, base, instructions),
            Content::DeltaOfId { base, instructions } => {
                let by_id = self.by_id.get_or_insert_with(|| {
                    let resolved = self.entries.iter().zip(0..);
                    resolved
                        .filter(|(entry, _)| entry.is_resolved())
                        .map(|(entry, index)| (entry.id, index))
                        .collect()
                });
                match by_id.get(&base) {
                    Some(&base) => self.attach(index, base, instructions),
                    None => {
                        self.entries[index as usize].progress = Progress::Stalled;
                        self.waiting_for_id.entry(base).or_default().push(index);
                    }
                }
            }
        }
    }

    fn attach(&mut self, index: u32, base: u32, instructions: Vec<u8>) {
        self.entries[index as usize].base = base;
        match self.entries[base as usize].progress {
            Progress::Resolved(kind) => {
                let instructions = Some(instructions);
                self.held_bytes += held_bytes(instructions.as_ref());
                self.unfinished += 1;
                self.arrived.push_back(Task {
                    index,
                    work: Work::Apply {
                        base,
                        kind,
                        instructions,
                    },
                });
            }
            Progress::Pending => {
                let instructions = Some(instructions);
                self.held_bytes += held_bytes(instructions.as_ref());
                self.waiting.entry(base).or_default().push((index, instructions));
            }
            Progress::Stalled => {
                self.entries[index as usize].progress = Progress::Stalled;
                self.waiting.entry(base).or_default().push((index, None));
            }
        }
    }

    /// Moves up to `count` tasks to `tasks`.
    pub(super) fn take(&mut self, count: usize, tasks: &mut Vec<Task>) {
        while tasks.len() < count
            && let Some(task) = self.unblocked.pop().or_else(|| self.arrived.pop_front())
        {
            tasks.push(task);
        }
    }

    /// Records what became of a task that held `held_bytes`.
    pub(super) fn settle(&mut self, index: u32, held_bytes: usize, outcome: &Outcome) {
        self.held_bytes -= held_bytes;
        self.unfinished -= 1;
        match *outcome {
            Outcome::Resolved(kind, id) => self.resolved(index, kind, id),
            Outcome::Stalled if self.stream_is_over => self.unblock_stalled(index),
            Outcome::Stalled => {
                self.stalled.push(index);
                self.stall(index);
            }
        }
    }

    /// Says that all entries have arrived and are in the file; queues what stalled because they were not.
    pub(super) fn end_stream(&mut self) {
        self.stream_is_over = true;
        for index in std::mem::take(&mut self.stalled) {
            self.unblock_stalled(index);
        }
    }

    pub(super) fn stream_is_over(&self) -> bool {
        self.stream_is_over
    }

    fn unblock_stalled(&mut self, index: u32) {
        let base = self.entries[index as usize].base;
        if let Progress::Resolved(kind) = self.entries[base as usize].progress {
            self.unblock(index, base, kind, None);
        }
    }

    fn resolved(&mut self, index: u32, kind: Kind, id: ObjectId) {
        let entry = &mut self.entries[index as usize];
        entry.id = id;
        entry.progress = Progress::Resolved(kind);
        for (waiting, instructions) in self.waiting.remove(&index).unwrap_or_default() {
            self.unblock(waiting, index, kind, instructions);
        }
        if let Some(by_id) = &mut self.by_id {
            by_id.entry(id).or_insert(index);
            for waiting in self.waiting_for_id.remove(&id).unwrap_or_default() {
                self.unblock(waiting, index, kind, None);
            }
        }
    }

    fn unblock(&mut self, index: u32, base: u32, kind: Kind, instructions: Option<Vec<u8>>) {
        let entry = &mut self.entries[index as usize];
        entry.base = base;
        entry.progress = Progress::Pending;
        self.unfinished += 1;
        self.unblocked.push(Task {
            index,
            work: Work::Apply {
                base,
                kind,
                instructions,
            },
        });
    }

    /// Marks `index` and all that waits for it as stalled and lets go of their data.
    fn stall(&mut self, index: u32) {
        let mut stalled = vec![index];
        while let Some(index) = stalled.pop() {
            self.entries[index as usize].progress = Progress::Stalled;
            for (waiting, instructions) in self.waiting.get_mut(&index).into_iter().flatten() {
                self.held_bytes -= held_bytes(instructions.take().as_ref());
                stalled.push(*waiting);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::Sha1([byte; 20])
    }

    fn arrive(schedule: &mut Schedule, content: Content) {
        let offset = schedule.entries.len() as u64;
        schedule.arrive(Arrival {
            offset,
            crc: 0,
            content,
        });
    }

    fn take_all(schedule: &mut Schedule) -> Vec<(u32, usize, bool)> {
        let mut tasks = Vec::new();
        schedule.take(usize::MAX, &mut tasks);
        tasks
            .iter()
            .map(|task| {
                let read_back = matches!(
                    task.work,
                    Work::Apply {
                        instructions: None,
                        ..
                    }
                );
                (task.index, task.work.held_bytes(), read_back)
            })
            .collect()
    }

    fn whole() -> Content {
        Content::Whole(Kind::Blob, vec![1; 10])
    }

    fn delta(base: u32) -> Content {
        Content::Delta {
            base,
            instructions: vec![2; 10],
        }
    }

    fn delta_of_id(base: u8) -> Content {
        Content::DeltaOfId {
            base: id(base),
            instructions: vec![3; 10],
        }
    }

    #[test]
    fn a_delta_is_queued_when_its_base_is_resolved() {
        let mut schedule = Schedule::default();
        arrive(&mut schedule, whole());
        arrive(&mut schedule, delta(0));
        let [(0, held, false)] = take_all(&mut schedule)[..] else {
            panic!("only the base can be done")
        };
        schedule.settle(0, held, &Outcome::Resolved(Kind::Blob, id(1)));
        arrive(&mut schedule, delta(0));
        let both = take_all(&mut schedule);
        assert_eq!(both.iter().map(|task| task.0).collect::<Vec<_>>(), [1, 2]);
        for (index, held, _) in both {
            schedule.settle(index, held, &Outcome::Resolved(Kind::Blob, id(2)));
        }
        assert!(schedule.is_idle());
        assert_eq!(schedule.held_bytes(), 0);
    }

    #[test]
    fn what_waits_for_a_stalled_delta_holds_nothing() {
        let mut schedule = Schedule::default();
        arrive(&mut schedule, whole());
        arrive(&mut schedule, delta(0));
        arrive(&mut schedule, delta(1));
        arrive(&mut schedule, delta(2));
        let (_, held, _) = take_all(&mut schedule)[0];
        schedule.settle(0, held, &Outcome::Resolved(Kind::Blob, id(1)));
        let (index, held, _) = take_all(&mut schedule)[0];
        schedule.settle(index, held, &Outcome::Stalled);
        arrive(&mut schedule, delta(3));
        assert_eq!(schedule.held_bytes(), 0);
        assert!(schedule.is_idle());

        let (task, held, _) = {
            // A worker that found the file too short just before the end says so just after it.
            schedule.end_stream();
            take_all(&mut schedule)[0]
        };
        schedule.settle(task, held, &Outcome::Stalled);
        for expected in 1..=4 {
            assert_eq!(take_all(&mut schedule), [(expected, 0, true)]);
            schedule.settle(expected, 0, &Outcome::Resolved(Kind::Blob, id(expected as u8)));
        }
        assert!(schedule.entries.iter().all(Entry::is_resolved));
    }

    #[test]
    fn deltas_of_ids_find_bases_before_and_after_them() {
        let mut schedule = Schedule::default();
        arrive(&mut schedule, whole());
        let (_, held, _) = take_all(&mut schedule)[0];
        schedule.settle(0, held, &Outcome::Resolved(Kind::Blob, id(1)));
        arrive(&mut schedule, delta_of_id(1));
        arrive(&mut schedule, delta_of_id(9));
        arrive(&mut schedule, delta_of_id(7));
        let before = take_all(&mut schedule);
        assert_eq!((before.len(), before[0].0), (1, 1));
        schedule.settle(1, before[0].1, &Outcome::Resolved(Kind::Blob, id(9)));
        assert_eq!(take_all(&mut schedule), [(2, 0, true)]);
        schedule.settle(2, 0, &Outcome::Resolved(Kind::Blob, id(3)));
        schedule.end_stream();
        assert!(schedule.is_idle());
        assert!(!schedule.entries[3].is_resolved(), "its base never came");
    }
}
