//! A remote that is a child process: `git upload-pack` here, or ssh that runs it elsewhere.

use std::{
    any::Any,
    borrow::Cow,
    io::{self, Read, Write},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bstr::{BStr, BString, ByteSlice as _};
use gix_transport::{
    Protocol, Service,
    client::{
        self, MessageKind, TransportWithoutIO, WriteMode,
        blocking_io::{RequestWriter, SetServiceResponse, Transport as BlockingTransport},
        git::{ConnectMode, blocking_io::Connection},
    },
};
use headstart_process::Command;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Failure, POLL, Patience, Transport, ssh};
use crate::{config::GitConfig, environment::GitEnvironment, remote_url::SshUrl};

/// How much of what the process says on stderr is kept for an error.
const STDERR_TAIL_BYTES: usize = 4096;

/// How long a process whose output has ended gets to end itself.
const GRACE: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile.
const END_POLL: Duration = Duration::from_millis(2);

/// How a process ended and what it said; shared, for it may still be running. Nothing, for a remote that is no process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Mutex<EndingState>>);

#[derive(Debug, Default)]
struct EndingState {
    /// The end of what it wrote to stderr.
    words: Vec<u8>,
    /// Its exit status, once it has ended by itself.
    status: Option<i32>,
    /// Whether anything came on its stdout.
    got_output: bool,
    /// Whether its stdout has ended.
    closed: bool,
}

impl Ending {
    /// The exit status, if it ended by itself.
    pub(crate) fn status(&self) -> Option<i32> {
        self.0.lock().status
    }

    /// Whether it ever spoke in the protocol.
    pub(crate) fn got_output(&self) -> bool {
        self.0.lock().got_output
    }

    /// The line of its last words that says why.
    pub(crate) fn last_line(&self) -> Option<String> {
        telling_line(&self.0.lock().words)
    }
}

/// The line that says why among what a program said: what git, or a host that speaks like it, calls an error; else the last one
/// that is more than a ruler. Without the words that only git's own output needs.
fn telling_line(words: &[u8]) -> Option<String> {
    let lines: Vec<&[u8]> = words
        .lines()
        .map(|line| line.strip_prefix(b"remote:").unwrap_or(line).trim())
        .filter(|line| line.chars().any(char::is_alphanumeric))
        .collect();
    let fatal = lines.iter().find_map(|line| line.strip_prefix(b"fatal: "));
    let error = lines.iter().find_map(|line| {
        line.strip_prefix(b"ERROR: ")
            .or_else(|| line.strip_prefix(b"error: "))
    });
    Some(crate::remote::sanitized(
        fatal.or(error).or(lines.last().copied())?,
    ))
}

/// Starts `git upload-pack` for a repository on this machine.
pub(crate) fn connect_local<'a>(
    path: &Path,
    environment: &GitEnvironment,
    protocol: Protocol,
    patience: &Patience<'a>,
) -> Result<(Transport<'a>, Ending), Failure> {
    let command = environment
        .remote_command(&environment.program)
        .arg("upload-pack")
        .arg("--")
        .arg(path);
    start(announcing(command, protocol), protocol, patience)
}

/// Starts ssh, as configured, to run `git-upload-pack` on the other side.
pub(crate) fn connect_ssh<'a>(
    url: &SshUrl,
    environment: &GitEnvironment,
    config: &GitConfig,
    protocol: Protocol,
    patience: &Patience<'a>,
) -> Result<(Transport<'a>, Ending), Failure> {
    let command = ssh::command(url, environment, config, protocol)
        .map_err(|reason| Failure::Setting(io::Error::other(reason)))?
        // It asks for passwords and unknown host keys on the terminal.
        .foreground();
    start(announcing(command, protocol), protocol, patience)
}

/// Asks for version 2 as git does. Without this, remotes speak version 0, which `gix` calls [`Protocol::V1`].
fn announcing(command: Command, protocol: Protocol) -> Command {
    match protocol {
        Protocol::V2 => command.env("GIT_PROTOCOL", "version=2"),
        _ => command.env_remove("GIT_PROTOCOL"),
    }
}

fn start<'a>(
    command: Command,
    protocol: Protocol,
    patience: &Patience<'a>,
) -> Result<(Transport<'a>, Ending), Failure> {
    let mut child = command.spawn_piped()?;
    let (stdin, stdout, stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
        _ => unreachable!("spawn_piped makes all three pipes"),
    };
    let ending = Ending::default();
    let listener = thread::spawn({
        let ending = ending.clone();
        move || listen(stderr, &ending)
    });
    let output = Output {
        pipe: stdout,
        ending: ending.clone(),
        patience: patience.clone(),
    };
    let connection = Connection::new(
        output,
        Input(stdin),
        protocol,
        "",
        None::<(String, _)>,
        ConnectMode::Process,
        false,
    );
    let process = Process {
        connection: Some(connection),
        child,
        listener: Some(listener),
        ending: ending.clone(),
    };
    Ok((Box::new(process), ending))
}

