//! Telling the CI system: outputs for later steps, a summary for people, sections in the log.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use headstart_fs::AtPath as _;
use headstart_process::Command;
use jiff::Timestamp;

use super::{
    outcome::{CacheLine, Hit, Outcome},
    system::{System, text},
};
use crate::{
    context::Context,
    env_vars::ci as var,
    error::{CommandError, EXIT_INTERRUPTED, Kind},
    ui::{Table, Ui, clean, github::defuse},
};

/// Longer than the agent takes to store a word; a job does not wait for it any longer.
const AGENT_DEADLINE: Duration = Duration::from_secs(20);

/// Speaks to the system that runs the job.
pub(super) struct Reporter<'a> {
    ui: &'a Ui,
    context: &'a Context,
    system: System,
}

/// A section of the log that has begun.
#[must_use = "a section that is not closed swallows the rest of the log"]
pub(super) struct Section {
    name: &'static str,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(ui: &'a Ui, context: &'a Context) -> Self {
        let system = System::detect(&context.environment);
        if system == System::GitHub {
            ui.speak_to_github();
        }
        Reporter { ui, context, system }
    }

    /// Begins a part of the log that can be folded.
    pub(super) fn open_section(&self, name: &'static str) -> Section {
        match self.system {
            System::GitHub => self.ui.marker(&format!("::group::{name}")),
            System::GitLab => self.ui.marker(&format!(
                "\u{1b}[0Ksection_start:{}:{}\r\u{1b}[0K{name}",
                Timestamp::now().as_second(),
                name.replace(' ', "_"),
            )),
            System::Buildkite => self.ui.marker(&format!("--- {name}")),
            System::CircleCi | System::Other => {}
        }
        Section { name }
    }

    pub(super) fn close_section(&self, section: Section) {
        match self.system {
            System::GitHub => self.ui.marker("::endgroup::"),
            System::GitLab => self.ui.marker(&format!(
                "\u{1b}[0Ksection_end:{}:{}\r\u{1b}[0K",
                Timestamp::now().as_second(),
                section.name.replace(' ', "_"),
            )),
            System::Buildkite | System::CircleCi | System::Other => {}
        }
    }

    /// Prints the outcome: a table, or the document of `--json`.
    pub(super) fn print(&self, outcome: &Outcome, headers: [&str; 5]) -> Result<(), CommandError> {
        if self.ui.is_json() {
            return self.ui.answer_json(outcome);
        }
        if outcome.caches.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(headers).right(2).right(3).right(4);
        for line in &outcome.caches {
            table.row(line.row().map(|cell| match self.system {
                System::GitHub => defuse(&cell),
                _ => cell,
            }));
        }
        self.ui.summary_table(&table)
    }

    /// Tells what was restored. `keyed`: the save after it has to know the key.
    pub(super) fn restored(&self, outcome: &Outcome, keyed: bool, dotenv: Option<&Path>) {
        let primary = outcome.primary_keys.join("\n");
        let matched = outcome.matched_keys.join("\n");
        let hit = outcome.hit.output();
        match self.system {
            System::GitHub => {
                let outputs = [
                    ("cache-hit", hit),
                    ("cache-primary-key", &primary),
                    ("cache-matched-key", &matched),
                ];
                self.append(var::GITHUB_OUTPUT, &github_file(&outputs));
                if keyed {
                    // Nothing matched where a part is missing: the save is to bring it back.
                    let restored = if outcome.hit == Hit::Exact {
                        matched.as_str()
                    } else {
                        ""
                    };
                    let state = [
                        ("HEADSTART_PRIMARY_KEY", primary.as_str()),
                        ("HEADSTART_MATCHED_KEY", restored),
                    ];
                    self.append(var::GITHUB_STATE, &github_file(&state));
                }
                let headers = ["Restored cache", "Outcome", "Files", "From the remote", "Time"];
                self.append(var::GITHUB_STEP_SUMMARY, &summary(headers, &outcome.caches));
            }
            System::CircleCi => {
                let exports = variables(outcome)
                    .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
                self.append(var::BASH_ENV, &exports.concat());
            }
            System::Buildkite => self.set_meta_data(outcome),
            System::GitLab | System::Other => {}
        }
        if let Some(path) = dotenv {
            let lines = variables(outcome).map(|(name, value)| format!("{name}={value}\n"));
            self.write(
                path,
                &lines.concat(),
                OpenOptions::new().create(true).write(true).truncate(true),
            );
        }
    }

    /// Tells what was saved.
    pub(super) fn saved(&self, outcome: &Outcome) {
        if self.system == System::GitHub {
            let headers = ["Saved cache", "Outcome", "Files", "Stored", "Time"];
            self.append(var::GITHUB_STEP_SUMMARY, &summary(headers, &outcome.caches));
        }
    }

    /// Appends to the file that a variable names; nothing where it names none.
    fn append(&self, variable: &'static str, text: &str) {
        let Some(path) = self.context.var(variable).filter(|_| !text.is_empty()) else {
            return;
        };
        self.write(
            Path::new(path),
            text,
            OpenOptions::new().create(true).append(true),
        );
    }

    fn write(&self, path: &Path, text: &str, how: &OpenOptions) {
        let written = how
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .or_else(|error| match error.kind() {
                // Whoever was to read it has gone.
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })
            .at("write", path);
        if let Err(error) = written {
            self.ui
                .warn(CommandError::from_error(Kind::Failed, &error).one_line());
        }
    }

    /// Meta-data belong to a build, so the job is in the name. Needs the agent, which a container may lack.
    fn set_meta_data(&self, outcome: &Outcome) {
        let job = text(&self.context.environment, var::BUILDKITE_JOB_ID);
        let has_agent = self.context.var("PATH").is_some_and(|path| {
            std::env::split_paths(path).any(|folder| folder.join("buildkite-agent").is_file())
        });
        let (Some(job), true) = (job, has_agent) else {
            return;
        };
        // An empty value is refused.
        let value = match outcome.hit {
            Hit::Miss => "miss",
            hit => hit.output(),
        };
        let name = format!("headstart-cache-hit:{job}");
        let set = Command::new("buildkite-agent")
            .args(["meta-data", "set", &name, value])
            .deadline(AGENT_DEADLINE)
            .run_interruptible(&self.context.interrupt);
        if let Err(error) = set.map_err(CommandError::from)
            && error.exit_code() != EXIT_INTERRUPTED
        {
            self.ui.warn(error.one_line());
        }
    }
}

