//! The history of a seed, on its way to the repository while files are written.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{Scope, ScopedJoinHandle},
    time::Duration,
};

use super::NoClone;
use crate::seed::LinkedPart;

/// How soon the user's wish to stop is passed on.
const STOP_WITHIN: Duration = Duration::from_millis(50);

/// What a history has brought, or why it is of no use, unless that was said.
pub(super) type LinkedHistory = Result<LinkedPart, Option<NoClone>>;

/// The history of a seed.
pub(super) enum History<'scope> {
    /// On its way to the repository.
    On(Fetching<'scope>),
    Arrived(LinkedHistory),
}

/// A thread that brings a history.
pub(super) struct Fetching<'scope> {
    thread: ScopedJoinHandle<'scope, LinkedHistory>,
    /// Ends when the thread is done.
    done: Receiver<()>,
    /// What the user asks.
    stop: &'scope AtomicBool,
    /// What the thread heeds.
    stop_thread: &'scope AtomicBool,
}

impl<'scope> History<'scope> {
    /// Has `fetch` bring it; that one heeds `stop_thread`, which is set with `stop` while somebody waits.
    pub(super) fn fetch<'env>(
        scope: &'scope Scope<'scope, 'env>,
        stop: &'scope AtomicBool,
        stop_thread: &'scope AtomicBool,
        fetch: impl FnOnce() -> LinkedHistory + Send + 'scope,
    ) -> Self {
        let (sender, done) = mpsc::channel::<()>();
        let thread = scope.spawn(move || {
            let _until_done = sender;
            fetch()
        });
        History::On(Fetching {
            thread,
            done,
            stop,
            stop_thread,
        })
    }

    pub(super) fn wait(&mut self) -> &LinkedHistory {
        let arriving = std::mem::replace(self, History::Arrived(Err(None)));
        *self = History::Arrived(arriving.into_linked());
        match self {
            History::Arrived(linked) => linked,
            History::On(_) => unreachable!("it was waited for"),
        }
    }

    pub(super) fn into_linked(self) -> LinkedHistory {
        match self {
            History::On(fetching) => fetching.join(),
            History::Arrived(linked) => linked,
        }
    }
}

impl Fetching<'_> {
    fn join(self) -> LinkedHistory {
        while let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(STOP_WITHIN) {
            if self.stop.load(Ordering::Relaxed) {
                self.stop_thread.store(true, Ordering::Relaxed);
            }
        }
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
