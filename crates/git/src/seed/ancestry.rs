//! Which refs of a repository some of its packs can serve: commits made there are loose or in other packs, and what was
//! fetched later may build on them.

use std::{collections::HashMap, path::Path};

use gix::{
    ObjectId,
    commitgraph::Graph,
    objs::{CommitRefIter, Find as _, Kind, TagRefIter},
};

use super::PackOrder;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Whether there are loose commits or tags in the object folder `objects` that are not in `packs`.
pub(super) fn has_loose_others(objects: &Path, packs: &PackOrder) -> bool {
    let loose = gix::odb::loose::Store::at(objects, SHA1);
    let is_other = |id: &ObjectId| {
        let is_content = |kind| matches!(kind, Kind::Tree | Kind::Blob);
        !packs.contains(id) && !matches!(loose.try_header(id), Ok(Some((_, kind))) if is_content(kind))
    };
    loose.iter().any(|id| id.is_ok_and(|id| is_other(&id)))
}

/// Commits and tags in some packs of a repository, and what they build on.
pub(super) struct Ancestry<'a> {
    packs: &'a PackOrder,
    objects: &'a gix::OdbHandle,
    /// Parents without a look at the commits.
    graph: Option<Graph>,
    /// Whether all that an object reaches is in the packs; none while that is being found out.
    whole: HashMap<ObjectId, Option<bool>>,
    data: Vec<u8>,
}

impl<'a> Ancestry<'a> {
    pub(super) fn new(repository: &'a gix::Repository, packs: &'a PackOrder) -> Self {
        Ancestry {
            packs,
            objects: &repository.objects,
            graph: repository.commit_graph_if_enabled().ok().flatten(),
            whole: HashMap::new(),
            data: Vec::new(),
        }
    }

    /// Whether `tip` and every commit that it reaches are in the packs.
    pub(super) fn is_whole(&mut self, tip: ObjectId) -> bool {
        let mut unseen = vec![tip];
        while let Some(&id) = unseen.last() {
            let answer = match self.whole.get(&id).copied() {
                Some(Some(_)) => None,
                None if !self.packs.contains(&id) => Some(false),
                None => match self.reached_by(id) {
                    None => Some(false),
                    Some(reached) => {
                        self.whole.insert(id, None);
                        unseen.extend(reached.iter().filter(|id| !self.whole.contains_key(*id)));
                        continue;
                    }
                },
                // All that it reaches directly is known by now.
                Some(None) => {
                    let reached = self.reached_by(id).unwrap_or_default();
                    let is_whole = |id| self.whole.get(id) == Some(&Some(true));
                    Some(reached.iter().all(is_whole))
                }
            };
            if answer.is_some() {
                self.whole.insert(id, answer);
            }
            unseen.pop();
        }
        self.whole.get(&tip) == Some(&Some(true))
    }

    /// Parents of a commit, or what a tag is of; `None` when it cannot be read.
    fn reached_by(&mut self, id: ObjectId) -> Option<Vec<ObjectId>> {
        if let Some(graph) = &self.graph
            && let Some(commit) = graph.commit_by_id(id)
        {
            let parents = commit.iter_parents();
            return parents
                .map(|parent| Some(graph.id_at(parent.ok()?).to_owned()))
                .collect();
        }
        let object = self.objects.try_find(&id, &mut self.data).ok()??;
        Some(match object.kind {
            Kind::Commit => CommitRefIter::from_bytes(object.data, SHA1)
                .parent_ids()
                .collect(),
            Kind::Tag => vec![TagRefIter::from_bytes(object.data, SHA1).target_id().ok()?],
            Kind::Tree | Kind::Blob => Vec::new(),
        })
    }
}
