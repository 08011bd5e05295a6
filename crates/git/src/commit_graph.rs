//! The commit-graph file, made of the commits of a pack while it arrives.
//!
//! Git walks history by it without inflating commits. It is written as `git commit-graph write` does (one file, version 1,
//! with corrected commit dates and without Bloom filters), so that the first `git log` need not wait for it.
//!
//! Invariants: only a history without gaps gets one, and what is in it was read from objects whose names were computed.

use std::{
    collections::HashMap,
    fs::Permissions,
    io::{BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use bstr::ByteSlice as _;
use gix::{ObjectId, objs::Kind};
use headstart_fs::{AtPath as _, PathError};
use parking_lot::Mutex;

use crate::pack::{ObjectData, ObjectSink, PackError};

/// Position that stands for no parent.
const NO_PARENT: u32 = 0x7000_0000;
/// Marks a position in the list of further parents, and its last one.
const EDGE: u32 = 0x8000_0000;
/// The largest topological level the format holds.
const LEVEL_MAX: u32 = 0x3fff_ffff;
/// Offsets of corrected dates from here on go to a table of their own.
const LARGE_DATE_OFFSET: u64 = 1 << 31;
/// Commit times have so many bits.
const TIME_MAX: u64 = (1 << 34) - 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    id: ObjectId,
    tree: ObjectId,
    /// Seconds since 1970.
    pub(crate) time: u64,
    parents: Box<[ObjectId]>,
}

/// Collects the commits of a pack.
#[derive(Debug, Default)]
pub(crate) struct CommitCollector {
    commits: Mutex<Vec<Commit>>,
}

impl ObjectSink for CommitCollector {
    fn wants(&self, kind: Kind) -> bool {
        kind == Kind::Commit
    }

    fn object(&self, id: ObjectId, _: Kind, data: ObjectData) -> Result<(), PackError> {
        // Git itself complains about one that cannot be read, when it reads it.
        if let Some(commit) = parse(id, &data) {
            self.commits.lock().push(commit);
        }
        Ok(())
    }
}

impl CommitCollector {
    /// Writes the graph of all commits collected to `objects/info` below `git_dir`. False, and nothing is written, when one of
    /// them has a parent that is not among them.
    pub(crate) fn write(self, git_dir: &Path) -> Result<bool, PathError> {
        let mut commits = self.commits.into_inner();
        commits.sort_unstable_by_key(|commit| commit.id);
        commits.dedup_by(|left, right| left.id == right.id);
        let Some(graph) = Graph::new(&commits).filter(|_| !commits.is_empty()) else {
            return Ok(false);
        };
        let folder = git_dir.join("objects/info");
        std::fs::create_dir_all(&folder).at("create", &folder)?;
        let path = folder.join("commit-graph");
        let temp = headstart_fs::publish::temp_beside(&path)?;
        let mut out = BufWriter::new(temp.as_file());
        let bytes = graph.encode();
        out.write_all(&bytes)
            .and_then(|()| out.flush())
            .at("write", temp.path())?;
        drop(out);
        temp.as_file()
            .set_permissions(Permissions::from_mode(0o444))
            .at("set the mode of", temp.path())?;
        temp.persist(&path)
            .map_err(|error| error.error)
            .at("rename a temporary file to", &path)?;
        Ok(true)
    }
}

/// The facts of a commit object that the graph holds.
pub(crate) fn parse(id: ObjectId, data: &[u8]) -> Option<Commit> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let object = |line: &[u8], key: &[u8]| ObjectId::from_hex(line.strip_prefix(key)?).ok();
    let tree = object(lines.next()?, b"tree ")?;
    let mut parents = Vec::new();
    let mut line = lines.next()?;
    while let Some(parent) = object(line, b"parent ") {
        parents.push(parent);
        line = lines.next()?;
    }
    line.strip_prefix(b"author ")?;
    let committer = lines.next()?.strip_prefix(b"committer ")?;
    // As git reads it: what follows the last `>`; what is no number there counts as zero.
    let after = committer
        .rsplit_once_str(">")
        .map_or(b"".as_slice(), |(_, after)| after);
    let digits = after.trim_start().split(|byte| !byte.is_ascii_digit()).next();
    let time = digits
        .and_then(|digits| digits.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    Some(Commit {
        id,
        tree,
        time,
        parents: parents.into(),
    })
}

/// Commits in the order of their ids, with what is derived from the whole of them.
struct Graph<'a> {
    commits: &'a [Commit],
    /// Positions of parents, commit after commit.
    parents: Vec<u32>,
    /// Where in `parents` those of each commit start, and the end of the last.
    starts: Vec<u32>,
    levels: Vec<u32>,
    corrected: Vec<u64>,
}

