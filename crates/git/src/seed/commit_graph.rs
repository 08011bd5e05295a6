//! The commit-graph that comes with a seed: git believes it, so it may name no commit that is not there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gix::{ObjectId, objs::CommitRefIter};
use headstart_fs::AtPath as _;

use super::SeedError;
use crate::commit_graph;

const SIGNATURE: &[u8] = b"CGPH";
const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
const VERSION: u8 = 1;
const HASH_IS_SHA1: u8 = 1;
const HEADER_BYTES: usize = 8;
const CHUNK_BYTES: usize = 12;
const ID_BYTES: usize = 20;
const FACTS_BYTES: usize = ID_BYTES + 16;
const NO_PARENT: u32 = 0x7000_0000;
/// On a second parent: where in the list of edges the others start; there: the last.
const EDGE_FLAG: u32 = 1 << 31;
/// The others are the generation's.
const TIME_BITS: u64 = (1 << 34) - 1;

/// Where it is in a folder of objects.
pub(super) fn path_in(objects: &Path) -> PathBuf {
    objects.join("info/commit-graph")
}

/// What a commit-graph says of commits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListedCommits {
    /// In their order.
    ids: Vec<ObjectId>,
    /// Tree, two parents, generation and time of each.
    facts: Vec<[u8; FACTS_BYTES]>,
    /// The other parents of merges of more than two.
    edges: Vec<[u8; 4]>,
}

impl ListedCommits {
    /// Reads the commit-graph at `path`. The checksum is checked; a graph that builds on others is refused, for those would
    /// have to come along.
    pub(super) fn load(path: &Path) -> Result<Self, SeedError> {
        let data = fs::read(path).at("read", path)?;
        Self::parse(&data).ok_or_else(|| SeedError::invalid(path, "it is no commit-graph that stands alone"))
    }

    pub(super) fn ids(&self) -> &[ObjectId] {
        &self.ids
    }

    pub(super) fn contains(&self, id: &ObjectId) -> bool {
        self.ids.binary_search(id).is_ok()
    }

    /// Checks what the graph says of a commit with this content.
    pub(super) fn check(&self, id: ObjectId, content: &[u8]) -> Result<(), String> {
        let says = || {
            let facts = &self.facts[self.ids.binary_search(&id).ok()?];
            let (tree, rest) = facts.split_first_chunk::<ID_BYTES>()?;
            let (parents, times) = rest.split_at_checked(8)?;
            let times = u64::from_be_bytes(*times.first_chunk()?);
            Some((ObjectId::Sha1(*tree), self.parents(parents)?, times & TIME_BITS))
        };
        let mut commit = CommitRefIter::from_bytes(content, SHA1);
        let tree = commit.tree_id().map_err(|error| format!("{id}: {error}"))?;
        let parents: Vec<ObjectId> = commit.parent_ids().collect();
        // Of odd commits git takes another time.
        let time = commit_graph::parse(id, content).map(|commit| commit.time & TIME_BITS);
        match says() {
            Some((said_tree, said_parents, said_time))
                if (said_tree, &said_parents) == (tree, &parents)
                    && time.is_none_or(|time| time == said_time) =>
            {
                Ok(())
            }
            _ => Err(format!("the commit-graph says something else of {id}")),
        }
    }

    fn parents(&self, fields: &[u8]) -> Option<Vec<ObjectId>> {
        let [first, second] = *fields.as_chunks::<4>().0 else {
            return None;
        };
        let id = |position: u32| self.ids.get(position as usize).copied();
        let [first, second] = [first, second].map(u32::from_be_bytes);
        let mut parents = Vec::new();
        if first != NO_PARENT {
            parents.push(id(first)?);
        }
        match second {
            NO_PARENT => {}
            edge if edge & EDGE_FLAG != 0 => {
                for edge in self.edges.get((edge & !EDGE_FLAG) as usize..)? {
                    let edge = u32::from_be_bytes(*edge);
                    parents.push(id(edge & !EDGE_FLAG)?);
                    if edge & EDGE_FLAG != 0 {
                        break;
                    }
                }
            }
            second => parents.push(id(second)?),
        }
        Some(parents)
    }

    fn parse(data: &[u8]) -> Option<Self> {
        let (content, checksum) = data.split_at_checked(data.len().checked_sub(ID_BYTES)?)?;
        let mut hasher = gix::hash::hasher(SHA1);
        hasher.update(content);
        if hasher.try_finalize().ok()?.as_slice() != checksum {
            return None;
        }
        let [.., version, hash, chunks, bases] = *content.first_chunk::<HEADER_BYTES>()?;
        if !content.starts_with(SIGNATURE) || (version, hash, bases) != (VERSION, HASH_IS_SHA1, 0) {
            return None;
        }
        let entry = |at: usize| -> Option<(&[u8], usize)> {
            let entry = content
                .get(HEADER_BYTES + at * CHUNK_BYTES..)?
                .get(..CHUNK_BYTES)?;
            let offset = u64::from_be_bytes(*entry[4..].first_chunk()?);
            Some((&entry[..4], usize::try_from(offset).ok()?))
        };
        let chunk = |name: &[u8]| {
            (0..usize::from(chunks)).find_map(|at| {
                let ((found, start), (_, end)) = (entry(at)?, entry(at + 1)?);
                (found == name).then(|| content.get(start..end)).flatten()
            })
        };
        let ids = table::<ID_BYTES>(chunk(b"OIDL")?)?;
        let listed = ListedCommits {
            ids: ids.iter().map(|id| ObjectId::Sha1(*id)).collect(),
            facts: table(chunk(b"CDAT")?)?.to_vec(),
            edges: table(chunk(b"EDGE").unwrap_or_default())?.to_vec(),
        };
        let is_sorted = listed.ids.is_sorted_by(|a, b| a < b);
        (is_sorted && listed.ids.len() == listed.facts.len()).then_some(listed)
    }
}

/// The rows of a chunk, if it is made of whole ones.
fn table<const N: usize>(chunk: &[u8]) -> Option<&[[u8; N]]> {
    let (rows, rest) = chunk.as_chunks();
    rest.is_empty().then_some(rows)
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice as _;

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
        let listed = ListedCommits::load(&path).unwrap();
        assert_eq!(listed.ids(), commits);
        for id in commits {
            let content = git(dir.path(), &["cat-file", "commit", &id.to_string()], b"");
            listed.check(id, &content).unwrap();
            let parent = format!("parent {}\nauthor", ObjectId::null(SHA1));
            let changed = content.replacen("author", parent, 1);
            assert!(listed.check(id, &changed).is_err());
        }

        let whole = fs::read(&path).unwrap();
        for at in [0, 6, 30, whole.len() - 30, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(ListedCommits::parse(&damaged), None, "byte {at}");
        }
        for length in [0, 7, 20, 100] {
            assert_eq!(ListedCommits::parse(&whole[..length]), None, "{length} bytes");
        }
    }
}
