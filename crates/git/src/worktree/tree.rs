//! Tree objects, checked before anything is made of them: they come from a remote.

use gix::{
    ObjectId,
    bstr::{BStr, ByteSlice as _},
    objs::{TreeRefIter, tree::EntryKind},
    validate::path::{component, component::Options},
};

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeEntry<'a> {
    pub(super) name: &'a BStr,
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
}

/// The entries of a tree, all of them safe to write.
#[derive(Debug)]
pub(super) struct CheckedTree<'a> {
    pub(super) entries: Vec<TreeEntry<'a>>,
    /// Written just as git would write it again, so that the index may name this tree for these entries.
    pub(super) canonical: bool,
}

/// Why a tree is refused.
#[derive(Debug)]
pub(super) enum TreeError<'a> {
    /// It does not parse.
    Corrupt,
    /// Git refuses to check this name out, for that reason.
    Name(&'a BStr, String),
}

/// Parses a tree and refuses the names git refuses to check out.
///
/// A name that appears twice is refused as well: git's behaviour there depends on the order of entries, and the classic
/// attack (a symlink, then a directory of the same name) needs it.
pub(super) fn check(data: &[u8], protect: Options) -> Result<CheckedTree<'_>, TreeError<'_>> {
    let mut entries = Vec::new();
    let mut canonical = true;
    for entry in TreeRefIter::from_bytes(data, gix::hash::Kind::Sha1) {
        let entry = entry.map_err(|_| TreeError::Corrupt)?;
        let kind = entry.mode.kind();
        let leaf = (kind == EntryKind::Link).then_some(component::Mode::Symlink);
        component(entry.filename, leaf, protect)
            .map_err(|error| TreeError::Name(entry.filename, error.to_string()))?;
        canonical &= entry.mode.value() == kind as u16;
        entries.push(TreeEntry {
            name: entry.filename,
            kind,
            id: entry.oid.to_owned(),
        });
    }
    canonical &= entries.is_sorted_by(|left, right| sort_key(left).lt(sort_key(right)));

    let mut names: Vec<&BStr> = entries.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(TreeError::Name(twice[0], "it appears twice".to_owned()));
    }
    Ok(CheckedTree { entries, canonical })
}

/// Git sorts folders as if their name ended in a slash.
fn sort_key<'a>(entry: &TreeEntry<'a>) -> impl Iterator<Item = &'a u8> {
    let slash: &[u8] = if entry.kind == EntryKind::Tree { b"/" } else { b"" };
    entry.name.as_bytes().iter().chain(slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend(format!("{mode} {name}\0").bytes());
            data.extend([1; 20]);
        }
        data
    }

    fn unix() -> component::Options {
        component::Options {
            protect_windows: false,
            protect_hfs: false,
            protect_ntfs: true,
        }
    }

    #[test]
    fn entries_come_as_they_are() {
        let data = tree(&[
            ("100644", "a.c"),
            ("40000", "a"),
            ("100755", "b"),
            ("120000", "c"),
        ]);
        let checked = check(&data, unix()).unwrap();
        assert!(checked.canonical);
        let kinds: Vec<_> = checked.entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(
            kinds,
            [
                EntryKind::Blob,
                EntryKind::Tree,
                EntryKind::BlobExecutable,
                EntryKind::Link
            ]
        );
    }

    #[test]
    fn names_that_git_refuses_are_refused() {
        for (mode, name) in [
            ("100644", ".."),
            ("40000", "."),
            ("40000", ".git"),
            ("40000", ".GIT"),
            ("100644", "git~1"),
            ("100644", "a/b"),
            ("100644", ""),
            ("120000", ".gitmodules"),
        ] {
            assert!(
                matches!(check(&tree(&[(mode, name)]), unix()), Err(TreeError::Name(..))),
                "{name:?} was taken"
            );
        }
        let hfs = component::Options {
            protect_hfs: true,
            ..unix()
        };
        assert!(check(&tree(&[("40000", ".g\u{200c}it")]), unix()).is_ok());
        assert!(check(&tree(&[("40000", ".g\u{200c}it")]), hfs).is_err());
        assert!(check(&tree(&[("100644", "con"), ("100644", "na:me")]), unix()).is_ok());
    }

    #[test]
    fn a_name_may_not_appear_twice() {
        let data = tree(&[("120000", "a"), ("100644", "a.c"), ("40000", "a")]);
        assert!(matches!(check(&data, unix()), Err(TreeError::Name(..))));
    }

    #[test]
    fn old_modes_and_wrong_order_are_taken_but_not_canonical() {
        for entries in [
            [("100664", "a"), ("100644", "b")],
            [("100644", "b"), ("100644", "a")],
            [("40000", "a"), ("100644", "a.c")],
        ] {
            let data = tree(&entries);
            assert!(!check(&data, unix()).unwrap().canonical, "{entries:?}");
        }
    }

    #[test]
    fn half_a_tree_is_corrupt() {
        let data = tree(&[("100644", "a")]);
        for length in 1..data.len() {
            assert!(matches!(check(&data[..length], unix()), Err(TreeError::Corrupt)));
        }
    }
}
