//! A repository that is already here, and the remote it came from: what everything but a clone works on.
//!
//! Owns how it is found and opened, its shallow boundary, and fetching packs into it. Refs and the working tree are the
//! business of those who fetch.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Component, Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::{
    ObjectId,
    objs::{Exists as _, FindExt as _},
};
use headstart_fs::{AtPath as _, PathError};
use headstart_process::ProcessError;

use crate::{
    config::GitConfig,
    environment::GitEnvironment,
    filter_spec::FilterSpec,
    pack::{PackError, ReceiveOptions, ReceivedPack, receive_pack},
    progress::{Progress, Warning},
    remote::{Conversation, FetchError, FetchRequest, Fetched, Remote},
    remote_url::RemoteUrl,
    sparse::Cone,
};

mod error;
mod objects;

pub use error::LocalError;
pub(crate) use objects::LocalObjects;

/// A repository on this machine.
#[derive(Debug)]
pub(crate) struct LocalRepository<'a> {
    pub(crate) environment: &'a GitEnvironment,
    /// Of this working tree.
    pub(crate) git_dir: PathBuf,
    /// Shared by all working trees: objects, refs, the shallow boundary.
    pub(crate) common_dir: PathBuf,
    /// Absent for a bare repository.
    pub(crate) workdir: Option<PathBuf>,
    /// Its own configuration included.
    pub(crate) config: GitConfig,
}

impl<'a> LocalRepository<'a> {
    /// Finds the repository that the folder of `environment` is in, as git does.
    pub(crate) fn discover(environment: &'a GitEnvironment) -> Result<Self, LocalError> {
        let folder = &environment.folder;
        let asked = environment
            .git()
            .current_dir(folder)
            .args([
                "rev-parse",
                "--path-format=absolute",
                "--git-dir",
                "--git-common-dir",
            ])
            .args(["--is-inside-work-tree", "--show-object-format"])
            .run()
            .map_err(|error| LocalError::no_repository(folder, error))?;
        let mut lines = asked.stdout.lines().map(|line| line.to_path_lossy());
        let mut next = || lines.next().unwrap_or_default().into_owned();
        let (git_dir, common_dir, inside, format) = (next(), next(), next(), next());
        if format != Path::new("sha1") {
            return Err(LocalError::UnsupportedObjectFormat {
                path: git_dir,
                format: format.display().to_string(),
            });
        }
        let workdir = match inside == Path::new("true") {
            false => None,
            true => {
                let top = environment
                    .git()
                    .current_dir(folder)
                    .args(["rev-parse", "--path-format=absolute", "--show-toplevel"])
                    .run()?;
                Some(
                    top.stdout
                        .trim_end_with(|c| c == '\n')
                        .to_path_lossy()
                        .into_owned(),
                )
            }
        };
        Ok(LocalRepository {
            config: GitConfig::load_with_local(environment, &git_dir)?,
            environment,
            git_dir,
            common_dir,
            workdir,
        })
    }

    /// A git command in this repository and, where there is one, its working tree.
    pub(crate) fn git(&self) -> headstart_process::Command {
        let command = self.environment.git().env("GIT_DIR", &self.git_dir);
        match &self.workdir {
            Some(workdir) => command.env("GIT_WORK_TREE", workdir).current_dir(workdir),
            None => command.current_dir(&self.git_dir),
        }
    }

    /// The same for a look at history: whatever is missing stays missing.
    pub(crate) fn git_without_fetching(&self) -> headstart_process::Command {
        self.git().env("GIT_NO_LAZY_FETCH", "1")
    }

    /// Opens it with the user's configuration and without a look at this process's environment.
    pub(crate) fn open(&self) -> Result<gix::Repository, LocalError> {
        let permissions = gix::open::Permissions {
            attributes: gix::open::permissions::Attributes::all(),
            ..gix::open::Permissions::isolated()
        };
        gix::open::Options::isolated()
            .permissions(permissions)
            .config_overrides(self.config.overrides())
            .open(&self.git_dir)
            .map(Into::into)
            .map_err(|error| LocalError::Repository {
                path: self.git_dir.clone(),
                source: error.into(),
            })
    }

