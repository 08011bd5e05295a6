//! Why an image cannot be read.

use std::{io, path::PathBuf};

use headstart_fs::PathError;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file system failed us.
    #[error(transparent)]
    Io(#[from] PathError),
    /// It is not where it was said to be.
    #[error("{what} is not in {place}")]
    Missing {
        /// What was looked for.
        what: String,
        /// Where.
        place: String,
    },
    /// The bytes are not what their place or name promises.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its bytes have another digest than its name says.
    #[error("{what} has the digest {found}, not {expected}")]
    WrongDigest {
        /// What was read.
        what: String,
        /// The digest it is named by.
        expected: String,
        /// The digest its bytes have.
        found: String,
    },
    /// More than we are ready to read.
    #[error("{what} is too large: {limit} is the most")]
    TooLarge {
        /// What was read.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Valid, and nothing we can work with.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What was read.
        what: String,
        /// What is not supported.
        reason: String,
    },
    /// Reading stopped half-way.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// What the system, or the decompressor, answered.
        source: io::Error,
    },
    /// Writing stopped half-way.
    #[error("cannot write {what}")]
    Write {
        /// What was written.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// What was built is not what was to be built: a mistake of ours, or of the disk.
    #[error("{image} was built wrong and is not kept: {path:?} {difference}")]
    Differs {
        /// The image.
        image: String,
        /// The path that differs.
        path: String,
        /// In what.
        difference: String,
    },
    /// The registry does not let us.
    #[error("{what} is refused: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What the registry answered.
        reason: String,
    },
    /// It does not answer, or not now.
    #[error("{what} cannot be had")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The Docker daemon does not answer, or not with the image.
    #[error("the Docker daemon at {} cannot be had", socket.display())]
    Daemon {
        /// Where it should listen.
        socket: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The caller wanted to stop.
    #[error("stopped on request")]
    Interrupted,
}

impl ImageError {
    pub(crate) fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        ImageError::Corrupt {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        ImageError::Unsupported {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn too_large(what: impl Into<String>, limit: impl Into<String>) -> Self {
        ImageError::TooLarge {
            what: what.into(),
            limit: limit.into(),
        }
    }

    pub(crate) fn missing(what: impl Into<String>, place: impl Into<String>) -> Self {
        ImageError::Missing {
            what: what.into(),
            place: place.into(),
        }
    }
}
