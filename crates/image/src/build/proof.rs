//! Whether two file systems are the same, path by path.

use std::{collections::HashMap, ops::ControlFlow};

use super::files::Times;
use crate::{EntryKind, EntryRef, FoundNode, Metadata, NodeId, Tree};

/// A path that is not the same, and in what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) difference: String,
}

/// The first path at which `actual` is not what `expected` is: kind, content, mode, owner, attributes, time, and which names
/// lead to one file. Times that were to be fixed may be the old or the fixed one.
pub(crate) fn first_difference(expected: &Tree<'_>, actual: &Tree<'_>, times: Times) -> Option<Difference> {
    let mut comparison = Comparison {
        expected,
        actual,
        times,
        pairs: HashMap::new(),
        taken: HashMap::new(),
    };
    let walked = expected.walk_both(actual, |path, both| {
        let difference = match both {
            (Some(left), Some(right)) => comparison.differ(left, right),
            (Some(_), None) => Some("is missing".to_owned()),
            (None, _) => Some("is there and should not be".to_owned()),
        };
        difference.map_or(ControlFlow::Continue(()), |difference| {
            ControlFlow::Break(told(path, difference))
        })
    });
    walked.break_value()
}

fn told(path: &[u8], difference: String) -> Difference {
    Difference {
        path: String::from_utf8_lossy(path).into_owned(),
        difference,
    }
}

struct Comparison<'t, 'a> {
    expected: &'t Tree<'a>,
    actual: &'t Tree<'a>,
    times: Times,
    /// Files of several names: which of the one tree is which of the other.
    pairs: HashMap<EntryRef, EntryRef>,
    taken: HashMap<EntryRef, EntryRef>,
}

impl Comparison<'_, '_> {
    fn differ(&mut self, left: NodeId, right: NodeId) -> Option<String> {
        let (left, right) = (self.expected.node(left), self.actual.node(right));
        if kind_without_target(left.kind) != kind_without_target(right.kind) {
            return Some(format!("should be {:?} and is {:?}", left.kind, right.kind));
        }
        if let Some(meta) = left.meta
            && let Some(difference) = self.metadata(meta, right.meta.unwrap_or(IMPLIED))
        {
            return Some(difference);
        }
        self.names(left, right)
    }

    fn metadata(&self, left: Metadata, right: Metadata) -> Option<String> {
        let time = |meta: Metadata| (meta.mtime_seconds, meta.mtime_nanoseconds);
        let is_time_right = time(left) == time(right)
            || matches!(self.times, Times::Fixed(seconds) if time(right) == (seconds, 0));
        match is_time_right {
            false => Some(format!(
                "should be of the time {:?} and is of {:?}",
                time(left),
                time(right)
            )),
            true if (Metadata {
                mtime_seconds: 0,
                mtime_nanoseconds: 0,
                ..left
            }) == (Metadata {
                mtime_seconds: 0,
                mtime_nanoseconds: 0,
                ..right
            }) =>
            {
                None
            }
            true => Some(format!("should have {left:?} and has {right:?}")),
        }
    }

    fn names(&mut self, left: FoundNode<'_>, right: FoundNode<'_>) -> Option<String> {
        if left.kind == EntryKind::Folder {
            return None;
        }
        let (one, other) = (left.origin?, right.origin?);
        let is_pair = left.links == right.links
            && *self.pairs.entry(one).or_insert(other) == other
            && *self.taken.entry(other).or_insert(one) == one;
        (!is_pair).then(|| "is linked to other names than it should".to_owned())
    }
}

/// What a runtime gives a folder that no layer mentions.
pub(crate) const IMPLIED: Metadata = Metadata {
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime_seconds: 0,
    mtime_nanoseconds: 0,
    attributes: None,
};

/// A hard link that names nothing stays one, to whatever.
fn kind_without_target(kind: EntryKind<'_>) -> EntryKind<'_> {
    match kind {
        EntryKind::HardLink { .. } => EntryKind::HardLink { target: b"" },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Head, TarMaker, scan};

    #[test]
    fn every_difference_is_seen() {
        let file = |head: Head<'_>| {
            TarMaker::new()
                .head(&Head {
                    name: "a",
                    size: 1,
                    ..head
                })
                .body(b"x")
        };
        let expected = file(Head::default()).hard_link("b", "a").finish();
        let different = [
            TarMaker::new().file("a", b"y").hard_link("b", "a"),
            file(Head {
                mtime: 1,
                ..Head::default()
            })
            .hard_link("b", "a"),
            file(Head {
                uid: 1,
                ..Head::default()
            })
            .hard_link("b", "a"),
            file(Head::default()).file("b", b"x"),
            file(Head::default()),
            file(Head::default()).hard_link("b", "a").folder("c/"),
            file(Head::default()).hard_link("b", "a").hard_link("c", "a"),
            file(Head::default()).symlink("b", "a"),
        ];
        let expected = scan(&expected);
        let tree = Tree::merge([Some(&expected)]).unwrap();
        assert_eq!(first_difference(&tree, &tree, Times::Keep), None);
        for (number, tar) in different.into_iter().enumerate() {
            let tar = tar.finish();
            let actual = scan(&tar);
            let actual = Tree::merge([Some(&actual)]).unwrap();
            assert!(
                first_difference(&tree, &actual, Times::Keep).is_some(),
                "{number}"
            );
            let is_time_alone = number == 1;
            assert_eq!(
                first_difference(&tree, &actual, Times::Fixed(1)).is_none(),
                is_time_alone,
                "{number}"
            );
        }
    }
}
