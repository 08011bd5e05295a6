//! The one way to print.
//!
//! stdout carries the answer a script would want; status, warnings, hints, progress and errors go to stderr. Text that
//! comes from repositories or servers is stripped of control characters before it reaches a terminal.

pub(crate) mod github;
mod progress;
mod table;
mod units;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
};

use serde::Serialize;

pub(crate) use progress::ProgressBars;
pub(crate) use table::Table;
pub(crate) use units::{bytes, count, seconds};

use crate::error::CommandError;

/// What a run prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// Status and progress on stderr, a table or text on stdout.
    Human,
    /// The answer, warnings and errors only.
    Quiet,
    /// One JSON document on stdout; warnings and a last error object as JSON lines on stderr.
    Json,
}

/// The terminal, or what stands in for it.
#[derive(Debug)]
pub(crate) struct Ui {
    mode: OutputMode,
    bars: Arc<ProgressBars>,
}

impl Ui {
    /// Looks at the terminal once.
    pub(crate) fn new(mode: OutputMode) -> Self {
        let live = mode == OutputMode::Human && io::stderr().is_terminal();
        Ui {
            mode,
            bars: Arc::new(ProgressBars::new(mode, live)),
        }
    }

    /// True when the caller wants a JSON document instead of text.
    pub(crate) fn is_json(&self) -> bool {
        self.mode == OutputMode::Json
    }

    /// Where the libraries report what they are doing.
    pub(crate) fn progress(&self) -> Arc<ProgressBars> {
        Arc::clone(&self.bars)
    }

    /// Says what is being done, or what was found; not part of the answer.
    pub(crate) fn status(&self, message: impl Display) {
        if self.mode == OutputMode::Human {
            self.bars.line(&clean(&message.to_string()));
        }
    }

    /// From now on a GitHub runner reads the output: warnings become its commands, and nothing else does.
    pub(crate) fn speak_to_github(&self) {
        self.bars.speak_to_github();
    }

    /// A line for the CI system that reads the log, not cleaned: our own words only. Nothing unless text is asked for.
    pub(crate) fn marker(&self, line: &str) {
        if self.mode == OutputMode::Human {
            self.bars.raw_line(line);
        }
    }

    /// Says that something did not go as asked but the work goes on.
    pub(crate) fn warn(&self, message: impl Display) {
        self.bars.warn(&message.to_string());
    }

    /// Prints the answer as text.
    pub(crate) fn answer(&self, text: impl Display) -> Result<(), CommandError> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(CommandError::from_stdout)
    }

    /// Prints the answer as a JSON document.
    pub(crate) fn answer_json(&self, document: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(document)
            .expect("our documents have text keys and plain values, which always serialise");
        self.answer(text)
    }

    /// Prints the table a job ends with; nothing in quiet mode.
    pub(crate) fn summary_table(&self, table: &Table) -> Result<(), CommandError> {
        match self.mode {
            OutputMode::Quiet => Ok(()),
            _ => self.answer_table(table),
        }
    }

    /// Prints a table that is the answer to a question.
    pub(crate) fn answer_table(&self, table: &Table) -> Result<(), CommandError> {
        self.answer(table.render())
    }

    /// Prints the error a command ended with.
    pub(crate) fn error(&self, error: &CommandError) {
        self.bars.clear();
        if self.is_json() {
            self.bars.stderr_line(&error.to_json());
        } else {
            self.bars.stderr_line(&clean_lines(&error.to_text()));
        }
    }
}

/// Says, whatever the mode, that headstart itself is at fault.
pub(crate) fn bug(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(anstream::stderr().lock(), "bug: {text}");
}

/// Text from elsewhere, on one line and without control characters that could drive a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// Like [`clean`], line by line.
fn clean_lines(text: &str) -> String {
    text.lines()
        .map(|line| clean(line).trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(clean("remote: \u{1b}[2Jgone\rx"), "remote:  [2Jgone x");
        assert_eq!(clean_lines("one\n\u{7}two"), "one\n two");
    }
}
