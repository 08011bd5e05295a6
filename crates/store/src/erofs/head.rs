//! The head of an image, byte by byte. Numbers are little-endian.
//!
//! After `fs/erofs/erofs_fs.h` of Linux.

use std::io::{self, Write};

use rustix::fs::FileType;

use super::{
    BLOCK_BITS, BLOCK_BYTES, DIRENT_BYTES, INODE_BYTES, INODES_AT,
    layout::{Dirent, Extent, Layout, nid, split_into_blocks},
};
use crate::{Mtime, NodeKind};

const MAGIC: u32 = 0xe0f5_e1e2;
const SUPERBLOCK_AT: usize = 1024;
/// Says that inodes have times of modification, not of change.
const FEATURE_MTIME: u32 = 2;
/// The longer kind of inode, with content in blocks one after the other, uncompressed.
const EXTENDED_PLAIN: u16 = 1;

/// Whom the files of an image belong to, by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

struct Inode {
    mode: u32,
    mtime: Mtime,
    names: u32,
    content: Extent,
}

impl Layout<'_> {
    /// Writes everything that comes before the bodies. Files and folders belong to `owner`.
    pub(crate) fn write_head(&self, owner: Owner, mut out: impl Write) -> io::Result<()> {
        let mut start = vec![0; INODES_AT as usize];
        start[SUPERBLOCK_AT..SUPERBLOCK_AT + 128].copy_from_slice(&self.superblock());
        out.write_all(&start)?;
        for inode in self.inodes() {
            out.write_all(&encode_inode(&inode, owner))?;
        }
        let inodes_end = INODES_AT + self.extents.len() as u64 * INODE_BYTES;
        pad(&mut out, inodes_end)?;
        self.for_each_folder(|inode| {
            out.write_all(&encode_folder(&self.dirents(inode), |inode| {
                self.entry_kind(inode)
            }))?;
            pad(&mut out, self.extents[inode as usize].bytes)
        })?;
        for node in self.tree.nodes() {
            if let NodeKind::Symlink { target } = &node.kind {
                out.write_all(target)?;
                pad(&mut out, target.len() as u64)?;
            }
        }
        out.flush()
    }

    fn superblock(&self) -> [u8; 128] {
        let mut block = [0; 128];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &FEATURE_MTIME.to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &(nid(0) as u16).to_le_bytes());
        put(16, &(self.extents.len() as u64).to_le_bytes());
        put(36, &self.blocks().to_le_bytes());
        block
    }

    fn for_each_folder(&self, mut visit: impl FnMut(u32) -> io::Result<()>) -> io::Result<()> {
        visit(0)?;
        for (node, inode) in self.tree.nodes().iter().zip(1u32..) {
            if node.kind == NodeKind::Directory {
                visit(inode)?;
            }
        }
        Ok(())
    }

    /// All inodes in order. A hardlink leaves the place of one unused.
    fn inodes(&self) -> impl Iterator<Item = Inode> {
        let nodes = self.tree.nodes();
        let mut names = vec![1u32; self.extents.len()];
        names[0] += 1;
        for (node, inode) in nodes.iter().zip(1usize..) {
            match node.kind {
                NodeKind::Hardlink { to } => names[to as usize + 1] += 1,
                // Its own `.`, and `..` in it.
                NodeKind::Directory => {
                    names[inode] += 1;
                    names[node.parent.map_or(0, |parent| parent as usize + 1)] += 1;
                }
                _ => {}
            }
        }
        let root = Inode {
            mode: FileType::Directory.as_raw_mode() | 0o555,
            mtime: Mtime::default(),
            names: names[0],
            content: self.extents[0],
        };
        let rest = nodes.iter().zip(1usize..).map(move |(node, index)| Inode {
            mode: match node.kind {
                NodeKind::Directory => FileType::Directory.as_raw_mode() | u32::from(node.mode),
                NodeKind::Symlink { .. } => FileType::Symlink.as_raw_mode() | 0o777,
                NodeKind::File { .. } | NodeKind::Hardlink { .. } => {
                    FileType::RegularFile.as_raw_mode() | u32::from(node.mode)
                }
            },
            mtime: node.mtime,
            names: names[index],
            content: self.extents[index],
        });
        std::iter::once(root).chain(rest)
    }

    /// The kind of an inode, as entries of folders note it.
    fn entry_kind(&self, inode: u32) -> u8 {
        let node = inode.checked_sub(1).map(|node| &self.tree.nodes()[node as usize]);
        match node.map(|node| &node.kind) {
            None | Some(NodeKind::Directory) => 2,
            Some(NodeKind::Symlink { .. }) => 7,
            Some(NodeKind::File { .. } | NodeKind::Hardlink { .. }) => 1,
        }
    }
}

fn encode_inode(inode: &Inode, owner: Owner) -> [u8; INODE_BYTES as usize] {
    let mut bytes = [0; INODE_BYTES as usize];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &EXTENDED_PLAIN.to_le_bytes());
    put(4, &(inode.mode as u16).to_le_bytes());
    put(8, &inode.content.bytes.to_le_bytes());
    put(16, &inode.content.block.to_le_bytes());
    put(24, &owner.user.to_le_bytes());
    put(28, &owner.group.to_le_bytes());
    put(32, &inode.mtime.seconds.to_le_bytes());
    put(40, &inode.mtime.nanoseconds.to_le_bytes());
    put(44, &inode.names.to_le_bytes());
    bytes
}

/// The blocks of a folder, of which each has its entries first, then their names; the last one ends with its last name.
fn encode_folder(dirents: &[Dirent<'_>], kind: impl Fn(u32) -> u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = dirents;
    for count in split_into_blocks(dirents) {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        let (block, after) = rest.split_at(count);
        rest = after;
        let mut name_at = count as u64 * DIRENT_BYTES;
        for dirent in block {
            bytes.extend_from_slice(&nid(dirent.inode).to_le_bytes());
            bytes.extend_from_slice(&(name_at as u16).to_le_bytes());
            bytes.extend_from_slice(&[kind(dirent.inode), 0]);
            name_at += dirent.name.len() as u64;
        }
        for dirent in block {
            bytes.extend_from_slice(&dirent.name);
        }
    }
    bytes
}

/// Fills up the block in which `written` bytes end.
fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let padding = written.next_multiple_of(BLOCK_BYTES) - written;
    out.write_all(&[0; BLOCK_BYTES as usize][..padding as usize])
}
