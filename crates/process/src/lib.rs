//! Child processes: a closed stdin, a scrubbed environment, a deadline, cancellation, and errors with the tail of
//! what the program said.
//!
//! Owns how a program is started, watched and ended. Does not know which programs there are.
//!
//! ```
//! use headstart_process::Command;
//!
//! let output = Command::new("git").arg("--version").run()?;
//! assert!(output.stdout.starts_with(b"git version "));
//! # Ok::<(), headstart_process::ProcessError>(())
//! ```

mod command;
mod error;

pub use command::{Command, Output};
pub use error::ProcessError;
