//! Running the manager's own frozen install.

use std::sync::atomic::AtomicBool;

use headstart_process::{Command, Output, ProcessError};

use crate::{DepsError, Host, Install};

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
    // Questions nobody could answer: stdin is closed. The first two are pnpm's, before and since version 11.
    command = command
        .env("npm_config_confirm_modules_purge", "false")
        .env("pnpm_config_confirm_modules_purge", "false")
        .env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0");
    if output == InstallOutput::Inherit {
        command = command.inherit_output();
    }
    command
        .run_interruptible(interrupt)
        .map_err(|source| match source {
            ProcessError::Interrupted { .. } => DepsError::Interrupted,
            source => DepsError::Install {
                project: install.folder.clone(),
                source,
            },
        })
}
