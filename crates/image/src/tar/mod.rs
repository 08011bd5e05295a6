//! Tars: read as they stream by, POSIX, PAX, GNU, with sparse files in all four notations; written in one.
//!
//! Everything is bounded: what describes an entry is at most a few MiB, bodies are handed on in pieces. Global PAX headers are
//! skipped, as container runtimes do.

mod header;
mod pax;
mod reader;
mod sparse;
mod write;

pub(crate) use reader::{Entry, Kind, Piece, TarReader};
pub(crate) use write::TarWriter;

use std::io;

use header::HeaderError;

/// Why bytes are not a tar.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("it ends in the middle of an entry")]
    Truncated,
    #[error("its PAX records are malformed: {0}")]
    Pax(&'static str),
    #[error("the map of a sparse file is wrong: {0}")]
    Sparse(&'static str),
    #[error("what describes one of its entries is longer than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}
