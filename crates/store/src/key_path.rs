//! Where content and entries are in a folder tree or a bucket: one layout for disk and object stores.
//!
//! ```text
//! packs/<2 digits>/<64 digits>
//! snapshots/<2 digits>/<64 digits>
//! entries/<namespace>/<escaped key, cut every 200 bytes into folders>!
//! ```
//!
//! Keys are any text. Escaped, they are made of `a-z 0-9 - _ .` and `=XX` for every other byte; capitals are escaped
//! too, since some file systems cannot tell them apart. Escaping goes byte by byte and the cuts depend on the position
//! only, so a prefix of a key is a prefix of its path. The `!` keeps a file from colliding with a folder, and the last
//! segment from being `.` or `..`.

use crate::{ContentId, ContentKind, EntryName, Namespace};

/// The longest path segment: file systems take 255 bytes, and the object store's staging files add a suffix.
const SEGMENT_BYTES: usize = 200;
/// The longest escaped key. S3, Google and Azure take names of 1,024 bytes; the rest is for the namespace and the prefix
/// the user chose.
pub(crate) const MAX_ESCAPED_BYTES: usize = 800;
/// Ends the last segment of an entry.
const END: char = '!';
/// The folder of all entries.
pub(crate) const ENTRIES: &str = "entries";

/// The path of content, relative to the store's versioned folder.
pub(crate) fn content_path(id: ContentId) -> String {
    let digest = id.digest().to_string();
    format!("{}/{}/{digest}", id.kind().plural(), &digest[..2])
}

/// The content at the last two segments of a path; `None` for a file that is not ours.
pub(crate) fn parse_content(kind: ContentKind, shard: &str, name: &str) -> Option<ContentId> {
    let digest = name.parse().ok()?;
    name.starts_with(shard)
        .then_some(shard.len() == 2)?
        .then(|| ContentId::new(kind, digest))
}

/// The folder of a namespace's entries.
pub(crate) fn namespace_path(namespace: &Namespace) -> String {
    format!("{ENTRIES}/{namespace}")
}

/// The path of an entry.
pub(crate) fn entry_path(name: &EntryName) -> String {
    let mut path = prefix_path(name.namespace(), name.key());
    path.push(END);
    path
}

/// What the paths of all entries start with whose key starts with `prefix`: up to the last `/` a folder, then the
/// start of names in it.
pub(crate) fn prefix_path(namespace: &Namespace, prefix: &str) -> String {
    let escaped = escape(prefix);
    let mut path = namespace_path(namespace);
    let mut rest = escaped.as_str();
    loop {
        let (segment, tail) = rest.split_at(rest.len().min(SEGMENT_BYTES));
        path.push('/');
        path.push_str(segment);
        rest = tail;
        if rest.is_empty() {
            return path;
        }
    }
}

/// The entry at `path`, which is relative to the namespace's folder; `None` for a file that is not ours.
pub(crate) fn parse_entry(namespace: &Namespace, path: &str) -> Option<EntryName> {
    let joined: String = path.strip_suffix(END)?.split('/').collect();
    let name = EntryName::new(namespace.clone(), unescape(&joined)?).ok()?;
    // One spelling per key: a file put there by hand under another cut or escape is not ours.
    (entry_path(&name)
        .strip_prefix(&namespace_path(namespace))?
        .strip_prefix('/')?
        == path)
        .then_some(name)
}

/// The length of a key once escaped.
pub(crate) fn escaped_bytes(key: &str) -> usize {
    key.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')
}

fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("={byte:02x}"));
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn namespace() -> Namespace {
        "n".parse().unwrap()
    }

    fn name(key: &str) -> EntryName {
        EntryName::new(namespace(), key).unwrap()
    }

    #[test]
    fn odd_keys_stay_inside_their_folder() {
        for (key, path) in [
            ("npm-1.2_x", "entries/n/npm-1.2_x!"),
            ("..", "entries/n/..!"),
            ("../x", "entries/n/..=2fx!"),
            ("a/b", "entries/n/a=2fb!"),
            ("A%~!", "entries/n/=41=25=7e=21!"),
            ("é", "entries/n/=c3=a9!"),
        ] {
            assert_eq!(entry_path(&name(key)), path);
        }
    }

    #[test]
    fn a_key_that_fills_a_segment_ends_in_it() {
        let path = entry_path(&name(&"k".repeat(200)));
        assert_eq!(path, format!("entries/n/{}!", "k".repeat(200)));
        let path = entry_path(&name(&"k".repeat(201)));
        assert_eq!(path, format!("entries/n/{}/k!", "k".repeat(200)));
    }

    #[test]
    fn foreign_files_are_not_entries() {
        for path in ["a", "=4!", "=zz!", "A!", "=61!", "a/b!", "!", "=41=!", "=+1!"] {
            assert_eq!(parse_entry(&namespace(), path), None, "{path:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn paths_are_injective_and_keep_prefixes(key in "[^\\p{Cc}]{1,100}", cut in 0usize..100) {
            prop_assume!(escaped_bytes(&key) <= MAX_ESCAPED_BYTES);
            let path = entry_path(&name(&key));
            let relative = path.strip_prefix("entries/n/").unwrap();
            prop_assert_eq!(parse_entry(&namespace(), relative), Some(name(&key)));
            for segment in path.split('/') {
                prop_assert!(segment.len() <= 201 && segment != "." && segment != "..");
            }
            let prefix: String = key.chars().take(cut).collect();
            prop_assert!(path.starts_with(&prefix_path(&namespace(), &prefix)));
        }
    }
}
