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

/// The end of both streams: pnpm, Yarn and Poetry complain on stdout, whatever they say on stderr.
fn last_words(output: &Output) -> String {
    let end_of = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.trim().lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    };
    let mut said = vec![end_of(&output.stdout), end_of(&output.stderr)];
    said.retain(|text| !text.is_empty());
    said.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_on_stdout_is_heard_beside_a_notice_on_stderr() {
        let output = |stdout: &str, stderr: &str| Output {
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        assert_eq!(
            last_words(&output("no such package\n", "making an environment\n")),
            "no such package\nmaking an environment"
        );
        let lines: String = (0..30).map(|line| format!("{line}\n")).collect();
        let said = last_words(&output("", &lines));
        assert_eq!(said.lines().next(), Some("10"), "only the end is kept");
    }
}
