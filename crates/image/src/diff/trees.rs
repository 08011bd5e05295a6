//! Two file systems, path by path.

use std::{collections::HashMap, ops::ControlFlow};

use super::Ignore;
use crate::{EntryKind, EntryRef, FoundNode, ImageError, Metadata, Tree};

/// The most that the paths of what differs may take. The largest images in use have 100 MB of paths.
pub(super) const MAX_PATH_BYTES: u64 = 1 << 30;

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
    /// How many names the file has, or which.
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

/// Compares two file systems, path by path. The paths of what differs may take so many bytes.
pub(super) fn compare_trees(
    old: &Tree<'_>,
    new: &Tree<'_>,
    ignore: Ignore,
    max_path_bytes: u64,
) -> Result<Vec<Change>, ImageError> {
    let files = SameFiles::of(old, new);
    let mut changes = Vec::new();
    let mut path_bytes = 0;
    let walked = old.walk_both(new, |path, (old_id, new_id)| {
        let old_node = old_id.map(|id| old.node(id));
        let new_node = new_id.map(|id| new.node(id));
        let kind = match (&old_node, &new_node) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (Some(old), Some(new)) => match differences(old, new, &files, ignore) {
                differences if differences.is_empty() => return ControlFlow::Continue(()),
                differences => ChangeKind::Changed(differences),
            },
        };
        let bytes = |node: Option<FoundNode<'_>>| match node.map(|node| node.kind) {
            Some(EntryKind::File { size_bytes, .. }) => size_bytes,
            _ => 0,
        };
        path_bytes += path.len() as u64;
        if path_bytes > max_path_bytes {
            return ControlFlow::Break(());
        }
        changes.push(Change {
            path: path.to_vec(),
            old_bytes: bytes(old_node),
            new_bytes: bytes(new_node),
            kind,
        });
        ControlFlow::Continue(())
    });
    match walked {
        ControlFlow::Continue(()) => Ok(changes),
        ControlFlow::Break(()) => {
            let limit = format!("{} MiB for all paths that differ", max_path_bytes >> 20);
            Err(ImageError::too_large("the comparison", limit))
        }
    }
}

/// Of files of several names: which of the one tree is which of the other, nothing where their names lead to different ones.
#[derive(Default)]
struct SameFiles {
    of_old: HashMap<EntryRef, Option<EntryRef>>,
    of_new: HashMap<EntryRef, Option<EntryRef>>,
}

impl SameFiles {
    fn of(old: &Tree<'_>, new: &Tree<'_>) -> Self {
        let mut files = SameFiles::default();
        if !old.has_hard_links() || !new.has_hard_links() {
            return files;
        }
        let _: ControlFlow<()> = old.walk_both(new, |_, both| {
            if let (Some(old_id), Some(new_id)) = both
                && let (old, new) = (old.node(old_id), new.node(new_id))
                && old.links > 1
                && new.links > 1
                && let (Some(old), Some(new)) = (old.origin, new.origin)
            {
                let note = |known: &mut HashMap<_, _>, one, other| {
                    let known = known.entry(one).or_insert(Some(other));
                    *known = known.filter(|&known| known == other);
                };
                note(&mut files.of_old, old, new);
                note(&mut files.of_new, new, old);
            }
            ControlFlow::Continue(())
        });
        files
    }

    /// Whether the files that a path of both leads to have the same names, as far as both trees have these.
    fn have_same_names(&self, old: &FoundNode<'_>, new: &FoundNode<'_>) -> bool {
        let is_known = |known: &HashMap<_, _>, one: Option<EntryRef>, other: Option<EntryRef>| {
            one.and_then(|one| known.get(&one).copied().flatten()) == other
        };
        old.links == new.links
            && (old.links == 1
                || is_known(&self.of_old, old.origin, new.origin)
                    && is_known(&self.of_new, new.origin, old.origin))
    }
}

fn differences(
    old: &FoundNode<'_>,
    new: &FoundNode<'_>,
    files: &SameFiles,
    ignore: Ignore,
) -> Vec<Difference> {
    let difference = match (old.kind, new.kind) {
        (a, b) if std::mem::discriminant(&a) != std::mem::discriminant(&b) => return vec![Difference::Type],
        (a, b) if a == b => None,
        (EntryKind::File { .. }, _) => Some(Difference::Content),
        (EntryKind::Symlink { .. } | EntryKind::HardLink { .. }, _) => Some(Difference::Target),
        _ => Some(Difference::Device),
    };
    let mut found: Vec<_> = difference.into_iter().collect();
    if !files.have_same_names(old, new) {
        found.push(Difference::Links);
    }
    // A folder that no entry makes has no times and owners to compare.
    if let (Some(a), Some(b)) = (old.meta, new.meta) {
        // A link has no mode that matters; tools write what they like.
        let is_link = matches!(new.kind, EntryKind::Symlink { .. });
        let time = |meta: &Metadata| (meta.mtime_seconds, meta.mtime_nanoseconds);
        let pairs = [
            (Difference::Mode, !is_link && a.mode != b.mode),
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
        let changes = compare_trees(&old, &new, ignore, u64::MAX).unwrap().into_iter();
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
    #[test]
    fn files_of_as_many_names_are_the_same_when_these_are() {
        let pairs = |[a, b, c, d]: [&str; 4]| {
            let tar = TarMaker::new().file(a, b"1").hard_link(b, a);
            tar.file(c, b"1").hard_link(d, c)
        };
        let old = || pairs(["a", "b", "c", "d"]);
        assert_eq!(
            compare(old(), pairs(["d", "c", "b", "a"]), Ignore::default()),
            [""; 0]
        );
        assert_eq!(
            compare(old(), pairs(["a", "c", "b", "d"]), Ignore::default()),
            ["a", "b", "c", "d"].map(|name| format!("{name} Changed([Links]) 1 1"))
        );
        assert_eq!(
            compare(old(), pairs(["a", "e", "c", "d"]), Ignore::default()),
            ["b Removed 1 0", "e Added 0 1"]
        );
        // Two files lost a name each, and what is left of them is one.
        let one = TarMaker::new().file("a", b"1").hard_link("c", "a");
        assert_eq!(
            compare(old(), one, Ignore::default()),
            [
                "a Changed([Links]) 1 1",
                "b Removed 1 0",
                "c Changed([Links]) 1 1",
                "d Removed 1 0"
            ]
        );
    }

    #[test]
    fn more_changes_than_fit_are_refused() {
        let content = crate::ContentId::of(b"");
        let file = EntryKind::File {
            size_bytes: 0,
            content,
        };
        let layer = crate::testing::below_a_deep_link(1000, file);
        let [all, nothing] = [Some(&layer), None].map(|layer| Tree::merge([layer]).unwrap());
        let compare = |old, new| compare_trees(old, new, Ignore::default(), 4_000_000);
        assert!(matches!(
            compare(&nothing, &all),
            Err(ImageError::TooLarge { .. })
        ));
        assert!(matches!(
            compare(&all, &nothing),
            Err(ImageError::TooLarge { .. })
        ));
        assert_eq!(compare(&all, &all).unwrap(), []);
    }
}
