//! The one builder all programs are started with.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bstr::ByteSlice as _;

use crate::ProcessError;

/// How much of stderr an error quotes.
const STDERR_TAIL_BYTES: usize = 4096;
/// How often a running child is looked at when a deadline or an interrupt may end it.
const POLL: Duration = Duration::from_millis(5);

/// A program to run. Stdin is closed unless [`Command::stdin`] gives it bytes; stdout and stderr are captured unless
/// [`Command::inherit_output`] is asked for.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    clear_env: bool,
    folder: Option<PathBuf>,
    deadline: Option<Duration>,
    inherit_output: bool,
    stdin: Option<Vec<u8>>,
    foreground: bool,
}

/// What a program that succeeded wrote.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// All of stdout; empty when inherited.
    pub stdout: Vec<u8>,
    /// All of stderr; empty when inherited.
    pub stderr: Vec<u8>,
}

impl Command {
    /// A command without arguments, in the current folder, with the environment of this process.
    pub fn new(program: impl Into<OsString>) -> Self {
        Command {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            folder: None,
            deadline: None,
            inherit_output: false,
            stdin: None,
            foreground: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Starts from an empty environment instead of this process's own.
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Runs in `folder`.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Kills the program, and what it started, when it runs longer than this.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Lets the program write to our stderr (its stdout too, so that ours stays the answer).
    pub fn inherit_output(mut self) -> Self {
        self.inherit_output = true;
        self
    }

    /// Gives the program these bytes to read.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Keeps the program in our process group: it may ask questions on the terminal and gets the user's Ctrl-C itself.
    /// A deadline or interrupt then ends the program, not what it started.
    pub fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// The command line for messages. Not quoted for a shell.
    pub fn display(&self) -> String {
        std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end; anything but success is an error.
    pub fn run(&self) -> Result<Output, ProcessError> {
        self.run_interruptible(&AtomicBool::new(false))
    }

    /// Like [`Command::run`], and kills the program when `interrupt` becomes true.
    pub fn run_interruptible(&self, interrupt: &AtomicBool) -> Result<Output, ProcessError> {
        let (status, output) = self.run_to_status(interrupt)?;
        if status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed {
            command: self.display(),
            status,
            stderr_tail: tail(&output.stderr),
        })
    }

    /// Starts the program for a caller that talks to it over all three pipes, and that waits for it or kills it. The
    /// deadline does not apply.
    pub fn spawn_piped(&self) -> Result<Child, ProcessError> {
        let mut command = self.prepare();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.spawn(&mut command)
    }

    /// Starts the program for good: it is not waited for, and what it says goes to the file `log`, which it replaces.
    pub fn spawn_detached(&self, log: &Path) -> Result<(), ProcessError> {
        let open = || -> io::Result<(File, File)> {
            let log = File::create(log)?;
            Ok((log.try_clone()?, log))
        };
        let (stdout, stderr) = open().map_err(|source| ProcessError::Start {
            command: format!("{} > {}", self.display(), log.display()),
            source,
        })?;
        // In our group until it leaves it by itself: the leader of a group cannot begin a session.
        let mut command = self.clone().foreground().prepare();
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.spawn(&mut command)?;
        Ok(())
    }

    /// Runs to the end and leaves the judgement of the exit status to the caller.
    pub fn run_to_status(&self, interrupt: &AtomicBool) -> Result<(ExitStatus, Output), ProcessError> {
        let mut child = self.start()?;
        if let Some((mut pipe, bytes)) = child.stdin.take().zip(self.stdin.clone()) {
            // On a thread, so that a program that answers before it has read everything cannot block us both. One that
            // does not read its input at all closes the pipe; its exit status tells the story.
            thread::spawn(move || pipe.write_all(&bytes));
        }
        let stdout = child.stdout.take().map(drain);
        let stderr = child.stderr.take().map(drain);
        let ended = self.wait(&mut child, interrupt);
        if ended.is_err() {
            if self.foreground {
                // It may have ended in this instant; then there is nothing to kill.
                let _ = child.kill();
            } else {
                kill_group(&child);
            }
            // Reap it; it was killed, so this cannot hang, and its status says nothing new.
            let _ = child.wait();
        }
        let output = Output {
            stdout: collect(stdout),
            stderr: collect(stderr),
        };
        match ended {
            Ok(status) => Ok((status, output)),
            Err(Ended::Deadline(deadline)) => Err(ProcessError::TimedOut {
                command: self.display(),
                deadline,
                stderr_tail: tail(&output.stderr),
            }),
            Err(Ended::Interrupt) => Err(ProcessError::Interrupted {
                command: self.display(),
            }),
            Err(Ended::Io(source)) => Err(ProcessError::Start {
                command: self.display(),
                source,
            }),
        }
    }

    fn start(&self) -> Result<Child, ProcessError> {
        let mut command = self.prepare();
        command.stdin(match self.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        });
        if self.inherit_output {
            command.stdout(io::stderr()).stderr(Stdio::inherit());
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        self.spawn(&mut command)
    }

    fn prepare(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        if self.clear_env {
            command.env_clear();
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if !self.foreground {
            // A group of its own, so that a deadline also ends what the program started.
            command.process_group(0);
        }
        command
    }

    fn spawn(&self, command: &mut std::process::Command) -> Result<Child, ProcessError> {
        command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if self.folder.as_deref().is_none_or(Path::is_dir) => {
                ProcessError::NotFound {
                    program: self.program.to_string_lossy().into_owned(),
                }
            }
            _ => ProcessError::Start {
                command: self.display(),
                source,
            },
        })
    }

    fn wait(&self, child: &mut Child, interrupt: &AtomicBool) -> Result<ExitStatus, Ended> {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(Ended::Io)? {
                return Ok(status);
            }
            if interrupt.load(Ordering::Relaxed) {
                return Err(Ended::Interrupt);
            }
            match self.deadline {
                Some(deadline) if started.elapsed() >= deadline => return Err(Ended::Deadline(deadline)),
                _ => thread::sleep(POLL),
            }
        }
    }
}

