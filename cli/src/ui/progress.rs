//! Progress bars on a terminal, plain lines elsewhere.
//!
//! The libraries report steps through their own `Progress` traits; the adapters at the end of this file map each step
//! to a label and a unit. Nothing here decides what happens next.

use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::{OutputMode, bytes, clean, count, github, seconds};

/// A bar appears when its step takes longer than this: quick steps do not flicker.
const APPEAR_AFTER: Duration = Duration::from_millis(250);

/// What a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Items(&'static str),
}

/// A step as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepLabel {
    pub(crate) text: &'static str,
    pub(crate) unit: Unit,
}

/// All steps of a run.
#[derive(Debug)]
pub(crate) struct ProgressBars {
    mode: OutputMode,
    live: bool,
    multi: MultiProgress,
    steps: Mutex<HashMap<&'static str, Running>>,
    /// Warnings that were given.
    warned: Mutex<HashSet<String>>,
    /// Whether a GitHub runner reads the output for commands.
    for_github: AtomicBool,
}

#[derive(Debug)]
struct Running {
    label: StepLabel,
    started: Instant,
    total: Option<u64>,
    done: u64,
    bar: Option<ProgressBar>,
}

impl ProgressBars {
    pub(super) fn new(mode: OutputMode, live: bool) -> Self {
        let multi = MultiProgress::new();
        ProgressBars {
            mode,
            // A terminal that cannot move its cursor hides the bars, and lines printed above them with them.
            live: live && !multi.is_hidden(),
            multi,
            steps: Mutex::default(),
            warned: Mutex::default(),
            for_github: AtomicBool::new(false),
        }
    }

    /// A step begins; a second begin of a running step adds to its total.
    pub(crate) fn start(&self, label: StepLabel, total: Option<u64>) {
        let mut steps = self.steps.lock();
        let step = steps.entry(label.text).or_insert_with(|| Running {
            label,
            started: Instant::now(),
            total: None,
            done: 0,
            bar: None,
        });
        step.total = match (step.total, total) {
            (Some(before), Some(more)) => Some(before + more),
            (before, more) => before.or(more),
        };
        if let (Some(bar), Some(total)) = (&step.bar, step.total) {
            // It may have begun as a spinner.
            bar.set_style(step.style());
            bar.set_length(total);
        }
    }

    /// A step went on by `amount` of its unit.
    pub(crate) fn advance(&self, label: StepLabel, amount: u64) {
        let mut steps = self.steps.lock();
        let Some(step) = steps.get_mut(label.text) else {
            return;
        };
        step.done += amount;
        match &step.bar {
            Some(bar) => bar.set_position(step.done),
            None if self.live && step.started.elapsed() >= APPEAR_AFTER => {
                let bar = self.multi.add(step.new_bar());
                bar.set_position(step.done);
                step.bar = Some(bar);
            }
            None => {}
        }
    }

    /// A step is over.
    pub(crate) fn finish(&self, label: StepLabel) {
        let Some(step) = self.steps.lock().remove(label.text) else {
            return;
        };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        if self.mode == OutputMode::Human && (step.done > 0 || step.started.elapsed() >= APPEAR_AFTER) {
            self.line(&step.summary());
        }
    }

    /// A line on stderr, above the bars.
    pub(crate) fn line(&self, text: &str) {
        if self.live {
            // Fails only when stderr is gone, and then nobody reads it.
            let _ = self.multi.println(text);
        } else {
            self.stderr_line(text);
        }
    }

    /// A warning, whatever the mode; the same one is given once.
    pub(crate) fn warn(&self, text: &str) {
        if !self.warned.lock().insert(text.to_owned()) {
            return;
        }
        if self.mode == OutputMode::Json {
            let document = serde_json::json!({ "schema": "headstart.warning/1", "message": text });
            self.stderr_line(&document.to_string());
        } else if self.for_github.load(Ordering::Relaxed) {
            self.raw_line(&github::warning(text));
        } else {
            self.line(&format!("{YELLOW}warning:{YELLOW:#} {}", clean(text)));
        }
    }

    /// A line on stderr as it is; colour is kept only where stderr shows it.
    pub(super) fn stderr_line(&self, text: &str) {
        let for_github = self.for_github.load(Ordering::Relaxed);
        let lines = text.lines().map(|line| match for_github {
            true => github::defuse(line),
            false => line.to_owned(),
        });
        let text: Vec<String> = lines.collect();
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(anstream::stderr().lock(), "{}", text.join("\n"));
    }

    /// A line on stderr as it is, control sequences included: for CI systems, which are no terminals and read some.
    pub(super) fn raw_line(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    pub(super) fn speak_to_github(&self) {
        self.for_github.store(true, Ordering::Relaxed);
    }

    /// Takes the bars away, before a last word.
    pub(super) fn clear(&self) {
        self.steps.lock().clear();
        // Fails only when stderr is gone.
        let _ = self.multi.clear();
    }
}

/// The colour of warnings; anstream strips it where it does not belong.
const YELLOW: clap::builder::styling::Style = clap::builder::styling::AnsiColor::Yellow.on_default().bold();

impl Running {
    fn style(&self) -> ProgressStyle {
        let template = match (self.label.unit, self.total) {
            (Unit::Bytes, Some(_)) => "{msg:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
            (Unit::Bytes, None) => "{msg:24} {spinner} {bytes} {bytes_per_sec}",
            (Unit::Items(_), Some(_)) => "{msg:24} {bar:30} {human_pos}/{human_len} {per_sec} eta {eta}",
            (Unit::Items(_), None) => "{msg:24} {spinner} {human_pos} {per_sec}",
        };
        ProgressStyle::with_template(template).expect("the templates above are well-formed")
    }

