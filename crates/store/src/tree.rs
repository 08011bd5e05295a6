//! The listing of a saved tree: what there is, without where the bytes are.
//!
//! A [`Tree`] is valid by construction. A node is named by one plain component below an earlier folder, or is a root; so
//! no listing, however hostile, can name a path outside the root, below a link, or twice.

use headstart_digest::Digest;
use headstart_fs::RelPath;

use crate::FormatError;

/// The permission bits kept of a file. Set-user-ID and set-group-ID are dropped: a cache must not plant them.
pub(crate) const FILE_MODE_MASK: u32 = 0o777;
/// The permission bits kept of a folder: set-group-ID (new files inherit the group) and the sticky bit as well.
pub(crate) const DIRECTORY_MODE_MASK: u32 = 0o3777;

/// The most files, folders and links of a tree: in memory each takes several times what it takes in a snapshot.
pub(crate) const MAX_NODES: usize = 1 << 24;

/// The listing of a tree, in path order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Index of the folder it is in; `None` for a root.
    pub parent: Option<u32>,
    /// One component; for a root its whole path, which is empty when the root is the folder itself.
    pub name: Box<[u8]>,
    /// Permission bits: 0o777 of a file, 0o3777 of a folder, none of a link.
    pub mode: u16,
    /// When it was last modified; zero for a hardlink, which shares its target's.
    pub mtime: Mtime,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A regular file.
    File {
        /// Its length.
        size_bytes: u64,
        /// The BLAKE3 of its body.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as it is written; never followed.
        target: Box<[u8]>,
    },
    /// Another name of an earlier regular file.
    Hardlink {
        /// Index of that file.
        to: u32,
    },
}

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Tree {
    /// Takes nodes in path order: a folder directly before what is in it, siblings by the bytes of their names.
    pub fn new(nodes: Vec<Node>) -> Result<Self, FormatError> {
        check_nodes(&nodes)?;
        Ok(Tree { nodes })
    }

    /// The nodes, in path order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Indices of the roots with their paths, in order. No root lies below another.
    pub fn roots(&self) -> impl Iterator<Item = (u32, RelPath)> {
        self.nodes
            .iter()
            .zip(0..)
            .filter(|(node, _)| node.parent.is_none())
            .map(|(node, index)| (index, root_path(node).expect("checked when the tree was made")))
    }

    /// The path of a node, below the folder the roots are relative to.
    pub fn path(&self, index: u32) -> RelPath {
        path_in(&self.nodes, index)
    }

    /// The nodes, to be changed and put together again.
    pub(crate) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Regular files, hardlinks included.
    pub fn files(&self) -> u64 {
        let is_file = |node: &&Node| matches!(node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. });
        self.nodes.iter().filter(is_file).count() as u64
    }

    /// Bytes of all file bodies: the length of the stream.
    pub fn content_bytes(&self) -> u64 {
        self.nodes.iter().map(Node::size_bytes).sum()
    }
}

impl Node {
    /// The length of its body: zero unless it is a regular file.
    pub fn size_bytes(&self) -> u64 {
        match self.kind {
            NodeKind::File { size_bytes, .. } => size_bytes,
            _ => 0,
        }
    }
}

/// The path of a node among others.
pub(crate) fn path_in(nodes: &[Node], index: u32) -> RelPath {
    let mut chain = Vec::new();
    let mut next = Some(index);
    while let Some(index) = next {
        let node = &nodes[index as usize];
        chain.push(&*node.name);
        next = node.parent;
    }
    // The root that is the folder itself has an empty name.
    chain.retain(|name| !name.is_empty());
    chain.reverse();
    RelPath::parse(chain.join(&b"/"[..])).expect("made of plain names")
}

fn root_path(node: &Node) -> Result<RelPath, FormatError> {
    RelPath::parse(node.name.to_vec()).map_err(|error| FormatError::invalid(error.to_string()))
}

fn check_nodes(nodes: &[Node]) -> Result<(), FormatError> {
    if nodes.len() > MAX_NODES {
        return Err(FormatError::invalid(format!(
            "it lists more than {MAX_NODES} files"
        )));
    }
    // The folders the next node may be in, outermost first, each with its last child so far.
    let mut open: Vec<(u32, Option<&[u8]>)> = Vec::new();
    let mut last_root: Option<RelPath> = None;
    let mut content_bytes = 0u64;
    for (node, index) in nodes.iter().zip(0u32..) {
        match node.parent {
            None => {
                open.clear();
                let path = root_path(node)?;
                if path.is_root() && node.kind != NodeKind::Directory {
                    return Err(invalid_node(node, "is the folder itself and no folder"));
                }
                if last_root
                    .as_ref()
                    .is_some_and(|last| *last >= path || path.starts_with(last))
                {
                    return Err(FormatError::invalid(format!(
                        "the root {path} is listed twice, out of order, or below another"
                    )));
                }
                last_root = Some(path);
            }
            Some(parent) => {
                while open.last().is_some_and(|(folder, _)| *folder != parent) {
                    open.pop();
                }
                let Some((_, last)) = open.last_mut() else {
                    return Err(invalid_node(node, "is not below an open folder"));
                };
                if !is_plain_component(&node.name) {
                    return Err(invalid_node(node, "is not a plain name"));
                }
                if last.is_some_and(|last| *last >= *node.name) {
                    return Err(invalid_node(node, "is listed twice or out of order"));
                }
                *last = Some(&node.name);
            }
        }
        check_kind(nodes, index)?;
        if node.kind == NodeKind::Directory {
            open.push((index, None));
        }
        content_bytes = content_bytes
            .checked_add(node.size_bytes())
            .ok_or_else(|| FormatError::invalid("its file sizes overflow"))?;
    }
    Ok(())
}

