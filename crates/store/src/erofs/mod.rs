//! Trees as images of EROFS, the read-only file system of Linux, which the kernel mounts.
//!
//! An image has two parts. The *head* is a function of the listing alone: superblock, inodes, folders, targets of links. The
//! *bodies* of files follow in the order of the stream, so that frames are written as they come, most of them in one piece.
//! Blocks are as small as EROFS has them, so that a body takes 256 bytes more than it has, on average, and no part of the
//! format is needed that packs small files together.
//!
//! The roots of a tree are in the root of the image, named by their numbers: `0`, `1`, and so on.

mod head;
mod layout;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    head::Owner,
    layout::{Layout, Unfit},
};

/// Blocks of 512 bytes.
const BLOCK_BITS: u8 = 9;
pub(crate) const BLOCK_BYTES: u64 = 1 << BLOCK_BITS;

/// The unit of the numbers by which inodes are found, in bytes.
const SLOT_BYTES: u64 = 32;
/// An inode of the longer kind: with a time of its own, in nanoseconds.
const INODE_BYTES: u64 = 64;
/// Where the inodes begin: after the block of the superblock, which is at 1024.
const INODES_AT: u64 = 1536;

/// An entry of a folder without its name, in bytes.
const DIRENT_BYTES: u64 = 12;
/// The longest name Linux has.
const MAX_NAME_BYTES: usize = 255;
/// The longest target of a link that Linux has.
const MAX_TARGET_BYTES: usize = 4095;