fn listen(mut stderr: ChildStderr, ending: &Ending) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        let words = &mut ending.0.lock().words;
        words.extend_from_slice(&buffer[..length]);
        let excess = words.len().saturating_sub(STDERR_TAIL_BYTES);
        words.drain(..excess);
    }
}

/// A child process that is spoken to in packet lines.
struct Process<'a> {
    /// Present until the process is ended.
    connection: Option<Connection<Output<'a>, Input>>,
    child: Child,
    listener: Option<thread::JoinHandle<()>>,
    ending: Ending,
}

impl<'a> Process<'a> {
    fn connection(&mut self) -> &mut Connection<Output<'a>, Input> {
        self.connection.as_mut().expect("it is taken only when dropped")
    }
}

impl Process<'_> {
    /// Waits until the process has ended, for as long as that is a matter of moments.
    fn await_end(&mut self) {
        let since = Instant::now();
        while since.elapsed() < GRACE {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.ending.0.lock().status = status.code();
                    // Its last words are in the pipe already. A grandchild that keeps the pipe open is not waited for.
                    if let Some(listener) = self.listener.take() {
                        while !listener.is_finished() && since.elapsed() < GRACE {
                            thread::sleep(END_POLL);
                        }
                    }
                    return;
                }
                Ok(None) => thread::sleep(END_POLL),
                Err(_) => return,
            }
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        // The pipes go first: a process that is done ends by itself then.
        self.connection = None;
        if self.ending.0.lock().closed {
            self.await_end();
        }
        // Neither can fail in a way that matters: it has ended, or it is killed and reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl TransportWithoutIO for Process<'_> {
    fn to_url(&self) -> Cow<'_, BStr> {
        Cow::Owned(BString::default())
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        true
    }

    fn configure(&mut self, _config: &dyn Any) -> Result<(), gix::Error> {
        Ok(())
    }
}

impl BlockingTransport for Process<'_> {
    fn handshake<'s>(
        &mut self,
        service: Service,
        extra_parameters: &'s [(&'s str, Option<&'s str>)],
    ) -> Result<SetServiceResponse<'_>, client::Error> {
        self.connection().handshake(service, extra_parameters)
    }

    fn request(
        &mut self,
        write_mode: WriteMode,
        on_into_read: MessageKind,
        trace: bool,
    ) -> Result<RequestWriter<'_>, client::Error> {
        self.connection().request(write_mode, on_into_read, trace)
    }
}

/// The process's stdin. Once the process listens no more, what is written is dropped: why it stopped stands in its output, which a
/// failed write would leave unread.
struct Input<W = ChildStdin>(W);

fn unless_deaf<T>(written: io::Result<T>, dropped: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(dropped),
        written => written,
    }
}

impl<W: Write> Write for Input<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_deaf(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_deaf(self.0.flush(), ())
    }
}

/// The process's stdout, which is waited for with patience.
struct Output<'a> {
    pipe: ChildStdout,
    ending: Ending,
    patience: Patience<'a>,
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: POLL.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => self.patience.check(since.elapsed())?,
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let length = self.pipe.read(buffer)?;
        let mut ending = self.ending.0.lock();
        if length > 0 {
            ending.got_output = true;
        } else if !buffer.is_empty() {
            ending.closed = true;
            // Where the end is legitimate, nobody asks for a reason.
            let eof = io::ErrorKind::UnexpectedEof.into();
            let _ = self.patience.failure.fail(Failure::HungUp(eof));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_process_that_refuses_before_it_has_heard_all_is_listened_to() {
        let patience = Patience::with_limit(&NEVER, Duration::from_secs(10));
        // It says why after one line and is gone before more than a pipe holds could be written.
        let refuses = r"read -r line; printf '0010ERR not ours'; exit 1";
        let shell = Command::new("/bin/sh").arg("-c").arg(refuses);
        let (mut transport, ending) = start(shell, Protocol::V1, &patience).unwrap();
        let mut request = transport
            .request(
                WriteMode::OneLfTerminatedLinePerWriteCall,
                MessageKind::Flush,
                false,
            )
            .unwrap();
        for _ in 0..4096 {
            request.write_all(&[b'w'; 64]).unwrap();
        }
        let mut answer = request.into_read().unwrap();
        let line = answer.readline().unwrap().unwrap().unwrap();
        assert_eq!(line.as_bstr().unwrap(), "ERR not ours");
        assert!(ending.got_output());
    }

    #[test]
    fn banners_are_no_reason() {
        for (words, said) in [
            ("", None),
            ("==========\n\n", None),
            (
                "Welcome to the host!\nERROR: Repository not found.\n\n",
                Some("Repository not found."),
            ),
            (
                "remote: \nremote: ======\nremote: \nremote: ERROR: You may not.\nremote: \nremote: ======\nremote: \n",
                Some("You may not."),
            ),
            (
                "warning: old\nfatal: '/x' is not a repository\nmore\n",
                Some("'/x' is not a repository"),
            ),
            (
                "banner\nme@host: Permission denied (publickey).\r\n",
                Some("me@host: Permission denied (publickey)."),
            ),
        ] {
            assert_eq!(telling_line(words.as_bytes()).as_deref(), said, "{words}");
        }
    }
}
