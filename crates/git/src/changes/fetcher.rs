//! Fetching what a comparison lacks, and counting it.

use std::{cell::OnceCell, sync::atomic::AtomicBool};

use bstr::{BStr, BString, ByteSlice as _};
use gix::{ObjectId, protocol::handshake::Ref};

use super::{ChangesError, objects::Objects, place::Place};
use crate::{
    filter_spec::FilterSpec,
    local::{FetchJob, LocalError, LocalRepository},
    progress::{Progress, Step, Warning},
    remote::{Conversation, Depth, FetchRequest, Fetched, Remote, RemoteError, Session},
};

/// What was fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchedObjects {
    /// Packs asked for.
    pub fetches: u64,
    /// Objects that came for the history: commits, where the remote leaves out the rest.
    pub history_objects: u64,
    /// Objects that came for trees.
    pub tree_objects: u64,
    /// Objects that came for the content of files.
    pub file_objects: u64,
    /// Bytes of all packs.
    pub bytes: u64,
}

/// A part of the history to fetch.
pub(super) struct History {
    /// The commits it leads up to.
    pub(super) wants: Vec<ObjectId>,
    /// Commits that are here.
    pub(super) haves: Vec<ObjectId>,
    /// Commits here whose parents are not.
    pub(super) boundary: Vec<ObjectId>,
    pub(super) depth: Option<Depth>,
}

/// How much of a tree to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Trees, without anything in them.
    Trees,
    /// Trees with all trees below them.
    WholeTrees,
    /// Contents of files.
    Blobs,
}

/// What the remote is asked to leave out of the history. Some hosts have filters but not this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaner {
    Trees,
    Blobs,
}

/// Talks to the remote, once there is need to.
pub(super) struct Fetcher<'r, 'c> {
    original: &'r LocalRepository<'r>,
    /// Chosen by the first fetch.
    place: Option<Place<'r>>,
    remote_name: Option<Result<BString, LocalError>>,
    remote: &'c OnceCell<Remote<'r>>,
    session: Option<Session<'c>>,
    /// All refs, where the remote lists them unasked.
    refs: Option<Vec<Ref>>,
    leaner: Leaner,
    fetched: FetchedObjects,
    progress: &'c dyn Progress,
    interrupt: &'r AtomicBool,
}

impl<'r, 'c> Fetcher<'r, 'c> {
    pub(super) fn new(
        original: &'r LocalRepository<'r>,
        remote_name: Result<BString, LocalError>,
        remote: &'c OnceCell<Remote<'r>>,
        progress: &'c dyn Progress,
        interrupt: &'r AtomicBool,
    ) -> Self {
        Fetcher {
            original,
            place: None,
            remote_name: Some(remote_name),
            remote,
            session: None,
            refs: None,
            leaner: Leaner::Trees,
            fetched: FetchedObjects::default(),
            progress,
            interrupt,
        }
    }

    pub(super) fn fetched(&self) -> FetchedObjects {
        self.fetched
    }

