//! Errors of the libraries as errors of commands: the kind that decides the exit code, and the next step.

use headstart_deps::DepsError;
use headstart_fs::PathError;
use headstart_git::{ChangesError, CloneError, LocalError, PullError, RemoteError, seed::SeedError};
use headstart_image::ImageError;
use headstart_process::ProcessError;
use headstart_store::{ParseEntryNameError, RestoreError, SaveError, StoreError, UnmountError};
use headstart_tasks::TasksError;

use super::{CommandError, Kind};

impl From<PathError> for CommandError {
    fn from(error: PathError) -> Self {
        let command_error = CommandError::from_error(Kind::Failed, &error);
        match error.kind() {
            _ if error.is_disk_full() => command_error.hint("free some space and run the command again"),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                command_error.hint("choose a place that can be written to, or change its permissions")
            }
            _ => command_error,
        }
    }
}

impl From<ProcessError> for CommandError {
    fn from(error: ProcessError) -> Self {
        match &error {
            ProcessError::Interrupted { .. } => CommandError::interrupted(),
            ProcessError::NotFound { program } => {
                let hint = format!("install {program}, or put it on PATH");
                CommandError::from_error(Kind::Failed, &error).hint(hint)
            }
            _ => CommandError::from_error(Kind::Failed, &error),
        }
    }
}

impl From<ParseEntryNameError> for CommandError {
    fn from(error: ParseEntryNameError) -> Self {
        CommandError::from_error(Kind::Usage, &error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => CommandError::interrupted(),
            StoreError::Io(error) if error.is_disk_full() => CommandError::from_error(Kind::Failed, &error)
                .context("the local store has no room left")
                .hint(
                    "`headstart cache gc --max-size <SIZE>` makes room, --store names a folder on another disk; what was \
                     saved before is whole",
                ),
            StoreError::Io(error) => error.into(),
            error => {
                let hint = match &error {
                    StoreError::Corrupt { .. } => Some(
                        "`headstart cache verify --repair` moves corrupt content aside; it is stored again by the next save",
                    ),
                    StoreError::Refused { .. } => Some(
                        "check the credentials: $HEADSTART_TOKEN for a headstart-server, the cloud's own variables for a bucket",
                    ),
                    StoreError::Unavailable { .. } => Some("try again, or go on without it: --remote ''"),
                    _ => None,
                };
                let command_error = CommandError::from_error(Kind::Failed, &error);
                hint.into_iter().fold(command_error, CommandError::hint)
            }
        }
    }
}

impl From<SaveError> for CommandError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Interrupted => CommandError::interrupted(),
            SaveError::Io(error) => error.into(),
            SaveError::Store(error) => error.into(),
            error @ SaveError::NotFound { .. } => {
                CommandError::from_error(Kind::Failed, &error).hint("name paths relative to --root")
            }
            error @ (SaveError::BehindSymlink { .. } | SaveError::TooLarge(_)) => {
                CommandError::from_error(Kind::Failed, &error)
            }
        }
    }
}

impl From<RestoreError> for CommandError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Interrupted => CommandError::interrupted(),
            RestoreError::Io(error) => error.into(),
            RestoreError::Store(error) => error.into(),
            error @ RestoreError::Emptied { .. } => CommandError::from_error(Kind::Failed, &error)
                .hint("try again; `headstart cache verify` tells what is damaged"),
            error @ RestoreError::InTheStore { .. } => {
                CommandError::from_error(Kind::Failed, &error).hint("choose another --store or --root")
            }
            error @ RestoreError::InTheWay { .. } => CommandError::from_error(Kind::Failed, &error)
                .hint("move it away, or restore elsewhere with --root"),
            error @ RestoreError::Outside { .. } => CommandError::from_error(Kind::Failed, &error)
                .hint("find out who wrote that entry; save under another key"),
        }
    }
}

impl From<UnmountError> for CommandError {
    fn from(error: UnmountError) -> Self {
        match error {
            UnmountError::Io(error) => error.into(),
            error @ UnmountError::NotMounted { .. } => {
                CommandError::from_error(Kind::Failed, &error).hint("`mount` lists what is mounted")
            }
            error @ UnmountError::Link { .. } => {
                CommandError::from_error(Kind::Failed, &error).hint("name the folder that it leads to")
            }
            error @ UnmountError::InUse { .. } => CommandError::from_error(Kind::Failed, &error)
                .hint("end what works in it (`fuser -m` tells), and leave it"),
        }
    }
}

impl From<CloneError> for CommandError {
    fn from(error: CloneError) -> Self {
        match error {
            CloneError::Interrupted => CommandError::interrupted(),
            CloneError::Remote(error) => error.into(),
            CloneError::Io(error) => error.into(),
            CloneError::Git(error) => error.into(),
            error => {
                let hint = match &error {
                    CloneError::Url(_) => "give an http(s), ssh or file URL, user@host:path, or a local path",
                    CloneError::DestinationExists { .. } => "name another folder, or empty this one",
                    CloneError::NoSuchBranch { .. } => "`git ls-remote <url>` lists what there is",
                    CloneError::CorruptPack { .. } => {
                        "try again; if it stays, the repository at the origin wants a `git fsck`"
                    }
                    CloneError::Worktree { .. } => "`--no-checkout` clones without writing files",
                    CloneError::Repository { .. } => "look at the git settings and at the template folder",
                    _ => "free some space and run the command again",
                };
                CommandError::from_error(Kind::Failed, &error).hint(hint)
            }
        }
    }
}

