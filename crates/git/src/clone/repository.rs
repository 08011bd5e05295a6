//! The git directory of a clone: configuration, refs and logs, written as `git clone` writes them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{SystemTime, UNIX_EPOCH},
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::ObjectId;
use headstart_fs::{AtPath as _, PathError};
use headstart_process::ProcessError;

use crate::{
    config::GitConfig,
    environment::GitEnvironment,
    error::CloneError,
    filter_spec::FilterSpec,
    refs::{Head, RefPlan, RemoteRef},
    remote_url::anonymized,
    sparse::Cone,
};

/// A repository being made.
#[derive(Debug)]
pub(super) struct NewRepository<'a> {
    pub(super) root: &'a Path,
    git_dir: PathBuf,
    pub(super) environment: &'a GitEnvironment,
}

/// What goes into the configuration.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) remote: &'a BStr,
    /// As git writes it: as given, but local paths absolute.
    pub(super) url: &'a BStr,
    pub(super) tags: bool,
    pub(super) filter: &'a FilterSpec,
    pub(super) plan: &'a RefPlan,
    pub(super) cone: Option<&'a Cone>,
    /// `branch.autoSetupRebase` for branches that follow a remote.
    pub(super) rebase: bool,
}

impl<'a> NewRepository<'a> {
    /// Names a repository to be made in the folder `root`. Its git directory is there, so that programs may run in it, and
    /// nothing else.
    pub(super) fn begin(root: &'a Path, environment: &'a GitEnvironment) -> Result<Self, PathError> {
        let git_dir = root.join(".git");
        fs::create_dir(&git_dir).at("create", &git_dir)?;
        Ok(NewRepository {
            root,
            git_dir,
            environment,
        })
    }

    /// Has git make an empty repository, from the user's template.
    pub(super) fn init(&self) -> Result<(), ProcessError> {
        self.environment
            .git()
            .args(["init", "--quiet"])
            .arg(self.root)
            // The refs below are written as files, and only SHA-1 is read, whatever the user's defaults are.
            .env("GIT_DEFAULT_REF_FORMAT", "files")
            .env("GIT_DEFAULT_HASH", "sha1")
            .run()?;
        Ok(())
    }

    pub(super) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    pub(super) fn pack_dir(&self) -> PathBuf {
        self.git_dir.join("objects/pack")
    }

    /// The branch that git begins here.
    pub(super) fn default_branch(&self) -> Result<BString, PathError> {
        let path = self.git_dir.join("HEAD");
        let head = fs::read(&path).at("read", &path)?;
        let branch = head.trim().strip_prefix(b"ref: refs/heads/").unwrap_or(b"main");
        Ok(branch.into())
    }

    /// Opens it with the user's configuration and without a look at this process's environment.
    pub(super) fn open(&self, config: &GitConfig) -> Result<gix::ThreadSafeRepository, CloneError> {
        let permissions = gix::open::Permissions {
            // Attributes of the user and the system count here too.
            attributes: gix::open::permissions::Attributes::all(),
            ..gix::open::Permissions::isolated()
        };
        let options = gix::open::Options::isolated()
            .permissions(permissions)
            .config_overrides(config.overrides());
        options
            .open(&self.git_dir)
            .map_err(|error| CloneError::Repository { source: error.into() })
    }

    /// Writes everything a filter, a hook or the worktree's writer looks at: configuration, `HEAD` and its branch.
    pub(super) fn configure(&self, settings: &Settings<'_>) -> Result<(), PathError> {
        let path = self.git_dir.join("config");
        let before = fs::read(&path).at("read", &path)?;
        self.write("config", &config_text(&before, settings))?;
        if let Some(cone) = settings.cone {
            self.write(
                "config.worktree",
                b"[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = true\n",
            )?;
            self.write("info/sparse-checkout", cone.patterns().as_ref())?;
        }
        match &settings.plan.head {
            Head::Branch { name, tip } => {
                let full = [b"refs/heads/".as_slice(), name].concat();
                self.write_ref(full.as_bstr(), &tip.to_string())?;
                self.write_symbolic("HEAD", full.as_bstr())
            }
            Head::Detached { tip } => self.write("HEAD", format!("{tip}\n").as_bytes()),
            Head::Unborn { name } => {
                self.write_symbolic("HEAD", [b"refs/heads/".as_slice(), name].concat().as_bstr())
            }
        }
    }

