//! A conversation with a remote: reach it, list its refs, have it send packs.
//!
//! Owns what is said in git's protocol (v2, and v0/v1 as far as a clone needs them) and turns every way it can go wrong
//! into a [`RemoteError`]. Stores nothing.

use std::{io::BufRead, ops::ControlFlow, path::Path, sync::atomic::AtomicBool, time::Duration};

use bstr::{BString, ByteSlice as _};
use gix::{
    ObjectId,
    progress::Discard,
    protocol::{
        self, Command, Handshake,
        fetch::{Response, response::ShallowUpdate},
        handshake::refs,
    },
};
use gix_transport::{
    Protocol, Service,
    client::blocking_io::{ExtendedBufRead, TransportV2Ext as _},
};
use parking_lot::Mutex;

use crate::{
    bundle::{BundleList, ParseListError},
    config::GitConfig,
    credential::{self, Credential},
    environment::GitEnvironment,
    remote_url::{RemoteUrl, redact},
    retry::RetryPolicy,
    transport::{self, Ending, Failure, FailureSlot, HttpClient, HttpSettings, Patience, Transport},
};

mod error;
mod request;
mod session;

pub use error::RemoteError;
pub(crate) use request::{Depth, FetchRequest};
pub(crate) use session::Session;

/// Places that are logged in to on the way to one repository, at most: redirects do not go on asking for ever.
const MOST_LOGINS: usize = 3;

/// Lines of a list of bundles that are looked at, at most.
const MOST_BUNDLE_LINES: usize = 10_000;

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

/// An open connection to a remote.
pub(crate) struct Conversation<'a> {
    transport: Transport<'a>,
    handshake: Handshake,
    line: Line<'a>,
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

/// What a fetch brought beside the pack.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    /// What became of the pack.
    pub(crate) pack: T,
    /// Commits whose parents were not sent.
    pub(crate) shallow: Vec<ObjectId>,
    /// Commits of the boundary here whose parents are here now.
    pub(crate) unshallow: Vec<ObjectId>,
}

/// Why a fetch brought nothing: the remote, or who took the pack.
#[derive(Debug)]
pub(crate) enum FetchError<E> {
    Remote(RemoteError),
    Pack(E),
}

