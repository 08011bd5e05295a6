//! Putting one layer on top of the others.

use std::collections::{HashMap, HashSet};

use super::{
    EntryRef, HiddenFile, HiddenHow, Inode, InodeId, Link, MAX_HOPS, MAX_NODES, Node, NodeId, NodeKind, Tree,
    TreeError,
};
use crate::{
    Entry, EntryKind, Layer,
    layer::{MAX_PATH_BYTES, split_last},
};

/// Names looked up, over all. Only layers made to keep us busy, with links upon links, come near.
const MAX_STEPS: u64 = 1_000_000_000;

pub(super) fn merge(layers: Vec<Option<&Layer>>) -> Result<Tree<'_>, TreeError> {
    let root = Node {
        name: b"",
        parent: Tree::ROOT,
        first_child: Link::default(),
        next: Link::default(),
        previous: Link::default(),
        kind: NodeKind::Folder(None),
        path_length: 0,
    };
    let mut tree = Tree {
        nodes: vec![root],
        children: HashMap::new(),
        inodes: Vec::new(),
        hidden: Vec::new(),
        file_bytes: 0,
        visible_bytes: 0,
        path_bytes: 0,
        steps_left: MAX_STEPS,
        layers,
    };
    for number in 0..tree.layers.len() {
        if let Some(layer) = tree.layers[number] {
            tree.apply(number as u32, layer)?;
        }
    }
    Ok(tree)
}

/// What takes something away.
#[derive(Clone, Copy)]
struct Cause {
    layer: u32,
    how: HiddenHow,
}

/// What is done about folders that are missing on the way.
enum Parents<'t, 'a> {
    Make(u32),
    /// They are only looked for, by a marker of this layer: where the layer itself has a folder, no link is followed.
    Find(&'t mut Declared<'a>),
    Follow,
}

/// The folders a layer has entries for, listed when first asked for.
struct Declared<'a> {
    layer: &'a Layer,
    folders: Option<HashSet<&'a [u8]>>,
}

impl<'a> Declared<'a> {
    fn has(&mut self, path: &[u8]) -> bool {
        let folders = self.folders.get_or_insert_with(|| {
            let folders = self
                .layer
                .entries()
                .filter(|entry| entry.kind == EntryKind::Folder);
            folders.map(|entry| entry.path).collect()
        });
        folders.contains(path)
    }
}

impl<'a> Tree<'a> {
    fn apply(&mut self, number: u32, layer: &'a Layer) -> Result<(), TreeError> {
        let mut declared = Declared { layer, folders: None };
        for entry in layer.entries() {
            match entry.kind {
                EntryKind::Whiteout => {
                    let (folder, name) = split_last(entry.path);
                    let folder = self.folder(folder, Parents::Find(&mut declared))?;
                    if let Some(node) = folder.and_then(|folder| self.child(folder, name)) {
                        self.remove(
                            node,
                            Cause {
                                layer: number,
                                how: HiddenHow::Whiteout,
                            },
                        );
                    }
                }
                EntryKind::Opaque => {
                    if let Some(folder) = self.folder(entry.path, Parents::Find(&mut declared))? {
                        let cause = Cause {
                            layer: number,
                            how: HiddenHow::Opaque,
                        };
                        while let Some(child) = self.nodes[folder.0 as usize].first_child.node() {
                            self.remove(child, cause);
                        }
                    }
                }
                _ => {}
            }
        }
        for (at, entry) in layer.entries().enumerate() {
            let at = EntryRef {
                layer: number,
                entry: at as u32,
            };
            self.add(at, entry)?;
        }
        Ok(())
    }

