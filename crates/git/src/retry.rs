//! Trying again what may work the next time: how often, after which wait, and of which failures.

use std::{
    error::Error,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    config::GitConfig,
    environment::GitEnvironment,
    progress::{Progress, Warning},
    remote::sanitized,
};

/// Attempts after the first, unless `http.maxRetries` says otherwise.
const RETRIES: u32 = 2;
/// The wait before the first of them, unless `http.retryAfter` says otherwise; each further one is this much longer.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_FACTOR: u32 = 4;
/// As long a wait as a server may ask for, unless `http.maxRetryTime` says otherwise. All three are git's names.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often an interrupt is looked for while waiting.
const POLL: Duration = Duration::from_millis(25);

/// What trying again is worth after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hope {
    /// It would fail again.
    None,
    /// It may have been a matter of chance, but hardly twice.
    Once,
    /// It may pass, though not before this long.
    Later(Duration),
}

/// An error that knows whether to try again.
pub(crate) trait Transient: Error {
    fn hope(&self) -> Hope;
}

/// How often is tried again, and after which waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    retries: u32,
    /// Always the same, where the user has set it.
    fixed_wait: Option<Duration>,
    longest_wait: Duration,
}

impl RetryPolicy {
    /// What git's configuration says for `url`, or for remotes that are not reached by HTTP.
    pub(crate) fn new(url: Option<&url::Url>, config: &GitConfig, environment: &GitEnvironment) -> Self {
        let number = |variable: &str, name: &str| -> Option<u32> {
            let configured = match url {
                Some(url) => config.http(url, name),
                None => config.string(&format!("http.{}", name.to_ascii_lowercase())),
            };
            let configured = configured.and_then(|value| std::str::from_utf8(value).ok());
            environment.text_var(variable).or(configured)?.trim().parse().ok()
        };
        let seconds = |variable, name| number(variable, name).map(|value| Duration::from_secs(value.into()));
        RetryPolicy {
            retries: number("GIT_HTTP_MAX_RETRIES", "maxRetries").unwrap_or(RETRIES),
            fixed_wait: seconds("GIT_HTTP_RETRY_AFTER", "retryAfter"),
            longest_wait: seconds("GIT_HTTP_MAX_RETRY_TIME", "maxRetryTime").unwrap_or(LONGEST_WAIT),
        }
    }

    /// How long to wait after a failure, having tried again `retried` times already; `None` when that is the end of it.
    /// `luck`, between 0 and 1, keeps many clients that failed at once from coming back at once.
    fn wait(&self, hope: Hope, retried: u32, luck: f64) -> Option<Duration> {
        let (most, at_least) = match hope {
            Hope::None => return None,
            Hope::Once => (self.retries.min(1), Duration::ZERO),
            Hope::Later(at_least) => (self.retries, at_least),
        };
        if retried >= most || at_least > self.longest_wait {
            return None;
        }
        let own = match self.fixed_wait {
            Some(wait) => wait,
            None => (FIRST_WAIT * WAIT_FACTOR.saturating_pow(retried)).mul_f64(0.75 + luck / 2.0),
        };
        Some(own.min(self.longest_wait).max(at_least))
    }
}

/// Does `attempt` until it succeeds, fails for good or was tried often enough. Each new attempt is announced.
pub(crate) fn retry<T, E: Transient>(
    policy: &RetryPolicy,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut retried = 0;
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(wait) = policy.wait(error.hope(), retried, luck()) else {
            return Err(error);
        };
        if interrupt.load(Ordering::Relaxed) {
            return Err(error);
        }
        progress.warn(&Warning::Retrying {
            reason: in_one_line(&error),
            wait,
        });
        if !sleep(wait, interrupt) {
            return Err(error);
        }
        retried += 1;
    }
}

/// Waits, unless interrupted.
fn sleep(wait: Duration, interrupt: &AtomicBool) -> bool {
    let since = Instant::now();
    loop {
        if interrupt.load(Ordering::Relaxed) {
            return false;
        }
        match wait.checked_sub(since.elapsed()) {
            None | Some(Duration::ZERO) => return true,
            Some(left) => thread::sleep(left.min(POLL)),
        }
    }
}

/// Something between 0 and 1; the standard library seeds its hash maps at random.
fn luck() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// An error with all its causes.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    sanitized(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[derive(Debug, thiserror::Error)]
    #[error("no")]
    struct Failed(Hope);

    impl Transient for Failed {
        fn hope(&self) -> Hope {
            self.0
        }
    }

    const DEFAULT: RetryPolicy = RetryPolicy {
        retries: RETRIES,
        fixed_wait: None,
        longest_wait: LONGEST_WAIT,
    };

    fn attempts(hope: Hope) -> u32 {
        let policy = RetryPolicy {
            fixed_wait: Some(Duration::ZERO),
            ..DEFAULT
        };
        let mut attempts = 0;
        let ended = retry(&policy, &Silent, &AtomicBool::new(false), || {
            attempts += 1;
            Err::<(), _>(Failed(hope))
        });
        assert!(ended.is_err());
        attempts
    }

    #[test]
    fn the_number_of_attempts_is_what_the_failure_is_worth() {
        assert_eq!(attempts(Hope::None), 1);
        assert_eq!(attempts(Hope::Once), 2);
        assert_eq!(attempts(Hope::Later(Duration::ZERO)), 3);
    }

    #[test]
    fn waits_grow_and_differ() {
        let wait = |retried, luck| DEFAULT.wait(Hope::Later(Duration::ZERO), retried, luck);
        assert_eq!(wait(0, 0.5), Some(FIRST_WAIT));
        assert_eq!(wait(1, 0.5), Some(4 * FIRST_WAIT));
        assert_eq!(wait(2, 0.5), None);
        assert!(wait(0, 0.0) < wait(0, 1.0));
    }

    #[test]
    fn a_server_may_ask_for_patience_within_reason() {
        let wait = |asked| DEFAULT.wait(Hope::Later(Duration::from_secs(asked)), 0, 0.5);
        assert_eq!(wait(7), Some(Duration::from_secs(7)));
        assert_eq!(wait(3600), None);
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let interrupt = AtomicBool::new(false);
        let mut attempts = 0;
        let ended = retry(&DEFAULT, &Silent, &interrupt, || {
            attempts += 1;
            interrupt.store(true, Ordering::Relaxed);
            Err::<(), _>(Failed(Hope::Later(Duration::from_secs(200))))
        });
        assert!(ended.is_err());
        assert_eq!(attempts, 1);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let inner = std::io::Error::other("it\nis raining");
        let error = crate::CloneError::DiskFull(headstart_fs::PathError {
            action: "write",
            path: "/a".into(),
            source: inner,
        });
        assert_eq!(
            in_one_line(&error),
            "the disk is full: cannot write /a: it is raining"
        );
    }
}