impl Conversation<'_> {
    /// Whether several commands may be sent over this connection, one after the other.
    pub(crate) fn takes_more_commands(&self) -> bool {
        self.handshake.server_protocol_version == Protocol::V2
    }

    /// Whether the remote filters objects.
    pub(crate) fn can_filter(&self) -> bool {
        self.has_feature("filter")
    }

    /// Whether the remote sends a part of the history.
    pub(crate) fn can_be_shallow(&self) -> bool {
        self.has_feature("shallow")
    }

    /// Whether any object it has may be asked for, not only what refs point to.
    pub(crate) fn gives_any_object(&self) -> bool {
        let can = |name| self.handshake.capabilities.contains(name);
        // Whoever gives any object says both. Version 2 has no such words: all are given.
        self.takes_more_commands() || (can("allow-tip-sha1-in-want") && can("allow-reachable-sha1-in-want"))
    }

    fn has_feature(&self, name: &str) -> bool {
        self.features().iter().any(|(feature, _)| *feature == name)
    }

    fn features(&self) -> Vec<protocol::command::Feature> {
        let version = self.handshake.server_protocol_version;
        let mut features = Command::Fetch.default_features(version, &self.handshake.capabilities);
        // To old remotes this is no offer but a command: to count a depth from where we have nothing.
        features.retain(|(name, _)| *name != "deepen-relative");
        // Packs are asked for whole: what is received is indexed without a look at what is here.
        features.retain(|(name, _)| *name != "thin-pack");
        features
    }

    /// Lists the refs whose names start with one of `prefixes`; old remotes list all they have.
    pub(crate) fn list_refs(
        &mut self,
        prefixes: &[&str],
    ) -> Result<Vec<protocol::handshake::Ref>, RemoteError> {
        if let Some(refs) = self.handshake.refs.take() {
            return Ok(refs);
        }
        let can_tell_unborn = self
            .handshake
            .capabilities
            .capability("ls-refs")
            .and_then(|capability| capability.supports("unborn"));
        let mut arguments: Vec<BString> = vec!["symrefs".into(), "peel".into()];
        if can_tell_unborn == Some(true) {
            arguments.push("unborn".into());
        }
        arguments.extend(
            prefixes
                .iter()
                .map(|prefix| format!("ref-prefix {prefix}").into()),
        );
        self.ask("ls-refs", arguments, |reader| refs::from_v2_refs(reader))
    }

    /// The bundles that the remote says it has elsewhere; `None` where it says nothing of them.
    pub(crate) fn list_bundles(&mut self) -> Result<Option<Result<BundleList, ParseListError>>, RemoteError> {
        if !self.takes_more_commands() || !self.handshake.capabilities.contains("bundle-uri") {
            return Ok(None);
        }
        let lines = self.ask("bundle-uri", Vec::new(), |reader| {
            let mut lines: Vec<BString> = Vec::new();
            while let Some(line) = reader.readline() {
                let line = line
                    .map_err(gix::Error::from_error)?
                    .map_err(gix::Error::from_error)?;
                match line.as_bstr() {
                    Some(line) if lines.len() < MOST_BUNDLE_LINES => lines.push(line.to_owned()),
                    _ => return Ok(None),
                }
            }
            Ok(Some(lines))
        })?;
        Ok(Some(match lines {
            Some(lines) => BundleList::parse(lines.iter().map(|line| line.as_bstr())),
            None => Err(ParseListError::TooLong),
        }))
    }

    /// Sends a command of version 2 and has `read` read the answer.
    fn ask<T>(
        &mut self,
        command: &str,
        arguments: Vec<BString>,
        read: impl FnOnce(&mut Answer<'_>) -> Result<T, gix::Error>,
    ) -> Result<T, RemoteError> {
        let sent = self
            .transport
            .invoke(command, [agent()].into_iter(), Some(arguments.into_iter()), false);
        let mut reader = sent.map_err(|error| self.line.error(error.into(), None))?;
        let said = refusal(&mut reader);
        let answer = read(&mut reader);
        drop(reader);
        match said {
            Some(_) => Err(self.line.explanation(said).expect("something was said")),
            None => answer.map_err(|error| self.line.error(error, None)),
        }
    }

    /// Asks for a pack and gives it to `take`, which reads it up to its end. What the remote has to say meanwhile goes to
    /// `on_message`, line by line and free of control characters.
    pub(crate) fn fetch<T, E>(
        &mut self,
        request: &FetchRequest<'_>,
        on_message: &(dyn Fn(String) + Sync),
        take: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
    ) -> Result<Fetched<T>, FetchError<E>> {
        let version = self.handshake.server_protocol_version;
        let remote_error = |line: &Line<'_>, error, said| FetchError::Remote(line.error(error, said));
        let mut features = self.features();
        Response::check_required_features(version, &features)
            .map_err(|error| remote_error(&self.line, error, None))?;
        features.push(agent());
        let fatal = Mutex::new(None);
        let sent = match version {
            Protocol::V2 => self.transport.invoke(
                Command::Fetch.as_str(),
                features.into_iter().filter(|(_, value)| value.is_some()),
                Some(request.arguments().into_iter()),
                false,
            ),
            Protocol::V0 | Protocol::V1 => {
                let quiet = self.handshake.capabilities.contains("no-progress");
                let mut arguments = request.old_arguments(version, features, quiet);
                arguments.send(&mut self.transport, true)
            }
        };
        let mut reader = sent.map_err(|error| remote_error(&self.line, error.into(), None))?;
        if let Some(said) = refusal(&mut reader) {
            let explanation = self.line.explanation(Some(said));
            return Err(FetchError::Remote(explanation.expect("something was said")));
        }
        let response = Response::from_line_reader(version, &mut reader, true, false)
            .map_err(|error| remote_error(&self.line, error, None))?;
        reader.set_progress_handler(Some(Box::new(|is_error, text: &[u8]| {
            for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
                let line = sanitized(line);
                if line.is_empty() {
                    continue;
                }
                if is_error {
                    fatal.lock().get_or_insert(line);
                } else {
                    on_message(line);
                }
            }
            ControlFlow::Continue(())
        })));
        let taken = match take(&mut reader) {
            // The flush packet after the pack, without which the connection serves no further command.
            Ok(pack) => std::io::copy(&mut reader, &mut std::io::sink())
                .map(|_| Ok(pack))
                .map_err(gix::Error::from_error),
            Err(error) => Ok(Err(error)),
        };
        drop(reader);
        let said = fatal.into_inner();
        match taken {
            Ok(Ok(pack)) => {
                let early = self.handshake.v1_shallow_updates.take().unwrap_or_default();
                let updates = response.shallow_updates().iter().chain(&early);
                let mut fetched = Fetched {
                    pack,
                    shallow: Vec::new(),
                    unshallow: Vec::new(),
                };
                for update in updates {
                    match update {
                        ShallowUpdate::Shallow(id) => fetched.shallow.push(*id),
                        ShallowUpdate::Unshallow(id) => fetched.unshallow.push(*id),
                    }
                }
                Ok(fetched)
            }
            // Whoever reads a pack cannot know why the connection broke.
            Ok(Err(error)) => Err(match self.line.explanation(said) {
                Some(explanation) => FetchError::Remote(explanation),
                None => FetchError::Pack(error),
            }),
            Err(error) => Err(remote_error(&self.line, error, said)),
        }
    }
}

type Answer<'a> = Box<dyn ExtendedBufRead<'a> + Unpin + 'a>;

/// What a remote says instead of an answer.
fn refusal(answer: &mut Answer<'_>) -> Option<String> {
    match answer.peek_data_line() {
        Some(Ok(Ok(line))) => line.strip_prefix(b"ERR ").map(sanitized),
        _ => None,
    }
}

fn agent() -> protocol::command::Feature {
    let name = concat!("headstart-", env!("CARGO_PKG_VERSION"));
    ("agent", Some(protocol::agent(name)))
}

/// What a remote said, for people: one line, without anything a terminal would act on.
pub(crate) fn sanitized(text: &[u8]) -> String {
    let text = text.to_str_lossy();
    // The second sort is invisible and turns the order of what follows around.
    let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible = |c: char| if acts(c) { ' ' } else { c };
    text.trim().chars().map(visible).collect()
}
