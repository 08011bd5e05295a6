//! Creates files, symlinks and directories of the working tree, relative to handles of its directories.
//!
//! Nothing that exists is followed, and nothing is replaced unless it is asked for: a file that is there already, or a symlink
//! where a directory should be, is an error.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use gix::bstr::{BStr, BString, ByteSlice as _};
use headstart_fs::{AtPath as _, PathError};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::{WorktreeError, index::FileStat};

/// Directory handles kept open: enough that neighbours in a pack, which are neighbours in a directory, find theirs,
/// and far below the usual limit of 1024 open files.
const OPEN_DIRS: usize = 128;

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// A directory of the working tree; made when the first file in it is.
#[derive(Debug)]
pub(super) struct Dir {
    /// `None` for the root.
    parent: Option<Arc<Dir>>,
    name: BString,
    /// From the root, without a slash at the end; empty for the root.
    pub(super) path: BString,
    state: Mutex<DirState>,
}

#[derive(Debug, Default)]
struct DirState {
    made: bool,
    handle: Option<Arc<OwnedFd>>,
}

impl Dir {
    pub(super) fn root() -> Arc<Self> {
        Arc::new(Dir {
            parent: None,
            name: BString::default(),
            path: BString::default(),
            state: Mutex::default(),
        })
    }

    pub(super) fn child(self: &Arc<Self>, name: &BStr) -> Arc<Self> {
        Arc::new(Dir {
            path: self.path_of(name),
            parent: Some(self.clone()),
            name: name.to_owned(),
            state: Mutex::default(),
        })
    }

    /// The directory above, and the name in there; none for the root.
    pub(super) fn parent_and_name(&self) -> Option<(&Arc<Dir>, &BStr)> {
        Some((self.parent.as_ref()?, self.name.as_bstr()))
    }

    /// From the root down to this one.
    pub(super) fn lineage(self: &Arc<Self>) -> Vec<Arc<Dir>> {
        let above = |dir: &Arc<Dir>| dir.parent.clone();
        let mut dirs: Vec<Arc<Dir>> = std::iter::successors(Some(self.clone()), above).collect();
        dirs.reverse();
        dirs
    }

    /// The path of `name` in this directory, from the root.
    pub(super) fn path_of(&self, name: &BStr) -> BString {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

/// Writes below one root.
pub(super) struct Files {
    root: PathBuf,
    root_handle: Arc<OwnedFd>,
    times: Timestamps,
    /// Those with a handle, oldest first.
    open: Mutex<VecDeque<Arc<Dir>>>,
}

impl Files {
    /// All files get a modification time one second before now, by the clock of the file system.
    ///
    /// Git trusts its index only for files older than the index, in whole seconds, and reads the others again. With
    /// this time the first `git status` reads nothing, and every later change to a file shows as another time.
    pub(super) fn new(root: &Path) -> Result<Self, PathError> {
        let handle = rustix::fs::open(root, DIR_FLAGS, Mode::empty()).at("open", root)?;
        let now = tempfile::tempfile_in(root)
            .and_then(|file| Ok(rustix::fs::fstat(&file)?))
            .at("create a temporary file in", root)?;
        let before = Timespec {
            tv_sec: now.st_mtime - 1,
            tv_nsec: 0,
        };
        Ok(Files {
            root: root.to_owned(),
            root_handle: Arc::new(handle),
            times: Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: rustix::fs::UTIME_OMIT,
                },
                last_modification: before,
            },
            open: Mutex::default(),
        })
    }

    /// Writes a file, executable for whom the umask lets.
    pub(super) fn write_file(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        executable: bool,
        content: &[u8],
    ) -> Result<FileStat, PathError> {
        let handle = self.handle(dir)?;
        let (_, stat) = self.create_file(&handle, dir, name, executable, content)?;
        Ok(stat)
    }

