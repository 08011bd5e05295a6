//! Entries: what a key stands for. Written once.

use std::{collections::BTreeMap, fmt, str::FromStr};

use headstart_digest::SnapshotId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{StoreError, key_path};

/// The longest key, in bytes (actions/cache allows as much).
const MAX_KEY_BYTES: usize = 512;
/// The longest namespace, in bytes.
const MAX_NAMESPACE_BYTES: usize = 64;

/// Keeps apart the keys of different uses: `deps`, `files`, `tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(String);

/// A namespace and a key in it. Keys are text without control characters, 1 to 512 bytes; what is not `a-z`, `0-9`, `-`,
/// `_` or `.` counts three times towards another limit of 800, since buckets take no longer names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName {
    namespace: Namespace,
    key: String,
}

/// Why a text is not a namespace or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseEntryNameError {
    /// Namespaces are 1 to 64 of `a-z`, `0-9` and `-`, starting with a letter.
    #[error("{0:?} is not a namespace (1 to 64 of a-z, 0-9 and -, starting with a letter)")]
    Namespace(String),
    /// A key needs at least one character.
    #[error("the key is empty")]
    EmptyKey,
    /// A key has at most 512 bytes.
    #[error("the key has {0} bytes; 512 are the most")]
    LongKey(usize),
    /// Escaped for a path, a key has at most 800 bytes.
    #[error("the key has {0} bytes where all but a-z, 0-9, -, _ and . count three times; 800 are the most")]
    LongEscapedKey(usize),
    /// Control characters would garble logs and listings.
    #[error("the key {0:?} has a control character")]
    ControlCharacter(String),
}

/// What an entry says. Stored as JSON; see `docs/design/store-format.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Format of this document, [`Entry::SCHEMA`].
    pub schema: String,
    /// The snapshot the key stands for.
    pub snapshot: SnapshotId,
    /// When it was saved.
    pub created_at: Timestamp,
    /// Bytes of all file bodies.
    pub content_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Facts for people: host, tool versions, duration. Never decides anything.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// An entry as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryInfo {
    /// Its name.
    pub name: EntryName,
    /// When it was written, as the medium knows it.
    pub modified_at: Timestamp,
}

/// Why some bytes are not an [`Entry`].
#[derive(Debug, thiserror::Error)]
pub enum ParseEntryError {
    /// Not JSON, or not of the shape of an entry.
    #[error("it is not an entry: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it has the schema {0:?}; {SCHEMA:?} is the one understood", SCHEMA = Entry::SCHEMA)]
    Schema(String),
}

impl Entry {
    /// The schema this version writes and reads.
    pub const SCHEMA: &str = "headstart.entry/1";

    /// The most bytes an entry may have as JSON.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Encodes it as JSON, as it is stored and sent.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has only text keys")
    }

    /// The JSON of an entry that is to be stored as `name`, unless it is too large.
    pub(crate) fn checked_json(&self, name: &EntryName) -> Result<Vec<u8>, StoreError> {
        let json = self.to_json();
        if json.len() > Self::MAX_BYTES {
            return Err(StoreError::TooLarge {
                what: format!("entry {name}"),
                bytes: json.len() as u64,
                limit: Self::MAX_BYTES as u64,
            });
        }
        Ok(json)
    }

    /// Parses what [`Entry::to_json`] wrote.
    pub fn parse_json(bytes: &[u8]) -> Result<Self, ParseEntryError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        // The schema first: the shape of another version is not ours to judge.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.schema != Self::SCHEMA {
            let version = head.schema.strip_prefix("headstart.entry/");
            return Err(
                match version.is_some_and(|version| version.parse::<u32>().is_ok()) {
                    true => ParseEntryError::Schema(head.schema),
                    // Damaged, or never one.
                    false => {
                        <serde_json::Error as serde::de::Error>::custom("it has another's schema").into()
                    }
                },
            );
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl EntryInfo {
    /// Orders a listing: newest first, then by name; at most `limit`.
    pub(crate) fn newest_first(mut found: Vec<EntryInfo>, limit: usize) -> Vec<EntryInfo> {
        found.sort_by(|a, b| {
            b.modified_at
                .cmp(&a.modified_at)
                .then_with(|| a.name.cmp(&b.name))
        });
        found.truncate(limit);
        found
    }
}

impl Namespace {
    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EntryName {
    /// Names `key` in `namespace`.
    pub fn new(namespace: Namespace, key: impl Into<String>) -> Result<Self, ParseEntryNameError> {
        let key = key.into();
        match key.len() {
            0 => Err(ParseEntryNameError::EmptyKey),
            bytes if bytes > MAX_KEY_BYTES => Err(ParseEntryNameError::LongKey(bytes)),
            _ if key.chars().any(char::is_control) => Err(ParseEntryNameError::ControlCharacter(key)),
            _ => match key_path::escaped_bytes(&key) {
                bytes if bytes > key_path::MAX_ESCAPED_BYTES => {
                    Err(ParseEntryNameError::LongEscapedKey(bytes))
                }
                _ => Ok(EntryName { namespace, key }),
            },
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for Namespace {
    type Err = ParseEntryNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !starts_well || text.len() > MAX_NAMESPACE_BYTES || !text.bytes().all(plain) {
            return Err(ParseEntryNameError::Namespace(text.to_owned()));
        }
        Ok(Namespace(text.to_owned()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.key)
    }
}

/// An entry that stands for the snapshot with the given bytes.
#[cfg(test)]
pub(crate) fn test_entry(snapshot: &[u8]) -> Entry {
    Entry {
        schema: Entry::SCHEMA.to_owned(),
        snapshot: SnapshotId::of(snapshot),
        created_at: Timestamp::UNIX_EPOCH,
        content_bytes: 1,
        files: 1,
        facts: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_at_the_edge() {
        let deps: Namespace = "deps".parse().unwrap();
        assert_eq!(
            EntryName::new(deps.clone(), "npm-1").unwrap().to_string(),
            "deps/npm-1"
        );
        assert_eq!(
            EntryName::new(deps.clone(), ""),
            Err(ParseEntryNameError::EmptyKey)
        );
        assert!(EntryName::new(deps.clone(), "a\nb").is_err());
        assert!(EntryName::new(deps.clone(), "k".repeat(513)).is_err());
        assert_eq!(
            EntryName::new(deps, "K".repeat(267)),
            Err(ParseEntryNameError::LongEscapedKey(801))
        );
        for bad in ["", "Deps", "../x", "1a", "a/b"] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?} was taken");
        }
    }
}