    pub(super) fn interrupt(&self) -> &'r AtomicBool {
        self.interrupt
    }

    /// The remote's name, where there is one.
    pub(super) fn remote_name(&self) -> Option<&BStr> {
        self.remote_name
            .as_ref()?
            .as_ref()
            .ok()
            .map(|name| name.as_bstr())
    }

    /// The repository that sees all objects that are here.
    fn repository(&self) -> &LocalRepository<'r> {
        match &self.place {
            Some(Place::Beside { repository, .. }) => repository,
            Some(Place::Here) | None => self.original,
        }
    }

    /// The objects that are here now.
    pub(super) fn objects(&self) -> Result<Objects, ChangesError> {
        Ok(Objects::open(self.repository())?)
    }

    /// The commits whose parents are not here.
    pub(super) fn boundary(&self) -> Result<Vec<ObjectId>, ChangesError> {
        Ok(self.repository().shallow()?)
    }

    /// The URL of the remote, for messages.
    pub(super) fn shown_url(&mut self) -> Result<String, ChangesError> {
        Ok(self.remote()?.shown_url())
    }

    /// The refs of the remote with one of these names.
    pub(super) fn find_refs(&mut self, names: &[&str]) -> Result<Vec<Ref>, ChangesError> {
        let listed = match self.refs.take() {
            Some(all) => all,
            None => self
                .session()?
                .hold(|conversation| conversation.list_refs(names))?,
        };
        let found = listed
            .iter()
            .filter(|listed| names.iter().any(|name| name_of(listed) == *name));
        let found = found.cloned().collect();
        if !self.conversation()?.takes_more_commands() {
            self.refs = Some(listed);
        }
        Ok(found)
    }

    /// Brings history and moves the boundary. `before` are the objects that are here.
    pub(super) fn fetch_history(&mut self, history: &History, before: &Objects) -> Result<(), ChangesError> {
        let mut first_error = None;
        loop {
            let error = match self.try_fetch_history(history, before) {
                Err(ChangesError::Local(LocalError::Remote(
                    error @ RemoteError::Server { retryable: false, .. },
                ))) => error,
                done => return done,
            };
            // Some hosts refuse filters of trees; and a refusal is said in words nobody has promised.
            self.leaner = match self.leaner {
                Leaner::Trees => Leaner::Blobs,
                Leaner::Blobs => return Err(first_error.unwrap_or(error).into()),
            };
            first_error = Some(error);
        }
    }

    fn try_fetch_history(&mut self, history: &History, before: &Objects) -> Result<(), ChangesError> {
        let wants = self.allowed_wants(&history.wants)?;
        let url = self.shown_url()?;
        let leaner = self.leaner;
        let conversation = self.conversation()?;
        if history.depth.is_some() && !conversation.can_be_shallow() {
            return Err(ChangesError::CannotDeepen { url });
        }
        let filter = match leaner {
            _ if !conversation.can_filter() => None,
            // What may not be asked for later has to come now.
            Leaner::Trees if conversation.gives_any_object() => Some("tree:0"),
            Leaner::Trees | Leaner::Blobs => Some("blob:none"),
        };
        let request = FetchRequest {
            wants,
            haves: history.haves.clone(),
            shallow: history.boundary.clone(),
            depth: history.depth,
            filter,
            include_tag: false,
        };
        let mut fetched = self.fetch(&request)?;
        self.fetched.history_objects += fetched.pack;
        let now = self.objects()?;
        // A depth counted from one tip may end amid what another tip has brought: there the history goes on.
        let mut boundary = Vec::new();
        for id in std::mem::take(&mut fetched.shallow) {
            let goes_on = before.contains(id)
                && !history.boundary.contains(&id)
                && now
                    .commit(id)?
                    .is_some_and(|commit| commit.parents.iter().all(|parent| now.contains(*parent)));
            if !goes_on {
                boundary.push(id);
            }
        }
        fetched.shallow = boundary;
        self.repository().update_shallow(&fetched)?;
        Ok(())
    }

    /// What to ask for so that `ids` come: hosts of old give nothing that no ref points to.
    fn allowed_wants(&mut self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, ChangesError> {
        if self.conversation()?.gives_any_object() {
            let mut wants = ids.to_vec();
            wants.sort();
            wants.dedup();
            return Ok(wants);
        }
        let listed = match self.refs.take() {
            Some(all) => all,
            None => {
                let prefixes = ["refs/heads/", "refs/tags/"];
                self.session()?
                    .hold(|conversation| conversation.list_refs(&prefixes))?
            }
        };
        let mut tips: Vec<ObjectId> = listed.iter().filter_map(advertised).collect();
        self.refs = Some(listed);
        tips.sort();
        tips.dedup();
        let (wanted, others): (Vec<_>, Vec<_>) = tips.into_iter().partition(|tip| ids.contains(tip));
        // Any of the others may lead to what is not a tip itself.
        Ok(match ids.iter().all(|id| wanted.contains(id)) {
            true => wanted,
            false => [wanted, others].concat(),
        })
    }

    /// Brings objects that are not here.
    pub(super) fn fetch_objects(
        &mut self,
        wants: Vec<ObjectId>,
        want: Want,
    ) -> Result<Objects, ChangesError> {
        let filter = match want {
            _ if !self.conversation()?.can_filter() => None,
            Want::Trees if self.leaner == Leaner::Trees => Some("tree:0"),
            Want::Trees | Want::WholeTrees => Some("blob:none"),
            Want::Blobs => None,
        };
        let request = FetchRequest {
            wants,
            filter,
            ..FetchRequest::default()
        };
        let fetched = self.fetch(&request)?;
        let objects = match want {
            Want::Trees | Want::WholeTrees => &mut self.fetched.tree_objects,
            Want::Blobs => &mut self.fetched.file_objects,
        };
        *objects += fetched.pack;
        let objects = self.objects()?;
        match request.wants.into_iter().find(|id| !objects.contains(*id)) {
            Some(id) => Err(ChangesError::NotSent {
                url: self.shown_url()?,
                id,
            }),
            None => Ok(objects),
        }
    }

    /// Answers how many objects came.
    fn fetch(&mut self, request: &FetchRequest<'_>) -> Result<Fetched<u64>, ChangesError> {
        let url = self.shown_url()?;
        if self.place.is_none() {
            let remote = self
                .remote_name()
                .expect("a remote with a URL has a name")
                .to_owned();
            self.place = Some(Place::choose(self.original, remote.as_bstr())?);
        }
        self.conversation()?;
        let mut session = self.session.take().expect("begun on the line above");
        let progress = self.progress;
        progress.start(Step::ReceiveHistory, None);
        let job = FetchJob {
            progress,
            on_bytes: &|bytes| progress.advance(Step::ReceiveHistory, bytes),
            interrupt: self.interrupt,
        };
        // Here, a remote owes what a filter leaves out; in a place of its own, nobody looks.
        let promisor = Some(b"".as_slice());
        let repository = self.repository();
        let (fetched, goes_on) = session.hold(|conversation| {
            let fetched = repository.fetch(conversation, &url, request, promisor, &job)?;
            Ok::<_, LocalError>((fetched, conversation.takes_more_commands()))
        })?;
        progress.finish(Step::ReceiveHistory);
        if !goes_on {
            session.pause();
        }
        self.session = Some(session);
        self.fetched.fetches += 1;
        self.fetched.bytes += fetched.pack.bytes;
        Ok(Fetched {
            pack: fetched.pack.objects,
            shallow: fetched.shallow,
            unshallow: fetched.unshallow,
        })
    }

    fn remote(&mut self) -> Result<&'c Remote<'r>, ChangesError> {
        if let Some(remote) = self.remote.get() {
            return Ok(remote);
        }
        let name = match self.remote_name.take() {
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(name)) => name,
            None => unreachable!("taken only together with an error that ends the comparison"),
        };
        let remote = self.original.remote(name.as_bstr(), self.interrupt)?;
        self.remote_name = Some(Ok(name));
        Ok(self.remote.get_or_init(|| remote))
    }

    fn session(&mut self) -> Result<&mut Session<'c>, ChangesError> {
        if self.session.is_none() {
            let mut session = Session::new(self.remote()?, self.progress);
            self.progress.start(Step::Connect, None);
            let can_filter = session.conversation()?.can_filter();
            self.progress.finish(Step::Connect);
            if !can_filter {
                let filter = FilterSpec::BlobNone;
                self.progress.warn(&Warning::FilterUnsupported { filter });
            }
            self.session = Some(session);
        }
        Ok(self.session.as_mut().expect("set on the line above"))
    }

    fn conversation(&mut self) -> Result<&mut Conversation<'c>, ChangesError> {
        Ok(self.session()?.conversation()?)
    }
}

/// The full name of a ref.
pub(super) fn name_of(listed: &Ref) -> &BStr {
    listed.unpack().0
}

/// The object a ref points to, as the remote lists it.
fn advertised(listed: &Ref) -> Option<ObjectId> {
    let (_, target, _) = listed.unpack();
    target.map(ToOwned::to_owned)
}