    /// The remote to ask: that of the checked-out branch, else the one that owes objects, else `origin`, else the only one.
    pub(crate) fn remote_name(&self) -> Result<BString, LocalError> {
        let head_path = self.git_dir.join("HEAD");
        let head = fs::read(&head_path).at("read", &head_path)?;
        let names = self.config.subsections("remote");
        let of_branch = head.trim().strip_prefix(b"ref: refs/heads/").and_then(|branch| {
            let key = [b"branch.", branch, b".remote"].concat();
            self.config.string(key.as_bstr().to_str().ok()?)
        });
        let promisor = || {
            let is_promisor = |name: &&&BStr| self.remote_bool(name, "promisor");
            names.iter().find(is_promisor).copied()
        };
        let origin = || names.iter().find(|name| **name == "origin").copied();
        let only = || (names.len() == 1).then(|| names[0]);
        of_branch
            .filter(|name| names.contains(name))
            .or_else(promisor)
            .or_else(origin)
            .or_else(only)
            .map(BStr::to_owned)
            .ok_or_else(|| LocalError::NoRemote {
                path: self.git_dir.clone(),
            })
    }

    /// `remote.<name>.<key>`.
    pub(crate) fn remote_string(&self, name: &BStr, key: &str) -> Option<&BStr> {
        let full = [b"remote.".as_slice(), name, b".", key.as_bytes()].concat();
        self.config.string(full.to_str().ok()?)
    }

    /// All values of `remote.<name>.<key>`.
    pub(crate) fn remote_strings(&self, name: &BStr, key: &str) -> Vec<&BStr> {
        let full = [b"remote.".as_slice(), name, b".", key.as_bytes()].concat();
        full.to_str()
            .map_or_else(|_| Vec::new(), |key| self.config.all(key))
    }