impl<'a> Graph<'a> {
    /// `None` when a parent is missing, or a time does not fit.
    fn new(commits: &'a [Commit]) -> Option<Self> {
        let positions: HashMap<ObjectId, u32> = commits
            .iter()
            .zip(0..)
            .map(|(commit, at)| (commit.id, at))
            .collect();
        let mut parents = Vec::with_capacity(commits.len());
        let mut starts = Vec::with_capacity(commits.len() + 1);
        for commit in commits {
            starts.push(parents.len() as u32);
            if commit.time > TIME_MAX {
                return None;
            }
            for parent in &commit.parents {
                parents.push(*positions.get(parent)?);
            }
        }
        starts.push(parents.len() as u32);
        drop(positions);
        let mut graph = Graph {
            commits,
            parents,
            starts,
            levels: vec![0; commits.len()],
            corrected: vec![0; commits.len()],
        };
        graph.number();
        Some(graph)
    }

    fn parents_of(&self, at: u32) -> &[u32] {
        let range = self.starts[at as usize] as usize..self.starts[at as usize + 1] as usize;
        &self.parents[range]
    }

    /// Works out levels and corrected dates, parents before children, without recursion: histories are long.
    fn number(&mut self) {
        let mut stack = Vec::new();
        for start in 0..self.commits.len() as u32 {
            stack.push(start);
            while let Some(&at) = stack.last() {
                if self.levels[at as usize] != 0 {
                    stack.pop();
                    continue;
                }
                let before = stack.len();
                // Zero would stand for a date that is not known.
                let (mut level, mut date) = (0, 1);
                for index in self.starts[at as usize]..self.starts[at as usize + 1] {
                    let parent = self.parents[index as usize];
                    match self.levels[parent as usize] {
                        0 => stack.push(parent),
                        known => {
                            level = level.max(known);
                            date = date.max(self.corrected[parent as usize] + 1);
                        }
                    }
                }
                if stack.len() == before {
                    self.levels[at as usize] = (level + 1).min(LEVEL_MAX);
                    self.corrected[at as usize] = date.max(self.commits[at as usize].time);
                    stack.pop();
                }
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (data, edges) = self.commit_data();
        let (dates, large_dates) = self.date_offsets();
        let mut chunks: Vec<(&[u8; 4], Vec<u8>)> = vec![
            (b"OIDF", self.fanout()),
            (
                b"OIDL",
                self.commits
                    .iter()
                    .flat_map(|commit| commit.id.as_slice())
                    .copied()
                    .collect(),
            ),
            (b"CDAT", data),
            (b"GDA2", dates),
        ];
        if !large_dates.is_empty() {
            chunks.push((b"GDO2", large_dates));
        }
        if !edges.is_empty() {
            chunks.push((b"EDGE", edges));
        }
        let version = 1;
        let hash_is_sha1 = 1;
        let base_graphs = 0;
        let mut out = b"CGPH".to_vec();
        out.extend([version, hash_is_sha1, chunks.len() as u8, base_graphs]);
        let mut offset = (out.len() + (chunks.len() + 1) * 12) as u64;
        for (name, chunk) in &chunks {
            out.extend(*name);
            out.extend(offset.to_be_bytes());
            offset += chunk.len() as u64;
        }
        out.extend([0; 4]);
        out.extend(offset.to_be_bytes());
        for (_, chunk) in chunks {
            out.extend(chunk);
        }
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&out);
        // A file with a wrong checksum is one git complains about and does without.
        let checksum = hasher
            .try_finalize()
            .unwrap_or(ObjectId::null(gix::hash::Kind::Sha1));
        out.extend(checksum.as_slice());
        out
    }

    fn fanout(&self) -> Vec<u8> {
        let mut counts = [0_u32; 256];
        for commit in self.commits {
            counts[usize::from(commit.id.as_slice()[0])] += 1;
        }
        let sums = counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        sums.flat_map(u32::to_be_bytes).collect()
    }

    /// Tree, two parents, level and time of each commit; and the parents beyond the first of those with more than two.
    fn commit_data(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut edges) = (Vec::with_capacity(self.commits.len() * 36), Vec::new());
        for (commit, at) in self.commits.iter().zip(0..) {
            let parents = self.parents_of(at);
            let first = parents.first().copied().unwrap_or(NO_PARENT);
            let second = match parents {
                [] | [_] => NO_PARENT,
                [_, second] => *second,
                [_, more @ ..] => {
                    let start = (edges.len() / 4) as u32;
                    let (last, rest) = more.split_last().expect("more than two parents");
                    edges.extend(rest.iter().flat_map(|parent| parent.to_be_bytes()));
                    edges.extend((last | EDGE).to_be_bytes());
                    start | EDGE
                }
            };
            data.extend(commit.tree.as_slice());
            data.extend(first.to_be_bytes());
            data.extend(second.to_be_bytes());
            let level_and_time = u64::from(self.levels[at as usize]) << 34 | commit.time;
            data.extend(level_and_time.to_be_bytes());
        }
        (data, edges)
    }

