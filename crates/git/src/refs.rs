//! The refs of a remote, and what a clone makes of them: what is fetched, where it goes, what is checked out.
//!
//! Follows `git clone`, also where it guesses.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice as _};
use gix::{ObjectId, protocol::handshake::Ref};

const HEADS: &[u8] = b"refs/heads/";
const TAGS: &[u8] = b"refs/tags/";

/// What a remote has, by full name, invalid names left out as git leaves them out.
#[derive(Debug, Clone, Default)]
pub(crate) struct RemoteRefs {
    refs: BTreeMap<BString, RemoteRef>,
    head: Option<RemoteHead>,
}

/// Where a ref points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteRef {
    /// The object: a commit, or the tag object of an annotated tag.
    pub(crate) id: ObjectId,
    /// What a tag object finally points to.
    pub(crate) peeled: Option<ObjectId>,
}

impl RemoteRef {
    /// The commit, or whatever else a tag was made for.
    pub(crate) fn target(&self) -> ObjectId {
        self.peeled.unwrap_or(self.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RemoteHead {
    /// The branch it names, where the remote tells.
    branch: Option<BString>,
    /// The commit, unless the branch is unborn.
    id: Option<ObjectId>,
}

/// What ends up in `HEAD` and the working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch with commits.
    Branch {
        /// Its short name.
        name: BString,
        /// Its tip.
        tip: ObjectId,
    },
    /// A commit without a branch.
    Detached {
        /// The commit.
        tip: ObjectId,
    },
    /// A branch without commits, or one that the remote does not have.
    Unborn {
        /// Its short name.
        name: BString,
    },
}

impl Head {
    /// The commit that is checked out.
    pub fn tip(&self) -> Option<ObjectId> {
        match self {
            Head::Branch { tip, .. } | Head::Detached { tip } => Some(*tip),
            Head::Unborn { .. } => None,
        }
    }
}

/// Which refs a clone is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection<'a> {
    pub(crate) branch: Option<&'a BStr>,
    pub(crate) single_branch: bool,
    pub(crate) tags: bool,
    /// The branch that `git init` makes here.
    pub(crate) default_branch: &'a BStr,
    /// The name of the remote in the clone, `origin`.
    pub(crate) remote: &'a BStr,
}

/// What a clone does with the refs of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefPlan {
    pub(crate) head: Head,
    /// Refs of the remote that are fetched: name there, name here (none for its `HEAD`), where it points.
    pub(crate) fetched: Vec<FetchedRef>,
    /// Tags that are kept if what they point to comes anyway.
    pub(crate) followed_tags: Vec<(BString, RemoteRef)>,
    /// The branch that `HEAD` of the remote stands for, if it is among those fetched: its name here and its tip.
    pub(crate) remote_head: Option<(BString, ObjectId)>,
    /// The refspec that later fetches use.
    pub(crate) refspec: Option<BString>,
    /// Whether the remote's `HEAD` names a branch that does not exist, although there are others.
    pub(crate) head_missing: bool,
}

/// One ref that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchedRef {
    pub(crate) remote_name: BString,
    pub(crate) local_name: Option<BString>,
    pub(crate) target: RemoteRef,
}

impl RefPlan {
    /// What to ask for, each object once, sorted.
    pub(crate) fn wants(&self) -> Vec<ObjectId> {
        let ids: BTreeSet<ObjectId> = self.fetched.iter().map(|fetched| fetched.target.id).collect();
        ids.into_iter().collect()
    }

    /// What to ask for to get the commit that is checked out: itself, or the tag that was asked for, since remotes of old
    /// give only what they list.
    pub(crate) fn tip_want(&self) -> Option<ObjectId> {
        let tip = self.head.tip()?;
        let names = |id: ObjectId| self.fetched.iter().any(|fetched| fetched.target.id == id);
        let tag = || {
            self.fetched
                .iter()
                .find(|fetched| fetched.target.peeled == Some(tip))
        };
        match names(tip) {
            true => Some(tip),
            false => Some(tag()?.target.id),
        }
    }

    /// What git writes into the `.promisor` file beside a pack: the refs it was fetched for. `wants` is
    /// what was asked for, sorted.
    pub(crate) fn promisor_lines(&self, wants: &[ObjectId]) -> Vec<u8> {
        let lines = self
            .fetched
            .iter()
            .filter(|fetched| wants.binary_search(&fetched.target.id).is_ok())
            .map(|fetched| format!("{} {}\n", fetched.target.id, fetched.remote_name));
        lines.collect::<String>().into_bytes()
    }