    /// Notes the commits whose parents are not here; none takes the note away.
    pub(super) fn write_shallow(&self, boundary: &[ObjectId]) -> Result<(), PathError> {
        let path = self.git_dir.join("shallow");
        if boundary.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", &path),
                _ => Ok(()),
            };
        }
        let mut lines: Vec<String> = boundary.iter().map(|id| format!("{id}\n")).collect();
        lines.sort();
        lines.dedup();
        self.write("shallow", lines.concat().as_bytes())
    }

    /// Writes the refs of the remote, now that everything they reach is here, and the first lines of the logs.
    pub(super) fn write_refs(
        &self,
        plan: &RefPlan,
        followed_tags: &[(BString, RemoteRef)],
        remote: &BStr,
        url: &BStr,
        ident: &[u8],
    ) -> Result<(), CloneError> {
        let mut packed: Vec<(&BStr, RemoteRef)> = plan
            .fetched
            .iter()
            .filter_map(|fetched| Some((fetched.local_name.as_ref()?.as_bstr(), fetched.target)))
            .collect();
        packed.sort_by_key(|(name, _)| *name);
        if !packed.is_empty() {
            let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
            for (name, target) in packed {
                text.extend_from_slice(format!("{} ", target.id).as_bytes());
                text.extend_from_slice(name);
                text.push(b'\n');
                if let Some(peeled) = target.peeled {
                    text.extend_from_slice(format!("^{peeled}\n").as_bytes());
                }
            }
            self.write("packed-refs", &text)?;
        }
        for (name, target) in followed_tags {
            self.write_ref(name.as_ref(), &target.id.to_string())?;
        }
        let message = anonymized(url);
        let log = |tip: ObjectId| {
            let null = ObjectId::null(tip.kind());
            let start = format!("{null} {tip} ");
            [start.as_bytes(), ident, b"\tclone: from ", &message, b"\n"].concat()
        };
        if let Some(tip) = plan.head.tip() {
            self.write("logs/HEAD", &log(tip))?;
        }
        if let Head::Branch { name, tip } = &plan.head {
            let path = [b"logs/refs/heads/".as_slice(), name].concat();
            self.write(path.to_path_lossy(), &log(*tip))?;
        }
        if let Some((branch, tip)) = &plan.remote_head
            && plan
                .fetched
                .iter()
                .any(|fetched| fetched.local_name.as_ref() == Some(branch))
        {
            let name = [b"refs/remotes/".as_slice(), remote, b"/HEAD"].concat();
            self.write_symbolic(name.to_path_lossy(), branch.as_ref())?;
            let path = [b"logs/".as_slice(), &name].concat();
            self.write(path.to_path_lossy(), &log(*tip))?;
        }
        Ok(())
    }

    /// Runs the `post-checkout` hook that came with the user's template, as git does after a clone; answers why it failed.
    pub(super) fn run_post_checkout(
        &self,
        config: &GitConfig,
        tip: ObjectId,
        stop: &AtomicBool,
    ) -> Option<String> {
        let configured = config.string("core.hookspath").is_some();
        if !configured && !self.git_dir.join("hooks/post-checkout").exists() {
            return None;
        }
        let null = ObjectId::null(tip.kind());
        self.environment
            .git()
            .current_dir(self.root)
            .args(["hook", "run", "--ignore-missing", "post-checkout", "--"])
            .args([null.to_string(), tip.to_string(), "1".to_owned()])
            .run_interruptible(stop)
            .err()
            .map(|error| error.to_string())
    }

    /// The user and the time, as git writes them into a log.
    pub(super) fn ident(&self) -> Vec<u8> {
        // Asked for this variable alone, git wants a name fit for a commit. Its list has what it writes into logs, where
        // the name of the system's user will do; it comes after the configuration, which may say anything.
        let asked = self.environment.git_in(&self.git_dir).args(["var", "-l"]).run();
        let listed = asked.ok().and_then(|output| {
            let lines = output.stdout.lines().rev();
            let ident = lines
                .filter_map(|line| line.strip_prefix(b"GIT_COMMITTER_IDENT="))
                .next();
            ident.map(<[u8]>::to_owned)
        });
        listed.unwrap_or_else(|| self.own_ident().into_bytes())
    }

    /// The same where git does not tell: a date of the user's that cannot be read, say.
    fn own_ident(&self) -> String {
        let var = |name| {
            let text = self.environment.text_var(name)?;
            let plain = text
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
            plain.then_some(text)
        };
        let user = var("USER").or_else(|| var("LOGNAME")).unwrap_or("unknown");
        let host = var("HOSTNAME").unwrap_or("localhost");
        // A log whose entry is of long ago is taken for expired.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{user} <{user}@{host}> {} +0000", now.as_secs())
    }

    fn write_ref(&self, name: &BStr, content: &str) -> Result<(), PathError> {
        self.write(name.to_path_lossy(), format!("{content}\n").as_bytes())
    }

    fn write_symbolic(&self, name: impl AsRef<Path>, target: &BStr) -> Result<(), PathError> {
        self.write(name, &[b"ref: ".as_slice(), target, b"\n"].concat())
    }

    /// Nobody else looks at this folder yet: it is published as a whole.
    fn write(&self, name: impl AsRef<Path>, content: &[u8]) -> Result<(), PathError> {
        let path = self.git_dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).at("create", folder)?;
        }
        fs::write(&path, content).at("write", &path)
    }
}

