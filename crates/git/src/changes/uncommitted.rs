//! Changes of the working tree that are in no commit.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use headstart_fs::RelPath;

use super::{ChangedFile, ChangesError, FileStatus};
use crate::local::LocalRepository;

/// Adds what `git status` lists to the files that differ between the merge base and `HEAD`.
pub(super) fn add(
    repository: &LocalRepository<'_>,
    committed: Vec<ChangedFile>,
    interrupt: &AtomicBool,
) -> Result<Vec<ChangedFile>, ChangesError> {
    let Some(workdir) = &repository.workdir else {
        return Err(ChangesError::NoWorkingTree);
    };
    let listing = repository
        .git()
        .args(["--no-optional-locks", "status", "--porcelain=v1", "-z"])
        .args([
            "--untracked-files=all",
            "--no-renames",
            "--ignore-submodules=none",
        ])
        .run_interruptible(interrupt)?
        .stdout;
    let mut files: BTreeMap<RelPath, FileStatus> = committed
        .into_iter()
        .map(|file| (file.path, file.status))
        .collect();
    for (is_new, path) in parse(&listing) {
        let was_there = match files.get(&path) {
            Some(status) => *status != FileStatus::Added,
            None => !is_new,
        };
        let is_there = path.join_to(workdir).symlink_metadata().is_ok();
        let status = match (was_there, is_there) {
            (true, true) => FileStatus::Modified,
            (true, false) => FileStatus::Deleted,
            (false, true) => FileStatus::Added,
            (false, false) => {
                files.remove(&path);
                continue;
            }
        };
        files.insert(path, status);
    }
    let changed = |(path, status)| ChangedFile { path, status };
    Ok(files.into_iter().map(changed).collect())
}

/// Whether each path is in no commit yet, and the path.
fn parse(listing: &[u8]) -> impl Iterator<Item = (bool, RelPath)> {
    listing.split(|byte| *byte == 0).filter_map(|line| {
        let (status, path) = line.split_at_checked(3)?;
        // An untracked repository of its own is listed as a folder.
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let is_new = status.contains(&b'?') || status.contains(&b'A');
        Some((is_new, RelPath::parse(path).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_by_columns() {
        let listing = b"?? new/file\0 M a b\0A  added\0D  gone\0?? nested/\0";
        let read: Vec<_> = parse(listing)
            .map(|(is_new, path)| (is_new, path.to_string()))
            .collect();
        let expected = [
            (true, "new/file"),
            (false, "a b"),
            (true, "added"),
            (false, "gone"),
            (true, "nested"),
        ];
        assert_eq!(read, expected.map(|(is_new, path)| (is_new, path.to_owned())));
    }
}
