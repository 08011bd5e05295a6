//! What is put into a layer as one: a file with all its names, a link, a device.

use std::collections::HashMap;

use headstart_digest::{Digest, Hasher};

use super::{PlannedEntry, PlannedKind};
use crate::{
    EntryKind, EntryRef, ImageError, Metadata, Tree,
    build::{IMPLIED, Times},
};

/// Equal for units that are the same in every respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct UnitId(Digest);

/// A file with all its names, sorted; or something that is no folder.
#[derive(Debug)]
pub(super) struct Unit {
    /// The layer it comes from.
    pub(super) layer: u32,
    pub(super) entries: Vec<PlannedEntry>,
}

impl Unit {
    pub(super) fn bytes(&self) -> u64 {
        // A header costs something too.
        self.entries.iter().map(|entry| entry.size_bytes() + 512).sum()
    }

    /// With times, or as if they did not matter.
    pub(super) fn id(&self, times: Times) -> UnitId {
        let mut hasher = Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for entry in &self.entries {
            field(&entry.path);
            let (tag, first, second): (u8, &[u8], [u8; 8]) = match &entry.kind {
                PlannedKind::File { size_bytes, content } => {
                    (0, content.as_bytes(), size_bytes.to_le_bytes())
                }
                PlannedKind::HardLink { target } => (1, target, [0; 8]),
                PlannedKind::Symlink { target } => (2, target, [0; 8]),
                PlannedKind::CharDevice { major, minor } => (3, b"", numbers(*major, *minor)),
                PlannedKind::BlockDevice { major, minor } => (4, b"", numbers(*major, *minor)),
                PlannedKind::Fifo => (5, b"", [0; 8]),
                PlannedKind::Folder => (6, b"", [0; 8]),
                PlannedKind::Whiteout => (7, b"", [0; 8]),
            };
            field(&[tag]);
            field(first);
            field(&second);
            let meta = entry.meta;
            field(&numbers(meta.uid, meta.gid));
            field(&meta.mode.to_le_bytes());
            field(
                meta.attributes
                    .as_ref()
                    .map_or(&[], |digest| &digest.as_bytes()[..]),
            );
            if times == Times::Keep {
                field(&meta.mtime_seconds.to_le_bytes());
                field(&meta.mtime_nanoseconds.to_le_bytes());
            }
        }
        UnitId(hasher.finish())
    }
}

fn numbers(one: u32, other: u32) -> [u8; 8] {
    (u64::from(one) << 32 | u64::from(other)).to_le_bytes()
}

/// Everything of the tree of an image but its folders. The paths may take so many bytes, each by itself, those of folders too.
pub(super) fn units(reference: &str, tree: &Tree<'_>, max_path_bytes: u64) -> Result<Vec<Unit>, ImageError> {
    let mut units: Vec<Unit> = Vec::new();
    let mut of_several_names: HashMap<EntryRef, usize> = HashMap::new();
    let mut dangling = None;
    // Links keep another path beside their own.
    let mut path_bytes = tree.path_bytes();
    tree.walk(|path, id| {
        if path_bytes > max_path_bytes {
            return;
        }
        let node = tree.node(id);
        let kind = match node.kind {
            EntryKind::Folder | EntryKind::Whiteout | EntryKind::Opaque => return,
            EntryKind::File { size_bytes, content } => PlannedKind::File { size_bytes, content },
            EntryKind::Symlink { target } => PlannedKind::Symlink {
                target: target.to_vec(),
            },
            EntryKind::CharDevice { major, minor } => PlannedKind::CharDevice { major, minor },
            EntryKind::BlockDevice { major, minor } => PlannedKind::BlockDevice { major, minor },
            EntryKind::Fifo => PlannedKind::Fifo,
            EntryKind::HardLink { .. } => {
                dangling.get_or_insert_with(|| String::from_utf8_lossy(path).into_owned());
                return;
            }
        };
        let mut entry = PlannedEntry {
            path: path.to_vec(),
            kind,
            meta: node.meta.unwrap_or(IMPLIED),
        };
        let first = match node.origin {
            Some(origin) if node.links > 1 => *of_several_names.entry(origin).or_insert(units.len()),
            _ => units.len(),
        };
        match units.get_mut(first) {
            Some(unit) => {
                path_bytes += unit.entries[0].path.len() as u64;
                entry.kind = PlannedKind::HardLink {
                    target: unit.entries[0].path.clone(),
                };
                unit.entries.push(entry);
            }
            None => units.push(Unit {
                layer: node.origin.map_or(0, |origin| origin.layer),
                entries: vec![entry],
            }),
        }
    });
    if path_bytes > max_path_bytes {
        let limit = format!("{} MiB for all its paths", max_path_bytes >> 20);
        return Err(ImageError::too_large(reference, limit));
    }
    if let Some(path) = dangling {
        let reason = "it is a hard link to a file that is not there, which no runtime unpacks";
        return Err(ImageError::unsupported(path, reason));
    }
    for unit in units.iter_mut().filter(|unit| unit.entries.len() > 1) {
        sort_names(unit);
    }
    Ok(units)
}

/// The first name by its bytes is the file, so that it stands before the others in a layer, which is sorted so.
fn sort_names(unit: &mut Unit) {
    let file = unit.entries[0].kind.clone();
    unit.entries.sort_by(|one, other| one.path.cmp(&other.path));
    let first = unit.entries[0].path.clone();
    for (number, entry) in unit.entries.iter_mut().enumerate() {
        entry.kind = match number {
            0 => file.clone(),
            _ => PlannedKind::HardLink {
                target: first.clone(),
            },
        };
    }
}

/// What an entry says, with the time it is to have.
pub(super) fn timed(meta: Metadata, times: Times) -> Metadata {
    match times {
        Times::Keep => meta,
        Times::Fixed(seconds) => Metadata {
            mtime_seconds: seconds,
            mtime_nanoseconds: 0,
            ..meta
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentId, testing::below_a_deep_link};

    #[test]
    fn what_takes_too_much_memory_is_refused() {
        let content = ContentId::of(b"");
        let file = EntryKind::File {
            size_bytes: 0,
            content,
        };
        let link = EntryKind::HardLink { target: b"l/0" };
        // A link is twice as long: it keeps the path of its file as well.
        for (kind, bytes_each) in [(file, 4100), (link, 8200)] {
            let layer = below_a_deep_link(1000, kind);
            let tree = Tree::merge([Some(&layer)]).unwrap();
            assert!(units("x", &tree, 1100 * bytes_each).is_ok());
            let refused = units("x", &tree, 950 * bytes_each);
            assert!(matches!(refused, Err(ImageError::TooLarge { .. })));
        }
    }
}