    /// Writes a file in the place of one that is whole until then, or of nothing.
    pub(super) fn replace_file(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        executable: bool,
        content: &[u8],
        may_replace: impl FnOnce() -> Result<(), WorktreeError>,
    ) -> Result<FileStat, WorktreeError> {
        let temporary = temporary_name(name);
        // Of a run that was killed.
        self.remove(dir, temporary.as_bstr())?;
        let handle = self.handle(dir)?;
        let (file, before) = self.create_file(&handle, dir, temporary.as_bstr(), executable, content)?;
        self.rename(&handle, dir, &temporary, name, may_replace)?;
        let after = rustix::fs::fstat(&file);
        let after = FileStat::from(&after.map_err(|error| failed("look at", self.shown(dir, name), error))?);
        // A new name is a new time of change. Where more is new, somebody wrote to the file, and git has to see it.
        Ok(match (after.mtime, after.size) == (before.mtime, before.size) {
            true => after,
            false => before,
        })
    }

    /// Makes a symlink in the place of a file or symlink, or of nothing.
    pub(super) fn replace_symlink(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        target: &[u8],
        may_replace: impl FnOnce() -> Result<(), WorktreeError>,
    ) -> Result<FileStat, WorktreeError> {
        let temporary = temporary_name(name);
        self.remove(dir, temporary.as_bstr())?;
        self.write_symlink(dir, temporary.as_bstr(), target)?;
        let handle = self.handle(dir)?;
        self.rename(&handle, dir, &temporary, name, may_replace)?;
        Ok(self.stat(&handle, dir, name)?)
    }

    /// Gives what is written its name, or removes it.
    fn rename(
        &self,
        handle: &OwnedFd,
        dir: &Arc<Dir>,
        temporary: &BString,
        name: &BStr,
        may_replace: impl FnOnce() -> Result<(), WorktreeError>,
    ) -> Result<(), WorktreeError> {
        let renamed = may_replace().and_then(|()| {
            rustix::fs::renameat(handle, temporary.as_bytes(), handle, name.as_bytes())
                .map_err(|error| failed("replace", self.shown(dir, name), error).into())
        });
        if renamed.is_err() {
            self.remove(dir, temporary.as_bstr()).ok();
        }
        renamed
    }