    fn new_bar(&self) -> ProgressBar {
        let bar = match self.total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.with_style(self.style())
            .with_message(self.label.text)
            .with_elapsed(self.started.elapsed())
    }

    fn summary(&self) -> String {
        let amount = match self.label.unit {
            Unit::Bytes => bytes(self.done),
            Unit::Items(name) => format!("{} {name}", count(self.done)),
        };
        format!(
            "{}: {amount} in {}",
            self.label.text,
            seconds(self.started.elapsed())
        )
    }
}

impl headstart_git::Progress for ProgressBars {
    fn start(&self, step: headstart_git::Step, total: Option<u64>) {
        self.start(git_step(step), total);
    }

    fn advance(&self, step: headstart_git::Step, amount: u64) {
        self.advance(git_step(step), amount);
    }

    fn finish(&self, step: headstart_git::Step) {
        self.finish(git_step(step));
    }

    fn warn(&self, warning: &headstart_git::Warning) {
        use headstart_git::Warning;
        match warning {
            // What the server says is news, not a warning, as with git.
            Warning::Remote { message } if self.mode == OutputMode::Human => {
                self.line(&format!("remote: {}", clean(message)));
            }
            Warning::Remote { .. } => {}
            Warning::Retrying { reason, wait } => {
                self.warn(&format!("{}; trying again in {}", clean(reason), seconds(*wait)));
            }
            Warning::BundleLeft { uri, reason } => {
                self.warn(&format!("the bundle {} was left: {}", clean(uri), clean(reason)));
            }
            Warning::FilterUnsupported { filter } => {
                self.warn(&format!(
                    "the origin does not support filters; {filter} is ignored and everything is fetched"
                ));
            }
            Warning::DepthUnsupported => {
                self.warn("the origin does not support shallow clones; its whole history is fetched");
            }
            Warning::HookFailed { message } => {
                self.warn(&format!("the post-checkout hook failed: {message}"))
            }
            Warning::RefLeft { message } => self.warn(&format!("a ref is left out: {message}")),
            Warning::CommitGraph { message } => {
                self.warn(&format!("no commit-graph was written: {message}"));
            }
            Warning::SeedRefused { label, reason } => {
                self.warn(&format!("{label} is not used: {reason}"));
            }
            Warning::SparseNotCone => {
                self.warn("the sparse patterns are no cone; everything is fetched, as with --all");
            }
            Warning::EmptyRepository => self.warn("the origin is an empty repository"),
            Warning::RemoteHeadMissing => {
                self.warn("the origin's HEAD names a branch it does not have; nothing is checked out");
            }
        }
    }
}

impl headstart_store::Progress for ProgressBars {
    fn start(&self, step: headstart_store::Step, total: Option<u64>) {
        self.start(store_step(step), total);
    }

    fn advance(&self, step: headstart_store::Step, amount: u64) {
        self.advance(store_step(step), amount);
    }

    fn finish(&self, step: headstart_store::Step) {
        self.finish(store_step(step));
    }

    fn warn(&self, warning: &headstart_store::Warning) {
        self.warn(&warning.to_string());
    }
}

impl headstart_image::Progress for ProgressBars {
    fn start(&self, stored_bytes: u64) {
        self.start(READ_LAYERS, Some(stored_bytes));
    }

    fn advance(&self, stored_bytes: u64) {
        self.advance(READ_LAYERS, stored_bytes);
    }

    fn finish(&self) {
        self.finish(READ_LAYERS);
    }
}

const READ_LAYERS: StepLabel = StepLabel {
    text: "Reading layers",
    unit: Unit::Bytes,
};

fn git_step(step: headstart_git::Step) -> StepLabel {
    use headstart_git::Step;
    let (text, unit) = match step {
        Step::Connect => ("Listing refs", Unit::Items("refs")),
        Step::ReceiveTip => ("Receiving the tip", Unit::Bytes),
        Step::WriteFiles => ("Writing files", Unit::Items("files")),
        Step::ReceiveHistory => ("Receiving history", Unit::Bytes),
        Step::FindMissing => ("Looking for missing objects", Unit::Items("objects")),
        Step::ReceiveMissing => ("Receiving missing objects", Unit::Bytes),
    };
    StepLabel { text, unit }
}

fn store_step(step: headstart_store::Step) -> StepLabel {
    use headstart_store::Step;
    let text = match step {
        Step::Scan => "Scanning",
        Step::Read => "Reading and compressing",
        Step::Upload => "Storing",
        Step::Plan => "Comparing",
        Step::Compare => "Comparing contents",
        Step::Fetch => "Fetching",
        Step::WriteFiles => "Restoring files",
        Step::Verify => "Verifying",
    };
    let unit = match step.unit() {
        headstart_store::Unit::Files => Unit::Items("files"),
        headstart_store::Unit::Bytes => Unit::Bytes,
    };
    StepLabel { text, unit }
}
