//! Two trees side by side, entry by entry.

use gix::{
    ObjectId,
    bstr::{BStr, BString, ByteSlice as _},
    objs::{
        TreeRefIter,
        tree::{EntryKind, EntryRef},
    },
};

/// What a path is in one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) kind: EntryKind,
    pub(crate) id: ObjectId,
}

impl Side {
    pub(crate) fn is_tree(&self) -> bool {
        self.kind == EntryKind::Tree
    }

    /// A file or symlink, whose content is an object of this repository.
    pub(crate) fn is_blob(&self) -> bool {
        !matches!(self.kind, EntryKind::Tree | EntryKind::Commit)
    }
}

/// A tree object does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CorruptTree;

/// The entries of a tree object, in its order.
pub(crate) fn entries(data: &[u8]) -> impl Iterator<Item = Result<(&BStr, Side), CorruptTree>> {
    TreeRefIter::from_bytes(data, gix::hash::Kind::Sha1).map(|entry| {
        let entry = entry.map_err(|_| CorruptTree)?;
        Ok((entry.filename, side(&entry)))
    })
}

/// Calls `each` with the entries in which two tree objects differ: name, before, after. A file that became a folder, or
/// the other way round, comes as two. The order in a tree does not matter: old tools wrote others than git's.
pub(crate) fn diff<'a>(
    old: &'a [u8],
    new: &'a [u8],
    mut each: impl FnMut(&'a BStr, Option<Side>, Option<Side>),
) -> Result<(), CorruptTree> {
    let mut old = sorted_entries(old)?.into_iter().peekable();
    let mut new = sorted_entries(new)?.into_iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => sort_key(old).cmp(sort_key(new)),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        match (before, after) {
            (Some((name, before)), Some((_, after))) if before != after => {
                each(name, Some(before), Some(after));
            }
            (Some(_), Some(_)) | (None, None) => {}
            (Some((name, before)), None) => each(name, Some(before), None),
            (None, Some((name, after))) => each(name, None, Some(after)),
        }
    }
}

fn sorted_entries(data: &[u8]) -> Result<Vec<(&BStr, Side)>, CorruptTree> {
    let mut sorted = entries(data).collect::<Result<Vec<_>, _>>()?;
    if !sorted.is_sorted_by(|left, right| sort_key(left).le(sort_key(right))) {
        sorted.sort_by(|left, right| sort_key(left).cmp(sort_key(right)));
    }
    Ok(sorted)
}

/// `name` in the folder `dir`.
pub(crate) fn join(dir: &BStr, name: &BStr) -> BString {
    match dir.is_empty() {
        true => name.to_owned(),
        false => [dir.as_bytes(), b"/", name].concat().into(),
    }
}

fn side(entry: &EntryRef<'_>) -> Side {
    Side {
        kind: entry.mode.kind(),
        id: entry.oid.to_owned(),
    }
}

/// Git sorts folders as if their name ended in a slash.
fn sort_key<'a>((name, side): &(&'a BStr, Side)) -> impl Iterator<Item = &'a u8> {
    let slash: &[u8] = if side.is_tree() { b"/" } else { b"" };
    name.as_bytes().iter().chain(slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str, u8)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (mode, name, id) in entries {
            data.extend(format!("{mode} {name}\0").bytes());
            data.extend([*id; 20]);
        }
        data
    }

    #[test]
    fn only_differences_are_told() {
        let old = tree(&[
            ("100644", "a", 1),
            ("40000", "b", 2),
            ("100644", "c", 3),
            ("100644", "mode", 4),
            ("100644", "was-file", 5),
        ]);
        let new = tree(&[
            ("100644", "a", 1),
            ("40000", "b", 9),
            ("100755", "mode", 4),
            ("100644", "new", 6),
            ("40000", "was-file", 7),
        ]);
        let mut told = Vec::new();
        diff(&old, &new, |name, before, after| {
            let side = |side: Option<Side>| side.map(|side| side.id.as_slice()[0]);
            told.push((name.to_string(), side(before), side(after)));
        })
        .unwrap();
        let expected = [
            ("b", Some(2), Some(9)),
            ("c", Some(3), None),
            ("mode", Some(4), Some(4)),
            ("new", None, Some(6)),
            ("was-file", Some(5), None),
            ("was-file", None, Some(7)),
        ];
        assert_eq!(told, expected.map(|(name, old, new)| (name.to_owned(), old, new)));
    }

    #[test]
    fn the_order_in_a_tree_does_not_matter() {
        let old = tree(&[("100644", "a", 1), ("100644", "b", 2), ("100644", "c", 3)]);
        let new = tree(&[("100644", "c", 3), ("100644", "b", 9), ("100644", "a", 1)]);
        let mut told = Vec::new();
        diff(&old, &new, |name, before, after| {
            told.push((name.to_string(), before.is_some(), after.is_some()));
        })
        .unwrap();
        assert_eq!(told, [("b".to_owned(), true, true)]);
    }

    #[test]
    fn half_a_tree_is_noticed_on_either_side() {
        let whole = tree(&[("100644", "a", 1), ("100644", "b", 1)]);
        let half = &whole[..whole.len() - 3];
        assert_eq!(diff(half, &whole, |_, _, _| {}), Err(CorruptTree));
        assert_eq!(diff(&whole, half, |_, _, _| {}), Err(CorruptTree));
    }
}
