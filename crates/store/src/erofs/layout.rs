//! What is where in an image.

use super::{
    BLOCK_BYTES, DIRENT_BYTES, INODE_BYTES, INODES_AT, MAX_NAME_BYTES, MAX_TARGET_BYTES, SLOT_BYTES,
};
use crate::{NodeKind, Tree};

/// Where everything in the image of a tree is.
pub(crate) struct Layout<'a> {
    pub(super) tree: &'a Tree,
    /// The contents of the root of the image, then of each node.
    pub(super) extents: Vec<Extent>,
    /// What is in the folders, folder after folder.
    children: Vec<u32>,
    /// Where in `children` those of the root of the image begin, then those of each node, and where the last ones end.
    children_at: Vec<u32>,
    blocks: u32,
}

/// Where the content of an inode is: the body of a file, the entries of a folder, the target of a link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) block: u32,
    pub(super) bytes: u64,
}

/// Why a tree cannot be an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// An image has at most 2^32 blocks.
    #[error("the tree is larger than 2 TiB")]
    TooLarge,
    #[error("a name is longer than 255 bytes")]
    LongName,
    #[error("the target of a link is longer than 4095 bytes")]
    LongTarget,
}

/// An entry of a folder.
pub(super) struct Dirent<'a> {
    pub(super) name: std::borrow::Cow<'a, [u8]>,
    /// The inode it leads to: 0 for the root of the image, else one more than the node.
    pub(super) inode: u32,
}

impl<'a> Layout<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Result<Self, Unfit> {
        let nodes = tree.nodes();
        for node in nodes {
            if node.parent.is_some() && node.name.len() > MAX_NAME_BYTES {
                return Err(Unfit::LongName);
            }
            if matches!(&node.kind, NodeKind::Symlink { target } if target.len() > MAX_TARGET_BYTES) {
                return Err(Unfit::LongTarget);
            }
        }
        let (children, children_at) = group_by_folder(tree);
        let mut layout = Layout {
            tree,
            extents: vec![Extent::default(); nodes.len() + 1],
            children,
            children_at,
            blocks: 0,
        };
        layout.place()?;
        Ok(layout)
    }

    /// The length of the image.
    pub(crate) fn image_bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK_BYTES
    }

    /// Where the body of a file begins.
    pub(crate) fn body_at(&self, node: u32) -> u64 {
        u64::from(self.extents[node as usize + 1].block) * BLOCK_BYTES
    }

    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// What is in a folder, in the order of the names, itself and the one above included.
    pub(super) fn dirents(&self, folder: u32) -> Vec<Dirent<'a>> {
        let at = |index: u32| self.children_at[index as usize] as usize;
        let children = &self.children[at(folder)..at(folder + 1)];
        let mut dirents = Vec::with_capacity(children.len() + 2);
        let above = match folder {
            0 => 0,
            node => self.parent(node - 1),
        };
        for (name, inode) in [(&b"."[..], folder), (b"..", above)] {
            dirents.push(Dirent {
                name: name.into(),
                inode,
            });
        }
        for (node, number) in children.iter().zip(0u32..) {
            dirents.push(Dirent {
                name: match folder {
                    0 => number.to_string().into_bytes().into(),
                    _ => (&*self.tree.nodes()[*node as usize].name).into(),
                },
                inode: self.inode_of(*node),
            });
        }
        dirents.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        dirents
    }

    /// The inode of a node: of a hardlink, that of the file.
    fn inode_of(&self, node: u32) -> u32 {
        match self.tree.nodes()[node as usize].kind {
            NodeKind::Hardlink { to } => to + 1,
            _ => node + 1,
        }
    }

    /// The inode of the folder that a node is in.
    fn parent(&self, node: u32) -> u32 {
        self.tree.nodes()[node as usize]
            .parent
            .map_or(0, |parent| parent + 1)
    }

    fn place(&mut self) -> Result<(), Unfit> {
        let nodes = self.tree.nodes();
        let mut next = INODES_AT + self.extents.len() as u64 * INODE_BYTES;
        let mut put = |bytes: u64| {
            let block = u32::try_from(next.div_ceil(BLOCK_BYTES)).map_err(|_| Unfit::TooLarge)?;
            next = (u64::from(block) * BLOCK_BYTES)
                .checked_add(bytes)
                .ok_or(Unfit::TooLarge)?;
            Ok(Extent { block, bytes })
        };
        self.extents[0] = put(folder_bytes(&self.dirents(0)))?;
        for (node, index) in nodes.iter().zip(1u32..) {
            if node.kind == NodeKind::Directory {
                self.extents[index as usize] = put(folder_bytes(&self.dirents(index)))?;
            }
        }
        for (node, index) in nodes.iter().zip(1usize..) {
            if let NodeKind::Symlink { target } = &node.kind {
                self.extents[index] = put(target.len() as u64)?;
            }
        }
        for (node, index) in nodes.iter().zip(1usize..) {
            if node.size_bytes() > 0 {
                self.extents[index] = put(node.size_bytes())?;
            }
        }
        self.blocks = u32::try_from(next.div_ceil(BLOCK_BYTES)).map_err(|_| Unfit::TooLarge)?;
        Ok(())
    }
}

/// Splits the entries of a folder into its blocks: how many entries each has.
pub(super) fn split_into_blocks(dirents: &[Dirent<'_>]) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut used = u64::MAX;
    for dirent in dirents {
        let bytes = DIRENT_BYTES + dirent.name.len() as u64;
        match counts.last_mut() {
            Some(count) if used + bytes <= BLOCK_BYTES => {
                *count += 1;
                used += bytes;
            }
            _ => {
                counts.push(1);
                used = bytes;
            }
        }
    }
    counts
}

/// The length of a folder: all of its blocks but the last one are whole.
fn folder_bytes(dirents: &[Dirent<'_>]) -> u64 {
    let counts = split_into_blocks(dirents);
    let last = counts.last().copied().unwrap_or(0);
    let in_last: u64 = dirents[dirents.len() - last..]
        .iter()
        .map(|dirent| DIRENT_BYTES + dirent.name.len() as u64)
        .sum();
    counts.len().saturating_sub(1) as u64 * BLOCK_BYTES + in_last
}

/// The number by which an inode is found.
pub(super) fn nid(inode: u32) -> u64 {
    INODES_AT / SLOT_BYTES + u64::from(inode) * (INODE_BYTES / SLOT_BYTES)
}

/// The nodes by the folder they are in, in their order.
fn group_by_folder(tree: &Tree) -> (Vec<u32>, Vec<u32>) {
    let nodes = tree.nodes();
    let folder_of = |parent: Option<u32>| parent.map_or(0, |parent| parent as usize + 1);
    let mut at = vec![0u32; nodes.len() + 2];
    for node in nodes {
        at[folder_of(node.parent) + 1] += 1;
    }
    for index in 1..at.len() {
        at[index] += at[index - 1];
    }
    let mut next = at.clone();
    let mut children = vec![0; nodes.len()];
    for (node, index) in nodes.iter().zip(0u32..) {
        let slot = &mut next[folder_of(node.parent)];
        children[*slot as usize] = index;
        *slot += 1;
    }
    (children, at)
}
