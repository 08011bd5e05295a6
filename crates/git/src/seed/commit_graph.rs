//! The commit-graph that comes with a seed: git believes it, so it may name no commit that is not there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gix::ObjectId;
use headstart_fs::AtPath as _;

use super::SeedError;

const SIGNATURE: &[u8] = b"CGPH";
const VERSION: u8 = 1;
const HASH_IS_SHA1: u8 = 1;
const HEADER_BYTES: usize = 8;
const CHUNK_BYTES: usize = 12;
const ID_BYTES: usize = 20;

/// Where it is in a folder of objects.
pub(super) fn path_in(objects: &Path) -> PathBuf {
    objects.join("info/commit-graph")
}

/// The commits that the commit-graph at `path` is about, in the order of their ids. The checksum is checked; a graph that
/// builds on others is refused, for those would have to come along.
pub(super) fn load_commits(path: &Path) -> Result<Vec<ObjectId>, SeedError> {
    let data = fs::read(path).at("read", path)?;
    parse_commits(&data).ok_or_else(|| SeedError::invalid(path, "it is no commit-graph that stands alone"))
}

fn parse_commits(data: &[u8]) -> Option<Vec<ObjectId>> {
    let (content, checksum) = data.split_at_checked(data.len().checked_sub(ID_BYTES)?)?;
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(content);
    if hasher.try_finalize().ok()?.as_slice() != checksum {
        return None;
    }
    let [.., version, hash, chunks, bases] = *content.first_chunk::<HEADER_BYTES>()?;
    if !content.starts_with(SIGNATURE) || (version, hash, bases) != (VERSION, HASH_IS_SHA1, 0) {
        return None;
    }
    let chunk = |at: usize| -> Option<(&[u8], usize)> {
        let entry = content
            .get(HEADER_BYTES + at * CHUNK_BYTES..)?
            .get(..CHUNK_BYTES)?;
        let offset = u64::from_be_bytes(*entry[4..].first_chunk()?);
        Some((&entry[..4], usize::try_from(offset).ok()?))
    };
    for at in 0..usize::from(chunks) {
        let (name, start) = chunk(at)?;
        let (_, end) = chunk(at + 1)?;
        if name == b"OIDL" {
            let ids = content.get(start..end)?;
            let ids = ids.as_chunks::<ID_BYTES>();
            return ids
                .1
                .is_empty()
                .then(|| ids.0.iter().map(|id| ObjectId::Sha1(*id)).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::pack::tests::git;

    use super::*;

    #[test]
    fn commits_are_those_git_has_put_in() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "."], b"");
        let mut commits = Vec::new();
        for message in ["a", "b", "c"] {
            git(dir.path(), &["commit", "-q", "--allow-empty", "-m", message], b"");
            let id = git(dir.path(), &["rev-parse", "HEAD"], b"");
            commits.push(ObjectId::from_hex(id.trim_ascii()).unwrap());
        }
        git(dir.path(), &["commit-graph", "write", "--reachable"], b"");
        let path = path_in(&dir.path().join(".git/objects"));
        commits.sort();
        assert_eq!(load_commits(&path).unwrap(), commits);

        let whole = fs::read(&path).unwrap();
        for at in [0, 6, 30, whole.len() - 30, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(parse_commits(&damaged), None, "byte {at}");
        }
        for length in [0, 7, 20, 100] {
            assert_eq!(parse_commits(&whole[..length]), None, "{length} bytes");
        }
    }
}
