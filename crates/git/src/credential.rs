//! Credentials: found in `~/.netrc`, or asked for and reported through `git credential`, for helpers, askpass and the
//! terminal are git's business.

use std::{fmt, path::Path, sync::atomic::AtomicBool};

use headstart_process::{Command, ProcessError};

use crate::environment::GitEnvironment;

mod netrc;

/// The user and password that `~/.netrc` has for `url`.
pub(crate) fn find_in_netrc(url: &url::Url, environment: &GitEnvironment) -> Option<(String, String)> {
    let path = Path::new(environment.var("HOME")?).join(".netrc");
    let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
    netrc::find(&path, url.host_str()?, user.as_deref())
}

fn decoded(user: &str) -> String {
    percent_encoding::percent_decode_str(user)
        .decode_utf8_lossy()
        .into_owned()
}

/// A user and password for one remote.
pub(crate) struct Credential {
    /// `git credential`, where it came from.
    git: Command,
    /// What git knows about the remote, as `git credential` wants it back.
    description: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Credential {
    /// Asks `git`, in a repository whose configuration is to be trusted, for the credential of `url`; `Ok(None)` when
    /// none is to be had.
    pub(crate) fn fill(
        url: &url::Url,
        git: Command,
        interrupt: &AtomicBool,
    ) -> Result<Option<Self>, ProcessError> {
        let mut description = format!("protocol={}\n", url.scheme());
        let host = url.host_str().unwrap_or_default();
        match url.port() {
            Some(port) => description += &format!("host={host}:{port}\n"),
            None => description += &format!("host={host}\n"),
        }
        // Git leaves the path out by itself unless `credential.useHttpPath` asks for it.
        let path = url.path().trim_start_matches('/');
        if !path.is_empty() {
            description += &format!("path={path}\n");
        }
        if !url.username().is_empty() {
            let user = decoded(url.username());
            if user.contains(['\n', '\0']) {
                return Ok(None);
            }
            description += &format!("username={user}\n");
        }
        // It may ask on the terminal.
        let git = git.arg("credential").foreground();
        let (status, output) = git
            .clone()
            .arg("fill")
            .stdin(format!("{description}\n"))
            .run_to_status(interrupt)?;
        if !status.success() {
            return Ok(None);
        }
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let field = |name: &str| {
            answer
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let (Some(user), Some(password)) = (field("username"), field("password")) else {
            return Ok(None);
        };
        Ok(Some(Credential {
            git,
            // All of the answer goes back: helpers keep state of their own in it.
            description: answer,
            user,
            password,
        }))
    }

    /// Tells the helpers that it was accepted, so that they may store it.
    pub(crate) fn approve(&self) {
        self.report("approve");
    }

    /// Tells the helpers that it was refused, so that they forget it.
    pub(crate) fn reject(&self) {
        self.report("reject");
    }

    fn report(&self, verdict: &str) {
        let command = self.git.clone().arg(verdict);
        let command = command.stdin(format!("{}\n", self.description));
        // A helper that cannot store a credential costs a question next time, not the clone.
        let _ = command.run();
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
