//! The file system as headstart wants it.
//!
//! Owns: errors that carry the path, atomic publication, file locks, and untrusted relative paths. Knows nothing of
//! stores or Git. Unix only.
//!
//! Invariants:
//! - every error names the path and what was done to it;
//! - what [`publish`] makes visible is whole;
//! - a [`RelPath`] never leaves the folder it is joined to by its own components (symlinks already on disk are the
//!   business of who opens it: relative to directory handles, without following links).

mod error;
mod lock;
pub mod publish;
mod rel_path;

pub use error::{AtPath, PathError};
pub use lock::FileLock;
pub use rel_path::{ParseRelPathError, RelPath};
