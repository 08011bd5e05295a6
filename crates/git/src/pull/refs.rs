//! Which refs a fetch moves, and moving them: by the refspecs of the remote, as `git fetch` does without pruning.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::{BStr, BString, ByteSlice as _};
use gix::{
    ObjectId,
    refspec::{MatchGroup, RefSpecRef, match_group::Item, parse::Operation},
};
use headstart_process::ProcessError;

use super::PullError;
use crate::{
    local::{LocalError, LocalObjects, LocalRepository},
    refs::{RemoteRef, RemoteRefs},
};

const TAGS: &str = "refs/tags/";

/// Local refs whose commits the remote is told, beside those it is sure to have.
const MOST_TOLD_REFS: usize = 256;

/// How far back commits are told that the remote may know where its branch was rewritten.
const TOLD_ANCESTORS: usize = 1024;

/// Which refs of a remote go where.
pub(super) struct RefRules {
    specs: Vec<BString>,
    tags: Tags,
}

/// `remote.<name>.tagOpt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    /// Those that point to something that is here anyway.
    Follow,
    All,
    None,
}

/// A ref that a fetch sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefUpdate {
    pub(super) remote_name: BString,
    pub(super) local_name: BString,
    pub(super) old: Option<ObjectId>,
    pub(super) new: RemoteRef,
    /// It may go elsewhere than forward.
    pub(super) forced: bool,
}

/// Commits and their parents.
type Parents = HashMap<ObjectId, Vec<ObjectId>>;

/// The refs here, by full name.
pub(super) type LocalRefs = BTreeMap<BString, ObjectId>;

impl RefRules {
    pub(super) fn load(repository: &LocalRepository<'_>, remote: &BStr) -> Self {
        let specs = repository.remote_strings(remote, "fetch");
        RefRules {
            specs: specs.into_iter().map(BStr::to_owned).collect(),
            tags: match repository
                .remote_string(remote, "tagopt")
                .map(|option| option.as_bytes())
            {
                Some(b"--no-tags") => Tags::None,
                Some(b"--tags") => Tags::All,
                _ => Tags::Follow,
            },
        }
    }

    pub(super) fn follows_tags(&self) -> bool {
        self.tags == Tags::Follow
    }

    fn parsed(&self) -> Result<Vec<RefSpecRef<'_>>, LocalError> {
        self.specs
            .iter()
            .map(|spec| {
                gix::refspec::parse(spec.as_bstr(), Operation::Fetch).map_err(|error| LocalError::Setting {
                    key: format!("remote.*.fetch = {spec}"),
                    source: error.into(),
                })
            })
            .collect()
    }

    /// What the names of interesting refs start with.
    pub(super) fn prefixes(&self, upstream: &BStr) -> Result<Vec<String>, LocalError> {
        let mut prefixes = vec![upstream.to_owned()];
        for spec in self.parsed()? {
            spec.expand_prefixes(&mut prefixes);
        }
        let mut prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        if self.tags != Tags::None {
            prefixes.push(TAGS.to_owned());
        }
        prefixes.sort();
        prefixes.dedup();
        Ok(prefixes)
    }

    /// The refs that are not yet as the remote has them. Tags that would only follow are not among them.
    pub(super) fn updates(
        &self,
        remote: &RemoteRefs,
        local: &LocalRefs,
    ) -> Result<Vec<RefUpdate>, LocalError> {
        let all_tags = "refs/tags/*:refs/tags/*".into();
        let mut specs = self.parsed()?;
        if self.tags == Tags::All {
            specs.push(gix::refspec::parse(all_tags, Operation::Fetch).expect("a plain refspec parses"));
        }
        let listed: Vec<(&BStr, RemoteRef)> = remote.iter().collect();
        let items = listed.iter().map(|(name, target)| Item {
            full_ref_name: name,
            target: target.id.as_ref(),
            object: target.peeled.as_ref().map(AsRef::as_ref),
        });
        let group = MatchGroup::from_fetch_specs(specs.iter().copied());
        let matched = group.match_lhs(items);
        let mut updates = BTreeMap::new();
        for mapping in &matched.mappings {
            let (Some(item), Some(to)) = (mapping.item_index, &mapping.rhs) else {
                continue;
            };
            let (name, new) = listed[item];
            let old = local.get(to.as_ref()).copied();
            // A tag that is here already stays, whatever the remote says.
            let is_old_tag = to.starts_with(TAGS.as_bytes()) && old.is_some();
            if old == Some(new.id) || is_old_tag {
                continue;
            }
            let spec = self.specs.get(mapping.spec_index);
            let forced = spec.is_some_and(|spec| spec.starts_with(b"+"));
            updates.entry(to.as_ref().to_owned()).or_insert(RefUpdate {
                remote_name: name.to_owned(),
                local_name: to.as_ref().to_owned(),
                old,
                new,
                forced,
            });
        }
        Ok(updates.into_values().collect())
    }

    /// Tags that are not here although `is_here` what they point to.
    pub(super) fn followed_tags(
        &self,
        remote: &RemoteRefs,
        local: &LocalRefs,
        is_here: impl Fn(&ObjectId) -> bool,
    ) -> Vec<RefUpdate> {
        if self.tags != Tags::Follow {
            return Vec::new();
        }
        let tags = remote.iter().filter(|(name, target)| {
            name.starts_with(TAGS.as_bytes()) && !local.contains_key(*name) && is_here(&target.target())
        });
        tags.map(|(name, target)| RefUpdate {
            remote_name: name.to_owned(),
            local_name: name.to_owned(),
            old: None,
            new: target,
            forced: false,
        })
        .collect()
    }
}

