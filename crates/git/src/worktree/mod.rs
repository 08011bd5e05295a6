//! The working tree, written while its objects arrive.
//!
//! Owns: placing the blobs of one commit at their paths, converting them as attributes and configuration ask, and the
//! index that describes the result. Knows nothing of remotes.
//!
//! Invariants:
//! - nothing is written outside the working tree or into its `.git`, whatever the trees name;
//! - no existing file is replaced and no symlink is followed;
//! - the index appears last and only when every file it lists was written.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use gix::{
    ObjectId,
    bstr::ByteSlice as _,
    objs::{Find as _, Kind, tree::EntryKind},
    validate::path::component,
};
use headstart_fs::AtPath as _;
use parking_lot::Mutex;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::{
    pack::{ObjectData, ObjectSink, PackError},
    sparse::Cone,
};

mod attributes;
mod changes;
mod content;
mod error;
mod files;
mod index;
mod plan;
mod tree;
mod update;

use attributes::{Converted, Converter, Drivers};
pub(crate) use changes::{Change, Changes, ChangesError};
pub(crate) use error::WorktreeError;
use files::Files;
use plan::{Job, Plan};
pub(crate) use update::{Planned, UpdatePlan, UpdatedWorktree};

/// What part of the tip is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorktreeOptions {
    /// Only what this cone contains; everything when absent.
    pub(crate) sparse: Option<Cone>,
    /// Whether objects read from the database are checked against their names: those that came in a pack from a remote
    /// were when the pack was indexed.
    pub(crate) verify: bool,
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
pub(crate) struct WorktreeWriter {
    plan: Mutex<Plan>,
    files: Files,
    converter: Converter,
    /// Symlinks are files with the target in them (`core.symlinks=false`).
    symlinks_as_files: bool,
    index_path: PathBuf,
    verify: bool,
    written_files: AtomicU64,
    written_bytes: AtomicU64,
}

impl WorktreeWriter {
    /// Prepares to write commit `tip` into the working tree of `repo`, as its configuration asks: open `repo` after
    /// its configuration was written.
    pub(crate) fn new(
        repo: &gix::Repository,
        tip: ObjectId,
        options: WorktreeOptions,
    ) -> Result<Self, WorktreeError> {
        let root = repo.workdir().ok_or(WorktreeError::Bare)?;
        let protect = protection(repo)?;
        let converter = Converter::new(repo, tip)?;
        Ok(WorktreeWriter {
            plan: Mutex::new(Plan::new(tip, options.sparse, protect, converter.outermost())),
            files: Files::new(root)?,
            converter,
            symlinks_as_files: !boolean(repo, "core.symlinks", true)?,
            index_path: repo.index_path(),
            verify: options.verify,
            written_files: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        })
    }

    /// What was written so far.
    pub(crate) fn progress(&self) -> WrittenWorktree {
        WrittenWorktree {
            files: self.written_files.load(Ordering::Relaxed),
            bytes: self.written_bytes.load(Ordering::Relaxed),
        }
    }

    /// Files and symlinks there will be, once all trees have come.
    pub(crate) fn total_files(&self) -> Option<u64> {
        self.plan.lock().total()
    }

    /// Objects that are known to be needed and did not pass by yet: after the trees of a sparse clone have come, the
    /// blobs of the cone.
    pub(crate) fn missing(&self) -> Vec<ObjectId> {
        self.plan.lock().wanted()
    }

    /// Objects without which the paths, or the attributes of some, are not known.
    pub(crate) fn missing_structure(&self) -> Vec<ObjectId> {
        self.plan.lock().wanted_structure()
    }

    /// Takes `ids`, which are in `objects`, in about this order.
    pub(crate) fn take_known(
        &self,
        objects: &gix::OdbHandle,
        ids: Vec<ObjectId>,
        interrupt: &AtomicBool,
        on_progress: &(dyn Fn(&Self) + Sync),
    ) -> Result<(), WorktreeError> {
        self.take_from(objects, ids, Drivers::Wait, interrupt, on_progress)
    }

    /// Writes what is still missing from `objects`, then the index. Filter drivers (such as LFS) run here, so HEAD and
    /// the configuration of the remote should be in place. `on_progress` is called now and then.
    pub(crate) fn finish(
        self,
        objects: &gix::OdbHandle,
        interrupt: &AtomicBool,
        on_progress: &(dyn Fn(&Self) + Sync),
    ) -> Result<WrittenWorktree, WorktreeError> {
        let take = |ids, drivers| self.take_from(objects, ids, drivers, interrupt, on_progress);
        // Each round brings the trees of one more level, and the attributes of those before.
        loop {
            let structure = self.plan.lock().wanted_structure();
            if structure.is_empty() {
                break;
            }
            take(structure, Drivers::Wait)?;
        }
        let files = self.plan.lock().wanted();
        take(files, Drivers::Wait)?;
        let for_drivers = self.plan.lock().wanted();
        take(for_drivers, Drivers::Run)?;

        let written = self.progress();
        let (mut entries, trees) = self.plan.into_inner().into_index();
        let index = index::encode(&mut entries, &trees);
        publish_index(&self.index_path, &index)?;
        Ok(written)
    }

