//! Cones: the directories a sparse working tree keeps.
//!
//! Owns git's cone semantics: the files of the root, the files of every parent of a kept directory, and everything
//! below the kept directories. Does not write `info/sparse-checkout`; [`Cone::patterns`] is its content.

use std::collections::BTreeSet;

use bstr::ByteSlice as _;
use headstart_fs::RelPath;

/// The directories a sparse working tree keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cone {
    /// Directories kept whole; none lies below another.
    recursive: BTreeSet<RelPath>,
    /// Their parents, the root excluded: only files directly in them are kept.
    parents: BTreeSet<RelPath>,
}

impl Cone {
    /// The cone of `dirs`. The root as a directory keeps everything; no directory keeps the files of the root only.
    pub(crate) fn new(dirs: impl IntoIterator<Item = RelPath>) -> Self {
        let mut recursive = BTreeSet::<RelPath>::new();
        let mut sorted: Vec<RelPath> = dirs.into_iter().collect();
        // A directory sorts directly before what is in it, so the last one kept is the only candidate above.
        sorted.sort();
        for dir in sorted {
            if !recursive.last().is_some_and(|above| dir.starts_with(above)) {
                recursive.insert(dir);
            }
        }
        let mut parents = BTreeSet::new();
        for dir in &recursive {
            let mut parent = dir.parent();
            while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
                parent = dir.parent();
                parents.insert(dir);
            }
        }
        Cone { recursive, parents }
    }

    /// Reads `info/sparse-checkout`; `None` for patterns that git would not have written for a cone.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut dirs = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let dir = match line {
                b"/*" if lines.peek().is_none() => &b""[..],
                b"/*" | b"!/*/" => continue,
                line => line.strip_prefix(b"/")?.strip_suffix(b"/")?,
            };
            let below = [b"!/", dir, b"/*/"].concat();
            if lines.next_if_eq(&below.as_slice()).is_none() {
                dirs.push(RelPath::parse(unescaped(dir)).ok()?);
            }
        }
        let cone = Cone::new(dirs);
        (cone.patterns() == text).then_some(cone)
    }

    /// Whether files directly in `dir` are kept.
    pub(crate) fn contains_files_of(&self, dir: &RelPath) -> bool {
        dir.is_root() || self.parents.contains(dir) || self.contains_all_of(dir)
    }

    /// Whether everything below `dir` is kept.
    pub(crate) fn contains_all_of(&self, dir: &RelPath) -> bool {
        let mut above = Some(dir.clone());
        while let Some(dir) = above {
            if self.recursive.contains(&dir) {
                return true;
            }
            above = dir.parent();
        }
        false
    }

    /// The text `git sparse-checkout set --cone` writes to `info/sparse-checkout`.
    pub(crate) fn patterns(&self) -> Vec<u8> {
        let mut text = b"/*\n".to_vec();
        if self.contains_all_of(&RelPath::root()) {
            return text;
        }
        text.extend(b"!/*/\n");
        for dir in in_byte_order(&self.parents) {
            text.extend([b"/", dir.as_slice(), b"/\n!/", &dir, b"/*/\n"].concat());
        }
        for dir in in_byte_order(&self.recursive) {
            text.extend([b"/", dir.as_slice(), b"/\n"].concat());
        }
        text
    }
}

/// Git sorts paths as bytes, and escapes what a pattern would take for more than a character.
fn in_byte_order(dirs: &BTreeSet<RelPath>) -> impl Iterator<Item = Vec<u8>> {
    let mut dirs: Vec<&[u8]> = dirs.iter().map(RelPath::as_bytes).collect();
    dirs.sort_unstable();
    dirs.into_iter().map(|dir| {
        let mut pattern = Vec::with_capacity(dir.len());
        for &byte in dir {
            if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern
    })
}

fn unescaped(pattern: &[u8]) -> Vec<u8> {
    let mut dir = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        dir.extend(match byte {
            b'\\' => bytes.next(),
            byte => Some(byte),
        });
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::tests::git;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn cone(dirs: &[&str]) -> Cone {
        Cone::new(dirs.iter().map(|dir| path(dir)))
    }

    #[test]
    fn a_cone_keeps_parents_shallowly_and_directories_whole() {
        let cone = cone(&["a/b", "a/b/c", "d"]);
        for kept in ["", "a", "a/b", "a/b/c/e", "d", "d/f"] {
            assert!(cone.contains_files_of(&path(kept)), "{kept:?}");
        }
        for left_out in ["b", "a/c", "a/bc", "dd"] {
            assert!(!cone.contains_files_of(&path(left_out)), "{left_out:?}");
        }
        assert!(cone.contains_all_of(&path("a/b/x")));
        assert!(!cone.contains_all_of(&path("a")));
        assert!(Cone::new([RelPath::root()]).contains_all_of(&path("anything")));
    }

    #[test]
    fn patterns_are_those_git_writes() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "."], b"");
        for dirs in [
            &["a/b"][..],
            &["b", "a/b/c", "a/b/c/d", "a-b", "a/b-c/d"],
            &["we*ird/[x]/q?", "back\\slash"],
            &[],
        ] {
            git(
                dir.path(),
                &[&["sparse-checkout", "set", "--cone", "--skip-checks"], dirs].concat(),
                b"",
            );
            let by_git = std::fs::read(dir.path().join(".git/info/sparse-checkout")).unwrap();
            assert_eq!(
                String::from_utf8(cone(dirs).patterns()).unwrap(),
                String::from_utf8(by_git).unwrap(),
                "{dirs:?}"
            );
            assert_eq!(Cone::parse(&cone(dirs).patterns()), Some(cone(dirs)), "{dirs:?}");
        }
        assert_eq!(Cone::parse(b"/*\n"), Some(cone(&[""])));
        for other in ["*.c\n", "/*\n!/*/\n/a/*\n", "/*\n!/*/\n/a/\n!/b/\n", "", "/a/\n"] {
            assert_eq!(Cone::parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