/// All refs of the repository.
pub(super) fn local_refs(repository: &LocalRepository<'_>) -> Result<LocalRefs, LocalError> {
    let listed = repository.git_without_fetching();
    let listed = listed
        .args(["for-each-ref", "--format=%(objectname) %(refname)"])
        .run()?;
    let mut refs = LocalRefs::new();
    for line in listed.stdout.lines() {
        if let Some((id, name)) = line.split_once_str(" ")
            && let Ok(id) = ObjectId::from_hex(id)
        {
            refs.insert(name.into(), id);
        }
    }
    Ok(refs)
}

/// Commits that are here, for the remote to find what it need not send: where its branches were, then what they came from, at
/// growing distances, for branches that were rewritten.
pub(super) fn haves(
    repository: &LocalRepository<'_>,
    objects: &LocalObjects,
    head: Option<ObjectId>,
    updates: &[RefUpdate],
    local: &LocalRefs,
) -> Result<Vec<ObjectId>, LocalError> {
    let mut haves: Vec<ObjectId> = updates.iter().filter_map(|update| update.old).collect();
    haves.extend(head);
    if let Some(head) = head {
        let listed = repository.git_without_fetching();
        let listed = listed
            .args(["rev-list", "--first-parent"])
            .arg(format!("--max-count={TOLD_ANCESTORS}"))
            .arg(head.to_string())
            .run()?;
        let ancestors: Vec<&[u8]> = listed.stdout.lines().collect();
        let distances = std::iter::successors(Some(1), |distance| Some(distance * 2));
        let told = distances.map_while(|distance| ancestors.get(distance));
        haves.extend(told.filter_map(|id| ObjectId::from_hex(id).ok()));
    }
    haves.extend(local.values().take(MOST_TOLD_REFS));
    let mut told = BTreeSet::new();
    haves.retain(|id| told.insert(*id) && objects.contains(id));
    Ok(haves)
}

/// Sets refs in as few transactions as messages for their logs allow.
pub(super) fn apply(repository: &LocalRepository<'_>, updates: &[RefUpdate]) -> Result<(), PullError> {
    let mut by_message: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let between = parents_between(repository, updates)?;
    for update in updates {
        let message = match update.old {
            None if update.local_name.starts_with(TAGS.as_bytes()) => "pull: storing tag",
            None if update.remote_name.starts_with(b"refs/heads/") => "pull: storing head",
            None => "pull: storing ref",
            Some(old)
                if leads_to(&between, update.new.target(), old)
                    || repository.is_ancestor(old, update.new.target())? =>
            {
                "pull: fast-forward"
            }
            Some(_) if update.forced => "pull: forced-update",
            Some(_) => {
                return Err(PullError::Rewritten {
                    name: update.local_name.clone(),
                });
            }
        };
        let old = update.old.unwrap_or(ObjectId::null(update.new.id.kind()));
        let commands = by_message.entry(message).or_default();
        commands.extend_from_slice(b"update ");
        commands.extend_from_slice(&update.local_name);
        commands.extend_from_slice(format!("\0{}\0{old}\0", update.new.id).as_bytes());
    }
    for (message, commands) in by_message {
        let command = repository.git_without_fetching();
        command
            .args(["update-ref", "-m", message, "-z", "--stdin"])
            .stdin(commands)
            .run()?;
    }
    Ok(())
}

/// The commits between where refs were and where they go, with their parents: what answers for most refs at once, which
/// of them move forward.
fn parents_between(repository: &LocalRepository<'_>, updates: &[RefUpdate]) -> Result<Parents, PullError> {
    let mut revs = String::new();
    for update in updates.iter().filter(|update| update.old.is_some()) {
        revs.extend(update.old.map(|old| format!("^{old}\n")));
        revs.push_str(&format!("{}\n", update.new.target()));
    }
    let mut parents = Parents::new();
    if revs.is_empty() {
        return Ok(parents);
    }
    let listed = repository.git_without_fetching();
    let listed = match listed
        .args(["rev-list", "--parents", "--stdin"])
        .stdin(revs)
        .run()
    {
        Ok(listed) => listed,
        // Each ref is asked for by itself then, and the error is about that one.
        Err(ProcessError::Failed { .. }) => return Ok(parents),
        Err(error) => return Err(error.into()),
    };
    for line in listed.stdout.lines() {
        let mut ids = line.split_str(" ").filter_map(|id| ObjectId::from_hex(id).ok());
        if let Some(commit) = ids.next() {
            parents.insert(commit, ids.collect());
        }
    }
    Ok(parents)
}

/// Whether the listed commits lead from `tip` to `old`. Where they do not, other ways may.
fn leads_to(parents: &Parents, tip: ObjectId, old: ObjectId) -> bool {
    let mut seen = BTreeSet::from([tip]);
    let mut next = vec![tip];
    while let Some(commit) = next.pop() {
        if commit == old {
            return true;
        }
        next.extend(
            parents
                .get(&commit)
                .into_iter()
                .flatten()
                .filter(|id| seen.insert(**id)),
        );
    }
    false
}

/// What `FETCH_HEAD` says: for whoever merges by hand.
pub(super) fn fetch_head(upstream: &BStr, tip: ObjectId, url: &str) -> Vec<u8> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let (kind, name) = match upstream.strip_prefix(b"refs/heads/") {
        Some(short) => ("branch ", short),
        None => ("", upstream.as_bytes()),
    };
    let start = format!("{tip}\t\t{kind}'");
    [start.as_bytes(), name, format!("' of {url}\n").as_bytes()].concat()
}
