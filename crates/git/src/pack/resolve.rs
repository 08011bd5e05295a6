//! Workers that turn entries into objects while the pack arrives, and the place where the reader hands them over.
//!
//! Lock order: the schedule, then the cache of bases. Neither is held while inflating, hashing or in the sink.

use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};

use super::{
    ObjectData, ObjectSink, PackError,
    base_cache::BaseCache,
    budget::Budget,
    delta::{self, DeltaError},
    entry::Inflater,
    read_back::read_back,
    schedule::{Arrival, Entry, Outcome, Schedule, Task, Work},
};

/// Tasks a worker takes at once: few enough to share the work, enough to make the lock cheap.
const TAKEN_AT_ONCE: usize = 32;

/// The place where entries become objects.
pub(super) struct Resolver<'a> {
    shared: Mutex<Shared>,
    /// Workers wait here for tasks.
    tasks: Condvar,
    /// The reader waits here until less memory is held.
    room: Condvar,
    cache: BaseCache,
    in_flight_bytes: usize,
    file: &'a File,
    path: &'a Path,
    /// How much of the pack is in the file and can be read back.
    written_bytes: AtomicU64,
    sink: Option<&'a dyn ObjectSink>,
    interrupt: &'a AtomicBool,
}

#[derive(Default)]
struct Shared {
    schedule: Schedule,
    /// Everybody should stop; the error, if it is not the reader's, is in `error`.
    failed: bool,
    error: Option<PackError>,
}

/// Says that a worker has failed, and why the reader need not know.
#[derive(Debug)]
pub(super) struct Failed;

impl<'a> Resolver<'a> {
    pub(super) fn new(
        file: &'a File,
        path: &'a Path,
        sink: Option<&'a dyn ObjectSink>,
        interrupt: &'a AtomicBool,
        budget: &Budget,
    ) -> Self {
        Resolver {
            shared: Mutex::default(),
            tasks: Condvar::new(),
            room: Condvar::new(),
            cache: BaseCache::new(budget.base_cache_bytes),
            in_flight_bytes: budget.in_flight_bytes,
            file,
            path,
            written_bytes: AtomicU64::new(0),
            sink,
            interrupt,
        }
    }

    /// Adds entries in pack order. Waits while too much is held; `written_bytes` of the pack are in the file by now.
    pub(super) fn arrive(&self, arrivals: &mut Vec<Arrival>, written_bytes: u64) -> Result<(), Failed> {
        self.written_bytes.store(written_bytes, Ordering::Release);
        let mut shared = self.shared.lock();
        for arrival in arrivals.drain(..) {
            shared.schedule.arrive(arrival);
        }
        self.tasks.notify_one();
        while shared.schedule.held_bytes() > self.in_flight_bytes && !shared.failed {
            self.tasks.notify_all();
            self.room.wait(&mut shared);
        }
        if shared.failed { Err(Failed) } else { Ok(()) }
    }

    /// Says that all entries have arrived and are in the file, of which they take `written_bytes`.
    pub(super) fn end_stream(&self, written_bytes: u64) {
        self.written_bytes.store(written_bytes, Ordering::Release);
        self.shared.lock().schedule.end_stream();
        self.tasks.notify_all();
    }

    /// Makes everybody stop.
    pub(super) fn fail(&self, error: Option<PackError>) {
        let mut shared = self.shared.lock();
        shared.failed = true;
        if shared.error.is_none() {
            shared.error = error;
        }
        self.tasks.notify_all();
        self.room.notify_all();
    }

    /// All entries, resolved, when workers and reader are done.
    pub(super) fn into_entries(self) -> Result<Vec<Entry>, PackError> {
        let shared = self.shared.into_inner();
        if let Some(error) = shared.error {
            return Err(error);
        }
        let entries = shared.schedule.entries;
        match entries.iter().find(|entry| !entry.is_resolved()) {
            Some(entry) => Err(PackError::MissingBase { offset: entry.offset }),
            None => Ok(entries),
        }
    }

    /// Resolves entries until none are left or somebody fails.
    pub(super) fn work(&self) {
        let _stop_others = StopOnPanic(self);
        let mut inflater = Inflater::new();
        let mut tasks = Vec::with_capacity(TAKEN_AT_ONCE);
        let mut settled = Vec::with_capacity(TAKEN_AT_ONCE);
        while self.take(&mut tasks) {
            for task in tasks.drain(..) {
                let (index, held_bytes) = (task.index, task.work.held_bytes());
                match self.resolve(task, &mut inflater) {
                    Ok(outcome) => settled.push((index, held_bytes, outcome)),
                    Err(error) => return self.fail(Some(error)),
                }
            }
            let mut shared = self.shared.lock();
            for (index, held_bytes, outcome) in settled.drain(..) {
                shared.schedule.settle(index, held_bytes, &outcome);
            }
            self.room.notify_one();
        }
    }

