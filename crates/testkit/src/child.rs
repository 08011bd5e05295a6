//! Child processes that never outlive the test that started them.

use std::{
    net::{TcpStream, ToSocketAddrs},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::PATIENCE;

const POLL: Duration = Duration::from_millis(10);

/// A child process that is killed and reaped when dropped.
#[derive(Debug)]
pub struct ChildGuard(Child);

impl ChildGuard {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn();
        ChildGuard(child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// The child, for its pipes and its status.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal; nothing happens when the child has ended already.
    pub fn signal(&self, signal: Signal) {
        // An ended child that was not waited for is a zombie and takes the signal in silence.
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits until somebody answers at `address`; nothing when the child has ended instead.
    pub fn connect(&mut self, address: impl ToSocketAddrs + std::fmt::Debug) -> Option<TcpStream> {
        let since = Instant::now();
        loop {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return None;
            }
            match TcpStream::connect(&address) {
                Ok(stream) => return Some(stream),
                Err(error) => assert!(
                    since.elapsed() < PATIENCE,
                    "nobody listens at {address:?}: {error}"
                ),
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("a child of ours can be waited for")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Fails only for a child that has been reaped: then there is nothing left to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