    /// Whether `tip` continues `start`.
    pub(crate) fn is_ancestor(&self, start: ObjectId, tip: ObjectId) -> Result<bool, LocalError> {
        let command = self.git_without_fetching();
        let command = command
            .args(["merge-base", "--is-ancestor"])
            .args([start.to_string(), tip.to_string()]);
        match command.run() {
            Ok(_) => Ok(true),
            Err(ProcessError::Failed { status, .. }) if status.code() == Some(1) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn remote_bool(&self, name: &BStr, key: &str) -> bool {
        self.remote_string(name, key).is_some_and(|value| {
            matches!(
                value.to_ascii_lowercase().as_slice(),
                b"" | b"true" | b"yes" | b"on" | b"1"
            )
        })
    }

    /// The filter that fetches from remote `name` use; `None` when nothing is left out.
    pub(crate) fn filter_of(&self, name: &BStr) -> Result<FilterSpec, LocalError> {
        match self.remote_string(name, "partialclonefilter") {
            None => Ok(FilterSpec::None),
            Some(spec) => spec.to_str_lossy().parse().map_err(|error| LocalError::Setting {
                key: format!("remote.{name}.partialclonefilter"),
                source: Box::new(error),
            }),
        }
    }

    /// True where remote `name` owes objects that are missing here.
    pub(crate) fn is_promisor(&self, name: &BStr) -> bool {
        self.remote_bool(name, "promisor") || self.remote_string(name, "partialclonefilter").is_some()
    }

    /// The remote that owes the objects missing here; none for a clone that is no partial one.
    pub(crate) fn promisor_name(&self) -> Result<Option<BString>, LocalError> {
        let names = self.config.subsections("remote");
        if !names.iter().any(|name| self.is_promisor(name)) {
            return Ok(None);
        }
        let usual = self.remote_name()?;
        if self.is_promisor(usual.as_ref()) {
            return Ok(Some(usual));
        }
        let promisor = names.into_iter().find(|name| self.is_promisor(name));
        Ok(promisor.map(BStr::to_owned))
    }

    /// The URL of remote `name` for messages.
    pub(crate) fn shown_url(&self, name: &BStr) -> String {
        let url = self.remote_string(name, "url").unwrap_or(name);
        crate::remote_url::anonymized(url).to_string()
    }

    /// A path given in the folder of the environment, as trees spell it.
    pub(crate) fn path_in_tree(&self, path: &Path) -> Result<BString, LocalError> {
        let outside = || LocalError::OutsideWorktree {
            path: path.to_owned(),
        };
        let root = self.workdir.as_deref().unwrap_or(&self.environment.folder);
        let mut inner: Vec<&[u8]> = Vec::new();
        let whole = self.environment.folder.join(path);
        let below = whole.strip_prefix(root).map_err(|_| outside())?;
        for component in below.components() {
            match component {
                Component::Normal(name) => inner.push(name.as_bytes()),
                Component::ParentDir => drop(inner.pop().ok_or_else(outside)?),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok(inner.join(&b"/"[..]).into())
    }

    /// The cone of the sparse working tree: none where everything is checked out, and none inside where the patterns are no
    /// cone.
    pub(crate) fn sparse_cone(&self) -> Result<Option<Option<Cone>>, LocalError> {
        if self.config.boolean("core.sparsecheckout") != Some(true) {
            return Ok(None);
        }
        let path = self.git_dir.join("info/sparse-checkout");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(Cone::parse(&text.at("read", &path)?))),
        }
    }

    /// Prepares to talk to remote `name`.
    pub(crate) fn remote<'s>(
        &'s self,
        name: &BStr,
        interrupt: &'s AtomicBool,
    ) -> Result<Remote<'s>, LocalError> {
        let url = self.remote_string(name, "url").unwrap_or(name);
        let rewritten = self.config.instead_of(url);
        // Relative URLs of a remote are relative to where git runs: the top of the working tree.
        let base = self.workdir.as_deref().unwrap_or(&self.git_dir);
        let url = RemoteUrl::parse(rewritten.as_ref(), base)?;
        Ok(Remote::new(
            url,
            &self.config,
            self.environment,
            &self.git_dir,
            interrupt,
        )?)
    }