impl From<LocalError> for CommandError {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Interrupted => CommandError::interrupted(),
            LocalError::Remote(error) => error.into(),
            LocalError::Io(error) | LocalError::DiskFull(error) => error.into(),
            LocalError::Git(error) => error.into(),
            error => {
                let (kind, hint) = match &error {
                    LocalError::NoRepository { .. } => {
                        (Kind::Usage, "go into a clone, or make one with `headstart clone`")
                    }
                    LocalError::OutsideWorktree { .. } | LocalError::NoSuchPath { .. } => {
                        (Kind::Usage, "give paths of this repository")
                    }
                    LocalError::UnsupportedObjectFormat { .. } => {
                        (Kind::Failed, "use git; docs/limitations.md has the reason")
                    }
                    LocalError::Busy { .. } => (
                        Kind::Failed,
                        "wait for it; `headstart doctor` tells how far it is",
                    ),
                    LocalError::NoRemote { .. } | LocalError::Url(_) | LocalError::Setting { .. } => (
                        Kind::Failed,
                        "`git remote -v` and `git config --show-origin --list` show what is set",
                    ),
                    LocalError::CorruptPack { .. } => (
                        Kind::Failed,
                        "try again; if it stays, the repository at the origin wants a `git fsck`",
                    ),
                    _ => (Kind::Failed, "`git fsck` checks the repository"),
                };
                CommandError::from_error(kind, &error).hint(hint)
            }
        }
    }
}

impl From<PullError> for CommandError {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Interrupted => CommandError::new(
                Kind::Interrupted,
                "stopped on request; the next `headstart pull` goes on from here",
            ),
            PullError::Local(error) => error.into(),
            error => {
                let hint = match &error {
                    PullError::Bare { .. } => "`git fetch` updates a bare repository",
                    PullError::Detached => "`git switch <branch>` checks a branch out",
                    PullError::NoUpstream { .. } => {
                        "`git branch --set-upstream-to=<remote>/<branch>` sets what it follows"
                    }
                    PullError::UpstreamGone { .. } => {
                        "`git switch` to another branch, or set another upstream"
                    }
                    PullError::Diverged { .. } => {
                        "`git rebase` or `git merge` it; `git reset --hard @{upstream}` drops what is here"
                    }
                    PullError::Rewritten { .. } => {
                        "a `+` before the refspec in remote.<name>.fetch allows it"
                    }
                    PullError::InTheWay { .. } => "commit, stash or move away what is in the way",
                    PullError::IndexChanged => "run the command again",
                    PullError::Disconnected { .. } => "try again; if it stays, the origin wants a `git fsck`",
                    _ => "the next `headstart pull` goes on from here; `git reset --hard` goes back",
                };
                CommandError::from_error(Kind::Failed, &error).hint(hint)
            }
        }
    }
}

impl From<SeedError> for CommandError {
    fn from(error: SeedError) -> Self {
        match error {
            error if error.is_interrupted() => CommandError::interrupted(),
            SeedError::Clone(error) => error.into(),
            SeedError::Local(LocalError::Remote(error)) => error.into(),
            SeedError::Git(error) => error.into(),
            SeedError::Io(error) => error.into(),
            error => {
                let hint = match &error {
                    SeedError::Unfiltered { .. } => Some("give another --filter, such as blob:none"),
                    SeedError::Empty { .. } => Some("push a first commit to it"),
                    _ => None,
                };
                let command_error = CommandError::from_error(Kind::Failed, &error);
                hint.into_iter().fold(command_error, CommandError::hint)
            }
        }
    }
}

impl From<ChangesError> for CommandError {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Local(error) => error.into(),
            error => {
                let hint = match &error {
                    ChangesError::UnknownRevision {
                        remote: Some(url), ..
                    } => Some(format!(
                        "neither this repository nor {url} has it; `git ls-remote` lists what there is"
                    )),
                    ChangesError::UnknownRevision { .. } => Some(
                        "give a branch, a tag, a full commit ID, or one of these with ~1 or ^2".to_owned(),
                    ),
                    ChangesError::NoDefaultBase => Some("say what to compare with: --base main".to_owned()),
                    ChangesError::NoMergeBase { .. } => {
                        Some("compare with a branch of the same history: --base <ref>".to_owned())
                    }
                    ChangesError::CannotDeepen { .. } => {
                        Some("clone the whole history: `git fetch --unshallow`".to_owned())
                    }
                    ChangesError::Corrupt { .. } => Some("`git fsck` says what is wrong with it".to_owned()),
                    ChangesError::NoWorkingTree => Some("leave --uncommitted out".to_owned()),
                    _ => None,
                };
                let command_error = CommandError::from_error(Kind::Failed, &error);
                hint.into_iter().fold(command_error, CommandError::hint)
            }
        }
    }
}

