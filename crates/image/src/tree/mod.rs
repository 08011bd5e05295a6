//! The file system that layers make together, and what became of everything they hold.
//!
//! Follows what container runtimes do when they unpack: within a layer markers go first, wherever they stand; then entries in
//! the order of the tar. A folder over a folder merges, anything else replaces. Parents that are symbolic links are followed,
//! inside of the image; parents that are missing are made. A hard link keeps what it names alive.

mod apply;
mod both;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, num::NonZero};

use crate::{EntryKind, Layer, Metadata, layer::MAX_PATH_BYTES};

/// An entry of a stack of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryRef {
    /// Number of the layer, from 0, the lowest.
    pub layer: u32,
    /// Number of the entry in it.
    pub entry: u32,
}

/// A regular file that cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiddenFile {
    /// The file.
    pub file: EntryRef,
    /// The layer that hid its last name.
    pub hidden_by: u32,
    /// In which way.
    pub how: HiddenHow,
}

/// How a file was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HiddenHow {
    /// Something else has its path.
    Overwritten,
    /// A whiteout names it, or a folder above it.
    Whiteout,
    /// A folder above it is opaque.
    Opaque,
    /// A folder above it is none any more.
    Replaced,
    /// Its own layer has the path again.
    Repeated,
}

/// Why layers make no file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Symbolic links that lead in a circle, or are as many.
    #[error("{path:?} is below more than {MAX_HOPS} symbolic links, or below some that lead in a circle")]
    Links {
        /// The path whose parent was looked for.
        path: String,
    },
    /// A path that symbolic links above it make longer than Linux opens.
    #[error("symbolic links lead {path:?} to a path that is longer than {MAX_PATH_BYTES} bytes")]
    LongPath {
        /// The path as its layer has it.
        path: String,
    },
    /// More than we are ready to keep in memory, or to follow.
    #[error("its layers make more than {MAX_NODES} files and folders")]
    TooLarge,
}

/// As many links as Linux follows.
const MAX_HOPS: usize = 40;
/// Files and folders, some 80 bytes each. The largest images in use have a million.
pub(crate) const MAX_NODES: usize = 16_000_000;

/// A file system made of layers.
#[derive(Debug)]
pub struct Tree<'a> {
    layers: Vec<Option<&'a Layer>>,
    nodes: Vec<Node<'a>>,
    children: HashMap<(NodeId, &'a [u8]), NodeId>,
    inodes: Vec<Inode>,
    hidden: Vec<HiddenFile>,
    file_bytes: u64,
    visible_bytes: u64,
    path_bytes: u64,
    steps_left: u64,
}

/// A path of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

#[derive(Debug)]
struct Node<'a> {
    name: &'a [u8],
    parent: NodeId,
    first_child: Link,
    next: Link,
    previous: Link,
    /// Of all the names that lead to it, with slashes between them.
    path_length: u16,
    kind: NodeKind,
}

/// Another node, which is never the root, or none.
#[derive(Debug, Clone, Copy, Default)]
struct Link(Option<NonZero<u32>>);

impl Link {
    fn to(NodeId(number): NodeId) -> Self {
        Link(NonZero::new(number))
    }

    fn node(self) -> Option<NodeId> {
        self.0.map(|number| NodeId(number.get()))
    }
}

#[derive(Debug, Clone, Copy)]
enum NodeKind {
    /// Nobody may have said that it is there.
    Folder(Option<EntryRef>),
    Symlink(InodeId),
    Leaf(InodeId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InodeId(u32);

/// What hard links share.
#[derive(Debug)]
struct Inode {
    entry: EntryRef,
    links: u32,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundNode<'a> {
    /// The last part of its path; empty for the root.
    pub name: &'a [u8],
    /// What it is. A hard link is the file it names; one that names nothing stays what it is.
    pub kind: EntryKind<'a>,
    /// What its entry says; a folder nobody mentions has none.
    pub meta: Option<Metadata>,
    /// The entry that made it.
    pub origin: Option<EntryRef>,
    /// How many paths lead to it.
    pub links: u32,
}

impl<'a> Tree<'a> {
    /// The root folder.
    pub const ROOT: NodeId = NodeId(0);

    /// Stacks layers, lowest first. One that could not be read has nothing.
    pub fn merge(layers: impl IntoIterator<Item = Option<&'a Layer>>) -> Result<Self, TreeError> {
        let layers: Vec<_> = layers.into_iter().collect();
        apply::merge(layers)
    }

    /// Bytes of all regular files of all layers.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of the regular files that can be reached.
    pub fn visible_bytes(&self) -> u64 {
        self.visible_bytes
    }

    /// The regular files that cannot; empty ones are left out.
    pub fn hidden_files(&self) -> &[HiddenFile] {
        &self.hidden
    }

    /// Length of all paths together: what it takes to keep each of them by itself.
    pub(crate) fn path_bytes(&self) -> u64 {
        self.path_bytes
    }

    /// Whether two paths lead to one file anywhere.
    pub(crate) fn has_hard_links(&self) -> bool {
        self.inodes.iter().any(|inode| inode.links > 1)
    }

    fn name(&self, id: NodeId) -> &'a [u8] {
        self.nodes[id.0 as usize].name
    }

    /// What is at a node.
    pub fn node(&self, id: NodeId) -> FoundNode<'a> {
        let node = &self.nodes[id.0 as usize];
        let (origin, links) = match node.kind {
            NodeKind::Folder(entry) => (entry, 1),
            NodeKind::Symlink(inode) | NodeKind::Leaf(inode) => {
                let inode = &self.inodes[inode.0 as usize];
                (Some(inode.entry), inode.links)
            }
        };
        let entry = origin.and_then(|at| self.entry(at));
        FoundNode {
            name: node.name,
            kind: entry.map_or(EntryKind::Folder, |entry| entry.kind),
            meta: entry.map(|entry| entry.meta),
            origin,
            links,
        }
    }

    /// The node at a clean path; links on the way are not followed.
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        let mut parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        parts.try_fold(Self::ROOT, |folder, part| self.child(folder, part))
    }

    /// What a folder has of this name.
    pub(crate) fn child(&self, folder: NodeId, name: &[u8]) -> Option<NodeId> {
        let children: &HashMap<(NodeId, &[u8]), NodeId> = &self.children;
        children.get(&(folder, name)).copied()
    }

    /// What is in a folder, sorted by name.
    pub fn children(&self, folder: NodeId) -> Vec<NodeId> {
        let mut children = Vec::new();
        let mut next = self.nodes[folder.0 as usize].first_child.node();
        while let Some(child) = next {
            children.push(child);
            next = self.nodes[child.0 as usize].next.node();
        }
        children.sort_unstable_by_key(|&child| self.name(child));
        children
    }

    /// Visits everything but the root: folders before what is in them, names in order.
    pub fn walk(&self, mut visit: impl FnMut(&[u8], NodeId)) {
        let mut path = Vec::new();
        let reversed = |folder| self.children(folder).into_iter().rev();
        let mut stack: Vec<_> = reversed(Self::ROOT).map(|child| (child, 0)).collect();
        while let Some((id, parent_length)) = stack.pop() {
            path.truncate(parent_length);
            if parent_length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(self.name(id));
            visit(&path, id);
            let length = path.len();
            stack.extend(reversed(id).map(|child| (child, length)));
        }
    }

    fn entry(&self, at: EntryRef) -> Option<crate::Entry<'a>> {
        let layer = self.layers[at.layer as usize]?;
        Some(layer.entry(at.entry as usize))
    }
}