    fn add(&mut self, at: EntryRef, entry: Entry<'a>) -> Result<(), TreeError> {
        let kind = match entry.kind {
            EntryKind::Whiteout | EntryKind::Opaque => return Ok(()),
            EntryKind::Folder => NodeKind::Folder(Some(at)),
            EntryKind::Symlink { .. } => NodeKind::Symlink(self.new_inode(at)),
            EntryKind::HardLink { target } => match self.linked(target)? {
                Some(kind) => kind,
                None => NodeKind::Leaf(self.new_inode(at)),
            },
            EntryKind::File { size_bytes, .. } => {
                self.file_bytes = self.file_bytes.saturating_add(size_bytes);
                self.visible_bytes = self.visible_bytes.saturating_add(size_bytes);
                NodeKind::Leaf(self.new_inode(at))
            }
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                NodeKind::Leaf(self.new_inode(at))
            }
        };
        let (folder, name) = split_last(entry.path);
        if name.is_empty() {
            // The root is a folder, whatever a layer says.
            match kind {
                NodeKind::Folder(_) => self.nodes[0].kind = kind,
                NodeKind::Leaf(inode) | NodeKind::Symlink(inode) => self.unlink(
                    inode,
                    Cause {
                        layer: at.layer,
                        how: HiddenHow::Replaced,
                    },
                ),
            }
            return Ok(());
        }
        let folder = self
            .folder(folder, Parents::Make(at.layer))?
            .expect("folders that are missing are made");
        self.place(entry.path, folder, name, kind, at.layer)
    }

    /// What a hard link to `target` is; counts it as one more.
    fn linked(&mut self, target: &'a [u8]) -> Result<Option<NodeKind>, TreeError> {
        let (folder, name) = split_last(target);
        let folder = self.folder(folder, Parents::Follow)?;
        let node = folder.and_then(|folder| self.child(folder, name));
        let Some(kind) = node.map(|node| self.nodes[node.0 as usize].kind) else {
            return Ok(None);
        };
        match kind {
            NodeKind::Folder(_) => Ok(None),
            NodeKind::Leaf(inode) | NodeKind::Symlink(inode) => {
                self.inodes[inode.0 as usize].links += 1;
                Ok(Some(kind))
            }
        }
    }

    /// Puts `kind` at a name of `folder`, over what is there. A layer has it at or below `path`.
    fn place(
        &mut self,
        path: &[u8],
        folder: NodeId,
        name: &'a [u8],
        kind: NodeKind,
        layer: u32,
    ) -> Result<(), TreeError> {
        if let Some(old) = self.child(folder, name) {
            let node = &mut self.nodes[old.0 as usize];
            if let (NodeKind::Folder(_), NodeKind::Folder(_)) = (node.kind, kind) {
                node.kind = kind;
                return Ok(());
            }
            let how = match node.kind {
                NodeKind::Folder(_) => HiddenHow::Replaced,
                _ => HiddenHow::Overwritten,
            };
            self.remove(old, Cause { layer, how });
        }
        let above = usize::from(self.nodes[folder.0 as usize].path_length);
        let path_length = above + usize::from(above > 0) + name.len();
        match u16::try_from(path_length) {
            Ok(length) if path_length <= MAX_PATH_BYTES => self.new_node(folder, name, kind, length),
            _ => Err(TreeError::LongPath {
                path: String::from_utf8_lossy(path).into_owned(),
            }),
        }
    }

    /// The folder that `path` leads to, through symbolic links.
    fn folder(&mut self, path: &'a [u8], mut parents: Parents<'_, 'a>) -> Result<Option<NodeId>, TreeError> {
        let mut at = Self::ROOT;
        // What is still to go, the next part last.
        let mut parts: Vec<&'a [u8]> = path.split(|&byte| byte == b'/').rev().collect();
        let mut hops = 0;
        while let Some(part) = parts.pop() {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(TreeError::TooLarge)?;
            match part {
                b"" | b"." => continue,
                b".." => {
                    at = self.nodes[at.0 as usize].parent;
                    continue;
                }
                _ => {}
            }
            let child = self.child(at, part);
            let kind = child.map(|child| self.nodes[child.0 as usize].kind);
            at = match (child, kind, &mut parents) {
                (Some(child), Some(NodeKind::Folder(_)), _) => child,
                (_, Some(NodeKind::Symlink(inode)), parents) => {
                    let target = self.target(inode);
                    if let Parents::Find(declared) = parents
                        && hops == 0
                        && declared.has(&path[..path.len() - tail_length(&parts)])
                    {
                        return Ok(None);
                    }
                    hops += 1;
                    if hops > MAX_HOPS {
                        return Err(TreeError::Links {
                            path: String::from_utf8_lossy(path).into_owned(),
                        });
                    }
                    parts.extend(target.split(|&byte| byte == b'/').rev());
                    match target.first() {
                        Some(b'/') => Self::ROOT,
                        _ => at,
                    }
                }
                (_, _, &mut Parents::Make(layer)) => {
                    self.place(path, at, part, NodeKind::Folder(None), layer)?;
                    self.child(at, part).expect("it was placed")
                }
                (_, _, Parents::Find(_) | Parents::Follow) => return Ok(None),
            };
        }
        Ok(Some(at))
    }

    /// Where a symbolic link leads.
    fn target(&self, inode: InodeId) -> &'a [u8] {
        let entry = self.entry(self.inodes[inode.0 as usize].entry);
        match entry.map(|entry| entry.kind) {
            Some(EntryKind::Symlink { target }) => target,
            _ => unreachable!("its entry is a symbolic link"),
        }
    }

    fn new_inode(&mut self, entry: EntryRef) -> InodeId {
        // Fewer than entries, which a layer has a limited number of, and layers fit into a manifest: far below 2^32.
        self.inodes.push(Inode { entry, links: 1 });
        InodeId((self.inodes.len() - 1) as u32)
    }

    fn new_node(
        &mut self,
        parent: NodeId,
        name: &'a [u8],
        kind: NodeKind,
        path_length: u16,
    ) -> Result<(), TreeError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(TreeError::TooLarge);
        }
        let id = NodeId(self.nodes.len() as u32);
        let first_child = &mut self.nodes[parent.0 as usize].first_child;
        let next = std::mem::replace(first_child, Link::to(id));
        if let Some(next) = next.node() {
            self.nodes[next.0 as usize].previous = Link::to(id);
        }
        self.nodes.push(Node {
            name,
            parent,
            first_child: Link::default(),
            next,
            previous: Link::default(),
            kind,
            path_length,
        });
        self.path_bytes += u64::from(path_length);
        self.children.insert((parent, name), id);
        Ok(())
    }

    /// Takes a node away, and all below it.
    fn remove(&mut self, top: NodeId, cause: Cause) {
        let Node {
            parent,
            previous,
            next,
            ..
        } = self.nodes[top.0 as usize];
        match previous.node() {
            Some(previous) => self.nodes[previous.0 as usize].next = next,
            None => self.nodes[parent.0 as usize].first_child = next,
        }
        if let Some(next) = next.node() {
            self.nodes[next.0 as usize].previous = previous;
        }
        let mut stack = vec![top];
        while let Some(id) = stack.pop() {
            let node = &self.nodes[id.0 as usize];
            self.children.remove(&(node.parent, node.name));
            self.path_bytes -= u64::from(node.path_length);
            let mut child = node.first_child.node();
            let kind = node.kind;
            while let Some(id) = child {
                stack.push(id);
                child = self.nodes[id.0 as usize].next.node();
            }
            match kind {
                NodeKind::Folder(_) => {}
                NodeKind::Leaf(inode) | NodeKind::Symlink(inode) => self.unlink(inode, cause),
            }
        }
    }

    /// One path less leads to an inode.
    fn unlink(&mut self, inode: InodeId, Cause { layer, how }: Cause) {
        let inode = &mut self.inodes[inode.0 as usize];
        inode.links -= 1;
        let (links, file) = (inode.links, inode.entry);
        if links > 0 {
            return;
        }
        let Some(EntryKind::File { size_bytes, .. }) = self.entry(file).map(|entry| entry.kind) else {
            return;
        };
        self.visible_bytes = self.visible_bytes.saturating_sub(size_bytes);
        if size_bytes > 0 {
            self.hidden.push(HiddenFile {
                file,
                hidden_by: layer,
                how: if file.layer == layer {
                    HiddenHow::Repeated
                } else {
                    how
                },
            });
        }
    }
}

/// Bytes of the parts that are still to go, with their slashes.
fn tail_length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len() + 1).sum()
}
