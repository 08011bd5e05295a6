//! Two file systems, path by path.

use super::Ignore;
use crate::{EntryKind, FoundNode, Metadata, NodeId, Tree};

/// A path that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: Vec<u8>,
    /// Bytes of the file before; 0 where there was none.
    pub old_bytes: u64,
    /// Bytes of the file after; 0 where there is none.
    pub new_bytes: u64,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, with these differences.
    Changed(Vec<Difference>),
}

/// In what a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Whether it is a file, a folder, a link or a device.
    Type,
    /// The bytes of a file.
    Content,
    /// The target of a link.
    Target,
    /// The number of a device.
    Device,
    /// How many names the file has.
    Links,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Modification time.
    Time,
    /// Extended attributes.
    Attributes,
}

/// Compares two file systems, path by path.
pub fn compare_trees(old: &Tree<'_>, new: &Tree<'_>, ignore: Ignore) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut stack = vec![(Some(Tree::ROOT), Some(Tree::ROOT), Vec::new())];
    while let Some((old_id, new_id, path)) = stack.pop() {
        let old_node = old_id.map(|id| old.node(id));
        let new_node = new_id.map(|id| new.node(id));
        let kind = match (&old_node, &new_node) {
            (None, _) => Some(ChangeKind::Added),
            (_, None) => Some(ChangeKind::Removed),
            (Some(old), Some(new)) => {
                let differences = differences(old, new, ignore);
                (!differences.is_empty()).then_some(ChangeKind::Changed(differences))
            }
        };
        let bytes = |node: &Option<FoundNode<'_>>| match node.map(|node| node.kind) {
            Some(EntryKind::File { size_bytes, .. }) => size_bytes,
            _ => 0,
        };
        if let Some(kind) = kind {
            changes.push(Change {
                path: path.clone(),
                old_bytes: bytes(&old_node),
                new_bytes: bytes(&new_node),
                kind,
            });
        }
        let children = |tree: &Tree<'_>, id: Option<NodeId>| id.map_or_else(Vec::new, |id| tree.children(id));
        let pairs = pair(old, children(old, old_id), new, children(new, new_id));
        // The stack gives back the last first.
        for (old_id, new_id) in pairs.into_iter().rev() {
            let name = match (old_id, new_id) {
                (Some(id), _) => old.node(id).name,
                (None, Some(id)) => new.node(id).name,
                (None, None) => continue,
            };
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            stack.push((old_id, new_id, [&path, separator, name].concat()));
        }
    }
    changes
}

/// Two sorted lists as pairs of one name.
fn pair(
    old: &Tree<'_>,
    old_ids: Vec<NodeId>,
    new: &Tree<'_>,
    new_ids: Vec<NodeId>,
) -> Vec<(Option<NodeId>, Option<NodeId>)> {
    let mut pairs = Vec::with_capacity(old_ids.len().max(new_ids.len()));
    let (mut olds, mut news) = (old_ids.into_iter().peekable(), new_ids.into_iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(&a), Some(&b)) => old.node(a).name.cmp(new.node(b).name),
        };
        pairs.push((
            if order.is_le() { olds.next() } else { None },
            if order.is_ge() { news.next() } else { None },
        ));
    }
}

fn differences(old: &FoundNode<'_>, new: &FoundNode<'_>, ignore: Ignore) -> Vec<Difference> {
    let difference = match (old.kind, new.kind) {
        (a, b) if std::mem::discriminant(&a) != std::mem::discriminant(&b) => return vec![Difference::Type],
        (a, b) if a == b => None,
        (EntryKind::File { .. }, _) => Some(Difference::Content),
        (EntryKind::Symlink { .. } | EntryKind::HardLink { .. }, _) => Some(Difference::Target),
        _ => Some(Difference::Device),
    };
    let mut found: Vec<_> = difference.into_iter().collect();
    if old.links != new.links {
        found.push(Difference::Links);
    }
    // A folder that no entry makes has no times and owners to compare.
    if let (Some(a), Some(b)) = (old.meta, new.meta) {
        let time = |meta: &Metadata| (meta.mtime_seconds, meta.mtime_nanoseconds);
        let pairs = [
            (Difference::Mode, a.mode != b.mode),
            (
                Difference::Owner,
                !ignore.owners && (a.uid, a.gid) != (b.uid, b.gid),
            ),
            (Difference::Time, !ignore.times && time(&a) != time(&b)),
            (Difference::Attributes, a.attributes != b.attributes),
        ];
        found.extend(pairs.into_iter().filter(|pair| pair.1).map(|pair| pair.0));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Head, TarMaker, scan};

    fn compare(old: TarMaker, new: TarMaker, ignore: Ignore) -> Vec<String> {
        let (old, new) = (scan(&old.finish()), scan(&new.finish()));
        let (old, new) = (
            Tree::merge([Some(&old)]).unwrap(),
            Tree::merge([Some(&new)]).unwrap(),
        );
        let changes = compare_trees(&old, &new, ignore).into_iter();
        changes
            .map(|change| {
                let path = String::from_utf8(change.path).unwrap();
                format!(
                    "{path} {:?} {} {}",
                    change.kind, change.old_bytes, change.new_bytes
                )
            })
            .collect()
    }

    #[test]
    fn paths_are_added_removed_and_changed() {
        let old = TarMaker::new()
            .folder("d")
            .file("d/x", b"1")
            .file("gone", b"12")
            .symlink("l", "a")
            .file("t", b"1");
        let new = TarMaker::new()
            .folder("d")
            .file("d/x", b"23")
            .folder("e")
            .file("e/y", b"1")
            .symlink("l", "b")
            .folder("t");
        assert_eq!(
            compare(old, new, Ignore::default()),
            [
                "d/x Changed([Content]) 1 2",
                "e Added 0 0",
                "e/y Added 0 1",
                "gone Removed 2 0",
                "l Changed([Target]) 0 0",
                "t Changed([Type]) 1 0"
            ]
        );
    }

    #[test]
    fn times_and_owners_count_unless_ignored() {
        let old = || TarMaker::new().file("x", b"");
        let new = || {
            TarMaker::new().head(&Head {
                name: "x",
                mtime: 5,
                uid: 7,
                ..Head::default()
            })
        };
        assert_eq!(
            compare(old(), new(), Ignore::default()),
            ["x Changed([Owner, Time]) 0 0"]
        );
        let ignore = Ignore {
            times: true,
            owners: true,
            ..Ignore::default()
        };
        assert_eq!(compare(old(), new(), ignore), [""; 0]);
    }

    #[test]
    fn a_copy_is_no_hard_link() {
        let old = TarMaker::new().file("a", b"1").hard_link("b", "a");
        let new = TarMaker::new().file("a", b"1").file("b", b"1");
        let changes = compare(old, new, Ignore::default());
        assert_eq!(changes, ["a Changed([Links]) 1 1", "b Changed([Links]) 1 1"]);
    }
}
