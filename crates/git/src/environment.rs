//! What the surroundings are: the git program, its environment variables, whether somebody can be asked.
//!
//! Passed in by the caller; nothing in this crate reads the process's environment.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use headstart_process::Command;

/// Variables that say where a repository is. Ours is the one we make, whatever the caller's shell points to.
const REPOSITORY_VARS: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Configuration given in the environment is for this side, not for a program that acts as the remote.
const CONFIG_VARS: &[&str] = &["GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"];

/// How git is run and what it sees.
#[derive(Clone)]
pub struct GitEnvironment {
    /// The git program: a name to look up in `PATH` or a path.
    pub program: OsString,
    /// The whole environment of every program started: home, `PATH`, `GIT_*`, proxies, ssh agent.
    pub vars: Vec<(OsString, OsString)>,
    /// Whether a person is at a terminal and may be asked for a password.
    pub may_prompt: bool,
    /// The folder that relative paths and URLs are relative to.
    pub folder: PathBuf,
}

impl GitEnvironment {
    /// What git says its version is.
    pub fn git_version(&self) -> Result<String, headstart_process::ProcessError> {
        let output = self.git().arg("--version").run()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The value of an environment variable, unless it is unset or empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        self.vars
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of a variable that must be text to mean anything.
    pub(crate) fn text_var(&self, name: &str) -> Option<&str> {
        self.var(name)?.to_str()
    }

    /// A git command in the user's environment. For what looks for a repository, see [`Self::git_in`]: the folder this
    /// process is in may be part of another one.
    pub(crate) fn git(&self) -> Command {
        self.command(&self.program)
    }

    /// A git command inside the repository with this git directory.
    pub(crate) fn git_in(&self, git_dir: &Path) -> Command {
        self.git().env("GIT_DIR", git_dir).current_dir(git_dir)
    }

    /// Any program in the user's environment.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program).env_clear();
        for (name, value) in &self.vars {
            if !is_one_of(name, REPOSITORY_VARS) {
                command = command.env(name, value);
            }
        }
        if !self.may_prompt {
            command = command.env("GIT_TERMINAL_PROMPT", "0");
        }
        command
    }

    /// A program that acts as the remote or leads to it.
    pub(crate) fn remote_command(&self, program: impl Into<OsString>) -> Command {
        CONFIG_VARS
            .iter()
            .fold(self.command(program), |command, name| command.env_remove(name))
    }
}

fn is_one_of(name: &OsStr, names: &[&str]) -> bool {
    names.iter().any(|other| name.as_bytes() == other.as_bytes())
}

impl fmt::Debug for GitEnvironment {
    /// Leaves the values of variables out: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.vars.iter().map(|(name, _)| name).collect();
        f.debug_struct("GitEnvironment")
            .field("program", &self.program)
            .field("vars", &names)
            .field("may_prompt", &self.may_prompt)
            .field("folder", &self.folder)
            .finish()
    }
}
