//! A conversation with a remote: reach it, list its refs, have it send packs.
//!
//! Owns what is said in git's protocol (v2, and v0/v1 as far as a clone needs them) and turns every way it can go wrong
//! into a [`RemoteError`]. Stores nothing.

use std::{io::BufRead, path::Path, sync::atomic::AtomicBool, time::Duration};

use bstr::ByteSlice as _;
use gix::{progress::Discard, protocol};
use gix_transport::{Protocol, Service};

use crate::{
    config::GitConfig,
    credential::{self, Credential},
    environment::GitEnvironment,
    remote_url::{RemoteUrl, redact},
    retry::RetryPolicy,
    transport::{self, Ending, Failure, FailureSlot, HttpClient, HttpSettings, Patience, Transport},
};

mod conversation;
mod error;
mod request;
mod session;

pub(crate) use conversation::{Conversation, FetchError, Fetched};
pub use error::RemoteError;
pub(crate) use request::{Depth, FetchRequest};
pub(crate) use session::Session;

/// Places that are logged in to on the way to one repository, at most: redirects do not go on asking for ever.
const MOST_LOGINS: usize = 3;

/// How long a host of static content may stay silent: it has nothing to prepare, and there is a way without it.
const DOWNLOAD_STALL_LIMIT: Duration = Duration::from_secs(30);

/// A remote that can be connected to more than once.
pub(crate) struct Remote<'a> {
    url: RemoteUrl,
    http: Option<HttpClient>,
    config: &'a GitConfig,
    environment: &'a GitEnvironment,
    git_dir: &'a Path,
    protocol: Protocol,
    retries: RetryPolicy,
    interrupt: &'a AtomicBool,
}

impl<'a> Remote<'a> {
    /// Prepares to talk to `url`, for the repository at `git_dir`. Nothing is connected yet, but settings are read.
    pub(crate) fn new(
        url: RemoteUrl,
        config: &'a GitConfig,
        environment: &'a GitEnvironment,
        git_dir: &'a Path,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, RemoteError> {
        if !config.allows(url.protocol(), environment) {
            let source = format!("{} is not allowed by protocol.allow", url.protocol());
            return Err(RemoteError::Setting {
                url: url.to_string(),
                source: std::io::Error::other(source),
            });
        }
        let http = match &url {
            RemoteUrl::Http(http) => {
                let mut bare = http.clone();
                // They are sent as a header; a URL that carries them might be shown or redirected.
                let _ = bare.set_username("");
                let _ = bare.set_password(None);
                let client = HttpClient::new(bare, HttpSettings::new(http, config, environment))
                    .map_err(|failure| RemoteError::from_failure(&url, failure, &Ending::default()))?;
                if let (Some(user), Some(password)) = url.credentials() {
                    client.authorize(http, &user, &password);
                }
                Some(client)
            }
            _ => None,
        };
        let protocol = match config
            .string("protocol.version")
            .map(|version| version.as_bytes())
        {
            // Version 1 is version 0 with one more line, for servers that can do neither more nor less.
            Some(b"0" | b"1") => Protocol::V1,
            _ => Protocol::V2,
        };
        let retries = RetryPolicy::new(url.as_http(), config, environment);
        Ok(Remote {
            url,
            http,
            retries,
            config,
            environment,
            git_dir,
            protocol,
            interrupt,
        })
    }

    /// The remote, for messages.
    pub(crate) fn shown_url(&self) -> String {
        self.url.to_string()
    }

    pub(crate) fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// Whether the user lets anything be reached by `protocol`.
    pub(crate) fn allows(&self, protocol: &str) -> bool {
        self.config.allows(protocol, self.environment)
    }

    /// Gives the file at `url`, which may be at another host, to `read`.
    pub(crate) fn download<T, E>(
        &self,
        url: &url::Url,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
    ) -> Result<T, FetchError<E>> {
        let at = RemoteUrl::Http(url.clone());
        let failed =
            |failure| FetchError::Remote(RemoteError::from_failure(&at, failure, &Ending::default()));
        let other;
        let client = match &self.http {
            Some(client) if client.serves(url) => client,
            _ => {
                let settings = HttpSettings::new(url, self.config, self.environment);
                other = HttpClient::new(url.clone(), settings).map_err(failed)?;
                &other
            }
        };
        let patience = Patience::with_limit(self.interrupt, DOWNLOAD_STALL_LIMIT);
        let explained = |otherwise| match patience.failure.take() {
            Some(failure) => failed(failure),
            None => otherwise,
        };
        match client.download(url.clone(), &patience) {
            Ok(mut input) => read(&mut input).map_err(|error| explained(FetchError::Pack(error))),
            Err(error) => Err(explained(failed(Failure::HungUp(error)))),
        }
    }