impl From<TasksError> for CommandError {
    fn from(error: TasksError) -> Self {
        match error {
            TasksError::Source(source) => match source.downcast::<ChangesError>() {
                Ok(error) => (*error).into(),
                Err(source) => CommandError::from_error(Kind::Failed, &TasksError::Source(source)),
            },
            error @ TasksError::Config { .. } => CommandError::from_error(Kind::Usage, &error)
                .hint("docs/guide/affected.md says what headstart.toml may name"),
            error @ TasksError::Malformed { .. } => CommandError::from_error(Kind::Failed, &error).hint(
                "mend the file, or look for workspaces elsewhere: [affected] workspaces in headstart.toml",
            ),
            error @ TasksError::TooMany { .. } => {
                CommandError::from_error(Kind::Failed, &error).hint("write narrower patterns")
            }
        }
    }
}

impl From<RemoteError> for CommandError {
    fn from(error: RemoteError) -> Self {
        let hint = match &error {
            RemoteError::Interrupted => return CommandError::interrupted(),
            RemoteError::Process(_) => None,
            RemoteError::NotFound { .. } => {
                Some("check the URL, and that your account may see the repository")
            }
            RemoteError::Unauthorized { .. } => {
                Some("set up a git credential helper (`git help credentials`), or clone over ssh")
            }
            RemoteError::Refused { .. } => Some("check the user name, the password or token, and its rights"),
            RemoteError::Unreachable { .. } => {
                Some("check the host name, the network and the proxy, then try again")
            }
            RemoteError::Stalled { .. } | RemoteError::HungUp { .. } => {
                Some("nothing was left behind; run the command again")
            }
            RemoteError::Server { retryable: true, .. } => Some("it may pass; run the command again"),
            RemoteError::Server { .. } => None,
            RemoteError::NotGit { .. } => {
                Some("give the URL that `git clone` takes, not the page in a browser")
            }
            RemoteError::Redirected { .. } => Some("use the address it redirects to"),
            RemoteError::Protocol { .. } => {
                Some("if `git clone` understands it, this is a bug worth reporting")
            }
            RemoteError::UnsupportedObjectFormat { .. } => {
                Some("use `git clone`; docs/limitations.md has the reason")
            }
            RemoteError::Setting { .. } => {
                Some("`git config --show-origin --get-regexp http` shows where it is set")
            }
        };
        let command_error = CommandError::from_error(Kind::Failed, &error);
        hint.into_iter().fold(command_error, CommandError::hint)
    }
}

impl From<ImageError> for CommandError {
    fn from(error: ImageError) -> Self {
        let hint = match error {
            ImageError::Interrupted => return CommandError::interrupted(),
            ImageError::Io(error) => return error.into(),
            ImageError::Missing { .. } => Some("check the path, the tag and --platform"),
            ImageError::WrongDigest { .. } | ImageError::Corrupt { .. } | ImageError::Read { .. } => {
                Some("copy or build the image anew")
            }
            ImageError::Write { .. } => Some("choose a place that can be written to and has room"),
            ImageError::Differs { .. } => {
                Some("this is a bug in headstart or a failing disk; please report it")
            }
            ImageError::Refused { .. } => {
                Some("log in with `docker login`, and check what the account may do there")
            }
            ImageError::Unavailable { .. } => {
                Some("check the name, the network and the proxy, then try again")
            }
            ImageError::Daemon { .. } => Some(
                "check that it runs (`docker version`), that $DOCKER_HOST names its socket, and that you may use it (group docker)",
            ),
            ImageError::TooLarge { .. } | ImageError::Unsupported { .. } => None,
        };
        let command_error = CommandError::from_error(Kind::Failed, &error);
        hint.into_iter().fold(command_error, CommandError::hint)
    }
}

impl From<DepsError> for CommandError {
    fn from(error: DepsError) -> Self {
        match error {
            DepsError::Interrupted => CommandError::interrupted(),
            DepsError::Io(error) => error.into(),
            DepsError::Store(error) => error.into(),
            error => {
                let (kind, hint) = match &error {
                    DepsError::Refused { .. } | DepsError::DisablesNothing { .. } => (
                        Kind::Usage,
                        Some("docs/guide/dependency-caches.md says what headstart.toml may name"),
                    ),
                    DepsError::Malformed { .. } => (
                        Kind::Failed,
                        Some("mend the file, or let its package manager write it anew"),
                    ),
                    DepsError::TooMany { .. } => (
                        Kind::Failed,
                        Some("name folders to leave out in headstart.toml: [deps] ignore = [...]"),
                    ),
                    _ => (Kind::Failed, None),
                };
                let command_error = CommandError::from_error(kind, &error);
                hint.into_iter().fold(command_error, CommandError::hint)
            }
        }
    }
}
