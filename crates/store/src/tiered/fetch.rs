//! Content on its way from the remote to the local store.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{TierWarning, TieredStore, remote::Remote};
use crate::{ByteStream, ContentId, ContentReader, StoreError};

/// The pauses before the second and later requests for content that breaks off or falls silent. Each of them asks for what is
/// not here yet; the count starts over when [`PROGRESS_BYTES`] came.
const PAUSES: [Duration; 2] = match cfg!(test) {
    true => [Duration::from_millis(1); 2],
    false => [Duration::from_millis(100), Duration::from_millis(1000)],
};
/// What a request must bring for the one after it to be the first again: a remote that gives up after every few bytes is not
/// asked for ever.
const PROGRESS_BYTES: u64 = 64 << 10;
/// The longest time in which no byte comes: a request that stalls is better asked again than waited for.
const STALL: Duration = Duration::from_secs(10);
/// The longest time until an answer begins; some of it may be a pause that the remote asked for.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// What became of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It is in the local store.
    Kept,
    /// The remote seems to have it, the local store takes nothing: read-only, full.
    CannotKeep,
    /// The remote does not have it, or not in a usable state.
    No,
}

/// Content that is coming, and what it takes to ask for the rest of it.
struct Coming {
    remote: Arc<Remote>,
    id: ContentId,
    total_bytes: u64,
    /// What is still to come.
    rest: Range<u64>,
    stream: ByteStream,
    /// Bytes that came since the last pause.
    came: u64,
    /// Pauses used up since there was progress.
    pauses: usize,
}

impl TieredStore {
    /// Brings content to the local store, which verifies it. Of several callers one fetches and the others wait. Says how many
    /// bytes this call brought.
    pub(super) async fn fetch(&self, id: ContentId) -> (Fetched, u64) {
        let flight = Arc::clone(self.flights.lock().entry(id).or_default());
        let fetched = {
            let _turn = flight.lock().await;
            match self.local.find_missing(&[id]).await {
                Ok(missing) if missing.is_empty() => (Fetched::Kept, 0),
                _ => self.fetch_now(id).await,
            }
        };
        self.flights.lock().remove(&id);
        fetched
    }

    async fn fetch_now(&self, id: ContentId) -> (Fetched, u64) {
        // Asked for once only: then nothing more is kept.
        if self.remote.is_not_kept() {
            return (Fetched::CannotKeep, 0);
        }
        if self.remote.is_left() {
            return (Fetched::No, 0);
        }
        let reader = match self.open_remote(id, None).await {
            Ok(reader) => reader,
            Err(error) => {
                self.remote.note_read(error);
                return (Fetched::No, 0);
            }
        };
        let total_bytes = reader.total_bytes;
        match self.local.write(id, total_bytes, reader.stream).await {
            Ok(_) => {
                self.counters.remote_content.fetch_add(1, Ordering::Relaxed);
                self.fetched.lock().insert(id);
                (Fetched::Kept, total_bytes)
            }
            Err(error @ (StoreError::Io(_) | StoreError::Refused { .. })) => {
                self.remote.warn(TierWarning::NotKept(error));
                (Fetched::CannotKeep, 0)
            }
            Err(error) => {
                self.remote.note_read(error);
                (Fetched::No, 0)
            }
        }
    }

    /// Opens content of the remote; the stream goes on where it breaks off.
    pub(super) async fn open_remote(
        &self,
        id: ContentId,
        range: Option<Range<u64>>,
    ) -> Result<ContentReader, StoreError> {
        let coming = Coming::begin(&self.remote, id, range).await?;
        Ok(self.count_remote(coming.into_reader()))
    }

    fn count_remote(&self, reader: ContentReader) -> ContentReader {
        let bytes = Arc::clone(&self.counters.remote_bytes);
        let stream = reader.stream.inspect_ok(move |chunk| {
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        ContentReader {
            stream: stream.boxed(),
            ..reader
        }
    }
}

impl Coming {
    /// Asks for all of it, or for a range.
    async fn begin(
        remote: &Arc<Remote>,
        id: ContentId,
        range: Option<Range<u64>>,
    ) -> Result<Self, StoreError> {
        let mut pauses = 0;
        loop {
            let error = match open(remote, id, range.clone()).await {
                Ok(reader) => {
                    return Ok(Coming {
                        remote: Arc::clone(remote),
                        id,
                        total_bytes: reader.total_bytes,
                        rest: reader.range,
                        stream: reader.stream,
                        came: 0,
                        pauses,
                    });
                }
                Err(error) => error,
            };
            pause(remote, &mut pauses, error).await?;
        }
    }

    /// The stream of it, which goes on where it broke off.
    fn into_reader(self) -> ContentReader {
        let (total_bytes, range) = (self.total_bytes, self.rest.clone());
        let stream = stream::unfold(Some(self), |coming| async move {
            let mut coming = coming?;
            match coming.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(coming))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        ContentReader {
            total_bytes,
            range,
            stream: stream.boxed(),
        }
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, StoreError> {
        loop {
            let error = match tokio::time::timeout(STALL, self.stream.try_next()).await {
                Ok(Ok(Some(chunk))) => {
                    self.rest.start += chunk.len() as u64;
                    self.came += chunk.len() as u64;
                    if self.came >= PROGRESS_BYTES {
                        self.pauses = 0;
                    }
                    return Ok(Some(chunk));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => error,
                Err(_) => stalled(&self.remote, STALL),
            };
            if self.rest.is_empty() {
                return Err(error);
            }
            self.came = 0;
            pause(&self.remote, &mut self.pauses, error).await?;
            match open(&self.remote, self.id, Some(self.rest.clone())).await {
                Ok(reader) if reader.total_bytes == self.total_bytes => self.stream = reader.stream,
                Ok(_) => {
                    return Err(StoreError::Corrupt {
                        what: self.id.to_string(),
                        store: self.remote.location(),
                        reason: "it changed its size while it was read".to_owned(),
                    });
                }
                // The next turn pauses, or gives up.
                Err(error) => self.stream = stream::once(async { Err(error) }).boxed(),
            }
        }
    }
}

async fn open(
    remote: &Remote,
    id: ContentId,
    range: Option<Range<u64>>,
) -> Result<ContentReader, StoreError> {
    let asked = remote.ask_once(|store| async move { store.open(id, range).await });
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(stalled(remote, ANSWER)),
    }
}

/// Waits before another try, or passes the error on when there is none.
async fn pause(remote: &Remote, pauses: &mut usize, error: StoreError) -> Result<(), StoreError> {
    let Some(pause) = PAUSES.get(*pauses) else {
        return Err(error);
    };
    // Others may have given up already.
    if !error.is_retryable() || remote.is_left() {
        return Err(error);
    }
    *pauses += 1;
    tokio::time::sleep(*pause).await;
    Ok(())
}

pub(super) fn stalled(remote: &Remote, time: Duration) -> StoreError {
    StoreError::Unavailable {
        store: remote.location(),
        source: format!("nothing came for {} seconds", time.as_secs()).into(),
    }
}
