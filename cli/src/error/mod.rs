//! What a command can end with: a kind, a sentence, the causes and hints. One place maps kinds to exit codes.

mod conversions;

use std::{error::Error, io, panic};

use serde_json::json;

use crate::ui::clean;

/// Exit code of a wrong command line.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit code of a run ended by Ctrl-C or a termination signal.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;
/// Exit code of a bug in headstart.
pub(crate) const EXIT_BUG: u8 = 255;

/// Why a command ended without doing all that was asked.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Whoever read our output has heard enough: not an error to speak of.
    BrokenPipe,
    /// Anything worth saying.
    Failure(Box<Failure>),
}

/// An error for people and scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

/// What a script can do about it: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or not all, of what was asked was done.
    Failed,
    /// The command line or the settings are wrong.
    Usage,
    /// Done in part; the message lists what was left out.
    Partial,
    /// The user stopped it.
    Interrupted,
}

impl Kind {
    fn heading(self) -> &'static str {
        match self {
            Kind::Failed | Kind::Usage => "error",
            Kind::Partial => "incomplete",
            Kind::Interrupted => "interrupted",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => EXIT_USAGE,
            Kind::Partial => 3,
            Kind::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

impl CommandError {
    /// An error of `kind` said in one sentence.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        CommandError::Failure(Box::new(Failure {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }))
    }

    /// A failure said in one sentence.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A wrong command line or setting.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The user stopped the run.
    pub(crate) fn interrupted() -> Self {
        Self::new(
            Kind::Interrupted,
            "stopped on request; nothing half-done was left behind",
        )
    }

    /// An error of `kind` from a library: its message, then its causes.
    pub(crate) fn from_error(kind: Kind, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        CommandError::Failure(Box::new(Failure {
            kind,
            message: error.to_string(),
            causes,
            hints: Vec::new(),
        }))
    }

    /// Adds what to do next: a command or a setting.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let CommandError::Failure(failure) = &mut self {
            failure.hints.push(hint.into());
        }
        self
    }

    /// Puts a sentence about the larger task before the message, which becomes the first cause.
    pub(crate) fn context(mut self, sentence: impl Into<String>) -> Self {
        if let CommandError::Failure(failure) = &mut self {
            let message = std::mem::replace(&mut failure.message, sentence.into());
            failure.causes.insert(0, message);
        }
        self
    }

    /// The same failure as the reason why a larger task was done only in part. An interruption stays one.
    pub(crate) fn into_partial(mut self, sentence: impl Into<String>) -> Self {
        if let CommandError::Failure(failure) = &mut self
            && failure.kind != Kind::Interrupted
        {
            failure.kind = Kind::Partial;
        }
        self.context(sentence)
    }

    /// What writing to stdout failed with.
    pub(crate) fn from_stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CommandError::BrokenPipe,
            _ => Self::from_error(Kind::Failed, &error).context("cannot write to standard output"),
        }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CommandError::BrokenPipe => 0,
            CommandError::Failure(failure) => failure.kind.exit_code(),
        }
    }

    /// The sentence and its causes on one line, for a warning.
    pub(crate) fn one_line(&self) -> String {
        let CommandError::Failure(failure) = self else {
            return String::new();
        };
        std::iter::once(&failure.message)
            .chain(&failure.causes)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
    }

    /// Sentence, causes and hints, for a terminal.
    pub(crate) fn to_text(&self) -> String {
        let CommandError::Failure(failure) = self else {
            return String::new();
        };
        let mut text = format!("{}: {}", failure.kind.heading(), failure.message);
        for cause in &failure.causes {
            text.push_str(&format!("\n  because: {cause}"));
        }
        for hint in &failure.hints {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }

    /// The last JSON line on stderr under `--json`.
    pub(crate) fn to_json(&self) -> String {
        let CommandError::Failure(failure) = self else {
            return String::new();
        };
        json!({
            "schema": "headstart.error/1",
            "kind": failure.kind.heading(),
            "message": clean(&failure.message),
            "causes": failure.causes,
            "hints": failure.hints,
            "exit_code": failure.kind.exit_code(),
        })
        .to_string()
    }
}

/// Makes a panic end in a sentence that says whose fault it is.
pub(crate) fn report_panics_as_bugs() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        default(info);
        crate::ui::bug("this is a bug in headstart; please report it with the lines above");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_sentence_causes_and_hint() {
        let io = io::Error::other("no such host");
        let error = CommandError::from_error(Kind::Failed, &io)
            .context("cannot clone x")
            .hint("check the URL");
        assert_eq!(
            error.to_text(),
            "error: cannot clone x\n  because: no such host\nhint: check the URL"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn exit_codes_are_a_contract() {
        let codes = [Kind::Failed, Kind::Usage, Kind::Partial, Kind::Interrupted].map(Kind::exit_code);
        assert_eq!(codes, [1, 2, 3, 130]);
        assert_eq!(CommandError::BrokenPipe.exit_code(), 0);
    }
}