    /// Two refs of which one would have to be a folder for the other, if there are any: git refuses to have both.
    pub(crate) fn conflict(&self) -> Option<(&BStr, &BStr)> {
        let fetched = self
            .fetched
            .iter()
            .filter_map(|fetched| fetched.local_name.as_ref());
        let followed = self.followed_tags.iter().map(|(name, _)| name);
        let names: BTreeSet<&BStr> = fetched.chain(followed).map(|name| name.as_bstr()).collect();
        names.iter().find_map(|name| {
            let folders = name.find_iter(b"/").map(|slash| name[..slash].as_bstr());
            let taken = folders.filter_map(|folder| names.get(folder)).next()?;
            Some((*taken, *name))
        })
    }
}

/// The branch or tag that was asked for does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoSuchBranch;

impl RemoteRefs {
    /// Sorts what a remote listed.
    pub(crate) fn new(listed: Vec<Ref>) -> Self {
        let mut refs = RemoteRefs::default();
        for listed in listed {
            let (name, remote_ref, symbolic) = match listed {
                Ref::Peeled {
                    full_ref_name,
                    tag,
                    object,
                } => (
                    full_ref_name,
                    Some(RemoteRef {
                        id: tag,
                        peeled: Some(object),
                    }),
                    None,
                ),
                Ref::Direct {
                    full_ref_name,
                    object,
                } => (
                    full_ref_name,
                    Some(RemoteRef {
                        id: object,
                        peeled: None,
                    }),
                    None,
                ),
                Ref::Symbolic {
                    full_ref_name,
                    target,
                    tag,
                    object,
                } => {
                    let target_ref = RemoteRef {
                        id: tag.unwrap_or(object),
                        peeled: tag.map(|_| object),
                    };
                    (full_ref_name, Some(target_ref), Some(target))
                }
                Ref::Unborn {
                    full_ref_name,
                    target,
                } => (full_ref_name, None, Some(target)),
            };
            if name == "HEAD" {
                let branch = symbolic.filter(|name| gix::validate::reference::name(name.as_ref()).is_ok());
                let id = remote_ref.map(|remote_ref| remote_ref.target());
                refs.head = Some(RemoteHead { branch, id });
            } else if let Some(remote_ref) = remote_ref
                && gix::validate::reference::name(name.as_ref()).is_ok()
            {
                refs.refs.insert(name, remote_ref);
            }
        }
        refs
    }

    /// Where the ref of that full name, or `HEAD`, points.
    pub(crate) fn target(&self, name: &BStr) -> Option<ObjectId> {
        match name == "HEAD" {
            true => self.head.as_ref()?.id,
            false => self.get(name).map(|(_, target)| target.id),
        }
    }