/// Why waiting ended without a status.
enum Ended {
    Deadline(Duration),
    Interrupt,
    Io(io::Error),
}

fn kill_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended in this instant; then there is nothing to kill.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Reads a pipe to its end on a thread, so that a full pipe never blocks the child.
fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the output; the exit status tells the story.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn collect(pipe: Option<thread::JoinHandle<Vec<u8>>>) -> Vec<u8> {
    pipe.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

fn tail(stderr: &[u8]) -> String {
    let start = stderr.len().saturating_sub(STDERR_TAIL_BYTES);
    stderr[start..].to_str_lossy().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("no-such-program-here").run().unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-here was not found on PATH");
    }

    #[test]
    fn a_failure_quotes_stderr() {
        let error = Command::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .unwrap_err();
        assert!(
            error.to_string().ends_with("failed with exit status: 3:\nwhy"),
            "{error}"
        );
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let started = Instant::now();
        let command = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .deadline(Duration::from_millis(50));
        assert!(matches!(command.run(), Err(ProcessError::TimedOut { .. })));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_interrupt_ends_it() {
        let interrupt = AtomicBool::new(true);
        let ended = Command::new("sleep").arg("60").run_interruptible(&interrupt);
        assert!(matches!(ended, Err(ProcessError::Interrupted { .. })));
    }

    #[test]
    fn stdin_is_passed_on() {
        let input = vec![b'x'; 1_000_000];
        for command in [Command::new("cat"), Command::new("cat").foreground()] {
            assert_eq!(command.stdin(input.clone()).run().unwrap().stdout, input);
        }
    }

    #[test]
    fn a_large_output_does_not_block() {
        let output = Command::new("sh")
            .args(["-c", "head -c 1000000 /dev/zero"])
            .run()
            .unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
    }
}
