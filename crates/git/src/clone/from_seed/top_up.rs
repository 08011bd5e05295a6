//! What the origin has beyond a seed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    path::PathBuf,
};

use bstr::{BStr, ByteSlice as _};
use gix::{
    ObjectId,
    objs::{CommitRefIter, Find as _, Kind, TagRefIter},
};

use super::NoClone;
use crate::{
    clone::transfer::{Transfer, Transferred},
    error::CloneError,
    filter_spec::FilterSpec,
    pack::ReceivedPack,
    progress::Step,
    refs::RefPlan,
    remote::{Depth, FetchRequest, Session},
    seed::{PackOrder, Seed, SeedManifest},
};

/// What is told to be here, at most: each costs the origin a look.
const MOST_HAVES: usize = 1000;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// What the origin has added to a seed.
pub(super) struct TopUp {
    /// Index of the pack that came, if any.
    pub(super) index: Option<PathBuf>,
    /// Objects that the new ones build on: the seed must have them.
    pub(super) boundary: Vec<ObjectId>,
}

impl Transfer<'_> {
    /// Fetches what the refs need and the seed does not have.
    pub(super) fn top_up(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        transferred: &mut Transferred,
    ) -> Result<TopUp, NoClone> {
        let known: HashSet<ObjectId> = seed.manifest.refs.iter().map(|seed_ref| seed_ref.id).collect();
        let (known, wants): (Vec<_>, Vec<_>) = self
            .plan
            .wants()
            .into_iter()
            .partition(|want| known.contains(want));
        if wants.is_empty() {
            return Ok(TopUp {
                index: None,
                boundary: known,
            });
        }
        let filter = self.filter.to_string();
        let request = FetchRequest {
            haves: haves(&seed.manifest, self.plan),
            filter: Some(&filter),
            include_tag: self.follow_tags,
            wants,
            ..FetchRequest::default()
        };
        self.progress.start(Step::ReceiveHistory, None);
        let on_bytes = |bytes| self.progress.advance(Step::ReceiveHistory, bytes);
        let promisor = self.plan.promisor_lines(&request.wants);
        let fetched = self.fetch(session, &request, &promisor, &on_bytes, None)?;
        self.progress.finish(Step::ReceiveHistory);
        if !fetched.shallow.is_empty() {
            return Err(NoClone::Refused("the origin is shallow".to_owned()));
        }
        transferred.objects = fetched.pack.objects;
        transferred.history_bytes = fetched.pack.bytes;
        let index = self.index_of(&fetched.pack);
        let order = PackOrder::open(&index).map_err(NoClone::of_seed)?;
        let mut boundary = self.boundary(request.wants, &order)?;
        if boundary.is_empty() && known.is_empty() {
            return Err(NoClone::Refused(
                "it is of another history than the origin's".to_owned(),
            ));
        }
        boundary.extend(known);
        Ok(TopUp { index, boundary })
    }

    /// What the commits in `order` that `tips` reach build on, without being in it.
    fn boundary(&self, tips: Vec<ObjectId>, order: &PackOrder) -> Result<Vec<ObjectId>, NoClone> {
        let objects = self.opened.to_thread_local().objects;
        let mut seen: HashSet<ObjectId> = tips.iter().copied().collect();
        let (mut unseen, mut data, mut boundary) = (tips, Vec::new(), Vec::new());
        while let Some(id) = unseen.pop() {
            if !order.contains(&id) {
                boundary.push(id);
                continue;
            }
            let found = objects.try_find(&id, &mut data);
            let object = found.ok().flatten().ok_or_else(|| CloneError::CorruptPack {
                url: self.shown_url.to_owned(),
                source: format!("{id} cannot be read from it").into(),
            })?;
            let reached: Vec<ObjectId> = match object.kind {
                Kind::Commit => CommitRefIter::from_bytes(object.data, SHA1)
                    .parent_ids()
                    .collect(),
                Kind::Tag => TagRefIter::from_bytes(object.data, SHA1)
                    .target_id()
                    .into_iter()
                    .collect(),
                Kind::Tree | Kind::Blob => Vec::new(),
            };
            unseen.extend(reached.into_iter().filter(|id| seen.insert(*id)));
        }
        Ok(boundary)
    }

    /// Brings the trees of the tip that a filter has left out; the index of the pack they came in.
    pub(super) fn fetch_trees(
        &self,
        session: &mut Session<'_>,
        seed: &Seed,
        transferred: &mut Transferred,
    ) -> Result<Option<PathBuf>, NoClone> {
        let trees_only = FilterSpec::BlobNone.to_string();
        let request = FetchRequest {
            wants: self.plan.tip_want().into_iter().collect(),
            haves: vec![seed.manifest.tip],
            // Its parents are here: the boundary that the remote tells of is none.
            depth: NonZeroU32::new(1).map(Depth::Commits),
            filter: Some(&trees_only),
            ..FetchRequest::default()
        };
        let promisor = self.plan.promisor_lines(&request.wants);
        let fetched = self.fetch(session, &request, &promisor, &|_| {}, None)?;
        transferred.objects += fetched.pack.objects;
        transferred.tip_bytes += fetched.pack.bytes;
        Ok(self.index_of(&fetched.pack))
    }

    /// The index of a pack that was received; none for one without objects.
    fn index_of(&self, pack: &ReceivedPack) -> Option<PathBuf> {
        let name = format!("pack-{}.idx", pack.id);
        (pack.objects > 0).then(|| self.repository.pack_dir().join(name))
    }
}

/// What is said to be here: where refs were that have moved, for what is new builds on that; then the others.
fn haves(manifest: &SeedManifest, plan: &RefPlan) -> Vec<ObjectId> {
    let fetched = plan.fetched.iter();
    let now: HashMap<&BStr, ObjectId> = fetched
        .map(|fetched| (fetched.remote_name.as_bstr(), fetched.target.id))
        .collect();
    let rank = |name: &str, id: ObjectId| match now.get(BStr::new(name)) {
        Some(moved) if *moved != id => 0,
        _ if name.starts_with("refs/heads/") => 1,
        _ => 2,
    };
    let mut ranked: Vec<_> = manifest
        .refs
        .iter()
        .map(|seed_ref| (rank(&seed_ref.name, seed_ref.id), seed_ref.id))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut told = BTreeSet::new();
    ranked
        .into_iter()
        .map(|(_, id)| id)
        .filter(|id| told.insert(*id))
        .take(MOST_HAVES)
        .collect()
}