    /// All but `HEAD`, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BStr, RemoteRef)> {
        self.refs.iter().map(|(name, target)| (name.as_bstr(), *target))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.refs.len()
    }

    /// True when there is nothing to fetch at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.head.as_ref().is_none_or(|head| head.id.is_none())
    }

    /// Decides what is fetched and checked out.
    pub(crate) fn plan(&self, selection: &Selection<'_>) -> Result<RefPlan, NoSuchBranch> {
        let head_branch = self.head_branch(selection.default_branch);
        let mut fetched = Vec::new();
        let head_id = self.head.as_ref().and_then(|head| head.id);
        if let Some(id) = head_id
            && !(selection.single_branch && selection.branch.is_some())
        {
            fetched.push(FetchedRef {
                remote_name: "HEAD".into(),
                local_name: None,
                target: RemoteRef { id, peeled: None },
            });
        }
        let mut refspec = None;
        if selection.single_branch {
            let wanted = match selection.branch {
                Some(branch) => Some(self.find(branch).ok_or(NoSuchBranch)?),
                None => head_branch,
            };
            if let Some((name, target)) = wanted {
                let local_name = self.local_name(name, selection.remote);
                refspec = Some([b"+".as_slice(), name, b":", &local_name].concat().into());
                fetched.push(FetchedRef {
                    remote_name: name.into(),
                    local_name: Some(local_name),
                    target,
                });
            }
        } else {
            refspec = Some(
                [b"+refs/heads/*:refs/remotes/", selection.remote.as_bytes(), b"/*"]
                    .concat()
                    .into(),
            );
            for (name, target) in &self.refs {
                if name.starts_with(HEADS) || (selection.tags && name.starts_with(TAGS)) {
                    fetched.push(FetchedRef {
                        remote_name: name.clone(),
                        local_name: Some(self.local_name(name.as_ref(), selection.remote)),
                        target: *target,
                    });
                }
            }
        }
        let is_fetched = |name: &BStr| fetched.iter().find(|fetched| fetched.remote_name == name);
        let remote_head = head_branch.and_then(|(name, target)| {
            let local_name = is_fetched(name)?.local_name.clone()?;
            Some((local_name, target.id))
        });
        let mut head_missing = false;
        let head = match selection.branch {
            Some(branch) => {
                let (name, target) = self.find(branch).ok_or(NoSuchBranch)?;
                is_fetched(name).ok_or(NoSuchBranch)?;
                head_at(name, target)
            }
            None => match (head_branch, head_id) {
                (Some((name, target)), _) => head_at(name, target),
                (None, Some(id)) => Head::Detached { tip: id },
                (None, None) => {
                    head_missing = !self.refs.is_empty();
                    self.unborn(selection, &fetched)
                }
            },
        };
        let head_missing = head_missing && head.tip().is_none();
        let followed_tags = match selection.tags && selection.single_branch {
            true => self
                .refs
                .iter()
                .filter(|(name, _)| name.starts_with(TAGS) && is_not_in(&fetched, name.as_ref()))
                .map(|(name, target)| (name.clone(), *target))
                .collect(),
            false => Vec::new(),
        };
        Ok(RefPlan {
            head,
            fetched,
            followed_tags,
            remote_head,
            refspec,
            head_missing,
        })
    }

    /// The branch that `HEAD` of the remote stands for. Where it is detached, git takes a branch at the same commit for
    /// it, the default one before others.
    fn head_branch(&self, default_branch: &BStr) -> Option<(&BStr, RemoteRef)> {
        let head = self.head.as_ref()?;
        if let Some(name) = &head.branch {
            return self.get(name.as_ref());
        }
        let id = head.id?;
        let likely = [default_branch.as_bytes(), b"master"].map(|short| [HEADS, short].concat());
        let likely = likely.iter().filter_map(|name| self.get(name.as_bstr()));
        let others = self.refs.iter().map(|(name, target)| (name.as_bstr(), *target));
        likely
            .chain(others)
            .find(|(name, target)| name.starts_with(HEADS) && target.id == id)
    }

    /// Git takes `--branch` for a branch first, then for a tag.
    fn find(&self, short: &BStr) -> Option<(&BStr, RemoteRef)> {
        let names = [HEADS, TAGS].map(|prefix| [prefix, short.as_bytes()].concat());
        names.iter().find_map(|name| self.get(name.as_bstr()))
    }

    pub(crate) fn get(&self, name: &BStr) -> Option<(&BStr, RemoteRef)> {
        let (name, target) = self.refs.get_key_value(name.as_bytes().as_bstr())?;
        Some((name.as_ref(), *target))
    }

    fn local_name(&self, name: &BStr, remote: &BStr) -> BString {
        match name.strip_prefix(HEADS) {
            Some(short) => [b"refs/remotes/", remote.as_bytes(), b"/", short].concat().into(),
            None => name.into(),
        }
    }

    /// The remote has no `HEAD` to follow: the branch its `HEAD` names, or ours, is begun, or followed if it exists.
    fn unborn(&self, selection: &Selection<'_>, fetched: &[FetchedRef]) -> Head {
        let named = self.head.as_ref().and_then(|head| head.branch.as_ref());
        let named = named.and_then(|name| name.strip_prefix(HEADS));
        let short = named.unwrap_or(selection.default_branch.as_bytes());
        let full: BString = [HEADS, short].concat().into();
        match self.get(full.as_ref()) {
            Some((name, target)) if !is_not_in(fetched, name) => head_at(name, target),
            _ => Head::Unborn { name: short.into() },
        }
    }
}

fn is_not_in(fetched: &[FetchedRef], name: &BStr) -> bool {
    fetched.iter().all(|fetched| fetched.remote_name != name)
}

