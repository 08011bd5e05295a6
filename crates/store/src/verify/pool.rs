//! The pool of expanded files against the digests in its names.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_digest::{Digest, Hasher};
use headstart_fs::AtPath as _;

use super::{Problem, ProblemKind, Repair, Repaired};
use crate::StoreError;

/// Reads every file of the pool in `folder` and compares it with its name. Repairing removes a wrong one: files linked from
/// it keep their content, and the next restore makes it anew. A pool that does not exist is right.
pub fn verify_pool(
    folder: &Path,
    repair: Repair<'_>,
    interrupt: &AtomicBool,
) -> Result<Vec<Problem>, StoreError> {
    let mut problems = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.at("list", &folder)?,
        };
        for entry in entries {
            if interrupt.load(Ordering::Relaxed) {
                return Err(StoreError::Interrupted);
            }
            let entry = entry.at("list", &folder)?;
            let path = entry.path();
            if entry.file_type().at("look at", &path)?.is_dir() {
                folders.push(path);
                continue;
            }
            // Names start with the digest of the content; others are not finished, or not ours.
            let name = entry.file_name();
            let digest = name
                .to_str()
                .and_then(|name| name.get(..Digest::LEN * 2)?.parse().ok());
            let Some(digest) = digest else {
                continue;
            };
            if is_right(&path, digest)? {
                continue;
            }
            let repair = match repair {
                Repair::No => Repaired::No,
                Repair::Yes | Repair::From(_) => {
                    fs::remove_file(&path).at("remove", &path)?;
                    Repaired::Removed
                }
            };
            let kind = ProblemKind::CorruptPoolFile { path };
            problems.push(Problem { kind, repair });
        }
    }
    Ok(problems)
}

fn is_right(path: &Path, digest: Digest) -> Result<bool, StoreError> {
    let mut file = match File::open(path) {
        // Dropped in the meantime.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other.at("open", path)?,
    };
    let mut hasher = Hasher::new();
    io::copy(&mut file, &mut hasher).at("read", path)?;
    Ok(hasher.finish() == digest)
}
