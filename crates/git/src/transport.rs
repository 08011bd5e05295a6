//! Connections to a remote: HTTP, ssh, or a process on this machine, below the transport traits of `gix`.
//!
//! Owns how bytes get to a remote and back, how long silence is borne, and why a connection failed. What is said over it
//! is the business of `remote`.
//!
//! Ours, because the ones that come with `gix` ignore proxies, TLS settings and time limits, cannot be interrupted while
//! the remote is silent, and run programs in this process's environment.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use headstart_process::ProcessError;
use parking_lot::Mutex;

mod http;
mod process;
mod ssh;

pub(crate) use http::{HttpClient, HttpSettings, connect as connect_http};
pub(crate) use process::{Ending, connect_local, connect_ssh};

/// What a conversation with the remote is held over.
pub(crate) type Transport<'a> = Box<dyn gix_transport::client::blocking_io::Transport + Send + 'a>;

/// How long a remote may stay silent. Git sends a sign of life every five seconds while it prepares a pack, but a proxy in
/// between may hold it back until there is more.
const STALL_LIMIT: Duration = Duration::from_secs(300);
/// How often an interrupt is looked for while the remote is silent.
const POLL: Duration = Duration::from_millis(100);

/// Why a connection does not serve.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller asked to stop.
    Interrupted,
    /// No connection could be made.
    Unreachable(io::Error),
    /// Nothing came for this long.
    Stalled(Duration),
    /// The connection ended too early.
    HungUp(io::Error),
    /// The remote wants (other) credentials.
    Unauthorized,
    /// An HTTP status that means failure, the words that came with it, and when the server wants to be asked again.
    Status {
        code: u16,
        text: Option<String>,
        retry_after: Option<Duration>,
    },
    /// The answer is not in git's protocol; what it says to people.
    NotGit {
        content_type: String,
        text: Option<String>,
    },
    /// The server sends to another place, which is not followed and shown without secrets.
    Redirected { to: String },
    /// A setting cannot be followed.
    Setting(io::Error),
    /// A program that leads to the remote could not be run.
    Process(ProcessError),
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        Failure::Process(error)
    }
}

/// Where a transport leaves the reason of a failure: the layers between it and the caller know only of I/O errors.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailureSlot(Arc<Mutex<Option<Failure>>>);

impl FailureSlot {
    /// Leaves the reason and makes the error that the layers above pass on. The first reason counts.
    fn fail(&self, failure: Failure) -> io::Error {
        self.0.lock().get_or_insert(failure);
        io::Error::other("the connection failed")
    }

    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().take()
    }
}

/// What all waiting of a connection obeys.
#[derive(Debug, Clone)]
pub(crate) struct Patience<'a> {
    pub(crate) interrupt: &'a AtomicBool,
    pub(crate) stall_limit: Duration,
    pub(crate) failure: FailureSlot,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(interrupt: &'a AtomicBool) -> Self {
        Self::with_limit(interrupt, STALL_LIMIT)
    }

    pub(crate) fn with_limit(interrupt: &'a AtomicBool, stall_limit: Duration) -> Self {
        Patience {
            interrupt,
            stall_limit,
            failure: FailureSlot::default(),
        }
    }

    /// Fails when there is no reason to wait any longer, having waited for `silence` already.
    fn check(&self, silence: Duration) -> io::Result<()> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(self.failure.fail(Failure::Interrupted));
        }
        if silence >= self.stall_limit {
            return Err(self.failure.fail(Failure::Stalled(self.stall_limit)));
        }
        Ok(())
    }
}
