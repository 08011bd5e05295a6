//! Objects fetched by their names, many at a time: what a partial clone lacks.

use std::{collections::HashSet, num::NonZeroUsize, sync::atomic::AtomicBool};

use bstr::BStr;
use gix::ObjectId;

use crate::{
    local::{FetchJob, LocalError, LocalObjects, LocalRepository},
    progress::{Progress, Step},
    remote::{FetchRequest, Session},
};

/// What fetches in bulk brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Packs asked for.
    pub(crate) batches: u64,
}

/// Fetches objects by name from one remote, over one connection where the protocol lets it.
pub(crate) struct BulkFetch<'a> {
    repository: &'a LocalRepository<'a>,
    session: Session<'a>,
    shown_url: String,
    batch_objects: NonZeroUsize,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
    pub(crate) fetched: Fetched,
}

impl<'a> BulkFetch<'a> {
    /// Prepares to fetch at most `batch_objects` at once. Goes on with the conversation that `session` has, or begins one when
    /// there is something to fetch.
    pub(crate) fn new(
        repository: &'a LocalRepository<'a>,
        name: &BStr,
        session: Session<'a>,
        batch_objects: NonZeroUsize,
        progress: &'a dyn Progress,
        interrupt: &'a AtomicBool,
    ) -> Self {
        BulkFetch {
            repository,
            session,
            shown_url: repository.shown_url(name),
            batch_objects,
            progress,
            interrupt,
            fetched: Fetched::default(),
        }
    }

    /// Fetches blobs; those next to each other in `ids` come in the same pack.
    pub(crate) fn blobs(&mut self, ids: &[ObjectId]) -> Result<(), LocalError> {
        self.fetch(ids, None)
    }

    /// Fetches trees without what is in them.
    pub(crate) fn trees(&mut self, ids: &[ObjectId]) -> Result<(), LocalError> {
        self.fetch(ids, Some("tree:0"))
    }

    fn fetch(&mut self, ids: &[ObjectId], filter: Option<&str>) -> Result<(), LocalError> {
        for batch in ids.chunks(self.batch_objects.get()) {
            let can_filter = self.session.conversation()?.can_filter();
            let request = FetchRequest {
                wants: batch.to_vec(),
                filter: filter.filter(|_| can_filter),
                ..FetchRequest::default()
            };
            let job = FetchJob {
                progress: self.progress,
                on_bytes: &|bytes| self.progress.advance(Step::ReceiveMissing, bytes),
                interrupt: self.interrupt,
            };
            let fetched = self.session.hold(|conversation| {
                self.repository
                    .fetch(conversation, &self.shown_url, &request, Some(b""), &job)
            })?;
            self.session.pause_if_over();
            self.fetched.objects += fetched.pack.objects;
            self.fetched.bytes += fetched.pack.bytes;
            self.fetched.batches += 1;
        }
        Ok(())
    }

    /// Fails unless everything asked for is here now.
    pub(crate) fn check(&self, ids: &[ObjectId], objects: &LocalObjects) -> Result<(), LocalError> {
        match ids.iter().find(|id| !objects.contains(id)) {
            None => Ok(()),
            Some(lost) => Err(LocalError::CorruptPack {
                url: self.shown_url.clone(),
                source: format!("{lost} is not in it, which was asked for").into(),
            }),
        }
    }
}

/// A set that many threads add to.
pub(crate) struct SharedSet {
    shards: Vec<parking_lot::Mutex<HashSet<ObjectId>>>,
}

impl SharedSet {
    const SHARDS: usize = 64;

    pub(crate) fn new() -> Self {
        SharedSet {
            shards: (0..Self::SHARDS).map(|_| Default::default()).collect(),
        }
    }

    /// True when it was not in there before.
    pub(crate) fn insert(&self, id: ObjectId) -> bool {
        let shard = usize::from(id.first_byte()) % Self::SHARDS;
        self.shards[shard].lock().insert(id)
    }
}