    fn create_file(
        &self,
        handle: &OwnedFd,
        dir: &Dir,
        name: &BStr,
        executable: bool,
        content: &[u8],
    ) -> Result<(File, FileStat), PathError> {
        let path = || self.shown(dir, name);
        let mode = if executable { 0o777 } else { 0o666 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(handle, name.as_bytes(), flags, Mode::from_raw_mode(mode))
            .map_err(|error| failed("create", path(), error))?;
        let mut file = File::from(file);
        file.write_all(content)
            .map_err(|error| failed("write", path(), error))?;
        rustix::fs::futimens(&file, &self.times).map_err(|error| failed("set the time of", path(), error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", path(), error))?;
        Ok((file, FileStat::from(&stat)))
    }

    /// Makes a symlink; where it leads is nobody's business.
    pub(super) fn write_symlink(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        target: &[u8],
    ) -> Result<FileStat, PathError> {
        let handle = self.handle(dir)?;
        let path = || self.shown(dir, name);
        rustix::fs::symlinkat(target, &handle, name.as_bytes())
            .map_err(|error| failed("create the symlink", path(), error))?;
        rustix::fs::utimensat(&handle, name.as_bytes(), &self.times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("set the time of", path(), error))?;
        self.stat(&handle, dir, name)
    }

    /// Makes the empty directory of a submodule.
    pub(super) fn make_dir(&self, dir: &Arc<Dir>, name: &BStr) -> Result<FileStat, PathError> {
        let handle = self.handle(dir)?;
        rustix::fs::mkdirat(&handle, name.as_bytes(), DIR_MODE)
            .map_err(|error| failed("create", self.shown(dir, name), error))?;
        self.stat(&handle, dir, name)
    }

    /// Looks at what is there, without following a symlink or making a folder; `None` for nothing. Where a folder above is
    /// no folder, there is nothing either.
    pub(super) fn look(&self, dir: &Arc<Dir>, name: &BStr) -> Result<Option<rustix::fs::Stat>, PathError> {
        let Some(handle) = self.existing(dir)? else {
            return Ok(None);
        };
        match rustix::fs::statat(&handle, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look at", self.shown(dir, name), error)),
        }
    }

    /// The content of a file, or the target of a symlink, as `stat` says.
    pub(super) fn read(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        stat: &rustix::fs::Stat,
    ) -> Result<Vec<u8>, PathError> {
        let path = || self.shown(dir, name);
        // Not as a folder that was made: it may be removed after this, and made again.
        let handle = self
            .existing(dir)?
            .ok_or_else(|| failed("open", path(), rustix::io::Errno::NOENT))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(&handle, name.as_bytes(), Vec::new())
                .map_err(|error| failed("read the symlink", path(), error))?;
            return Ok(target.into_bytes());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&handle, name.as_bytes(), flags, Mode::empty())
            .map_err(|error| failed("open", path(), error))?;
        let mut content = Vec::with_capacity(stat.st_size as usize);
        File::from(file)
            .read_to_end(&mut content)
            .map_err(|error| failed("read", path(), error))?;
        Ok(content)
    }

    /// Removes a file or symlink that may be gone already.
    pub(super) fn remove(&self, dir: &Arc<Dir>, name: &BStr) -> Result<(), PathError> {
        self.unlink(dir, name, AtFlags::empty(), &[rustix::io::Errno::NOENT])
    }

    /// Removes a folder unless something is in it.
    pub(super) fn remove_empty_dir(&self, dir: &Arc<Dir>, name: &BStr) -> Result<(), PathError> {
        use rustix::io::Errno;
        let tolerated = [
            Errno::NOENT,
            Errno::NOTEMPTY,
            Errno::EXIST,
            Errno::NOTDIR,
            Errno::BUSY,
        ];
        self.unlink(dir, name, AtFlags::REMOVEDIR, &tolerated)
    }

    fn unlink(
        &self,
        dir: &Arc<Dir>,
        name: &BStr,
        flags: AtFlags,
        tolerated: &[rustix::io::Errno],
    ) -> Result<(), PathError> {
        let Some(handle) = self.existing(dir)? else {
            return Ok(());
        };
        match rustix::fs::unlinkat(&handle, name.as_bytes(), flags) {
            Err(error) if !tolerated.contains(&error) => Err(failed("remove", self.shown(dir, name), error)),
            _ => Ok(()),
        }
    }

    fn stat(&self, handle: &OwnedFd, dir: &Dir, name: &BStr) -> Result<FileStat, PathError> {
        rustix::fs::statat(handle, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileStat::from(&stat))
            .map_err(|error| failed("look at", self.shown(dir, name), error))
    }

    /// The handle of a directory, made with its parents if need be.
    fn handle(&self, dir: &Arc<Dir>) -> Result<Arc<OwnedFd>, PathError> {
        let handle = self.open_dir(dir, Missing::Make)?;
        Ok(handle.expect("a directory that was just made exists, or making it was an error"))
    }

    /// The handle of a directory that may not be there: nothing, or something else in its place.
    fn existing(&self, dir: &Arc<Dir>) -> Result<Option<Arc<OwnedFd>>, PathError> {
        self.open_dir(dir, Missing::Leave)
    }

    fn open_dir(&self, dir: &Arc<Dir>, missing: Missing) -> Result<Option<Arc<OwnedFd>>, PathError> {
        use rustix::io::Errno;
        let Some(parent) = &dir.parent else {
            return Ok(Some(self.root_handle.clone()));
        };
        let mut state = dir.state.lock();
        if let Some(handle) = &state.handle {
            return Ok(Some(handle.clone()));
        }
        // Locks are taken from a directory to its parents, never the other way.
        let Some(above) = self.open_dir(parent, missing)? else {
            return Ok(None);
        };
        let shown = || self.shown(parent, dir.name.as_bstr());
        if !state.made && missing == Missing::Make {
            match rustix::fs::mkdirat(above.as_fd(), dir.name.as_bytes(), DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => state.made = true,
                Err(error) => return Err(failed("create", shown(), error)),
            }
        }
        let opened = rustix::fs::openat(
            above.as_fd(),
            dir.name.as_bytes(),
            DIR_FLAGS | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        let handle = match opened {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if missing == Missing::Leave => return Ok(None),
            opened => Arc::new(opened.map_err(|error| failed("open", shown(), error))?),
        };
        state.handle = Some(handle.clone());
        drop(state);
        self.remember_open(dir);
        Ok(Some(handle))
    }

    /// Lets go of all handles, before directories are removed and others made in their place.
    pub(super) fn close_dirs(&self) {
        for dir in self.open.lock().drain(..) {
            dir.state.lock().handle = None;
        }
    }

    fn remember_open(&self, dir: &Arc<Dir>) {
        let mut open = self.open.lock();
        open.push_back(dir.clone());
        let oldest = (open.len() > OPEN_DIRS).then(|| open.pop_front()).flatten();
        drop(open);
        if let Some(oldest) = oldest {
            oldest.state.lock().handle = None;
        }
    }

    fn shown(&self, dir: &Dir, name: &BStr) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(&dir.path_of(name)))
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const DIR_MODE: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// What a file is called until it is whole: short enough wherever `name` is, and always the same, for the next run to find.
fn temporary_name(name: &BStr) -> BString {
    let hash = gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, name);
    // No name is long enough for an attack on the hash.
    let hash = hash.unwrap_or(gix::ObjectId::null(gix::hash::Kind::Sha1));
    format!(".headstart-{hash}").into()
}

fn failed(action: &'static str, path: PathBuf, error: impl Into<std::io::Error>) -> PathError {
    PathError {
        action,
        path,
        source: error.into(),
    }
}

impl From<&rustix::fs::Stat> for FileStat {
    fn from(stat: &rustix::fs::Stat) -> Self {
        FileStat {
            ctime: (stat.st_ctime as u32, stat.st_ctime_nsec as u32),
            mtime: (stat.st_mtime as u32, stat.st_mtime_nsec as u32),
            dev: stat.st_dev as u32,
            ino: stat.st_ino as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn directories_appear_with_their_first_file_and_handles_are_few() {
        let temp = tempfile::tempdir().unwrap();
        let files = Files::new(temp.path()).unwrap();
        let mut dir = Dir::root();
        for depth in 0..2 * OPEN_DIRS {
            dir = dir.child(format!("d{}", depth % 10).as_str().into());
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        let stat = files.write_file(&dir, "f".into(), true, b"content").unwrap();
        assert_eq!(stat.size, 7);
        assert_eq!(files.open.lock().len(), OPEN_DIRS);
        let written = temp.path().join(dir.path.to_str().unwrap()).join("f");
        assert_eq!(fs::read(written).unwrap(), b"content");
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let there = temp.path().join("there");
        fs::write(&there, "old").unwrap();
        let files = Files::new(temp.path()).unwrap();
        let (root, name) = (Dir::root(), BStr::new("there"));
        let refuse = || Err(WorktreeError::FileChanged { path: "there".into() });
        assert!(files.replace_file(&root, name, false, b"new", refuse).is_err());
        assert!(files.replace_symlink(&root, name, b"new", refuse).is_err());
        assert_eq!(fs::read(&there).unwrap(), b"old");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);

        // A run that was killed leaves this.
        fs::write(temp.path().join(temporary_name(name).to_string()), "ne").unwrap();
        let told = files.replace_file(&root, name, true, b"new", || Ok(())).unwrap();
        let now = files.look(&root, name).unwrap().unwrap();
        assert_eq!(told, FileStat::from(&now));
        assert_eq!(fs::read(&there).unwrap(), b"new");
        files.replace_symlink(&root, name, b"new", || Ok(())).unwrap();
        assert_eq!(fs::read_link(&there).unwrap(), Path::new("new"));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced_or_followed() {
        let outside = tempfile::tempdir().unwrap();
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("there"), "old").unwrap();
        symlink(outside.path(), temp.path().join("link")).unwrap();
        let files = Files::new(temp.path()).unwrap();
        let root = Dir::root();
        assert!(files.write_file(&root, "there".into(), false, b"new").is_err());
        assert!(files.write_file(&root, "link".into(), false, b"new").is_err());
        assert!(files.write_symlink(&root, "there".into(), b"x").is_err());
        let error = files
            .write_file(&root.child("link".into()), "f".into(), false, b"new")
            .unwrap_err();
        assert_eq!(error.path, temp.path().join("link"));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::read(temp.path().join("there")).unwrap(), b"old");
    }
}