fn head_at(name: &BStr, target: RemoteRef) -> Head {
    match name.strip_prefix(HEADS) {
        Some(short) => Head::Branch {
            name: short.into(),
            tip: target.id,
        },
        None => Head::Detached { tip: target.target() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ObjectId {
        ObjectId::from_hex(digit.to_string().repeat(40).as_bytes()).unwrap()
    }

    fn direct(name: &str, digit: char) -> Ref {
        Ref::Direct {
            full_ref_name: name.into(),
            object: id(digit),
        }
    }

    fn remote(head: Option<Ref>) -> RemoteRefs {
        let tag = Ref::Peeled {
            full_ref_name: "refs/tags/v1".into(),
            tag: id('e'),
            object: id('a'),
        };
        let mut refs = vec![
            direct("refs/heads/main", 'a'),
            direct("refs/heads/next", 'b'),
            direct("refs/heads/bad..name", 'c'),
            tag,
        ];
        refs.extend(head);
        RemoteRefs::new(refs)
    }

    fn on_main() -> RemoteRefs {
        remote(Some(Ref::Symbolic {
            full_ref_name: "HEAD".into(),
            target: "refs/heads/main".into(),
            tag: None,
            object: id('a'),
        }))
    }

    fn all() -> Selection<'static> {
        Selection {
            branch: None,
            single_branch: false,
            tags: true,
            default_branch: "main".into(),
            remote: "origin".into(),
        }
    }

    fn local_names(plan: &RefPlan) -> Vec<String> {
        let names = plan
            .fetched
            .iter()
            .filter_map(|fetched| fetched.local_name.as_ref());
        names.map(ToString::to_string).collect()
    }

    #[test]
    fn all_branches_and_tags_with_valid_names_are_taken() {
        let plan = on_main().plan(&all()).unwrap();
        assert_eq!(
            local_names(&plan),
            [
                "refs/remotes/origin/main",
                "refs/remotes/origin/next",
                "refs/tags/v1"
            ]
        );
        assert_eq!(
            plan.head,
            Head::Branch {
                name: "main".into(),
                tip: id('a')
            }
        );
        assert_eq!(plan.wants(), [id('a'), id('b'), id('e')]);
        assert_eq!(
            plan.remote_head,
            Some(("refs/remotes/origin/main".into(), id('a')))
        );
        assert!(plan.followed_tags.is_empty());
    }

    #[test]
    fn a_ref_cannot_be_the_folder_of_another() {
        let listed = |more: &str| {
            let names = ["refs/heads/a", "refs/heads/a-b", more];
            RemoteRefs::new(names.map(|name| direct(name, 'a')).to_vec())
        };
        let plan = listed("refs/heads/a/b/c").plan(&all()).unwrap();
        let both = ["refs/remotes/origin/a", "refs/remotes/origin/a/b/c"].map(BStr::new);
        assert_eq!(plan.conflict(), Some((both[0], both[1])));
        assert_eq!(listed("refs/tags/a/b").plan(&all()).unwrap().conflict(), None);
    }

    #[test]
    fn one_branch_follows_tags() {
        let selection = Selection {
            branch: Some("next".into()),
            single_branch: true,
            ..all()
        };
        let plan = on_main().plan(&selection).unwrap();
        assert_eq!(local_names(&plan), ["refs/remotes/origin/next"]);
        assert_eq!(plan.refspec.unwrap(), "+refs/heads/next:refs/remotes/origin/next");
        assert_eq!(plan.remote_head, None);
        assert_eq!(plan.followed_tags.len(), 1);
    }

    #[test]
    fn a_tag_as_branch_is_a_detached_head_at_its_commit() {
        let selection = Selection {
            branch: Some("v1".into()),
            ..all()
        };
        assert_eq!(
            on_main().plan(&selection).unwrap().head,
            Head::Detached { tip: id('a') }
        );
        let single = Selection {
            single_branch: true,
            ..selection
        };
        let plan = on_main().plan(&single).unwrap();
        assert_eq!(plan.refspec.unwrap(), "+refs/tags/v1:refs/tags/v1");
        let no_tags = Selection {
            tags: false,
            ..selection
        };
        assert_eq!(on_main().plan(&no_tags), Err(NoSuchBranch));
    }

    #[test]
    fn a_detached_head_is_taken_for_a_branch_at_the_same_commit() {
        let plan = remote(Some(direct("HEAD", 'b'))).plan(&all()).unwrap();
        assert_eq!(
            plan.head,
            Head::Branch {
                name: "next".into(),
                tip: id('b')
            }
        );
        let plan = remote(Some(direct("HEAD", 'd'))).plan(&all()).unwrap();
        assert_eq!(plan.head, Head::Detached { tip: id('d') });
        assert!(plan.wants().contains(&id('d')));
    }

    #[test]
    fn a_head_without_commits_is_unborn() {
        let unborn = |target: &str| Ref::Unborn {
            full_ref_name: "HEAD".into(),
            target: target.into(),
        };
        let plan = remote(Some(unborn("refs/heads/gone"))).plan(&all()).unwrap();
        assert_eq!(plan.head, Head::Unborn { name: "gone".into() });
        assert!(plan.head_missing);
        // A remote too old to say: our default branch is followed, for it exists there.
        assert_eq!(remote(None).plan(&all()).unwrap().head.tip(), Some(id('a')));
        let empty = RemoteRefs::new(vec![unborn("refs/heads/trunk")]);
        assert!(empty.is_empty());
        let plan = empty.plan(&all()).unwrap();
        assert_eq!(plan.head, Head::Unborn { name: "trunk".into() });
        assert!(!plan.head_missing);
    }
}
