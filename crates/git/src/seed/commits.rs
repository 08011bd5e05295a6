//! Commits and tags in the packs of a seed: under whatever name a pack has one, that has to be its name.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use gix::{
    ObjectId,
    objs::{CommitRefIter, Data, Kind, TagRefIter},
    odb::pack::{Bundle, cache::Never, data::entry::Header},
    zlib::Inflate,
};
use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use super::{SeedError, commit_graph::ListedCommits};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// No commit or tag is larger; what claims to be is not given memory.
const LARGEST_BYTES: usize = 256 << 20;

/// What the entries of a pack may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deltas {
    Allowed,
    Refused,
}

/// The packs of one part of a seed.
pub(super) struct Packs<'a> {
    packs: Vec<Pack>,
    interrupt: &'a AtomicBool,
}

struct Pack {
    path: PathBuf,
    bundle: Bundle,
}

impl<'a> Packs<'a> {
    pub(super) fn open(
        paths: impl IntoIterator<Item = PathBuf>,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, SeedError> {
        let packs: Result<_, _> = paths.into_iter().map(Pack::open).collect();
        Ok(Packs {
            packs: packs?,
            interrupt,
        })
    }

    /// Checks every commit and tag, in whichever packs they are; those in `graph` must be all there, and as it says.
    pub(super) fn check(&self, deltas: Deltas, graph: Option<&ListedCommits>) -> Result<(), SeedError> {
        let found: Result<Vec<Vec<ObjectId>>, SeedError> = self
            .packs
            .par_iter()
            .map(|pack| {
                let places = pack.commits_and_tags(deltas, self.interrupt)?;
                let check = |(data, inflate): &mut (Vec<u8>, Inflate), at: u32| {
                    self.check_interrupt()?;
                    let id = pack.id(at);
                    let object = pack.read(at, data, inflate)?;
                    match graph {
                        Some(graph) if object.kind == Kind::Commit && graph.contains(&id) => graph
                            .check(id, object.data)
                            .map(|()| Some(id))
                            .map_err(|what| SeedError::invalid(&pack.path, what)),
                        _ => Ok(None),
                    }
                };
                let listed = places
                    .into_par_iter()
                    .map_init(|| (Vec::new(), Inflate::default()), check)
                    .filter_map(Result::transpose);
                listed.collect()
            })
            .collect();
        let found: HashSet<ObjectId> = found?.into_iter().flatten().collect();
        match graph.and_then(|graph| graph.ids().iter().find(|id| !found.contains(*id))) {
            Some(lost) => Err(self.invalid(format!("{lost} is missing"))),
            None => Ok(()),
        }
    }

    /// What `refs` finally point to, where that is a commit; they and the tags between are checked.
    pub(super) fn follow_tags(&self, refs: HashSet<ObjectId>) -> Result<Vec<ObjectId>, SeedError> {
        let mut commits = Vec::new();
        let mut unseen: Vec<ObjectId> = refs.into_iter().collect();
        while let Some(id) = unseen.pop() {
            self.check_interrupt()?;
            let (kind, data) = self.read(id)?;
            match kind {
                Kind::Commit => commits.push(id),
                Kind::Tag => unseen.push(
                    TagRefIter::from_bytes(&data, SHA1)
                        .target_id()
                        .map_err(|error| self.invalid(format!("{id}: {error}")))?,
                ),
                Kind::Tree | Kind::Blob => {}
            }
        }
        Ok(commits)
    }

    /// Checks that whatever commits `tips` reach are there.
    pub(super) fn walk(&self, tips: Vec<ObjectId>) -> Result<(), SeedError> {
        let mut seen: HashSet<ObjectId> = tips.iter().copied().collect();
        let mut unseen = tips;
        while let Some(id) = unseen.pop() {
            self.check_interrupt()?;
            match self.read(id)? {
                (Kind::Commit, data) => {
                    let parents = CommitRefIter::from_bytes(&data, SHA1).parent_ids();
                    unseen.extend(parents.filter(|parent| seen.insert(*parent)));
                }
                (kind, _) => return Err(self.invalid(format!("{id} is a {kind} and no commit"))),
            }
        }
        Ok(())
    }

    /// Reads an object, as each pack has it that does.
    fn read(&self, id: ObjectId) -> Result<(Kind, Vec<u8>), SeedError> {
        let mut read = None;
        let mut inflate = Inflate::default();
        for pack in &self.packs {
            if let Some(at) = pack.bundle.index.lookup(id) {
                let mut data = Vec::new();
                let kind = pack.read(at, &mut data, &mut inflate)?.kind;
                read = Some((kind, data));
            }
        }
        read.ok_or_else(|| self.invalid(format!("{id} is missing")))
    }

    fn check_interrupt(&self) -> Result<(), SeedError> {
        check_interrupt(self.interrupt)
    }

    pub(super) fn invalid(&self, what: String) -> SeedError {
        let path = self.packs.first().map_or(Path::new(""), |pack| &pack.path);
        SeedError::invalid(path.parent().unwrap_or(path), what)
    }
}

impl Pack {
    fn open(path: PathBuf) -> Result<Self, SeedError> {
        let mut bundle = Bundle::at(&path, SHA1).map_err(|error| SeedError::reading(&path, &error))?;
        bundle.pack = bundle.pack.with_alloc_limit_bytes(Some(LARGEST_BYTES));
        Ok(Pack { path, bundle })
    }

