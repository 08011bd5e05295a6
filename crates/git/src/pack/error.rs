//! Why a pack could not be received.

use std::io;

use headstart_fs::PathError;

/// Why a pack could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// The connection broke: trying again may help.
    #[error("cannot read the pack from the remote")]
    Read(#[source] io::Error),
    /// The stream ended in the middle: trying again may help.
    #[error("the pack ends before it is complete")]
    Truncated,
    /// The bytes are not a valid pack.
    #[error("the pack is corrupt at byte {offset}: {what}")]
    Corrupt {
        /// Where in the pack the object, or the trailer, starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A delta is based on an object the pack does not contain.
    #[error("the delta at byte {offset} of the pack is based on an object that is not in the pack")]
    MissingBase {
        /// Where in the pack the delta starts.
        offset: u64,
    },
    /// An object that has to be rebuilt in memory is larger than headstart takes.
    #[error("the object at byte {offset} of the pack would take {size_bytes} bytes of memory")]
    TooLarge {
        /// Where in the pack the object starts.
        offset: u64,
        /// Its claimed size.
        size_bytes: u64,
    },
    /// The pack is of a version or hash this build does not read.
    #[error("pack version {0} is not supported")]
    Version(u32),
    /// A file of ours failed: disk full, no permission.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Who takes the objects failed.
    #[error("cannot use an object of the pack")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}
