//! The history of a seed, on its way to the repository while files are written.

use std::thread;

use crate::seed::LinkedPart;

/// What a history has brought, or why it is of no use, unless that was said.
pub(super) type LinkedHistory = Result<LinkedPart, Option<String>>;

/// The history of a seed.
pub(super) enum History<'scope> {
    /// On its way to the repository.
    On(thread::ScopedJoinHandle<'scope, LinkedHistory>),
    Arrived(LinkedHistory),
}

impl History<'_> {
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
            History::On(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            History::Arrived(linked) => linked,
        }
    }
}