    /// The commits whose parents are not here; none when the history is complete.
    pub(crate) fn shallow(&self) -> Result<Vec<ObjectId>, LocalError> {
        let path = self.shallow_path();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.at("read", &path)?,
        };
        let parse = |line: &[u8]| ObjectId::from_hex(line.trim());
        text.lines()
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|error| LocalError::Repository {
                path,
                source: error.into(),
            })
    }

    fn shallow_path(&self) -> PathBuf {
        self.common_dir.join("shallow")
    }

    /// Moves the shallow boundary as a fetch said.
    pub(crate) fn update_shallow<T>(&self, fetched: &Fetched<T>) -> Result<(), LocalError> {
        if fetched.shallow.is_empty() && fetched.unshallow.is_empty() {
            return Ok(());
        }
        self.change_shallow(|boundary| {
            boundary.retain(|id| !fetched.unshallow.contains(id));
            boundary.extend(&fetched.shallow);
            Ok(())
        })
    }

    /// Adds `new` to the shallow boundary and takes from it every commit whose parents are all here.
    pub(crate) fn settle_shallow(&self, new: &[ObjectId]) -> Result<(), LocalError> {
        let objects = self.open()?.objects;
        let mut buffer = Vec::new();
        self.change_shallow(|boundary| {
            boundary.extend(new);
            let mut kept = Vec::new();
            for id in boundary.drain(..) {
                let commit =
                    objects
                        .find_commit(&id, &mut buffer)
                        .map_err(|error| LocalError::Repository {
                            path: self.git_dir.clone(),
                            source: error.into(),
                        })?;
                if !commit.parents().all(|parent| objects.exists(&parent)) {
                    kept.push(id);
                }
            }
            *boundary = kept;
            Ok(())
        })
    }

    /// By the lock file git uses, so that two fetches do not undo each other.
    fn change_shallow(
        &self,
        change: impl FnOnce(&mut Vec<ObjectId>) -> Result<(), LocalError>,
    ) -> Result<(), LocalError> {
        let path = self.shallow_path();
        let lock = path.with_extension("lock");
        let mut file = create_lock(&lock)?;
        // Once it is renamed, the name is free for another's lock.
        let mut renamed = false;
        let written = self.shallow().and_then(|mut boundary| {
            change(&mut boundary)?;
            boundary.sort();
            boundary.dedup();
            let lines: String = boundary.iter().map(|id| format!("{id}\n")).collect();
            file.write_all(lines.as_bytes())
                .and_then(|()| file.sync_data())
                .at("write", &lock)?;
            match boundary.is_empty() {
                // Git takes an empty file for a repository that is still shallow.
                true => fs::remove_file(&path)
                    .or_else(|error| match error.kind() {
                        io::ErrorKind::NotFound => Ok(()),
                        _ => Err(error),
                    })
                    .at("remove", &path)?,
                false => {
                    fs::rename(&lock, &path).at("rename the lock file to", &path)?;
                    renamed = true;
                }
            }
            Ok(())
        });
        if !renamed {
            fs::remove_file(&lock).ok();
        }
        written
    }

    /// Fetches one pack into the object database. The shallow boundary, refs and the rest are the caller's to move, in that
    /// order. With `promisor`, the remote owes what the pack lacks, and the text goes beside it as git would put it there.
    pub(crate) fn fetch(
        &self,
        conversation: &mut Conversation<'_>,
        shown_url: &str,
        request: &FetchRequest<'_>,
        promisor: Option<&[u8]>,
        job: &FetchJob<'_>,
    ) -> Result<Fetched<ReceivedPack>, LocalError> {
        let options = ReceiveOptions {
            pack_dir: &self.common_dir.join("objects/pack"),
            promisor,
            threads: thread::available_parallelism().map_or(1, usize::from),
            interrupt: job.interrupt,
            on_bytes: job.on_bytes,
        };
        let take = |input: &mut dyn io::BufRead| -> Result<ReceivedPack, PackError> {
            receive_pack(input, &options, None)
        };
        let on_message = |message: String| job.progress.warn(&Warning::Remote { message });
        conversation
            .fetch(request, &on_message, take)
            .map_err(|error| match error {
                FetchError::Remote(error) => error.into(),
                FetchError::Pack(error) => LocalError::from_pack(shown_url, error),
            })
    }
}

/// A path or revision for a command line.
pub(crate) fn os_string(text: &BStr) -> OsString {
    OsString::from_vec(text.to_vec())
}

/// How long another's lock is waited for: git holds it while it fetches.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(50);

fn create_lock(path: &Path) -> Result<fs::File, PathError> {
    let started = Instant::now();
    loop {
        match fs::File::create_new(path) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && started.elapsed() < LOCK_PATIENCE =>
            {
                thread::sleep(LOCK_POLL);
            }
            created => return created.at("create", path),
        }
    }
}

/// Who follows a fetch.
pub(crate) struct FetchJob<'a> {
    pub(crate) progress: &'a dyn Progress,
    /// Told how many more bytes of the pack have arrived.
    pub(crate) on_bytes: &'a (dyn Fn(u64) + Sync),
    pub(crate) interrupt: &'a AtomicBool,
}

impl From<PathError> for LocalError {
    fn from(error: PathError) -> Self {
        match error.is_disk_full() {
            true => LocalError::DiskFull(error),
            false => LocalError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;
