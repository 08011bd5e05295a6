//! A program under test: while it runs, and what it left.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::ChildGuard;

/// How often a condition outside this process is looked at.
const POLL: Duration = Duration::from_millis(2);
/// Far beyond what any awaited condition takes, so that a test fails with a sentence before its runner kills it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: ChildGuard,
    command: String,
    root: PathBuf,
    stdout: Pipe,
    stderr: Pipe,
}

impl Running {
    pub(crate) fn spawn(command: &mut Command, root: &Path) -> Self {
        let mut child = ChildGuard::spawn(command);
        let stdout = Pipe::drain(child.child().stdout.take().expect("stdout was piped"));
        let stderr = Pipe::drain(child.child().stderr.take().expect("stderr was piped"));
        Running {
            child,
            command: format!("{command:?}"),
            root: root.to_owned(),
            stdout,
            stderr,
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub fn kill(self) -> Run {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Blocks until stderr contains `text`; panics when the program ends without.
    pub fn wait_for_stderr(&self, text: &str) {
        assert!(
            self.stderr.wait_for(text),
            "{} ended without saying {text:?}: {}",
            self.command,
            self.stderr.text()
        );
    }

    /// Blocks until `condition` holds; false when the program ended first.
    pub fn wait_until(&mut self, condition: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        loop {
            if condition() {
                return true;
            }
            if self
                .child
                .child()
                .try_wait()
                .expect("a child of ours can be waited for")
                .is_some()
            {
                return false;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{} never reached what the test waits for",
                self.command
            );
            thread::sleep(POLL);
        }
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Run {
        let status = self.child.wait();
        Run {
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            command: self.command,
            root: self.root,
        }
    }
}

/// What a program wrote so far, read on a thread so that a full pipe never blocks it.
#[derive(Debug)]
struct Pipe {
    shared: Arc<(Mutex<Written>, Condvar)>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

impl Pipe {
    fn drain(pipe: impl Read + Send + 'static) -> Self {
        let shared: Arc<(Mutex<Written>, Condvar)> = Arc::default();
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut pipe = BufReader::new(pipe);
                // A pipe that cannot be read has ended, too.
                while let Ok(piece) = pipe.fill_buf()
                    && !piece.is_empty()
                {
                    let length = piece.len();
                    shared
                        .0
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .bytes
                        .extend_from_slice(piece);
                    shared.1.notify_all();
                    pipe.consume(length);
                }
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
                shared.1.notify_all();
            }
        });
        Pipe { shared, thread }
    }

    fn wait_for(&self, text: &str) -> bool {
        let mut written = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if String::from_utf8_lossy(&written.bytes).contains(text) {
                return true;
            }
            if written.ended {
                return false;
            }
            written = self
                .shared
                .1
                .wait(written)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn text(&self) -> String {
        let written = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written.bytes).into_owned()
    }

    fn finish(self) -> Vec<u8> {
        self.thread.join().expect("the reading thread does not panic");
        std::mem::take(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }
}

/// How a program ended and what it wrote.
#[derive(Debug, Clone)]
#[must_use = "a run that nobody looks at tests nothing: success(), code() or signal()"]
pub struct Run {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    command: String,
    root: PathBuf,
}

impl Run {
    /// Panics unless it ended with exit code 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Panics unless it ended with this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.report());
        self
    }

    /// Panics unless it was ended by this signal.
    #[track_caller]
    pub fn killed_by(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal.as_raw()), "{}", self.report());
        self
    }

    /// Panics unless stderr contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr().contains(text),
            "stderr lacks {text:?}\n{}",
            self.report()
        );
        self
    }

    /// Panics unless stdout contains `text`.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout().contains(text),
            "stdout lacks {text:?}\n{}",
            self.report()
        );
        self
    }

    /// How it ended.
    pub fn status(&self) -> ExitStatus {
        self.status
    }

    /// All of stdout; what is not UTF-8 is replaced.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// All of stderr; what is not UTF-8 is replaced.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Stdout as one JSON document; panics when it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{}", self.report()))
    }

    /// The last line of stderr as JSON: the error object of `--json`.
    #[track_caller]
    pub fn json_error(&self) -> serde_json::Value {
        let stderr = self.stderr();
        let last = stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| {
            panic!(
                "stderr does not end in a JSON document: {error}\n{}",
                self.report()
            )
        })
    }

    /// Exit code, stdout and stderr in one text for snapshots, with the machine's folder and ports replaced.
    pub fn normalised(&self) -> String {
        self.normalise(&self.report())
    }

    /// Stderr with the machine's folder and ports replaced.
    pub fn normalised_stderr(&self) -> String {
        self.normalise(&self.stderr())
    }

    fn normalise(&self, text: &str) -> String {
        let root = self.root.to_string_lossy();
        hide_ports(&text.replace(root.as_ref(), "$ROOT"))
    }

    fn report(&self) -> String {
        let Run { status, command, .. } = self;
        format!(
            "{command}\n{status}\n--- stdout\n{}--- stderr\n{}",
            self.stdout(),
            self.stderr()
        )
    }
}

/// Replaces the port of loopback addresses.
fn hide_ports(text: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = text.split(HOST);
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        hidden.push_str(HOST);
        hidden.push_str(if rest.len() < part.len() { "PORT" } else { "" });
        hidden.push_str(rest);
    }
    hidden
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::spawn(&mut command, Path::new("/tmp/machine"))
    }

    #[test]
    fn a_run_is_watched_and_killed() {
        let run = shell("echo ready >&2; exec sleep 60");
        run.wait_for_stderr("ready");
        let _ = run.kill().killed_by(Signal::KILL);
    }

    #[test]
    fn paths_and_ports_are_normalised() {
        let run = shell("echo /tmp/machine/store http://127.0.0.1:43210/r.git >&2")
            .wait()
            .success();
        assert_eq!(
            run.normalised_stderr(),
            "$ROOT/store http://127.0.0.1:PORT/r.git\n"
        );
    }
}
