//! The nearest older snapshot: what a save to a store without an index deduplicates against.

use std::sync::atomic::AtomicBool;

use headstart_digest::SnapshotId;

use crate::{ContentId, EntryName, Namespace, Runtime, Snapshot, Store, StoreError, StoreExt as _};

/// Each prefix is a request.
const MAX_PREFIXES: usize = 6;

/// Loads the snapshot of the newest entry of the namespace whose key has the longest prefix in common with `name`.
///
/// Knowing nothing costs time and bytes and never correctness: whatever goes wrong, the answer is that there is none.
pub(super) fn load(
    store: &dyn Store,
    runtime: &Runtime,
    name: &EntryName,
    interrupt: &AtomicBool,
) -> Option<Snapshot> {
    let stored = runtime.run(interrupt, async {
        match find(store, name.namespace(), name.key()).await? {
            Some(id) => Ok(Some(store.read(ContentId::Snapshot(id)).await?)),
            None => Ok(None),
        }
    });
    Snapshot::parse(&stored.ok()??).ok()
}

async fn find(store: &dyn Store, namespace: &Namespace, key: &str) -> Result<Option<SnapshotId>, StoreError> {
    for prefix in prefixes(key) {
        if let Some(info) = store.find_entries(namespace, prefix, 1).await?.into_iter().next() {
            return Ok(Some(store.read_entry(&info.name).await?.snapshot));
        }
    }
    Ok(None)
}

/// Prefixes of a key that end where its parts do, longest first, the empty one last.
fn prefixes(key: &str) -> Vec<&str> {
    let ends = key
        .char_indices()
        .filter(|(_, letter)| !letter.is_alphanumeric())
        .map(|(at, letter)| at + letter.len_utf8());
    let mut prefixes: Vec<&str> = ends.map(|end| &key[..end]).collect();
    prefixes.reverse();
    prefixes.truncate(MAX_PREFIXES - 1);
    prefixes.push("");
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_parts_of_the_key_do() {
        assert_eq!(prefixes("npm-linux-ab12"), ["npm-linux-", "npm-", ""]);
        assert_eq!(prefixes("plain"), [""]);
        assert_eq!(prefixes("a-b-c-d-e-f-g-h").len(), MAX_PREFIXES);
    }
}