/// The outcome as variables, each on one line.
fn variables(outcome: &Outcome) -> [(&'static str, String); 3] {
    let line = |keys: &[String]| clean(&keys.join(" "));
    [
        ("HEADSTART_CACHE_HIT", outcome.hit.output().to_owned()),
        ("HEADSTART_CACHE_PRIMARY_KEY", line(&outcome.primary_keys)),
        ("HEADSTART_CACHE_MATCHED_KEY", line(&outcome.matched_keys)),
    ]
}

/// Values as `$GITHUB_OUTPUT` and `$GITHUB_STATE` take them: each ends at a delimiter that nobody can guess, so that no
/// value can set another.
fn github_file(values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        let random = || RandomState::new().build_hasher().finish();
        let delimiter = format!("headstart_{:016x}{:016x}", random(), random());
        writeln!(text, "{name}<<{delimiter}\n{value}\n{delimiter}").expect("text can be written to");
    }
    text
}

/// A table in Markdown. Cells are shown as they are: no markup of theirs counts.
fn summary(headers: [&str; 5], lines: &[CacheLine]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("| {} |\n|---|---|---:|---:|---:|\n", headers.join(" | "));
    for line in lines {
        let cells = line.row().map(|cell| as_markdown(&cell));
        writeln!(text, "| {} |", cells.join(" | ")).expect("text can be written to");
    }
    text.push('\n');
    text
}

fn as_markdown(cell: &str) -> String {
    let mut text = String::new();
    for char in clean(cell).chars() {
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '!' => {
                text.push('\\');
                text.push(char);
            }
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_set_another() {
        let text = github_file(&[("a", "x\nEOF\nb=1"), ("b", "")]);
        let lines: Vec<&str> = text.lines().collect();
        let delimiter = lines[0].strip_prefix("a<<").unwrap();
        assert_eq!(lines[1..4], ["x", "EOF", "b=1"]);
        assert_eq!(lines[4], delimiter);
        assert!(lines[5].starts_with("b<<headstart_") && !lines[5].contains(delimiter));
    }

    #[test]
    fn a_summary_shows_names_as_they_are() {
        let line = CacheLine {
            name: "a|b <img> [x](y)\n|".to_owned(),
            outcome: "hit".to_owned(),
            ..CacheLine::default()
        };
        let text = summary(["Cache", "Outcome", "Files", "Fetched", "Time"], &[line]);
        let row = text.lines().nth(2).unwrap();
        assert!(
            row.starts_with(r"| a\|b &lt;img> \[x\](y) \| | hit | 0 |"),
            "{row}"
        );
        assert_eq!(text.trim_end().lines().count(), 3);
    }
}
