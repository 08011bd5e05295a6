//! Finding the entry to restore: the exact key, then the restore keys in order.

use crate::{Entry, EntryName, Namespace, Store, StoreError};

/// What was found for the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The exact key.
    Exact,
    /// An entry found by a restore key.
    RestoreKey {
        /// Its whole key.
        key: String,
    },
}

/// Finds the entry for `key`, or else the newest one whose key starts with the first restore key that has any. `None` is
/// a miss. A key that cannot be one is a miss, too.
pub async fn find_entry(
    store: &dyn Store,
    namespace: &Namespace,
    key: &str,
    restore_keys: &[String],
) -> Result<Option<(Lookup, Entry)>, StoreError> {
    if let Ok(name) = EntryName::new(namespace.clone(), key)
        && let Some(entry) = read(store, &name).await?
    {
        return Ok(Some((Lookup::Exact, entry)));
    }
    for prefix in restore_keys {
        // More than one, should the newest be gone by the time it is read.
        for info in store.find_entries(namespace, prefix, 3).await? {
            if let Some(entry) = read(store, &info.name).await? {
                let key = info.name.key().to_owned();
                return Ok(Some((Lookup::RestoreKey { key }, entry)));
            }
        }
    }
    Ok(None)
}

async fn read(store: &dyn Store, name: &EntryName) -> Result<Option<Entry>, StoreError> {
    match store.read_entry(name).await {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RestoreOutcome,
        testing::{Bench, write},
    };

    #[test]
    fn restore_keys_are_tried_in_order_after_the_exact_key() {
        let bench = Bench::new();
        write(bench.from().join("d"), "x");
        bench.save("npm-a", &["d"]);
        let matched = |key: &str, restore_keys: &[&str]| match bench.try_restore(key, restore_keys).unwrap() {
            RestoreOutcome::Restored(restored) => Some(restored.lookup),
            RestoreOutcome::Miss => None,
        };
        let found = Lookup::RestoreKey { key: "npm-a".into() };
        assert_eq!(matched("npm-a", &[]), Some(Lookup::Exact));
        assert_eq!(matched("npm-b", &["yarn-", "npm-"]), Some(found));
        assert_eq!(matched("npm-b", &["yarn-"]), None);
        assert_eq!(matched("", &[]), None);
    }
}