    /// How far each corrected date is from the time of its commit; and those that do not fit.
    fn date_offsets(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut offsets, mut large) = (Vec::with_capacity(self.commits.len() * 4), Vec::new());
        for (commit, corrected) in self.commits.iter().zip(&self.corrected) {
            let offset = corrected - commit.time;
            let word = match offset < LARGE_DATE_OFFSET {
                true => offset as u32,
                false => {
                    let at = (large.len() / 8) as u32;
                    large.extend(offset.to_be_bytes());
                    at | EDGE
                }
            };
            offsets.extend(word.to_be_bytes());
        }
        (offsets, large)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pack::tests::git;

    /// A repository whose commits are `commits`: parents by place in the list, and a time.
    fn repository(commits: &[(&[usize], u64)]) -> (tempfile::TempDir, CommitCollector) {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "."], b"");
        let tree = git(dir.path(), &["mktree"], b"");
        let tree = tree.trim().to_str().unwrap().to_owned();
        let collector = CommitCollector::default();
        let mut ids: Vec<String> = Vec::new();
        for (number, (parents, time)) in commits.iter().enumerate() {
            let parents: String = parents
                .iter()
                .map(|at| format!("parent {}\n", ids[*at]))
                .collect();
            let text = format!(
                "tree {tree}\n{parents}author A <a@b> 1 +0000\ncommitter A <a@b> {time} +0100\n\n{number}\n"
            );
            let id = git(
                dir.path(),
                &["hash-object", "-t", "commit", "-w", "--stdin"],
                text.as_bytes(),
            );
            let id = id.trim().to_str().unwrap().to_owned();
            let object = ObjectId::from_hex(id.as_bytes()).unwrap();
            collector
                .object(object, Kind::Commit, Arc::new(text.into_bytes()))
                .unwrap();
            git(
                dir.path(),
                &["update-ref", &format!("refs/heads/b{number}"), &id],
                b"",
            );
            ids.push(id);
        }
        (dir, collector)
    }

    #[test]
    fn git_finds_the_graph_right_and_would_write_the_same() {
        let commits: &[(&[usize], u64)] = &[
            (&[], 100),
            (&[0], 50),
            (&[1], 200),
            (&[0], 2_000_000_000),
            (&[2, 3], 300),
            (&[4, 2, 1, 0], 400),
            (&[5, 3], 10),
            (&[], 0),
            (&[7, 6, 5], 20),
        ];
        let (dir, collector) = repository(commits);
        assert!(collector.write(&dir.path().join(".git")).unwrap());
        git(dir.path(), &["commit-graph", "verify"], b"");
        let path = dir.path().join(".git/objects/info/commit-graph");
        let ours = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        git(dir.path(), &["commit-graph", "write", "--reachable"], b"");
        assert!(ours == std::fs::read(&path).unwrap());
    }

    #[test]
    fn dates_far_before_those_of_their_parents_are_right_too() {
        let (dir, collector) =
            repository(&[(&[], 5_000_000_000), (&[0], 1), (&[1], 2), (&[0], 6_000_000_000)]);
        assert!(collector.write(&dir.path().join(".git")).unwrap());
        git(dir.path(), &["commit-graph", "verify"], b"");
    }

    #[test]
    fn a_history_with_a_gap_gets_none() {
        let (dir, collector) = repository(&[(&[], 1), (&[0], 2), (&[1], 3)]);
        collector.commits.lock().retain(|commit| commit.time != 2);
        assert!(!collector.write(&dir.path().join(".git")).unwrap());
        assert!(!dir.path().join(".git/objects/info/commit-graph").exists());
        assert!(!CommitCollector::default().write(dir.path()).unwrap());
    }

    #[test]
    fn odd_commits_are_read_as_git_reads_them() {
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        let tree = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        let time = |committer: &str| {
            let text = format!("{tree}author x\ncommitter {committer}\n\nx");
            parse(id, text.as_bytes()).map(|commit| commit.time)
        };
        assert_eq!(time("A <a@b> 17 +0000"), Some(17));
        assert_eq!(time("A <a> b> 18 +0000"), Some(18));
        assert_eq!(time("A <a@b> never"), Some(0));
        assert_eq!(time("nobody"), Some(0));
        assert_eq!(parse(id, b"tree x\n"), None);
        assert_eq!(parse(id, b""), None);
    }
}
