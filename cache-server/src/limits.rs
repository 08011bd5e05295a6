//! Limits and deadlines, as `docs/design/protocol.md` lists them.

use std::time::Duration;

/// Request headers must arrive within this time.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of request line and headers.
pub(crate) const HEADER_BYTES: usize = 64 << 10;
/// Number of headers.
pub(crate) const HEADERS: usize = 64;
/// A connection on which nothing moves, in either direction, is closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections at once; more wait in the system's queue.
pub(crate) const CONNECTIONS: usize = 1024;
/// What running requests have to end when the server stops.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept: usually there are no file descriptors left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Entries a search answers when it does not say how many.
pub(crate) const SEARCH_DEFAULT: usize = 100;
