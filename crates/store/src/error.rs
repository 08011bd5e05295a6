//! What can go wrong with a store, by what the caller can do about it.

use headstart_fs::PathError;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there: a miss.
    #[error("{what} is not in {store}")]
    Missing {
        /// What was asked for.
        what: String,
        /// Where it was looked for.
        store: String,
    },
    /// The bytes do not match their name or their format: treat as a miss and report.
    #[error("{what} in {store} is corrupt: {reason}")]
    Corrupt {
        /// What was read.
        what: String,
        /// Where it was read.
        store: String,
        /// In what it is wrong.
        reason: String,
    },
    /// The store will not do this for us: credentials, rights, read-only.
    #[error("{store} refused: {reason}")]
    Refused {
        /// The store.
        store: String,
        /// Its reason.
        reason: String,
    },
    /// Larger than a limit.
    #[error("{what} has {bytes} bytes; {limit} are the most")]
    TooLarge {
        /// What was to be stored or read.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not reachable, overloaded, or it broke off: may work later, or at once.
    #[error("{store} is not available")]
    Unavailable {
        /// The store.
        store: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A location that is not understood, or a format of another version.
    #[error("{0}")]
    Unsupported(String),
    /// The local file system.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl StoreError {
    /// True when trying again, unchanged, may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. })
    }

    /// True when it is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, StoreError::Missing { .. })
    }

    /// True when the remedy is space on the disk.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::Io(error) if error.is_disk_full())
    }
}