    /// Waits for tasks; false when there will be no more.
    fn take(&self, tasks: &mut Vec<Task>) -> bool {
        let mut shared = self.shared.lock();
        loop {
            if shared.failed {
                return false;
            }
            shared.schedule.take(TAKEN_AT_ONCE, tasks);
            if tasks.len() == TAKEN_AT_ONCE {
                // There may be more than this worker can take.
                self.tasks.notify_one();
            }
            if !tasks.is_empty() {
                return true;
            }
            if shared.schedule.stream_is_over() && shared.schedule.is_idle() {
                self.tasks.notify_all();
                return false;
            }
            self.tasks.wait(&mut shared);
        }
    }

    fn resolve(&self, task: Task, inflater: &mut Inflater) -> Result<Outcome, PackError> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(PackError::Interrupted);
        }
        let (kind, data) = match task.work {
            Work::Hash(kind, data) => (kind, data),
            Work::Apply {
                base,
                kind,
                instructions,
            } => {
                let Some(base) = self.base(base, inflater)? else {
                    return Ok(Outcome::Stalled);
                };
                let instructions = match instructions {
                    Some(instructions) => instructions,
                    None => match self.range_on_disk(task.index) {
                        Some(range) => read_back(self.file, self.path, range, inflater)?,
                        None => return Ok(Outcome::Stalled),
                    },
                };
                (kind, self.apply(task.index, &base, &instructions)?)
            }
        };
        let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, &data)
            .map_err(|_| self.corrupt(task.index, "its content is a SHA-1 collision attack"))?;
        let data = Arc::new(data);
        self.cache.insert(task.index, &data);
        if let Some(sink) = self.sink
            && sink.wants(kind)
        {
            sink.object(id, kind, data)?;
        }
        Ok(Outcome::Resolved(kind, id))
    }

    /// The object of a resolved entry: from the cache, or rebuilt from the file, or `None` when the file lacks it yet.
    fn base(&self, index: u32, inflater: &mut Inflater) -> Result<Option<ObjectData>, PackError> {
        if let Some(data) = self.cache.get(index) {
            return Ok(Some(data));
        }
        let mut chain = Vec::new();
        let mut at = index;
        let mut data = loop {
            let Some(range) = self.range_on_disk(at) else {
                return Ok(None);
            };
            let base = self.shared.lock().schedule.entries[at as usize].base();
            chain.push((at, range));
            let Some(base) = base else { break None };
            if let Some(data) = self.cache.get(base) {
                break Some(data);
            }
            at = base;
        };
        while let Some((at, range)) = chain.pop() {
            let inflated = read_back(self.file, self.path, range, inflater)?;
            let object = match data {
                Some(base) => self.apply(at, &base, &inflated)?,
                None => inflated,
            };
            let object = Arc::new(object);
            self.cache.insert(at, &object);
            data = Some(object);
        }
        Ok(data)
    }

    fn apply(&self, index: u32, base: &[u8], instructions: &[u8]) -> Result<Vec<u8>, PackError> {
        delta::apply(base, instructions).map_err(|error| match error {
            DeltaError::Corrupt(what) => self.corrupt(index, what),
            DeltaError::TooLarge { size_bytes } => PackError::TooLarge {
                offset: self.offset(index),
                size_bytes,
            },
        })
    }

    /// Where the bytes of an entry are, if all of them are in the file.
    fn range_on_disk(&self, index: u32) -> Option<Range<u64>> {
        let written = self.written_bytes.load(Ordering::Acquire);
        let shared = self.shared.lock();
        let entries = &shared.schedule.entries;
        let end = match entries.get(index as usize + 1) {
            Some(next) => next.offset,
            None if shared.schedule.stream_is_over() => written,
            None => return None,
        };
        (end <= written).then(|| entries[index as usize].offset..end)
    }

    fn offset(&self, index: u32) -> u64 {
        self.shared.lock().schedule.entries[index as usize].offset
    }

    fn corrupt(&self, index: u32, what: &'static str) -> PackError {
        PackError::Corrupt {
            offset: self.offset(index),
            what,
        }
    }
}

/// A worker or reader that panics must not leave the others waiting for it.
pub(super) struct StopOnPanic<'a, 'r>(pub(super) &'a Resolver<'r>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(None);
        }
    }
}