/// Adds what a clone adds to the configuration git made, in the order and spelling of `git clone`.
fn config_text(before: &[u8], settings: &Settings<'_>) -> Vec<u8> {
    let partial = !settings.filter.is_none();
    let mut text = match partial {
        // Git does the same when it begins to use extensions.
        true => before.replace(
            "\trepositoryformatversion = 0\n",
            "\trepositoryformatversion = 1\n",
        ),
        false => before.to_owned(),
    };
    let mut section = |name: &str, subsection: &BStr, values: &[(&str, &BStr)]| {
        text.extend_from_slice(format!("[{name} \"").as_bytes());
        for byte in subsection.bytes() {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.extend_from_slice(b"\"]\n");
        for (name, value) in values {
            text.extend_from_slice(format!("\t{name} = ").as_bytes());
            text.extend_from_slice(&quoted(value));
            text.push(b'\n');
        }
    };
    let filter = settings.filter.to_string();
    let mut remote: Vec<(&str, &BStr)> = vec![("url", settings.url)];
    if !settings.tags {
        remote.push(("tagOpt", "--no-tags".into()));
    }
    if let Some(refspec) = &settings.plan.refspec {
        remote.push(("fetch", refspec.as_ref()));
    }
    if partial {
        remote.push(("promisor", "true".into()));
        remote.push(("partialclonefilter", filter.as_str().into()));
    }
    section("remote", settings.remote, &remote);
    if let Head::Branch { name, .. } | Head::Unborn { name } = &settings.plan.head {
        let merge: BString = [b"refs/heads/".as_slice(), name].concat().into();
        let mut branch: Vec<(&str, &BStr)> = vec![("remote", settings.remote), ("merge", merge.as_ref())];
        if settings.rebase {
            branch.push(("rebase", "true".into()));
        }
        section("branch", name.as_ref(), &branch);
    }
    if settings.cone.is_some() {
        text.extend_from_slice(b"[extensions]\n\tworktreeConfig = true\n");
    }
    text
}

/// A value as git writes it: quoted only where it must be.
fn quoted(value: &BStr) -> Vec<u8> {
    let must = value.starts_with(b" ") || value.ends_with(b" ") || value.find_byteset(b";#\r").is_some();
    let mut text = Vec::with_capacity(value.len() + 2);
    if must {
        text.push(b'"');
    }
    for byte in value.bytes() {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            byte => text.push(byte),
        }
    }
    if must {
        text.push(b'"');
    }
    text
}
