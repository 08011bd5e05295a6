//! The marker that says a folder is a store, and of which version.

use std::{fs, io::ErrorKind, os::unix::fs::DirBuilderExt as _, path::Path};

use headstart_fs::{
    AtPath as _, PathError,
    publish::{self, Durability},
};

use crate::StoreError;

/// The folder that everything of this format version is in.
pub(super) const FOLDER: &str = "v1";
const MARKER: &str = "FORMAT";
const MARKER_TEXT: &str = "headstart store 1\n";

/// True when `root` is a store of this version, false when there is nothing; anything else is an error.
pub(super) fn check(root: &Path) -> Result<bool, StoreError> {
    let marker = root.join(MARKER);
    match fs::read(&marker) {
        Ok(text) if text == MARKER_TEXT.as_bytes() => Ok(true),
        Ok(text) => Err(StoreError::Unsupported(format!(
            "the store in {} has the format {:?}; this headstart reads {:?}",
            root.display(),
            String::from_utf8_lossy(&text[..text.len().min(40)]).trim_end(),
            MARKER_TEXT.trim_end(),
        ))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error).at("read", &marker).map_err(StoreError::from),
    }
}

/// Makes `root` a store unless it is one.
pub(super) fn ensure(root: &Path) -> Result<(), StoreError> {
    if check(root)? {
        return Ok(());
    }
    // Private: caches hold what the user may read, and nobody else needs to.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .at("create the store", root)?;
    for entry in fs::read_dir(root).at("list", root)? {
        let name = entry.at("list", root)?.file_name();
        // Temporary files are from a process that was killed here, or is doing the same right now.
        if !name.as_encoded_bytes().starts_with(b".tmp-") && name != MARKER && name != FOLDER {
            return Err(StoreError::Refused {
                store: root.display().to_string(),
                reason: format!("it is not a store, and not empty (there is {:?})", name),
            });
        }
    }
    match publish::create(&root.join(MARKER), MARKER_TEXT.as_bytes(), Durability::Synced) {
        Ok(_) => {}
        Err(error) => return Err(unwritable(root, error)),
    }
    check(root).map(drop)
}

fn unwritable(root: &Path, error: PathError) -> StoreError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Refused {
            store: root.display().to_string(),
            reason: "there is no store, and none can be made (read-only)".to_owned(),
        },
        _ => error.into(),
    }
}
