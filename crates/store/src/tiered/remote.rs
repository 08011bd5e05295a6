//! The remote, and whether it is still asked.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    TierWarning,
    fetch::{ANSWER, stalled},
};
use crate::{Store, StoreError};

type Warn = Box<dyn Fn(TierWarning) + Send + Sync>;

/// A remote that is left alone once it fails.
pub(super) struct Remote {
    store: Arc<dyn Store>,
    warn: Warn,
    is_left: AtomicBool,
    are_uploads_left: AtomicBool,
    is_not_kept_told: AtomicBool,
    is_corrupt_told: AtomicBool,
    requests: AtomicU64,
}

impl Remote {
    pub(super) fn new(store: Arc<dyn Store>, warn: Warn) -> Self {
        Remote {
            store,
            warn,
            is_left: AtomicBool::new(false),
            are_uploads_left: AtomicBool::new(false),
            is_not_kept_told: AtomicBool::new(false),
            is_corrupt_told: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn location(&self) -> String {
        self.store.location()
    }

    pub(super) fn warn(&self, warning: TierWarning) {
        if matches!(warning, TierWarning::NotKept(_)) && self.is_not_kept_told.swap(true, Ordering::Relaxed) {
            return;
        }
        if matches!(warning, TierWarning::RemoteCorrupt(_))
            && self.is_corrupt_told.swap(true, Ordering::Relaxed)
        {
            return;
        }
        (self.warn)(warning);
    }

    /// Asks the remote; `None` when it has nothing to say, fails, or is left alone.
    pub(super) async fn ask<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        if self.is_left.load(Ordering::Relaxed) {
            return None;
        }
        match self.ask_once(work).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note_read(error);
                None
            }
        }
    }

    /// Asks the remote for something small: one that does not answer in time is left alone.
    pub(super) async fn ask_soon<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.ask(|store| async move {
            match tokio::time::timeout(ANSWER, work(store)).await {
                Ok(answer) => answer,
                Err(_) => Err(stalled(self, ANSWER)),
            }
        })
        .await
    }

    /// True when nobody asks it any more.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// True once the local store took something not.
    pub(super) fn is_not_kept(&self) -> bool {
        self.is_not_kept_told.load(Ordering::Relaxed)
    }

    /// How often it was asked.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks the remote, for a caller that judges the error.
    pub(super) async fn ask_once<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.requests.fetch_add(1, Ordering::Relaxed);
        work(Arc::clone(&self.store)).await
    }

    /// Gives the remote something; `None` when it does not take it, or is left alone.
    pub(super) async fn give<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        if self.is_left.load(Ordering::Relaxed) || self.are_uploads_left.load(Ordering::Relaxed) {
            return None;
        }
        match work(Arc::clone(&self.store)).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note_write(error);
                None
            }
        }
    }

    pub(super) fn note_read(&self, error: StoreError) {
        match error {
            StoreError::Missing { .. } | StoreError::Interrupted => {}
            // One piece is bad; the others need not be.
            StoreError::Corrupt { .. } | StoreError::TooLarge { .. } => {
                self.warn(TierWarning::RemoteCorrupt(error));
            }
            _ if self.is_left.swap(true, Ordering::Relaxed) => {}
            _ => self.warn(TierWarning::RemoteLeft(error)),
        }
    }

    fn note_write(&self, error: StoreError) {
        match error {
            StoreError::Interrupted => {}
            StoreError::Unavailable { .. } | StoreError::Unsupported(_) => self.note_read(error),
            // Read-only, or our own bytes are wrong: reading from it goes on.
            _ if self.are_uploads_left.swap(true, Ordering::Relaxed) => {}
            _ => self.warn(TierWarning::UploadsLeft(error)),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("store", &self.store)
            .field("is_left", &self.is_left)
            .field("are_uploads_left", &self.are_uploads_left)
            .finish_non_exhaustive()
    }
}