    /// Connects and shakes hands; asks for credentials when the remote, or where it redirects to, wants some.
    pub(crate) fn connect(&self) -> Result<Conversation<'_>, RemoteError> {
        let mut unproven: Vec<Credential> = Vec::new();
        let mut from_netrc = None;
        loop {
            let shown = match self.shake_hands() {
                Err(RemoteError::Unauthorized { url }) => url,
                Err(error) => return Err(error),
                Ok(conversation) => {
                    for credential in unproven {
                        credential.approve();
                    }
                    return Ok(conversation);
                }
            };
            let (RemoteUrl::Http(url), Some(client)) = (&self.url, &self.http) else {
                return Err(RemoteError::Unauthorized { url: shown });
            };
            let location = client.location();
            let (asks, shown) = match location.origin() == url.origin() {
                true => (url, shown),
                false => (&location, redact(location.as_str().into())),
            };
            if !client.is_authorized(asks)
                && let Some((user, password)) = credential::find_in_netrc(asks, self.environment)
            {
                client.authorize(asks, &user, &password);
                from_netrc = Some(asks.origin());
                continue;
            }
            // What the file says may be out of date; somebody else may know.
            let by_netrc = from_netrc.take_if(|origin| *origin == asks.origin()).is_some();
            if (client.is_authorized(asks) && !by_netrc) || unproven.len() == MOST_LOGINS {
                if let Some(refused) = unproven.last() {
                    refused.reject();
                }
                return Err(RemoteError::Refused {
                    url: shown,
                    said: None,
                });
            }
            // Not in whatever repository the user's shell is in: its helpers are no business of this one.
            let git = self.environment.git_in(self.git_dir);
            let Some(credential) = Credential::fill(asks, git, self.interrupt)? else {
                return Err(RemoteError::Unauthorized { url: shown });
            };
            client.authorize(asks, &credential.user, &credential.password);
            unproven.push(credential);
        }
    }

    fn shake_hands(&self) -> Result<Conversation<'_>, RemoteError> {
        let patience = Patience::new(self.interrupt);
        let mut line = Line {
            url: &self.url,
            failure: patience.failure.clone(),
            ending: Ending::default(),
        };
        let mut transport = self.open(&patience, &mut line)?;
        let handshake = protocol::handshake(
            &mut transport,
            Service::UploadPack,
            // The transport reports that credentials are needed in its own way, for which see `authenticate`.
            |_| Ok(None),
            Vec::new(),
            &mut Discard,
        );
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(error) => {
                // A child process gets to say its last words.
                drop(transport);
                return Err(line.error(error, None));
            }
        };
        if let Some(format) = handshake
            .capabilities
            .capability("object-format")
            .and_then(|c| c.value())
            && format != "sha1"
        {
            return Err(RemoteError::UnsupportedObjectFormat {
                url: self.url.to_string(),
                format: format.to_string(),
            });
        }
        Ok(Conversation {
            transport,
            handshake,
            line,
        })
    }

    fn open<'s>(
        &'s self,
        patience: &Patience<'s>,
        line: &mut Line<'_>,
    ) -> Result<Transport<'s>, RemoteError> {
        let failed = |failure| RemoteError::from_failure(&self.url, failure, &Ending::default());
        match (&self.url, &self.http) {
            (RemoteUrl::Http(_), Some(client)) => transport::connect_http(client, self.protocol, patience)
                .map_err(|source| RemoteError::protocol(&self.url, source)),
            (RemoteUrl::Ssh(ssh), _) => {
                let (transport, ending) =
                    transport::connect_ssh(ssh, self.environment, self.config, self.protocol, patience)
                        .map_err(failed)?;
                line.ending = ending;
                Ok(transport)
            }
            (RemoteUrl::Local(path), _) => {
                let (transport, ending) =
                    transport::connect_local(path, self.environment, self.protocol, patience)
                        .map_err(failed)?;
                line.ending = ending;
                Ok(transport)
            }
            (RemoteUrl::Http(_), None) => unreachable!("HTTP remotes have a client since they exist"),
        }
    }
}

/// What explains a failure of a connection.
struct Line<'a> {
    url: &'a RemoteUrl,
    failure: FailureSlot,
    ending: Ending,
}

impl Line<'_> {
    /// Why `error` came about.
    fn error(&self, error: gix::Error, said: Option<String>) -> RemoteError {
        self.explanation(said.or_else(|| error::error_line(&error)))
            .unwrap_or_else(|| match error::is_unexpected_end(&error) {
                true => RemoteError::HungUp {
                    url: self.url.to_string(),
                    said: None,
                    source: None,
                },
                false => RemoteError::protocol(self.url, error),
            })
    }

    /// The most precise account of a failure: the remote's own words where it ended the conversation with some, else what
    /// the transport noticed.
    fn explanation(&self, said: Option<String>) -> Option<RemoteError> {
        match (self.failure.take(), said) {
            (Some(Failure::Interrupted), _) => Some(RemoteError::Interrupted),
            (_, Some(message)) => Some(RemoteError::said(self.url, message)),
            (Some(failure), None) => Some(RemoteError::from_failure(self.url, failure, &self.ending)),
            (None, None) => None,
        }
    }
}

/// What a remote said, for people: one line, without anything a terminal would act on.
pub(crate) fn sanitized(text: &[u8]) -> String {
    let text = text.to_str_lossy();
    // The second sort is invisible and turns the order of what follows around.
    let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible = |c: char| if acts(c) { ' ' } else { c };
    text.trim().chars().map(visible).collect()
}
