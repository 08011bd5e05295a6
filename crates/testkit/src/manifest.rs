//! What a folder holds, down to the nanosecond, and how two folders differ.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fmt, fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

/// How many differences a report lists.
const MAX_REPORTED: usize = 40;

/// The listing of a folder: everything below it, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(BTreeMap<Vec<u8>, Node>);

/// One file, folder, link or other thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `file`, `folder`, `symlink`, or `other`.
    pub kind: &'static str,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`. Symlinks have none.
    pub mode: Option<u32>,
    /// Modification time in seconds and nanoseconds; `None` when left out of the comparison.
    pub mtime: Option<(i64, i64)>,
    /// Size of a file in bytes.
    pub size_bytes: u64,
    /// Target of a symlink.
    pub target: Option<Vec<u8>>,
    /// BLAKE3 of a file's content.
    pub content: Option<blake3::Hash>,
    /// For a file with several names: the first of them inside the folder.
    pub hardlink: Option<Vec<u8>>,
}

impl Manifest {
    /// Lists `folder`, which is itself the entry with the empty path.
    pub fn of(folder: impl AsRef<Path>) -> Self {
        Self::listed([(folder.as_ref().to_owned(), Vec::new())])
    }

    /// Lists only `parts` of `folder`, each with everything below it; parts that do not exist are left out.
    pub fn of_parts<P: AsRef<Path>>(folder: impl AsRef<Path>, parts: impl IntoIterator<Item = P>) -> Self {
        let parts = parts.into_iter().map(|part| {
            let part = part.as_ref();
            (folder.as_ref().join(part), part.as_os_str().as_bytes().to_vec())
        });
        Self::listed(parts.filter(|(path, _)| path.symlink_metadata().is_ok()))
    }

    /// Lists folders and files by the names given.
    fn listed(tops: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Self {
        let mut nodes = BTreeMap::new();
        let mut links: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
        for (path, name) in tops {
            visit(&path, name, &mut nodes, &mut links);
        }
        for mut names in links.into_values().filter(|names| names.len() > 1) {
            names.sort();
            for name in &names {
                nodes.get_mut(name).expect("every name was listed").hardlink = Some(names[0].clone());
            }
        }
        Manifest(nodes)
    }

    /// Leaves modification times out: Git does not keep them.
    pub fn without_mtimes(mut self) -> Self {
        for node in self.0.values_mut() {
            node.mtime = None;
        }
        self
    }

    /// Leaves out `path` and everything below it, for example `.git`.
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.0
            .retain(|name, _| name != path.as_bytes() && !name.starts_with(below.as_bytes()));
        self
    }

    /// Leaves the modification time of `path` out, for example of a folder in which a file was replaced.
    pub fn without_mtime_of(mut self, path: &str) -> Self {
        if let Some(node) = self.0.get_mut(path.as_bytes()) {
            node.mtime = None;
        }
        self
    }

    /// Leaves out the folder itself.
    pub fn without_root(mut self) -> Self {
        self.0.remove(&Vec::new());
        self
    }

    /// The entries by path.
    pub fn nodes(&self) -> &BTreeMap<Vec<u8>, Node> {
        &self.0
    }

    /// What differs, one line each, with the two sides named; empty when nothing does.
    pub fn differences(&self, other: &Manifest) -> Vec<String> {
        let mut differences = Vec::new();
        for (path, node) in &self.0 {
            match other.0.get(path) {
                None => differences.push(format!("- {} {node}", show(path))),
                Some(theirs) if theirs != node => {
                    differences.push(format!("~ {}\n    - {node}\n    + {theirs}", show(path)));
                }
                Some(_) => {}
            }
        }
        let added = other.0.iter().filter(|(path, _)| !self.0.contains_key(*path));
        differences.extend(added.map(|(path, node)| format!("+ {} {node}", show(path))));
        differences
    }

    /// Panics with the differences when `actual` is not the same as this, the expected one.
    #[track_caller]
    pub fn assert_same(&self, actual: &Manifest) {
        let differences = self.differences(actual);
        if differences.is_empty() {
            return;
        }
        let listed = differences
            .iter()
            .take(MAX_REPORTED)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        panic!(
            "{} of {} entries differ (- expected, + found):\n{listed}",
            differences.len(),
            self.0.len()
        );
    }
}

fn visit(
    path: &Path,
    name: Vec<u8>,
    nodes: &mut BTreeMap<Vec<u8>, Node>,
    links: &mut HashMap<(u64, u64), Vec<Vec<u8>>>,
) {
    let meta = listed(path, fs::symlink_metadata(path));
    let kind = meta.file_type();
    let mut node = Node {
        kind: "other",
        mode: Some(meta.mode() & 0o7777),
        mtime: Some((meta.mtime(), meta.mtime_nsec())),
        size_bytes: 0,
        target: None,
        content: None,
        hardlink: None,
    };
    if kind.is_symlink() {
        node.kind = "symlink";
        // Linux always says 0777, other systems apply the umask: no meaning either way.
        node.mode = None;
        node.target = Some(listed(path, fs::read_link(path)).into_os_string().into_vec());
    } else if kind.is_file() {
        node.kind = "file";
        node.size_bytes = meta.len();
        node.content = Some(blake3::hash(&listed(path, fs::read(path))));
        if meta.nlink() > 1 {
            links
                .entry((meta.dev(), meta.ino()))
                .or_default()
                .push(name.clone());
        }
    } else if kind.is_dir() {
        node.kind = "folder";
        for entry in listed(path, fs::read_dir(path)) {
            let entry = listed(path, entry);
            let mut below = name.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.file_name().as_bytes());
            visit(&entry.path(), below, nodes, links);
        }
    }
    nodes.insert(name, node);
}

fn listed<T>(path: &Path, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("cannot list {}: {error}", path.display()))
}

fn show(path: &[u8]) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        format!("{}", Path::new(OsStr::from_bytes(path)).display())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(mode) = self.mode {
            write!(f, " {mode:04o}")?;
        }
        if let Some((seconds, nanoseconds)) = self.mtime {
            write!(f, " {seconds}.{nanoseconds:09}")?;
        }
        if let Some(content) = &self.content {
            write!(f, " {} bytes {}", self.size_bytes, &content.to_hex()[..12])?;
        }
        if let Some(target) = &self.target {
            write!(f, " -> {}", show(target))?;
        }
        if let Some(first) = &self.hardlink {
            write!(f, " same file as {}", show(first))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_property_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::hard_link(at("one"), at("two")).unwrap();
        symlink("nowhere", at("link")).unwrap();
        let before = Manifest::of(folder.path());
        before.assert_same(&Manifest::of(folder.path()));
        assert_eq!(
            before.nodes()[b"two".as_slice()].hardlink.as_deref(),
            Some(b"one".as_slice())
        );

        fs::remove_file(at("two")).unwrap();
        fs::write(at("two"), "1").unwrap();
        fs::remove_file(at("link")).unwrap();
        symlink("elsewhere", at("link")).unwrap();
        let after = Manifest::of(folder.path()).without_mtimes();
        let differences = before.without_mtimes().differences(&after);
        let paths: Vec<_> = differences
            .iter()
            .map(|line| line.split_whitespace().nth(1).unwrap())
            .collect();
        assert_eq!(paths, ["link", "one", "two"]);
    }

    #[test]
    fn parts_are_listed_by_their_paths_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/b/file", "a/other"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let parts = Manifest::of_parts(folder.path(), ["a/b", "gone"]);
        let names: Vec<_> = parts.nodes().keys().map(|name| show(name)).collect();
        assert_eq!(names, ["a/b", "a/b/file"]);
    }
}
