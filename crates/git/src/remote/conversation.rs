//! What is said to a remote over an open connection: list refs and bundles, ask for packs.

use std::{io::BufRead, ops::ControlFlow};

use bstr::{BString, ByteSlice as _};
use gix::{
    ObjectId,
    protocol::{
        self, Command, Handshake,
        fetch::{Response, response::ShallowUpdate},
        handshake::refs,
    },
};
use gix_transport::{
    Protocol,
    client::blocking_io::{ExtendedBufRead, TransportV2Ext as _},
};
use parking_lot::Mutex;

use super::{FetchRequest, Line, RemoteError, sanitized};
use crate::{
    bundle::{BundleList, ParseListError},
    transport::Transport,
};

/// Lines of a list of bundles that are looked at, at most.
const MOST_BUNDLE_LINES: usize = 10_000;

/// An open connection to a remote.
pub(crate) struct Conversation<'a> {
    pub(super) transport: Transport<'a>,
    pub(super) handshake: Handshake,
    pub(super) line: Line<'a>,
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
        // The parser of answers in the versions before looks for it by itself, and must be the first to look.
        if version == Protocol::V2
            && let Some(said) = refusal(&mut reader)
        {
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
