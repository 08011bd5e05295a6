//! One machine: its own home, store and work folder, and the `headstart` of this build on it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    Run, Running,
    git::{self, git_command},
};

/// A machine of its own as far as headstart can tell: nothing of the real user's environment shows through.
#[derive(Debug)]
pub struct TestEnv {
    headstart: PathBuf,
    root: TempDir,
}

impl TestEnv {
    /// A new machine. `headstart` is the binary under test: `env!("CARGO_BIN_EXE_headstart")`.
    pub fn new(headstart: impl AsRef<Path>) -> Self {
        let root = tempfile::Builder::new()
            .prefix("headstart-test-")
            .tempdir()
            .expect("a temporary folder");
        let env = TestEnv {
            headstart: headstart.as_ref().to_owned(),
            root,
        };
        for folder in [env.home(), env.work()] {
            std::fs::create_dir(&folder).expect("a folder in a new temporary folder");
        }
        env
    }

    /// Another machine with the same headstart: another home, store and work folder.
    pub fn second_machine(&self) -> Self {
        Self::new(&self.headstart)
    }

    /// The folder that holds everything of this machine.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The folder commands run in.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The local store, made by the first command that needs it.
    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// A path in the work folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work().join(name)
    }

    /// A `headstart` command on this machine.
    pub fn headstart(&self) -> Headstart<'_> {
        Headstart {
            env: self,
            args: Vec::new(),
            variables: Vec::new(),
            folder: self.work(),
            prefix: Vec::new(),
        }
    }

    /// `headstart` with these arguments, run to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        self.headstart().args(args).run()
    }

    /// A git command on this machine, in its work folder.
    pub fn git(&self) -> Command {
        let mut git = git_command();
        git.env("HOME", self.home()).current_dir(self.work());
        git
    }

    /// The environment of every program on this machine.
    fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> = git::environment()
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        for (name, value) in [
            ("HOME", self.home()),
            ("HEADSTART_STORE", self.store()),
            ("TMPDIR", self.root.path().to_owned()),
        ] {
            variables.push((name.into(), value.into()));
        }
        variables.extend(std::env::var_os("PATH").map(|path| ("PATH".into(), path)));
        variables
    }
}

/// A `headstart` command line being put together.
#[derive(Debug, Clone)]
#[must_use = "nothing has run yet"]
pub struct Headstart<'a> {
    env: &'a TestEnv,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: PathBuf,
    prefix: Vec<OsString>,
}

impl Headstart<'_> {
    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, over the machine's own.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets several environment variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        variables
            .into_iter()
            .fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Adds git settings, as `git -c name=value` would, over those every test has.
    pub fn git_settings(self, settings: &[(&str, &str)]) -> Self {
        self.envs(git::settings_and(settings.iter().copied()))
    }

    /// Runs in this folder instead of the work folder.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = folder.as_ref().to_owned();
        self
    }

    /// Runs through another program, for example `["strace", "-f"]`.
    pub fn through<A: AsRef<OsStr>>(mut self, program: impl IntoIterator<Item = A>) -> Self {
        self.prefix
            .extend(program.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Run {
        self.start().wait()
    }

    /// Starts it, for tests that signal it or talk to it while it runs.
    pub fn start(self) -> Running {
        let mut words = self
            .prefix
            .iter()
            .chain([self.env.headstart.as_os_str().to_owned()].iter())
            .cloned()
            .collect::<Vec<_>>();
        words.extend(self.args);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(self.env.variables())
            .envs(self.variables)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::spawn(&mut command, self.env.root())
    }
}
