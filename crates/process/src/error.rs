//! Why a program did not do its work.

use std::{io, process::ExitStatus, time::Duration};

/// What went wrong with a child process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not on `PATH`.
    #[error("{program} was not found on PATH")]
    NotFound {
        /// The program asked for.
        program: String,
    },
    /// The system would not start it, or talking to it failed.
    #[error("cannot run {command}")]
    Start {
        /// The command line.
        command: String,
        /// What the system answered.
        source: io::Error,
    },
    /// It ended with an error of its own.
    #[error("{command} failed with {status}{}", said(stderr_tail))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote to stderr.
        stderr_tail: String,
    },
    /// It did not end in time and was killed.
    #[error("{command} did not end within {} s{}", deadline.as_secs_f64(), said(stderr_tail))]
    TimedOut {
        /// The command line.
        command: String,
        /// The time it had.
        deadline: Duration,
        /// The last lines it wrote to stderr.
        stderr_tail: String,
    },
    /// The caller asked to stop; the program was killed.
    #[error("{command} was interrupted")]
    Interrupted {
        /// The command line.
        command: String,
    },
}

fn said(stderr_tail: &str) -> String {
    if stderr_tail.is_empty() {
        String::new()
    } else {
        format!(":\n{stderr_tail}")
    }
}
