//! The installed git, run so that nothing of the machine or its user shows through.

use std::{env::temp_dir, process::Command};

/// Settings every git of a test runs with, beside an empty system and user configuration.
const SETTINGS: &[(&str, &str)] = &[
    ("init.defaultBranch", "main"),
    // Submodules and clones by local path are part of the fixtures.
    ("protocol.file.allow", "always"),
    // A run as root may meet a repository that somebody else owns.
    ("safe.directory", "*"),
    // Detached maintenance would race with the end of the test.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    // Nobody waits for a server of a test to recover.
    ("http.retryAfter", "0"),
];

/// The environment variables of a hermetic git: no configuration of the machine, fixed identity, dates and language.
pub(crate) fn environment() -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Ada Author"),
        ("GIT_AUTHOR_EMAIL", "ada@example.org"),
        ("GIT_AUTHOR_DATE", "1700000000 +0100"),
        ("GIT_COMMITTER_NAME", "Carl Committer"),
        ("GIT_COMMITTER_EMAIL", "carl@example.org"),
        ("GIT_COMMITTER_DATE", "1700000000 +0100"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    environment.extend(settings(SETTINGS.iter().copied()));
    // A folder that is no repository, by a mistake of a test, must not make git find one around the temporary folder.
    environment.push((
        "GIT_CEILING_DIRECTORIES".to_owned(),
        temp_dir().display().to_string(),
    ));
    environment
}

/// Git settings as the environment variables that carry them.
pub(crate) fn settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut count = 0;
    for (name, value) in settings {
        variables.push((format!("GIT_CONFIG_KEY_{count}"), name.to_owned()));
        variables.push((format!("GIT_CONFIG_VALUE_{count}"), value.to_owned()));
        count += 1;
    }
    variables.push(("GIT_CONFIG_COUNT".to_owned(), count.to_string()));
    variables
}

/// The settings of every git of a test, and `more`.
pub(crate) fn settings_and<'a>(more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    settings(SETTINGS.iter().copied().chain(more))
}

/// A git command with a hermetic environment: only `PATH` is taken over from the caller.
pub fn git_command() -> Command {
    let mut git = Command::new("git");
    git.env_clear().envs(environment());
    if let Some(path) = std::env::var_os("PATH") {
        git.env("PATH", path);
    }
    git
}
