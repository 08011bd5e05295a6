//! Content on its way from the remote to the local store.

use std::sync::{Arc, atomic::Ordering};

use futures::{StreamExt as _, TryStreamExt as _};

use super::{TierWarning, TieredStore};
use crate::{ContentId, ContentReader, StoreError};

/// Tries for content whose body breaks off.
const TRIES: usize = 3;

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

impl TieredStore {
    /// Brings content to the local store, which verifies it. Of several callers one fetches and the others wait.
    pub(super) async fn fetch(&self, id: ContentId) -> Fetched {
        let flight = Arc::clone(self.flights.lock().entry(id).or_default());
        let fetched = {
            let _turn = flight.lock().await;
            match self.local.find_missing(&[id]).await {
                Ok(missing) if missing.is_empty() => Fetched::Kept,
                _ => self.fetch_now(id).await,
            }
        };
        self.flights.lock().remove(&id);
        fetched
    }

    async fn fetch_now(&self, id: ContentId) -> Fetched {
        for tries_left in (0..TRIES).rev() {
            let reader = self
                .remote
                .ask(|remote| async move { remote.open(id, None).await })
                .await;
            let Some(reader) = reader else {
                return Fetched::No;
            };
            let reader = self.count_remote(reader);
            match self.local.write(id, reader.total_bytes, reader.stream).await {
                Ok(_) => {
                    self.counters.remote_content.fetch_add(1, Ordering::Relaxed);
                    self.fetched.lock().insert(id);
                    return Fetched::Kept;
                }
                Err(error) if error.is_retryable() && tries_left > 0 => {}
                Err(error @ (StoreError::Io(_) | StoreError::Refused { .. })) => {
                    self.remote.warn(TierWarning::NotKept(error));
                    return Fetched::CannotKeep;
                }
                Err(error) => {
                    self.remote.note_read(error);
                    return Fetched::No;
                }
            }
        }
        Fetched::No
    }

    pub(super) fn count_remote(&self, reader: ContentReader) -> ContentReader {
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
