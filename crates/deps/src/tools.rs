//! Versions of the tools that decide what is on disk.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use headstart_process::Command;

/// A tool that does not tell its version in this time counts as not installed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Asks tools for their versions.
pub trait Tools: Send + Sync {
    /// What `tool` says of itself, as far as it matters to what is on disk; `None` when it is not installed, does not
    /// answer, or is none of [`KNOWN_TOOLS`].
    fn version(&self, tool: &str) -> Option<String>;
}

/// The tools a key may depend on, and how each is asked. Repository files may name these and no other program.
///
/// `node` answers its ABI (`process.versions.modules`), `python3` its `major.minor`, `rustc` its full version and host.
pub const KNOWN_TOOLS: [(&str, &[&str]); 8] = [
    ("bun", &["bun", "--version"]),
    ("go", &["go", "env", "GOVERSION"]),
    ("java", &["java", "--version"]),
    ("node", &["node", "-p", "process.versions.modules"]),
    ("pnpm", &["pnpm", "--version"]),
    (
        "python3",
        &[
            "python3",
            "-c",
            "import sys; print('%d.%d' % sys.version_info[:2])",
        ],
    ),
    ("rustc", &["rustc", "-vV"]),
    ("yarn", &["yarn", "--version"]),
];

/// Where tools are asked: in a checkout, `yarn` runs the release its `.yarnrc` names, `rustc` the toolchain of its
/// `rust-toolchain.toml`, so a program of the repository.
const OUTSIDE_OF_REPOSITORIES: &str = "/";

/// The tools on `PATH`, each asked at most once, outside of any repository.
#[derive(Debug)]
pub struct ProcessTools {
    env: BTreeMap<OsString, OsString>,
    answers: Mutex<BTreeMap<String, Option<String>>>,
}

impl ProcessTools {
    /// Tools run with exactly the environment `env`.
    pub fn new(env: BTreeMap<OsString, OsString>) -> Self {
        ProcessTools {
            env,
            answers: Mutex::default(),
        }
    }
}

impl Tools for ProcessTools {
    fn version(&self, tool: &str) -> Option<String> {
        let (_, line) = KNOWN_TOOLS.iter().find(|(name, _)| *name == tool)?;
        // Held while the tool runs, so that two askers do not start it twice.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers
            .entry(tool.to_owned())
            .or_insert_with(|| ask(line, &self.env))
            .clone()
    }
}

fn ask(line: &[&str], env: &BTreeMap<OsString, OsString>) -> Option<String> {
    let mut command = Command::new(line[0])
        .args(&line[1..])
        .env_clear()
        .current_dir(OUTSIDE_OF_REPOSITORIES)
        .deadline(DEADLINE);
    for (name, value) in env {
        // Programs believe this one before they ask the system.
        if name != "PWD" && name != "OLDPWD" {
            command = command.env(name, value);
        }
    }
    let output = command.run().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// Answers from a table.
    #[derive(Debug, Default, Clone)]
    pub(crate) struct FakeTools(pub(crate) BTreeMap<&'static str, &'static str>);

    impl Tools for FakeTools {
        fn version(&self, tool: &str) -> Option<String> {
            self.0.get(tool).map(|version| (*version).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tools_are_asked_where_no_repository_chooses_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let yarn = dir.path().join("yarn");
        std::fs::write(&yarn, "#!/bin/sh\necho \"$(pwd) $PWD\"\n").unwrap();
        std::fs::set_permissions(&yarn, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let env = [("PATH".into(), path.into()), ("PWD".into(), dir.path().into())];
        assert_eq!(
            ProcessTools::new(env.into()).version("yarn").as_deref(),
            Some("/ /")
        );
    }

    #[test]
    fn only_known_tools_are_started() {
        let tools = ProcessTools::new(std::env::vars_os().collect());
        assert_eq!(tools.version("sh"), None);
        assert!(
            tools
                .version("rustc")
                .is_some_and(|version| version.contains("host: "))
        );
    }
}
