//! Running the manager's own frozen install.

use std::sync::atomic::AtomicBool;

use headstart_process::{Command, Output, ProcessError};

use crate::{DepsError, Host, Install};

/// How many lines of what a failed install said are kept.
const LAST_LINES: usize = 20;

/// Where the install's own words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallOutput {
    /// To our stderr.
    Inherit,
    /// Nowhere, unless it fails: then the end of it is in the error.
    Capture,
}

/// Runs the install in its folder, with the environment of `host`. It runs what the project's dependencies bring along,
/// as it does when a person starts it.
pub fn install(
    install: &Install,
    host: &Host,
    output: InstallOutput,
    interrupt: &AtomicBool,
) -> Result<Output, DepsError> {
    let mut command = Command::new(install.program)
        .args(install.args)
        .current_dir(&install.folder)
        .env_clear();
    for (name, value) in &host.env {
        command = command.env(name, value);
    }
    // Questions nobody could answer, since stdin is closed.
    command = command.env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0");
    for (name, value) in install.env {
        command = command.env(*name, *value);
    }
    if output == InstallOutput::Inherit {
        command = command.inherit_output();
    }
    let failed = |source| DepsError::Install {
        project: install.folder.clone(),
        source,
    };
    let (status, output) = command.run_to_status(interrupt).map_err(|source| match source {
        ProcessError::Interrupted { .. } => DepsError::Interrupted,
        source => failed(source),
    })?;
    if status.success() {
        return Ok(output);
    }
    Err(failed(ProcessError::Failed {
        command: command.display(),
        status,
        stderr_tail: last_words(&output),
    }))
}

/// pnpm and Yarn complain on stdout.
fn last_words(output: &Output) -> String {
    let said = [&output.stderr, &output.stdout]
        .into_iter()
        .map(|bytes| String::from_utf8_lossy(bytes))
        .find(|text| !text.trim().is_empty())
        .unwrap_or_default();
    let lines: Vec<&str> = said.trim().lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