    fn id(&self, at: u32) -> ObjectId {
        self.bundle.index.oid_at_index(at).to_owned()
    }

    /// Where in the index commits and tags are, in the order of the pack.
    fn commits_and_tags(&self, deltas: Deltas, interrupt: &AtomicBool) -> Result<Vec<u32>, SeedError> {
        let index = &self.bundle.index;
        let mut entries: Vec<(u64, u32)> = (0..index.num_objects())
            .map(|at| (index.pack_offset_at_index(at), at))
            .collect();
        entries.sort_unstable();
        let place = |offset: u64| entries.binary_search_by_key(&offset, |(offset, _)| *offset).ok();
        let mut kinds: Vec<Option<Kind>> = Vec::with_capacity(entries.len());
        let mut later: Vec<(usize, usize)> = Vec::new();
        for (here, (offset, _)) in entries.iter().enumerate() {
            let entry = self.bundle.pack.entry(*offset);
            let entry = entry.map_err(|error| SeedError::reading(&self.path, &error))?;
            let base = match entry.header {
                Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance),
                Header::RefDelta { base_id } => {
                    index.lookup(base_id).map(|at| index.pack_offset_at_index(at))
                }
                _ => None,
            };
            if entry.header.is_delta() && deltas == Deltas::Refused {
                return Err(SeedError::invalid(&self.path, "it has deltas"));
            }
            let kind = match (entry.header.as_kind(), base.and_then(place)) {
                (Some(kind), _) => Some(kind),
                (None, Some(base)) => {
                    let kind = kinds.get(base).copied().flatten();
                    if kind.is_none() {
                        later.push((here, base));
                    }
                    kind
                }
                (None, None) => {
                    return Err(SeedError::invalid(
                        &self.path,
                        "a delta is based on what it lacks",
                    ));
                }
            };
            kinds.push(kind);
        }
        // Packs have bases before what is based on them, but for odd ones.
        while !later.is_empty() {
            check_interrupt(interrupt)?;
            let before = later.len();
            later.retain(|(here, base)| {
                kinds[*here] = kinds[*base];
                kinds[*here].is_none()
            });
            if later.len() == before {
                return Err(SeedError::invalid(&self.path, "deltas are based on each other"));
            }
        }
        let named = entries.iter().zip(kinds);
        Ok(named
            .filter(|(_, kind)| matches!(kind, Some(Kind::Commit | Kind::Tag)))
            .map(|((_, at), _)| *at)
            .collect())
    }

    /// Reads an object and checks that it is what its name says.
    fn read<'d>(&self, at: u32, data: &'d mut Vec<u8>, inflate: &mut Inflate) -> Result<Data<'d>, SeedError> {
        let id = self.id(at);
        let invalid = |what: &dyn std::fmt::Display| SeedError::invalid(&self.path, format!("{id}: {what}"));
        let (object, _) = self
            .bundle
            .get_object_by_index(at, data, inflate, &mut Never)
            .map_err(|error| invalid(&error))?;
        object.verify_checksum(&id).map_err(|error| invalid(&error))?;
        Ok(object)
    }
}

pub(super) fn check_interrupt(interrupt: &AtomicBool) -> Result<(), SeedError> {
    match interrupt.load(Ordering::Relaxed) {
        true => Err(SeedError::Interrupted),
        false => Ok(()),
    }
}
