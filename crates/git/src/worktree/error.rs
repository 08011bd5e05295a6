//! Why a working tree could not be written.

use gix::{ObjectId, bstr::BString};
use headstart_fs::PathError;

/// Why a working tree could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorktreeError {
    /// A tree names a path that git refuses to check out.
    #[error("the commit contains the invalid path {path:?}: {reason}")]
    InvalidPath {
        /// The path, from the root of the working tree.
        path: BString,
        /// Which rule it breaks.
        reason: String,
    },
    /// An object is not what the tree or commit that names it says.
    #[error("object {id} is corrupt: {what}")]
    CorruptObject {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An object is not in the repository.
    #[error("object {id} is missing")]
    MissingObject {
        /// The object.
        id: ObjectId,
    },
    /// The object database could not be read.
    #[error("cannot read object {id}")]
    ReadObject {
        /// The object.
        id: ObjectId,
        /// What the object database says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tree has more or longer paths than headstart takes.
    #[error("the commit is too large: {0}")]
    TooLarge(&'static str),
    /// The configuration, or a filter it names, is wrong.
    #[error("cannot convert {path:?} for the working tree")]
    Filter {
        /// The path, from the root of the working tree.
        path: BString,
        /// What the filter says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration cannot be used.
    #[error("the configuration of the repository cannot be used")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another program wrote the index while files were written.
    #[error("another program changed the index meanwhile")]
    IndexChanged,
    /// Another program wrote a file after it was looked at; it is as that program left it.
    #[error("another program changed {path:?} meanwhile")]
    FileChanged {
        /// The path, from the root of the working tree.
        path: BString,
    },
    /// The repository is bare.
    #[error("the repository has no working tree")]
    Bare,
    /// A file could not be written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}