fn check_kind(nodes: &[Node], index: u32) -> Result<(), FormatError> {
    let node = &nodes[index as usize];
    if node.mtime.nanoseconds >= 1_000_000_000 {
        return Err(invalid_node(node, "has a second of too many nanoseconds"));
    }
    let mode_mask = match &node.kind {
        NodeKind::Directory => DIRECTORY_MODE_MASK,
        NodeKind::File { .. } => FILE_MODE_MASK,
        NodeKind::Symlink { target } => {
            if target.is_empty() || target.len() > usize::from(u16::MAX) || target.contains(&0) {
                return Err(invalid_node(node, "links to what is no path"));
            }
            0
        }
        NodeKind::Hardlink { to } => {
            let target = nodes[..index as usize].get(*to as usize);
            if !target.is_some_and(|target| matches!(target.kind, NodeKind::File { .. })) {
                return Err(invalid_node(node, "is a hardlink to what is no earlier file"));
            }
            if node.mtime != Mtime::default() {
                return Err(invalid_node(node, "is a hardlink with a time of its own"));
            }
            0
        }
    };
    if u32::from(node.mode) & !mode_mask != 0 {
        return Err(invalid_node(node, "has mode bits that are not kept"));
    }
    Ok(())
}

fn is_plain_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= usize::from(u16::MAX)
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

fn invalid_node(node: &Node, problem: &str) -> FormatError {
    FormatError::invalid(format!("{:?} {problem}", bstr::BStr::new(&node.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(parent: Option<u32>, name: &str, kind: NodeKind) -> Node {
        Node {
            parent,
            name: name.as_bytes().into(),
            mode: 0,
            mtime: Mtime::default(),
            kind,
        }
    }

    fn link() -> NodeKind {
        NodeKind::Symlink {
            target: b"/etc"[..].into(),
        }
    }

    fn file() -> NodeKind {
        NodeKind::File {
            size_bytes: 0,
            digest: Digest::of(b""),
        }
    }

    #[test]
    fn a_good_tree_tells_its_paths() {
        let tree = Tree::new(vec![
            node(None, "a/b", NodeKind::Directory),
            node(Some(0), "c", NodeKind::Directory),
            node(Some(1), "d", file()),
            node(Some(0), "c.txt", NodeKind::Hardlink { to: 2 }),
            node(None, "e", file()),
        ])
        .unwrap();
        assert_eq!(tree.path(2).to_string(), "a/b/c/d");
        assert_eq!(tree.roots().map(|(index, _)| index).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(tree.files(), 3);
    }

    #[test]
    fn hostile_trees_are_refused() {
        let dir = || NodeKind::Directory;
        let cases: Vec<(&str, Vec<Node>)> = vec![
            ("absolute root", vec![node(None, "/etc", dir())]),
            ("root that leaves", vec![node(None, "../x", dir())]),
            (
                "child that leaves",
                vec![node(None, "a", dir()), node(Some(0), "..", dir())],
            ),
            (
                "child with a slash",
                vec![node(None, "a", dir()), node(Some(0), "b/c", dir())],
            ),
            (
                "empty name",
                vec![node(None, "a", dir()), node(Some(0), "", dir())],
            ),
            (
                "child of a link",
                vec![node(None, "a", link()), node(Some(0), "passwd", file())],
            ),
            (
                "root below a link",
                vec![node(None, "a", link()), node(None, "a/passwd", file())],
            ),
            ("child of itself", vec![node(Some(0), "a", dir())]),
            (
                "child of a later node",
                vec![node(None, "a", dir()), node(Some(5), "b", file())],
            ),
            (
                "duplicate",
                vec![
                    node(None, "a", dir()),
                    node(Some(0), "b", file()),
                    node(Some(0), "b", link()),
                ],
            ),
            (
                "child of a closed folder",
                vec![
                    node(None, "a", dir()),
                    node(Some(0), "b", dir()),
                    node(Some(0), "c", file()),
                    node(Some(1), "d", file()),
                ],
            ),
            (
                "two roots of one name",
                vec![node(None, "a", link()), node(None, "a", dir())],
            ),
            (
                "hardlink forward",
                vec![node(None, "a", NodeKind::Hardlink { to: 0 })],
            ),
            (
                "hardlink to a link",
                vec![
                    node(None, "a", link()),
                    node(None, "b", NodeKind::Hardlink { to: 0 }),
                ],
            ),
            (
                "set-user-ID",
                vec![Node {
                    mode: 0o4755,
                    ..node(None, "a", file())
                }],
            ),
            (
                "overflow",
                vec![
                    node(
                        None,
                        "a",
                        NodeKind::File {
                            size_bytes: u64::MAX,
                            digest: Digest::of(b""),
                        },
                    ),
                    node(
                        None,
                        "b",
                        NodeKind::File {
                            size_bytes: 1,
                            digest: Digest::of(b""),
                        },
                    ),
                ],
            ),
        ];
        for (name, nodes) in cases {
            assert!(Tree::new(nodes).is_err(), "{name} was taken");
        }
    }
}
