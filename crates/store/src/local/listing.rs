//! What is in the folder. Files that are not ours are passed over.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use headstart_fs::{AtPath as _, PathError};
use jiff::Timestamp;

use crate::{ContentId, ContentKind, EntryInfo, Namespace, key_path};

/// The names in a folder, none when it does not exist. Only text: ours are.
fn names(folder: &Path) -> Result<Vec<(String, fs::DirEntry)>, PathError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.at("list", folder)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.at("list", folder)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry));
        }
    }
    Ok(names)
}

/// Size and time of a listed file; `None` when it went in the meantime.
fn stat(entry: &fs::DirEntry) -> Result<Option<(u64, Timestamp)>, PathError> {
    match entry.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => {
            let metadata = other.at("look at", entry.path())?;
            let modified = metadata
                .modified()
                .and_then(|time| Timestamp::try_from(time).map_err(io::Error::other))
                .at("read the time of", entry.path())?;
            Ok(Some((metadata.len(), modified)))
        }
    }
}

pub(super) fn namespaces(root: &Path) -> Result<Vec<Namespace>, PathError> {
    let mut found: Vec<Namespace> = names(&root.join(key_path::ENTRIES))?
        .iter()
        .filter_map(|(name, _)| name.parse().ok())
        .collect();
    found.sort();
    Ok(found)
}

pub(super) fn content(root: &Path, kind: ContentKind) -> Result<Vec<(ContentId, u64, Timestamp)>, PathError> {
    let mut found = Vec::new();
    for (shard, folder) in names(&root.join(kind.plural()))? {
        for (name, entry) in names(&folder.path())? {
            let Some(id) = key_path::parse_content(kind, &shard, &name) else {
                continue;
            };
            if let Some((bytes, modified)) = stat(&entry)? {
                found.push((id, bytes, modified));
            }
        }
    }
    Ok(found)
}

pub(super) fn entries(root: &Path, namespace: &Namespace, prefix: &str) -> Result<Vec<EntryInfo>, PathError> {
    let base = key_path::namespace_path(namespace);
    let prefix = key_path::prefix_path(namespace, prefix);
    let (folder, start) = prefix
        .rsplit_once('/')
        .expect("a prefix path has the namespace's folder");
    let within = folder[base.len()..].trim_start_matches('/');
    let mut found = Vec::new();
    collect(&root.join(folder), within, start, namespace, &mut found)?;
    Ok(found)
}

/// `within` is the folder relative to the namespace's. Its depth is bounded: no deeper folder holds one of our names.
fn collect(
    folder: &Path,
    within: &str,
    start: &str,
    namespace: &Namespace,
    found: &mut Vec<EntryInfo>,
) -> Result<(), PathError> {
    for (name, entry) in names(folder)? {
        if !name.starts_with(start) {
            continue;
        }
        let path = if within.is_empty() {
            name
        } else {
            format!("{within}/{name}")
        };
        let kind = entry.file_type().at("look at", entry.path())?;
        if kind.is_dir() && path.len() < MAX_RELATIVE_BYTES {
            collect(&entry.path(), &path, "", namespace, found)?;
        } else if let Some(name) = key_path::parse_entry(namespace, &path)
            && let Some((_, modified_at)) = stat(&entry)?
        {
            found.push(EntryInfo { name, modified_at });
        }
    }
    Ok(())
}

/// The longest path of an entry below its namespace: the escaped key, the cuts, the end.
const MAX_RELATIVE_BYTES: usize = key_path::MAX_ESCAPED_BYTES + 8;
