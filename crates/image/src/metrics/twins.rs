//! Layers that are the same but for times, owners, modes and order.

use headstart_digest::{Digest, Hasher};

use crate::{EntryKind, Layer};

/// Names what a layer says of its paths: which there are, of what type, with what content or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntrySetId(Digest);

impl EntrySetId {
    /// The set of a layer's entries.
    pub fn of(layer: &Layer) -> Self {
        let mut order: Vec<u32> = (0..layer.entry_count() as u32).collect();
        let key = |&at: &u32| {
            let entry = layer.entry(at as usize);
            (entry.path, Fields::of(entry.kind))
        };
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        order.dedup_by(|a, b| key(a) == key(b));
        let mut hasher = Hasher::new();
        for at in &order {
            let (path, fields) = key(at);
            hasher.update(&[fields.kind]);
            for text in [path, fields.text] {
                hasher.update(&(text.len() as u32).to_le_bytes()).update(text);
            }
            hasher.update(&fields.number.to_le_bytes());
            hasher.update(&fields.content);
        }
        EntrySetId(hasher.finish())
    }
}

/// What an entry is, as values that can be put in order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fields<'a> {
    kind: u8,
    text: &'a [u8],
    number: u64,
    content: [u8; 32],
}

impl<'a> Fields<'a> {
    fn of(kind: EntryKind<'a>) -> Self {
        let none = [0; 32];
        let device = |major, minor| u64::from(major) << 32 | u64::from(minor);
        let (kind, text, number, content): (_, &[u8], _, _) = match kind {
            EntryKind::File { size_bytes, content } => (0, b"", size_bytes, *content.as_bytes()),
            EntryKind::HardLink { target } => (1, target, 0, none),
            EntryKind::Symlink { target } => (2, target, 0, none),
            EntryKind::Folder => (3, b"", 0, none),
            EntryKind::CharDevice { major, minor } => (4, b"", device(major, minor), none),
            EntryKind::BlockDevice { major, minor } => (5, b"", device(major, minor), none),
            EntryKind::Fifo => (6, b"", 0, none),
            EntryKind::Whiteout => (7, b"", 0, none),
            EntryKind::Opaque => (8, b"", 0, none),
        };
        Fields {
            kind,
            text,
            number,
            content,
        }
    }
}
