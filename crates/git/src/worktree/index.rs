//! The index (`.git/index`), as git writes it: version 2, or 3 when entries are outside the sparse cone.

use gix::{ObjectId, bstr::BString};

/// What the file system says about a file that was just written; git believes a file is unchanged while it says the
/// same. Numbers are cut to 32 bits as git does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileStat {
    pub(super) ctime: (u32, u32),
    pub(super) mtime: (u32, u32),
    pub(super) dev: u32,
    pub(super) ino: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u32,
}

/// One entry: a file, a symlink, or the commit of a submodule.
#[derive(Debug, Clone)]
pub(super) struct IndexEntry {
    pub(super) path: BString,
    pub(super) mode: u32,
    pub(super) id: ObjectId,
    pub(super) stat: FileStat,
    /// Outside the sparse cone: listed, but not in the working tree.
    pub(super) skip_worktree: bool,
}

/// One directory, for the cache of trees that lets git skip what did not change.
#[derive(Debug, Clone)]
pub(super) struct IndexTree {
    /// Without a slash at the end; empty for the root.
    pub(super) path: BString,
    pub(super) id: ObjectId,
}

const SKIP_WORKTREE: u16 = 1 << 14;
const EXTENDED: u16 = 1 << 14;
/// Longer paths store this as their length.
const LONGEST_STORED_LENGTH: usize = 0xfff;

/// The bytes of an index. `trees` are all directories with entries, or empty to leave out the cache of trees.
pub(super) fn encode(entries: &mut [IndexEntry], trees: &[IndexTree]) -> Vec<u8> {
    entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    let version: u32 = if entries.iter().any(|entry| entry.skip_worktree) {
        3
    } else {
        2
    };
    let mut out = Vec::with_capacity(entries.iter().map(|entry| entry.path.len() + 72).sum());
    out.extend(b"DIRC");
    out.extend(version.to_be_bytes());
    out.extend((entries.len() as u32).to_be_bytes());
    for entry in &*entries {
        put_entry(&mut out, entry);
    }
    if !trees.is_empty() {
        let cache = encode_trees(entries, trees);
        out.extend(b"TREE");
        out.extend((cache.len() as u32).to_be_bytes());
        out.extend(cache);
    }
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&out);
    // Git reads an index with a zero checksum as one that has none, which is what a collision would deserve.
    let checksum = hasher
        .try_finalize()
        .unwrap_or(ObjectId::null(gix::hash::Kind::Sha1));
    out.extend(checksum.as_slice());
    out
}

fn put_entry(out: &mut Vec<u8>, entry: &IndexEntry) {
    let start = out.len();
    let stat = &entry.stat;
    for word in [
        stat.ctime.0,
        stat.ctime.1,
        stat.mtime.0,
        stat.mtime.1,
        stat.dev,
        stat.ino,
        entry.mode,
        stat.uid,
        stat.gid,
        stat.size,
    ] {
        out.extend(word.to_be_bytes());
    }
    out.extend(entry.id.as_slice());
    let length = entry.path.len().min(LONGEST_STORED_LENGTH) as u16;
    if entry.skip_worktree {
        out.extend((length | EXTENDED).to_be_bytes());
        out.extend(SKIP_WORKTREE.to_be_bytes());
    } else {
        out.extend(length.to_be_bytes());
    }
    out.extend_from_slice(&entry.path);
    // One to eight NUL bytes, so that the next entry is aligned and the path always ends in one.
    let padded = (out.len() - start) / 8 * 8 + 8;
    out.resize(start + padded, 0);
}

/// The `TREE` extension: directories depth first, each with the number of entries and of directories in it.
fn encode_trees(entries: &[IndexEntry], trees: &[IndexTree]) -> Vec<u8> {
    let mut sorted: Vec<&IndexTree> = trees.iter().collect();
    sorted.sort_unstable_by(|left, right| {
        components(&left.path)
            .map(name_key)
            .cmp(components(&right.path).map(name_key))
    });
    let mut children = std::collections::HashMap::<&[u8], u32>::new();
    for tree in &sorted {
        if !tree.path.is_empty() {
            *children.entry(parent(&tree.path)).or_default() += 1;
        }
    }
    let mut out = Vec::new();
    for tree in sorted {
        let name = components(&tree.path).next_back().unwrap_or_default();
        let children = children.get(tree.path.as_slice()).copied().unwrap_or_default();
        out.extend_from_slice(name);
        out.push(0);
        out.extend(format!("{} {children}\n", count_below(entries, &tree.path)).bytes());
        out.extend(tree.id.as_slice());
    }
    out
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// The order of git's cache of trees: shorter names first.
fn name_key(name: &[u8]) -> (usize, &[u8]) {
    (name.len(), name)
}

fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..end]
}

/// How many of the sorted entries lie below `dir`.
fn count_below(entries: &[IndexEntry], dir: &[u8]) -> usize {
    if dir.is_empty() {
        return entries.len();
    }
    // Below `dir` means from `dir/` up to, but without, `dir0`: zero follows the slash.
    let before = |end: &[u8]| {
        let bound = [dir, end].concat();
        entries.partition_point(|entry| entry.path.as_slice() < bound.as_slice())
    };
    before(b"0") - before(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, skip_worktree: bool) -> IndexEntry {
        IndexEntry {
            path: path.into(),
            mode: 0o100_644,
            id: ObjectId::Sha1([3; 20]),
            stat: FileStat {
                size: 7,
                ..FileStat::default()
            },
            skip_worktree,
        }
    }

    /// As git itself reads it.
    fn listed(index: &[u8], args: &[&str]) -> String {
        use crate::pack::tests::git;
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "."], b"");
        std::fs::write(dir.path().join(".git/index"), index).unwrap();
        String::from_utf8(git(dir.path(), args, b"")).unwrap()
    }

    #[test]
    fn git_reads_entries_of_all_path_lengths() {
        let mut entries: Vec<_> = (1..40)
            .map(|length| entry(&"x".repeat(length), false))
            .chain([entry(&format!("y/{}", "z".repeat(4090)), false)])
            .collect();
        entries.reverse();
        let index = encode(&mut entries, &[]);
        assert_eq!(index[4..8], 2_u32.to_be_bytes());
        let expected: String = entries.iter().map(|entry| format!("{}\n", entry.path)).collect();
        assert_eq!(listed(&index, &["ls-files"]), expected);
    }

    #[test]
    fn entries_outside_the_cone_are_marked() {
        let index = encode(&mut [entry("in", false), entry("out", true)], &[]);
        assert_eq!(index[4..8], 3_u32.to_be_bytes());
        assert_eq!(listed(&index, &["ls-files", "-t"]), "H in\nS out\n");
    }

    #[test]
    fn the_cache_of_trees_counts_what_is_below() {
        let mut entries = ["a", "b-c/x", "b/x", "b/y/z", "b0", "long/x"].map(|path| entry(path, false));
        let trees = ["", "b", "b/y", "long", "b-c"].map(|path| IndexTree {
            path: path.into(),
            id: ObjectId::Sha1([9; 20]),
        });
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        let cache = encode_trees(&entries, &trees);
        let text: Vec<_> = cache
            .split(|byte| *byte == 9)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).replace('\0', ":"))
            .collect();
        assert_eq!(text, [":6 3\n", "b:2 1\n", "y:1 0\n", "b-c:1 0\n", "long:1 0\n"]);
    }
}