    /// Reads objects from the database and takes them as if they came in a pack.
    fn take_from(
        &self,
        objects: &gix::OdbHandle,
        ids: Vec<ObjectId>,
        drivers: Drivers,
        interrupt: &AtomicBool,
        on_progress: &(dyn Fn(&Self) + Sync),
    ) -> Result<(), WorktreeError> {
        let objects = Mutex::new(objects.clone());
        ids.into_par_iter().try_for_each_init(
            || objects.lock().clone(),
            |objects, id| {
                if interrupt.load(Ordering::Relaxed) {
                    return Err(WorktreeError::Interrupted);
                }
                let mut data = Vec::new();
                let found = objects
                    .try_find(&id, &mut data)
                    .map_err(|error| WorktreeError::ReadObject {
                        id,
                        source: error.into(),
                    })?
                    .ok_or(WorktreeError::MissingObject { id })?;
                if self.verify {
                    found
                        .verify_checksum(&id)
                        .map_err(|error| WorktreeError::ReadObject {
                            id,
                            source: error.into(),
                        })?;
                }
                let kind = found.kind;
                self.take(id, kind, ObjectData::new(data), drivers)?;
                on_progress(self);
                Ok(())
            },
        )
    }

    fn take(
        &self,
        id: ObjectId,
        kind: Kind,
        data: ObjectData,
        drivers: Drivers,
    ) -> Result<(), WorktreeError> {
        let mut jobs = Vec::new();
        self.plan
            .lock()
            .offer(id, kind, data, &self.converter, &mut jobs)?;
        for job in jobs {
            match self.write(&job, drivers)? {
                Some(stat) => self.plan.lock().written(job.file, stat),
                None => self.plan.lock().want_again(job.file),
            }
        }
        Ok(())
    }

    /// Writes one file; `None` when a filter driver has to run but may not yet.
    fn write(&self, job: &Job, drivers: Drivers) -> Result<Option<index::FileStat>, WorktreeError> {
        let name = job.name.as_bstr();
        let stat = match job.kind {
            EntryKind::Commit => return Ok(Some(self.files.make_dir(&job.dir, name)?)),
            EntryKind::Link if !self.symlinks_as_files => {
                self.files.write_symlink(&job.dir, name, &job.content)?
            }
            EntryKind::Link => self.files.write_file(&job.dir, name, false, &job.content)?,
            EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Tree => {
                let path = job.dir.path_of(name);
                let path = path.as_bstr();
                let converted = self
                    .converter
                    .convert(&job.scope, path, job.id, &job.content, drivers)?;
                let content = match &converted {
                    Converted::Unchanged => &job.content,
                    Converted::Changed(changed) => changed,
                    Converted::NeedsDriver => return Ok(None),
                };
                let executable = job.kind == EntryKind::BlobExecutable;
                self.files.write_file(&job.dir, name, executable, content)?
            }
        };
        self.written_files.fetch_add(1, Ordering::Relaxed);
        self.written_bytes
            .fetch_add(u64::from(stat.size), Ordering::Relaxed);
        Ok(Some(stat))
    }
}

impl ObjectSink for WorktreeWriter {
    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Tag
    }

    fn object(&self, id: ObjectId, kind: Kind, data: ObjectData) -> Result<(), PackError> {
        self.take(id, kind, data, Drivers::Wait)
            .map_err(|error| PackError::Sink(error.into()))
    }
}

/// Which names are refused in this repository.
pub(crate) fn protection(repo: &gix::Repository) -> Result<component::Options, WorktreeError> {
    Ok(component::Options {
        protect_windows: cfg!(windows),
        protect_hfs: boolean(repo, "core.protectHFS", cfg!(target_os = "macos"))?,
        protect_ntfs: boolean(repo, "core.protectNTFS", true)?,
    })
}

fn boolean(repo: &gix::Repository, key: &str, default: bool) -> Result<bool, WorktreeError> {
    let value = repo
        .config_snapshot()
        .try_boolean(key)
        .map_err(|error| WorktreeError::Config(error.into()))?;
    Ok(value.unwrap_or(default))
}

/// Puts an index in place by the lock file git uses. It is held for this moment only: one left by a kill would keep
/// git from working in the repository.
fn publish_index(path: &Path, index: &[u8]) -> Result<(), WorktreeError> {
    use std::io::Write as _;
    let mut lock = path.to_owned();
    lock.as_mut_os_string().push(".lock");
    let mut file = std::fs::File::create_new(&lock).at("create", &lock)?;
    let written = file
        .write_all(index)
        .at("write", &lock)
        .and_then(|()| std::fs::rename(&lock, path).at("rename the lock file to", path));
    if written.is_err() {
        std::fs::remove_file(&lock).ok();
    }
    Ok(written?)
}

#[cfg(test)]
mod tests;
