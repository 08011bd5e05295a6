//! Why a remote did not give what was asked for.

use std::{error::Error, io, time::Duration};

use gix_transport::packetline::read::Error as ErrorLine;
use headstart_process::ProcessError;

use super::sanitized;
use crate::{
    remote_url::RemoteUrl,
    retry::{Hope, Transient},
    transport::{Ending, Failure},
};

/// Ssh itself ends with this status when it cannot connect or log in; any other is that of the remote command.
const SSH_FAILED: i32 = 255;
/// What a shell says of a command it does not find.
const COMMAND_NOT_FOUND: i32 = 127;

/// Why a remote did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is no repository, or none that these credentials may see.
    #[error("repository {url} was not found{}", quoted(said))]
    NotFound {
        /// The remote.
        url: String,
        /// Its own words.
        said: Option<String>,
    },
    /// The remote wants credentials and none were found.
    #[error("{url} wants a user name and password, and none were found")]
    Unauthorized {
        /// The remote.
        url: String,
    },
    /// The remote did not accept the credentials, or does not allow the user to read.
    #[error("{url} refused access{}", quoted(said))]
    Refused {
        /// The remote.
        url: String,
        /// Its own words.
        said: Option<String>,
    },
    /// No connection could be made: the name, the network, the certificate or, for ssh, the key. May pass.
    #[error("cannot connect to {url}{}", quoted(said))]
    Unreachable {
        /// The remote.
        url: String,
        /// What ssh said.
        said: Option<String>,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// Nothing, or less than the user's `http.lowSpeedLimit`, came for too long. May pass.
    #[error("{url} sent nothing, or too little, for {} s", idle.as_secs())]
    Stalled {
        /// The remote.
        url: String,
        /// How long was waited.
        idle: Duration,
    },
    /// The connection ended before everything had come. May pass.
    #[error("{url} hung up in the middle{}", quoted(said))]
    HungUp {
        /// The remote.
        url: String,
        /// Its last words.
        said: Option<String>,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// The remote itself reports a failure.
    #[error("{url} failed: {message}")]
    Server {
        /// The remote.
        url: String,
        /// Its own words, or its status.
        message: String,
        /// Whether it may pass.
        retryable: bool,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// What answers is no git server.
    #[error("{url} is no git repository: it answered with {content_type}{}", quoted(said))]
    NotGit {
        /// The remote.
        url: String,
        /// What it sent.
        content_type: String,
        /// The title or text of it.
        said: Option<String>,
    },
    /// The remote sends to a place that is not followed.
    #[error("{url} redirects to {to}, which is not followed")]
    Redirected {
        /// The remote.
        url: String,
        /// Where to.
        to: String,
    },
    /// The remote says something that is not in git's protocol.
    #[error("cannot understand {url}")]
    Protocol {
        /// The remote.
        url: String,
        /// What was not understood.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The repository uses a hash this build does not read.
    #[error("{url} uses {format} object names, which are not supported: only sha1 is")]
    UnsupportedObjectFormat {
        /// The remote.
        url: String,
        /// The hash.
        format: String,
    },
    /// A setting for the connection does not work.
    #[error("the settings for connecting to {url} do not work")]
    Setting {
        /// The remote.
        url: String,
        /// What is wrong, and with which file.
        source: io::Error,
    },
    /// A program needed to connect could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl RemoteError {
    /// Whether the same may work when tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            RemoteError::Unreachable { .. } | RemoteError::Stalled { .. } | RemoteError::HungUp { .. } => {
                true
            }
            RemoteError::Server { retryable, .. } => *retryable,
            _ => false,
        }
    }

    /// What the remote said when it ended the conversation.
    pub(super) fn said(url: &RemoteUrl, message: String) -> Self {
        RemoteError::Server {
            url: url.to_string(),
            message,
            retryable: false,
            retry_after: None,
        }
    }

    pub(super) fn protocol(url: &RemoteUrl, source: gix::Error) -> Self {
        RemoteError::Protocol {
            url: url.to_string(),
            source: source.into(),
        }
    }

    pub(super) fn from_failure(at: &RemoteUrl, failure: Failure, ending: &Ending) -> Self {
        let url = at.to_string();
        let words = ending.last_line();
        match failure {
            Failure::Interrupted => RemoteError::Interrupted,
            Failure::Unreachable(source) => RemoteError::Unreachable {
                url,
                said: words,
                source: Some(source),
            },
            Failure::Stalled(idle) => RemoteError::Stalled { url, idle },
            Failure::HungUp(source) => match (at, ending.status()) {
                (RemoteUrl::Ssh(_), Some(SSH_FAILED)) => RemoteError::Unreachable {
                    url,
                    said: words,
                    source: None,
                },
                (RemoteUrl::Ssh(_), Some(COMMAND_NOT_FOUND)) => RemoteError::Server {
                    url,
                    message: words.unwrap_or_else(|| "it has no git-upload-pack".to_owned()),
                    retryable: false,
                    retry_after: None,
                },
                // It said why before it sent anything: there is no such repository, or it is not for us.
                (RemoteUrl::Ssh(_) | RemoteUrl::Local(_), Some(1..)) if !ending.got_output() => {
                    RemoteError::NotFound { url, said: words }
                }
                _ => RemoteError::HungUp {
                    url,
                    said: words,
                    source: Some(source),
                },
            },
            Failure::Unauthorized => RemoteError::Unauthorized { url },
            Failure::Status {
                code,
                text: said,
                retry_after,
            } => match code {
                403 => RemoteError::Refused { url, said },
                404 | 410 => RemoteError::NotFound { url, said },
                _ => RemoteError::Server {
                    url,
                    message: format!("HTTP status {code}{}", quoted(&said)),
                    retryable: matches!(code, 408 | 425 | 429 | 500 | 502..=504),
                    retry_after,
                },
            },
            Failure::NotGit {
                content_type,
                text: said,
            } => RemoteError::NotGit {
                url,
                content_type,
                said,
            },
            Failure::Redirected { to } => RemoteError::Redirected { url, to },
            Failure::Setting(source) => RemoteError::Setting { url, source },
            Failure::Process(error) => RemoteError::Process(error),
        }
    }
}

impl Transient for RemoteError {
    fn hope(&self) -> Hope {
        match self {
            // Ssh does not tell a network that is down from a key that is refused, and too many of these lock people out.
            RemoteError::Unreachable { source: None, .. } => Hope::None,
            RemoteError::Unreachable {
                source: Some(source), ..
            } if is_distrust(source) => Hope::None,
            RemoteError::Server {
                retryable: true,
                retry_after,
                ..
            } => Hope::Later(retry_after.unwrap_or_default()),
            error if error.is_retryable() => Hope::Later(Duration::ZERO),
            _ => Hope::None,
        }
    }
}

/// Whether a certificate is the reason: it will be the same the next time.
fn is_distrust(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => return true,
            // Its own source is that of what is in it, which would be skipped.
            Some(error) if error.get_ref().is_some() => cause = error.get_ref().map(|inner| inner as _),
            _ => cause = error.source(),
        }
    }
    false
}

fn quoted(said: &Option<String>) -> String {
    match said {
        Some(said) => format!(": {said}"),
        None => String::new(),
    }
}

/// Whether an answer ended where more of it was due.
pub(super) fn is_unexpected_end(error: &gix::Error) -> bool {
    error
        .iter_errors()
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// The message of an `ERR` line, with which a server ends the conversation.
pub(super) fn error_line(error: &gix::Error) -> Option<String> {
    let line = error
        .iter_errors()
        .find_map(|error| error.downcast_ref::<ErrorLine>())?;
    Some(sanitized(&line.message))
}
