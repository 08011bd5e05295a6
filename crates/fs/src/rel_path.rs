//! Relative paths from untrusted places: archives, snapshots, configuration, trees.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use bstr::{BStr, ByteSlice as _};

/// A relative path of plain components, as bytes: no root, no `.` or `..`, no empty component, no NUL.
///
/// The empty path is the folder itself. Ordered by components, so that a folder sorts directly before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

/// Why some bytes are not a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRelPathError {
    /// It starts with `/`.
    #[error("{0:?} is absolute; a path relative to the root is needed")]
    Absolute(String),
    /// A component is `..`.
    #[error("{0:?} leaves its root by `..`")]
    Parent(String),
    /// A component is empty or `.`, or the path ends in `/`.
    #[error("{0:?} has an empty or `.` component")]
    NotPlain(String),
    /// It contains a NUL byte.
    #[error("{0:?} contains a NUL byte")]
    Nul(String),
}

impl RelPath {
    /// The folder itself.
    pub const fn root() -> Self {
        RelPath(Vec::new())
    }

    /// Parses bytes of a stored format: they must be plain already.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, ParseRelPathError> {
        let bytes = bytes.into();
        let shown = || bytes.to_str_lossy().into_owned();
        if bytes.is_empty() {
            return Ok(RelPath(bytes));
        }
        if bytes[0] == b'/' {
            return Err(ParseRelPathError::Absolute(shown()));
        }
        if bytes.contains(&0) {
            return Err(ParseRelPathError::Nul(shown()));
        }
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b".." => return Err(ParseRelPathError::Parent(shown())),
                b"" | b"." => return Err(ParseRelPathError::NotPlain(shown())),
                _ => {}
            }
        }
        Ok(RelPath(bytes))
    }

    /// Parses what a person wrote: `./a//b/` is `a/b`; `..` and absolute paths are still refused.
    pub fn parse_lenient(path: &Path) -> Result<Self, ParseRelPathError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.first() == Some(&b'/') {
            return Err(ParseRelPathError::Absolute(bytes.to_str_lossy().into_owned()));
        }
        let plain: Vec<&[u8]> = bytes
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty() && *component != b".")
            .collect();
        Self::parse(plain.join(&b"/"[..]))
    }

    /// Appends one component, which must be plain.
    pub fn push(&mut self, component: &[u8]) -> Result<(), ParseRelPathError> {
        let component = Self::parse(component)?;
        if !self.0.is_empty() && !component.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(&component.0);
        Ok(())
    }

    /// The bytes, separated by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For `std::fs`; relative to a folder the caller knows.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path below `root`. Does not look at the disk: symlinks on the way are followed by who opens it.
    pub fn join_to(&self, root: &Path) -> PathBuf {
        if self.0.is_empty() {
            root.to_owned()
        } else {
            root.join(self.as_path())
        }
    }

    /// The components, outermost first; none for the folder itself.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The folder above, or `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        if self.0.is_empty() {
            return None;
        }
        Some(RelPath(self.0[..self.0.rfind_byte(b'/').unwrap_or(0)].to_owned()))
    }

    /// The last component, or `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// True when `self` is `folder` or lies below it.
    pub fn starts_with(&self, folder: &RelPath) -> bool {
        folder.0.is_empty()
            || self
                .0
                .strip_prefix(folder.0.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// True for the folder itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str(".")
        } else {
            fmt::Display::fmt(BStr::new(&self.0), f)
        }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(BStr::new(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "/etc/passwd",
            "..",
            "a/../../b",
            "a/..",
            "a//b",
            "a/",
            "./a",
            ".",
            "a\0b",
        ] {
            assert!(RelPath::parse(path).is_err(), "{path:?} was taken");
        }
        for path in ["a", "a/b", "..a/b..", "...", "-rf", "caf\u{e9}"] {
            assert_eq!(RelPath::parse(path).unwrap().as_bytes(), path.as_bytes());
        }
        assert!(RelPath::parse(b"\xff\xfe".to_vec()).is_ok(), "names are bytes");
    }

    #[test]
    fn what_people_write_is_tidied() {
        assert_eq!(
            RelPath::parse_lenient(Path::new("./a//b/")).unwrap().as_bytes(),
            b"a/b"
        );
        assert!(RelPath::parse_lenient(Path::new(".")).unwrap().is_root());
        assert!(RelPath::parse_lenient(Path::new("a/../b")).is_err());
    }

    #[test]
    fn a_folder_sorts_directly_before_its_content() {
        let mut paths = ["a-b", "a", "a/z", "a.x"].map(|path| RelPath::parse(path).unwrap());
        paths.sort();
        assert_eq!(paths.map(|path| path.to_string()), ["a", "a/z", "a-b", "a.x"]);
    }

    #[test]
    fn parents_and_prefixes_go_by_component() {
        let path = RelPath::parse("a/bc/d").unwrap();
        assert_eq!(path.parent().unwrap().to_string(), "a/bc");
        assert_eq!(path.file_name(), Some(&b"d"[..]));
        assert!(path.starts_with(&RelPath::parse("a/bc").unwrap()));
        assert!(!path.starts_with(&RelPath::parse("a/b").unwrap()));
        assert!(path.starts_with(&RelPath::root()));
        assert_eq!(RelPath::parse("a").unwrap().parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
    }
}
