//! Carrying an update out: look at everything, then remove, then write, then the index.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use gix::{
    ObjectId,
    bstr::{BStr, BString, ByteSlice as _},
    objs::{Kind, tree::EntryKind},
};
use parking_lot::Mutex;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rustix::fs::{FileType, Stat};

use super::{
    Step, UpdatePlan, UpdatedWorktree,
    dirs::{Dirs, above},
};
use crate::{
    local::LocalObjects,
    tree_diff::Side,
    worktree::{
        WorktreeError, WrittenWorktree,
        attributes::{Converted, Drivers, Scope},
        index::FileStat,
    },
};

/// What is in the way of a step.
enum Check {
    /// This file of the old commit; none for nothing, or for what may be a folder.
    Clear(Option<FileStat>),
    /// What the new commit has.
    Done(FileStat),
    /// Something else.
    InTheWay,
}

impl UpdatePlan {
    /// Carries it out, unless something in the working tree is in the way: then nothing is touched, and git has to see.
    pub(crate) fn apply(
        self,
        objects: &LocalObjects,
        interrupt: &AtomicBool,
        on_progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Result<UpdatedWorktree, String>, WorktreeError> {
        let work = Work {
            scopes: self.scopes(objects)?,
            plan: &self,
            objects: Mutex::new(objects.clone()),
            interrupt,
            stats: Mutex::default(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let checks = work.check_all()?;
        let blocked = self.steps.iter().zip(&checks);
        let mut blocked = blocked.filter(|(_, check)| matches!(check, Check::InTheWay));
        if let Some((step, _)) = blocked.next() {
            return Ok(Err(format!("{} is not as the index says", step.path)));
        }
        let todo: Vec<(&Step, Option<FileStat>)> = self
            .steps
            .iter()
            .zip(checks)
            .filter_map(|(step, check)| match check {
                Check::Done(stat) => {
                    work.stats.lock().insert(step.path.as_bstr(), stat);
                    None
                }
                Check::Clear(seen) => Some((step, seen)),
                Check::InTheWay => None,
            })
            .collect();
        let removed = work.remove(&todo)?;
        work.write(&todo, on_progress)?;
        let written = WrittenWorktree {
            files: work.files.into_inner(),
            bytes: work.bytes.into_inner(),
        };
        let stats = work.stats.into_inner();
        self.write_index(&stats)?;
        Ok(Ok(UpdatedWorktree { written, removed }))
    }

    fn scopes(&self, objects: &LocalObjects) -> Result<HashMap<BString, Arc<Scope>>, WorktreeError> {
        let mut scopes: HashMap<BString, Arc<Scope>> = HashMap::new();
        for step in &self.steps {
            let mut scope = Arc::new(self.converter.outermost());
            let mut dirs: Vec<&BStr> = above(step.path.as_bstr()).collect();
            dirs.reverse();
            for dir in dirs {
                if let Some(known) = scopes.get(dir) {
                    scope = known.clone();
                    continue;
                }
                if let Some(id) = self.attributes.get(dir) {
                    let content = blob(objects, *id)?;
                    scope = Arc::new(self.converter.scope(&scope, dir, &content)?);
                }
                scopes.insert(dir.to_owned(), scope.clone());
            }
        }
        Ok(scopes)
    }
}

/// An update under way.
struct Work<'a> {
    plan: &'a UpdatePlan,
    scopes: HashMap<BString, Arc<Scope>>,
    objects: Mutex<LocalObjects>,
    interrupt: &'a AtomicBool,
    stats: Mutex<HashMap<&'a BStr, FileStat>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> Work<'a> {
    fn check_all(&self) -> Result<Vec<Check>, WorktreeError> {
        let steps = self.plan.steps.par_iter();
        let init = || self.objects.lock().clone();
        let checked = steps.map_init(init, |objects, step| {
            self.go_on()?;
            self.check(objects, step)
        });
        checked.collect()
    }

    /// Looks whether a step may be taken.
    fn check(&self, objects: &LocalObjects, step: &Step) -> Result<Check, WorktreeError> {
        let files = &self.plan.files;
        let Some(stat) = files.look(&step.dir, step.name.as_bstr())? else {
            return Ok(match step.new.is_some() && self.is_blocked_above(step)? {
                true => Check::InTheWay,
                false => Check::Clear(None),
            });
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let (old_kind, new_kind) = (
            step.old.as_ref().map(|old| old.mode),
            step.new.map(|side| side.kind),
        );
        if [old_kind, new_kind.map(|kind| kind as u32)].contains(&Some(EntryKind::Commit as u32)) {
            // The folder of a submodule: filled for the user to keep, or for git to see.
            return Ok(match file_type == FileType::Directory {
                true => Check::Clear(None),
                false => Check::InTheWay,
            });
        }
        if !matches!(file_type, FileType::RegularFile | FileType::Symlink) {
            return Ok(Check::InTheWay);
        }
        if let Some(old) = &step.old
            && FileStat::from(&stat) == old.stat
            && self.is_kind(&stat, old.mode)
            && i64::from(old.stat.mtime.0) < self.plan.index.written_seconds
        {
            return Ok(Check::Clear(Some(old.stat)));
        }
        let content = files.read(&step.dir, step.name.as_bstr(), &stat)?;
        if let Some(old) = &step.old
            && self.is_kind(&stat, old.mode)
            && (hash(&content) == Some(old.id) || self.is_converted(objects, step, old.id, &content)?)
        {
            return Ok(Check::Clear(Some(FileStat::from(&stat))));
        }
        // Written by a run that was killed.
        if let Some(new) = step.new
            && self.is_kind(&stat, new.kind as u32)
            && self.is_converted(objects, step, new.id, &content)?
        {
            let racy = stat.st_mtime >= self.plan.index.written_seconds;
            let mut stat = FileStat::from(&stat);
            if racy {
                // It may have changed since: git has to read it.
                stat.size = 0;
            }
            return Ok(Check::Done(stat));
        }
        Ok(Check::InTheWay)
    }

    /// Whether one of the folders above is something else, and stays.
    fn is_blocked_above(&self, step: &Step) -> Result<bool, WorktreeError> {
        let plan = self.plan;
        for dir in step.dir.lineage() {
            let Some((parent, name)) = dir.parent_and_name() else {
                continue;
            };
            let Some(stat) = plan.files.look(parent, name)? else {
                return Ok(false);
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let goes = |step: &Step| step.path == dir.path && step.new.is_none();
                return Ok(!plan.steps.iter().any(goes));
            }
        }
        Ok(false)
    }

    fn is_kind(&self, stat: &Stat, mode: u32) -> bool {
        let is_symlink = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let is_executable = stat.st_mode & 0o100 != 0;
        match mode {
            0o120_000 => is_symlink,
            0o100_755 => !is_symlink && (is_executable || !self.plan.check_executable),
            _ => !is_symlink && (!is_executable || !self.plan.check_executable),
        }
    }

    /// Whether `content` is what the blob becomes in the working tree.
    fn is_converted(
        &self,
        objects: &LocalObjects,
        step: &Step,
        id: ObjectId,
        content: &[u8],
    ) -> Result<bool, WorktreeError> {
        if hash(content) == Some(id) {
            return Ok(true);
        }
        let Ok(Some(data)) = objects.blob(id) else {
            return Ok(false);
        };
        Ok(match self.convert(step, id, &data)? {
            Converted::Changed(changed) => changed == content,
            Converted::Unchanged | Converted::NeedsDriver => false,
        })
    }

    fn convert(&self, step: &Step, id: ObjectId, data: &[u8]) -> Result<Converted, WorktreeError> {
        let scope = &self.scopes[&step.dir.path];
        let path = step.path.as_bstr();
        self.plan.converter.convert(scope, path, id, data, Drivers::Run)
    }

    /// Removes what is gone, or became something else on its way from file to folder, with the folders left empty.
    fn remove(&self, steps: &[(&'a Step, Option<FileStat>)]) -> Result<u64, WorktreeError> {
        let files = &self.plan.files;
        let gone = steps.iter().filter(|(step, _)| step.new.is_none());
        let gone: Vec<&(&Step, Option<FileStat>)> = gone.collect();
        gone.par_iter().try_for_each(|(step, seen)| {
            self.go_on()?;
            match step
                .old
                .as_ref()
                .is_some_and(|old| old.mode == EntryKind::Commit as u32)
            {
                true => files.remove_empty_dir(&step.dir, step.name.as_bstr())?,
                false => {
                    self.expect_unchanged(step, *seen)?;
                    files.remove(&step.dir, step.name.as_bstr())?;
                }
            }
            Ok::<_, WorktreeError>(())
        })?;
        let dirs: BTreeSet<&BStr> = gone
            .iter()
            .flat_map(|(step, _)| above(step.path.as_bstr()))
            .collect();
        let mut places = Dirs::default();
        // Those inside others come after them, so they go first this way.
        for dir in dirs.into_iter().rev() {
            let is_here = self
                .plan
                .keep_dir
                .as_ref()
                .is_some_and(|keep| keep == dir || keep.starts_with(&[dir.as_bytes(), b"/"].concat()));
            if !dir.is_empty() && !is_here {
                let (above, name) = places.place(dir);
                files.remove_empty_dir(&above, name)?;
            }
        }
        // Whatever was removed may be made again, and its handle leads nowhere.
        files.close_dirs();
        Ok(gone.len() as u64)
    }

    fn write(
        &self,
        steps: &[(&'a Step, Option<FileStat>)],
        on_progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), WorktreeError> {
        let init = || self.objects.lock().clone();
        let written = steps.par_iter().filter(|(step, _)| step.new.is_some());
        written.try_for_each_init(init, |objects, (step, seen)| {
            self.go_on()?;
            let stat = self.write_one(objects, step, *seen)?;
            self.stats.lock().insert(step.path.as_bstr(), stat);
            on_progress(1);
            Ok(())
        })
    }

    /// Looks again, just before a file is replaced or removed.
    fn expect_unchanged(&self, step: &Step, seen: Option<FileStat>) -> Result<(), WorktreeError> {
        let now = self.plan.files.look(&step.dir, step.name.as_bstr())?;
        match now.as_ref().map(FileStat::from) == seen {
            true => Ok(()),
            false => Err(WorktreeError::FileChanged {
                path: step.path.clone(),
            }),
        }
    }

    fn write_one(
        &self,
        objects: &LocalObjects,
        step: &Step,
        seen: Option<FileStat>,
    ) -> Result<FileStat, WorktreeError> {
        let Some(Side { kind, id }) = step.new else {
            unreachable!("only steps with something new are written")
        };
        let (files, name) = (&self.plan.files, step.name.as_bstr());
        if kind == EntryKind::Commit {
            return Ok(match files.look(&step.dir, name)? {
                Some(stat) => FileStat::from(&stat),
                None => files.make_dir(&step.dir, name)?,
            });
        }
        let data = blob(objects, id)?;
        let converted = match kind {
            EntryKind::Link => Converted::Unchanged,
            _ => self.convert(step, id, &data)?,
        };
        let content = match &converted {
            Converted::Changed(changed) => changed,
            Converted::Unchanged | Converted::NeedsDriver => &data,
        };
        let may_replace = || self.expect_unchanged(step, seen);
        let stat = match kind {
            EntryKind::Link => files.replace_symlink(&step.dir, name, content, may_replace)?,
            kind => {
                let executable = kind == EntryKind::BlobExecutable;
                files.replace_file(&step.dir, name, executable, content, may_replace)?
            }
        };
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::from(stat.size), Ordering::Relaxed);
        Ok(stat)
    }

    fn go_on(&self) -> Result<(), WorktreeError> {
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(WorktreeError::Interrupted),
            false => Ok(()),
        }
    }
}

fn blob(objects: &LocalObjects, id: ObjectId) -> Result<Vec<u8>, WorktreeError> {
    objects
        .blob(id)
        .map_err(|error| WorktreeError::ReadObject {
            id,
            source: error.into(),
        })?
        .ok_or(WorktreeError::MissingObject { id })
}

/// The name of a blob; none for a collision attack.
pub(super) fn hash(content: &[u8]) -> Option<ObjectId> {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, Kind::Blob, content).ok()
}
