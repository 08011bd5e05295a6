//! Bundles: packs of the remote's objects that it keeps elsewhere, on a host of static content, so that it need not make them
//! for every clone.
//!
//! Owns which of them serve a clone, how they are fetched, and that nothing is taken from them that is not whole. What the
//! origin has to send afterwards is the business of those who fetch from it. A bundle only ever saves time: one that is away,
//! slow or wrong is left, and the origin asked for what would have been in it.

use std::{
    collections::HashSet,
    error::Error,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use gix::ObjectId;
use headstart_fs::{AtPath as _, PathError};
use headstart_process::ProcessError;
use rustix::fs::OFlags;

use crate::{
    environment::GitEnvironment,
    filter_spec::FilterSpec,
    pack::{PackError, ReceiveOptions, receive_pack},
    progress::{Progress, Warning},
    remote::{Conversation, FetchError, Remote, RemoteError, Session, sanitized},
    remote_url::redact,
    retry::in_one_line,
};

mod header;
mod list;
mod quarantine;

use header::{BundleHeader, HeaderError};
pub(crate) use list::{BundleList, ParseListError};
use list::{ListedBundle, Location, Mode};
use quarantine::Quarantine;

/// More commits than a bundle needs of others. They are kept in memory until those have come.
const MOST_NEEDS: usize = 10_000;

/// What bundles have brought.
#[derive(Debug, Default)]
pub(crate) struct Unbundled {
    /// What is here now, with all it reaches as far as the filter goes.
    pub(crate) tips: Vec<ObjectId>,
    pub(crate) objects: u64,
    /// Bytes of packs received.
    pub(crate) bytes: u64,
}

/// Why a bundle was left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// It is at a place that this remote may not send anybody to.
    #[error("the remote may not lead there")]
    Refused,
    /// It is to be reached in a way that the user does not allow.
    #[error("{protocol} is not allowed by protocol.allow")]
    NotAllowed {
        /// The way.
        protocol: String,
    },
    /// Something else than a file is in its place, such as a pipe that nobody writes to.
    #[error("it is no regular file")]
    NotAFile,
    /// The place it is at.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Its head.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is not what the list says.
    #[error("its filter is {found}, not {expected} as the list says")]
    Filter {
        /// What the list says.
        expected: FilterSpec,
        /// What the bundle says.
        found: FilterSpec,
    },
    /// It builds on commits that are not here.
    #[error("it needs commits that no other bundle has")]
    Prerequisites,
    /// It could not be read to its end.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// Its pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Its pack, in the words of `git index-pack`.
    #[error("its pack cannot be used: {said}")]
    IndexPack {
        /// Why.
        said: String,
    },
    /// It has less in it than it says.
    #[error("objects are missing that its refs reach")]
    Incomplete,
    /// A file of ours failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] ProcessError),
}

/// What came of fetching a bundle.
enum Taken {
    /// It is in the quarantine; what its refs point to.
    Tips(Vec<ObjectId>),
    /// It is not, because these are not.
    Needs(Vec<ObjectId>),
}

/// A bundle that is still to be fetched.
struct Waiting<'a> {
    bundle: &'a ListedBundle,
    /// What was not here yet when it was tried; empty before that.
    needs: Vec<ObjectId>,
}

impl<'a> Waiting<'a> {
    fn new(bundle: &'a ListedBundle) -> Self {
        Waiting {
            bundle,
            needs: Vec::new(),
        }
    }
}

/// Begins a history with what the remote has in bundles.
pub(crate) struct Unbundling<'a> {
    pub(crate) remote: &'a Remote<'a>,
    pub(crate) environment: &'a GitEnvironment,
    /// The folder `objects`.
    pub(crate) objects_dir: PathBuf,
    pub(crate) filter: &'a FilterSpec,
    pub(crate) progress: &'a dyn Progress,
    /// Told how many more bytes of packs have arrived.
    pub(crate) on_bytes: &'a (dyn Fn(u64) + Sync),
    pub(crate) interrupt: &'a AtomicBool,
}

