//! What the scan saw and the readers did not find: a tree is saved without it.

use std::path::Path;

use headstart_fs::{PathError, RelPath};

use super::{
    read::{self, Fate, ReadFile},
    scan::Scan,
};
use crate::{Node, NodeKind, Xattr, dir_handles::DirHandles};

/// The nodes that are gone. Folders are among them when nothing of what they held was read and they are gone themselves.
pub(super) struct Gone {
    /// By node; empty when nothing is gone.
    is_gone: Vec<bool>,
    /// The paths of those whose folder is still there, in order.
    tops: Vec<RelPath>,
    root: Option<RelPath>,
}

/// Finds out what is gone, from the files that are.
pub(super) fn find(files: &[ReadFile], scan: &Scan, base: &Path) -> Result<Gone, PathError> {
    let mut gone = Gone {
        is_gone: Vec::new(),
        tops: Vec::new(),
        root: None,
    };
    let gone_files = files.iter().filter(|file| file.fate == Fate::Gone);
    let mut gone_files = gone_files.map(|file| file.node as usize).peekable();
    if gone_files.peek().is_none() {
        return Ok(gone);
    }
    let nodes = scan.tree.nodes();
    let mut is_gone = vec![false; nodes.len()];
    for file in gone_files {
        is_gone[file] = true;
    }
    for (index, node) in nodes.iter().enumerate() {
        if let NodeKind::Hardlink { to } = node.kind {
            is_gone[index] = is_gone[to as usize];
        }
    }
    // What is in a folder comes after it.
    let mut lost_something = vec![false; nodes.len()];
    let mut has_something = vec![false; nodes.len()];
    let mut dirs = DirHandles::new(&scan.tree, &scan.roots, base);
    for (index, node) in nodes.iter().enumerate().rev() {
        if lost_something[index] && !has_something[index] {
            is_gone[index] = match dirs.folder(index as u32) {
                Ok(_) => false,
                Err(error) if read::is_gone(&error.source) => true,
                Err(error) => return Err(error),
            };
        }
        if let Some(parent) = node.parent {
            match is_gone[index] {
                true => lost_something[parent as usize] = true,
                false => has_something[parent as usize] = true,
            }
        }
    }
    for (node, index) in nodes
        .iter()
        .zip(0u32..)
        .filter(|(_, index)| is_gone[*index as usize])
    {
        match node.parent {
            None => gone.root = Some(scan.tree.path(index)),
            Some(parent) if is_gone[parent as usize] => {}
            Some(_) => gone.tops.push(scan.tree.path(index)),
        }
    }
    gone.is_gone = is_gone;
    Ok(gone)
}

impl Gone {
    /// A path that was to be saved and is gone.
    pub(super) fn root(&self) -> Option<&RelPath> {
        self.root.as_ref()
    }

    /// What to tell: of a folder that is gone only the folder.
    pub(super) fn tops(&self) -> &[RelPath] {
        &self.tops
    }

    /// Takes out what is gone, and numbers the rest anew.
    pub(super) fn leave_out(&self, nodes: &mut Vec<Node>, xattrs: &mut Vec<Xattr>) {
        if self.is_gone.is_empty() {
            return;
        }
        let mut kept = 0;
        let numbers: Vec<u32> = self
            .is_gone
            .iter()
            .map(|is_gone| {
                kept += u32::from(!is_gone);
                kept.wrapping_sub(1)
            })
            .collect();
        self.retain(nodes);
        for node in nodes {
            node.parent = node.parent.map(|parent| numbers[parent as usize]);
            if let NodeKind::Hardlink { to } = &mut node.kind {
                *to = numbers[*to as usize];
            }
        }
        xattrs.retain(|xattr| !self.is_gone[xattr.node as usize]);
        for xattr in xattrs {
            xattr.node = numbers[xattr.node as usize];
        }
    }

    /// Takes what is gone out of a list that has something of each node.
    pub(super) fn retain<T>(&self, by_node: &mut Vec<T>) {
        let mut is_gone = self.is_gone.iter();
        by_node.retain(|_| !is_gone.next().copied().unwrap_or(false));
    }
}
