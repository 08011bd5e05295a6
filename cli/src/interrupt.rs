//! Ctrl-C: the first asks the running work to stop and tidy up, the second ends the process at once.

use std::{
    io,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::error::{CommandError, EXIT_INTERRUPTED};

/// How long the wish to stop may go unnoticed by [`compute`].
const POLL: Duration = Duration::from_millis(50);

/// Watches for the signals that mean "stop"; the flag becomes true on the first.
pub(crate) fn watch() -> io::Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Order matters: the shutdown is checked before the flag is set, so that only a second signal triggers it.
        flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), Arc::clone(&interrupt))?;
        flag::register(signal, Arc::clone(&interrupt))?;
    }
    Ok(interrupt)
}

/// Computes what asks nobody whether to stop, on a thread of its own. When somebody wants to, it is left to the end of the process: it
/// must own what it works on, and have nothing to tidy up.
pub(crate) fn compute<T: Send + 'static>(
    interrupt: &AtomicBool,
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    let (done, outcome) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Nobody takes it who has stopped.
        let _ = done.send(work());
    });
    loop {
        match outcome.recv_timeout(POLL) {
            Ok(outcome) => return outcome,
            Err(_) if interrupt.load(Ordering::Relaxed) => return Err(CommandError::interrupted()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let panic = worker.join().expect_err("only a panic leaves no outcome");
                resume_unwind(panic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_left_when_somebody_wants_to_stop() {
        let go_on = AtomicBool::new(false);
        assert_eq!(compute(&go_on, || Ok(7)).unwrap(), 7);
        let stop = AtomicBool::new(true);
        let error = compute(&stop, || -> Result<(), _> {
            loop {
                thread::park();
            }
        });
        assert_eq!(error.unwrap_err().exit_code(), EXIT_INTERRUPTED);
    }

    #[test]
    fn a_panic_stays_one() {
        let panic = std::panic::catch_unwind(|| {
            compute(&AtomicBool::new(false), || -> Result<(), _> { panic!("a bug") })
        });
        assert!(panic.is_err());
    }
}