impl Unbundling<'_> {
    /// Asks the remote for its bundles and fetches those that fit. One warning says what was left, if anything.
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Unbundled, RemoteError> {
        let leave = |session: &mut Session<'_>, error: &dyn Error| {
            // Not all of the answer may have been read.
            session.pause();
            self.warn(&self.remote.shown_url(), error);
            Ok(Unbundled::default())
        };
        let list = match session.hold(Conversation::list_bundles) {
            Ok(None) => return Ok(Unbundled::default()),
            Ok(Some(Ok(list))) => list,
            Ok(Some(Err(error))) => return leave(session, &error),
            Err(RemoteError::Interrupted) => return Err(RemoteError::Interrupted),
            Err(error) => return leave(session, &error),
        };
        let matching = list.matching(self.filter);
        let Some(first) = matching.first() else {
            return Ok(Unbundled::default());
        };
        // A remote does not wait for ever, and bundles may take their time.
        session.pause();
        let mut left = None;
        let unbundled = self.take_all(list.mode, &matching, &mut left);
        let unbundled = unbundled.unwrap_or_else(|error| {
            left.get_or_insert((first.uri.clone(), error));
            Unbundled::default()
        });
        if let Some((uri, error)) = left {
            self.warn(&uri, &error);
        }
        Ok(unbundled)
    }

    fn warn(&self, uri: &str, reason: &dyn Error) {
        // Where all is to end, it is no fault of the bundle's.
        if !self.interrupt.load(Ordering::Relaxed) {
            self.progress.warn(&Warning::BundleLeft {
                uri: sanitized(redact(uri.into()).as_bytes()),
                reason: in_one_line(reason),
            });
        }
    }

    fn take_all(
        &self,
        mode: Mode,
        bundles: &[&ListedBundle],
        left: &mut Option<(String, BundleError)>,
    ) -> Result<Unbundled, BundleError> {
        let quarantine = Quarantine::create(&self.objects_dir, self.environment, self.interrupt)?;
        let bytes = AtomicU64::new(0);
        let mut tips = self.take_in_turn(mode, bundles, &quarantine, &bytes, left)?;
        tips.sort_unstable();
        tips.dedup();
        if tips.is_empty() {
            return Ok(Unbundled::default());
        }
        if !quarantine.is_connected(&tips, !self.filter.is_none())? {
            return Err(BundleError::Incomplete);
        }
        Ok(Unbundled {
            tips,
            objects: quarantine.release(&self.objects_dir.join("pack"), !self.filter.is_none())?,
            bytes: bytes.into_inner(),
        })
    }

    /// Fetches those that need others after them, each once more at most; answers what their refs point to.
    fn take_in_turn(
        &self,
        mode: Mode,
        bundles: &[&ListedBundle],
        quarantine: &Quarantine<'_>,
        bytes: &AtomicU64,
        left: &mut Option<(String, BundleError)>,
    ) -> Result<Vec<ObjectId>, BundleError> {
        let mut tips = Vec::new();
        let mut waiting: Vec<Waiting<'_>> = bundles.iter().map(|bundle| Waiting::new(bundle)).collect();
        while let Some(first) = waiting.first() {
            let uri = &first.bundle.uri;
            let needs: Vec<ObjectId> = waiting.iter().flat_map(|one| one.needs.iter().copied()).collect();
            let missing: HashSet<ObjectId> = quarantine.missing(&needs)?.into_iter().collect();
            let is_ready = |one: &Waiting<'_>| one.needs.iter().all(|id| !missing.contains(id));
            if !waiting.iter().any(is_ready) {
                left.get_or_insert((uri.clone(), BundleError::Prerequisites));
                break;
            }
            let (ready, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            waiting = others;
            for Waiting { bundle, needs } in ready {
                if self.interrupt.load(Ordering::Relaxed) {
                    return Ok(tips);
                }
                match self.take(bundle, quarantine, bytes) {
                    Ok(Taken::Tips(more)) => {
                        tips.extend(more);
                        if mode == Mode::Any {
                            // Whatever did not serve before it does not matter now.
                            *left = None;
                            return Ok(tips);
                        }
                    }
                    Ok(Taken::Needs(more)) if needs.is_empty() && more.len() <= MOST_NEEDS => {
                        waiting.push(Waiting { bundle, needs: more });
                    }
                    // It needs too much, or something else every time.
                    Ok(Taken::Needs(_)) => {
                        left.get_or_insert((bundle.uri.clone(), BundleError::Prerequisites));
                    }
                    Err(error) => {
                        left.get_or_insert((bundle.uri.clone(), error));
                    }
                }
            }
        }
        Ok(tips)
    }

    /// Fetches one bundle into the quarantine, if what it builds on is there.
    fn take(
        &self,
        bundle: &ListedBundle,
        quarantine: &Quarantine<'_>,
        bytes: &AtomicU64,
    ) -> Result<Taken, BundleError> {
        let unpack = |input: &mut dyn BufRead| self.unpack(input, quarantine, bytes);
        let location = bundle.location(self.remote.url()).ok_or(BundleError::Refused)?;
        if !self.remote.allows(location.protocol()) {
            let protocol = location.protocol().to_owned();
            return Err(BundleError::NotAllowed { protocol });
        }
        match location {
            Location::Local(path) => unpack(&mut BufReader::new(open_file(&path)?)),
            Location::Http(url) => self.remote.download(&url, unpack).map_err(|error| match error {
                FetchError::Remote(error) => error.into(),
                FetchError::Pack(error) => error,
            }),
        }
    }

    fn unpack(
        &self,
        input: &mut dyn BufRead,
        quarantine: &Quarantine<'_>,
        bytes: &AtomicU64,
    ) -> Result<Taken, BundleError> {
        let header = BundleHeader::read(input)?;
        if header.filter != *self.filter {
            return Err(BundleError::Filter {
                expected: self.filter.clone(),
                found: header.filter,
            });
        }
        let missing = quarantine.missing(&header.prerequisites)?;
        if !missing.is_empty() {
            return Ok(Taken::Needs(missing));
        }
        let on_bytes = |more: u64| {
            bytes.fetch_add(more, Ordering::Relaxed);
            (self.on_bytes)(more);
        };
        if header.prerequisites.is_empty() {
            let options = ReceiveOptions {
                pack_dir: &quarantine.pack_dir(),
                promisor: None,
                threads: thread::available_parallelism().map_or(1, usize::from),
                interrupt: self.interrupt,
                on_bytes: &on_bytes,
            };
            receive_pack(input, &options, None)?;
        } else {
            quarantine.index_thin_pack(input, &on_bytes)?;
        }
        Ok(Taken::Tips(header.tips))
    }
}

/// Opens a file that somebody else has named, without waiting for whoever is at the other end of a pipe.
fn open_file(path: &Path) -> Result<fs::File, BundleError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
    let file = fs::File::from(opened.map_err(io::Error::from).at("open", path)?);
    match file.metadata().at("read", path)?.is_file() {
        true => Ok(file),
        false => Err(BundleError::NotAFile),
    }
}
