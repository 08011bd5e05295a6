//! Why a key is a miss: what differs from the nearest entry there is.
//!
//! A save notes the record behind its key among the facts of the entry. Facts decide nothing: what is said here may be
//! incomplete, and changes no key.

use std::collections::BTreeMap;

use headstart_store::{Entry, EntryInfo, EntryName, Runtime, Store, StoreError};

use crate::{DependencyCache, DepsError, KeyInput, key::InputKind, namespace, status::entry_name};

/// The fact that holds the record.
const FACT: &str = "inputs";
/// A longer record is not kept: an entry has 64 KiB for all its facts.
const MAX_RECORD_BYTES: usize = 32 << 10;
/// Entries of other projects, platforms and tools that are looked at.
const MAX_LOOKED_AT: usize = 16;

/// Why the exact key of a cache is a miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The key of the entry that differs least, the newest of several; `None` when the store has none of this cache.
    pub nearest: Option<String>,
    /// In what it differs; `None` when the entry does not tell.
    pub differences: Option<Vec<Difference>>,
}

/// An input that is another in the nearest entry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What kind of thing it is.
    pub kind: InputKind,
    /// Which one.
    pub name: String,
    /// Its value in the entry; `None` when the entry has no such input.
    pub saved: Option<String>,
    /// Its value now; `None` when there is no such input now.
    pub now: Option<String>,
}

/// Adds the record behind the key of `cache` to the facts of its entry, unless it is too long.
pub(crate) fn note(cache: &DependencyCache, facts: &mut BTreeMap<String, String>) {
    let record = serde_json::to_string(&cache.inputs).expect("text and plain enums are JSON");
    if record.len() <= MAX_RECORD_BYTES {
        facts.insert(FACT.to_owned(), record);
    }
}

/// Says why the exact key of `cache` is a miss.
pub fn explain(
    cache: &DependencyCache,
    store: &dyn Store,
    runtime: &Runtime,
) -> Result<Explanation, DepsError> {
    Ok(runtime.block_on(find_nearest(cache, store))?)
}

async fn find_nearest(cache: &DependencyCache, store: &dyn Store) -> Result<Explanation, StoreError> {
    // Older versions of the same project and settings first, then whatever has the name of the cache.
    let others = format!("{}-", cache.name);
    for prefix in [&cache.older_prefix, &others] {
        let found = store.find_entries(&namespace(), prefix, MAX_LOOKED_AT).await?;
        let mut nearest: Option<(EntryInfo, Option<Vec<Difference>>)> = None;
        for info in found {
            let differences = match read(store, info.name.key()).await? {
                Some(entry) => compare(&entry, &cache.inputs),
                None => continue,
            };
            let count =
                |differences: &Option<Vec<Difference>>| differences.as_ref().map_or(usize::MAX, Vec::len);
            if nearest
                .as_ref()
                .is_none_or(|(_, best)| count(&differences) < count(best))
            {
                nearest = Some((info, differences));
            }
        }
        if let Some((info, differences)) = nearest {
            return Ok(Explanation {
                nearest: Some(info.name.key().to_owned()),
                differences,
            });
        }
    }
    Ok(Explanation {
        nearest: None,
        differences: None,
    })
}

async fn read(store: &dyn Store, key: &str) -> Result<Option<Entry>, StoreError> {
    let name: EntryName = entry_name(key);
    match store.read_entry(&name).await {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn compare(entry: &Entry, now: &[KeyInput]) -> Option<Vec<Difference>> {
    let saved: Vec<KeyInput> = serde_json::from_str(entry.facts.get(FACT)?).ok()?;
    /// Values in the entry, and now.
    type Values<'a> = (Vec<&'a str>, Vec<&'a str>);
    let mut inputs: BTreeMap<(InputKind, &str), Values<'_>> = BTreeMap::new();
    for input in &saved {
        inputs
            .entry((input.kind, &input.name))
            .or_default()
            .0
            .push(&input.value);
    }
    for input in now {
        inputs
            .entry((input.kind, &input.name))
            .or_default()
            .1
            .push(&input.value);
    }
    let text = |values: Vec<&str>| (!values.is_empty()).then(|| values.join(", "));
    let differing = inputs.into_iter().filter(|(_, (saved, now))| saved != now);
    Some(
        differing
            .map(|((kind, name), (saved, now))| Difference {
                kind,
                name: name.to_owned(),
                saved: text(saved),
                now: text(now),
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(kind: InputKind, name: &str, value: &str) -> KeyInput {
        KeyInput::new(kind, name, value)
    }

    fn entry(facts: BTreeMap<String, String>) -> Entry {
        Entry {
            schema: Entry::SCHEMA.to_owned(),
            snapshot: headstart_digest::SnapshotId::of(b""),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            content_bytes: 0,
            files: 0,
            facts,
        }
    }

    #[test]
    fn what_changed_came_and_went_is_told() {
        let saved = vec![
            input(InputKind::Tool, "node", "115"),
            input(InputKind::Setting, "omit", "dev"),
            input(InputKind::Fields, "package-lock.json", "aa"),
        ];
        let now = vec![
            input(InputKind::Tool, "node", "127"),
            input(InputKind::File, "patches/x", "bb"),
            input(InputKind::Fields, "package-lock.json", "aa"),
        ];
        let record = serde_json::to_string(&saved).unwrap();
        let found = compare(&entry([(FACT.to_owned(), record)].into()), &now).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|difference| {
                (
                    &*difference.name,
                    difference.saved.as_deref(),
                    difference.now.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("node", Some("115"), Some("127")),
                ("omit", Some("dev"), None),
                ("patches/x", None, Some("bb")),
            ]
        );
    }

    #[test]
    fn entries_that_do_not_tell_are_no_error() {
        assert_eq!(compare(&entry(BTreeMap::new()), &[]), None);
        let facts = [(FACT.to_owned(), "[{".to_owned())].into();
        assert_eq!(compare(&entry(facts), &[]), None);
    }
}
