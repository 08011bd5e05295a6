//! What a restore will do, as plain data: the listing of the snapshot compared with what is on disk.

use headstart_digest::Digest;
use rustix::fs::FileType;

use crate::{Mtime, Node, NodeKind, Tree, listing::Listed, pairing::pair};

/// What happens to a node of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is right already.
    Keep,
    /// A folder, or a file of that content, that is there with other mode bits or another time.
    Adjust,
    /// Nothing is there.
    Create,
    /// Something else is there.
    Replace,
}

/// Something on disk that the snapshot does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    /// The node of the folder it is in.
    pub(crate) folder: u32,
    pub(crate) name: Box<[u8]>,
}

/// A file of which only time and mode are set, and what it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adjusted {
    pub(crate) node: u32,
    /// Device and inode.
    pub(crate) inode: (u64, u64),
    pub(crate) ctime: Mtime,
}

/// What a restore will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestorePlan {
    /// By node.
    pub(crate) actions: Vec<Action>,
    /// In path order. What lies below goes with it.
    pub(crate) removals: Vec<Removal>,
    /// Nodes whose place a folder has that must go for them, with all that is in it.
    pub(crate) replaced_folders: Vec<u32>,
    /// Files that stay, though what the system says of them does not tell that they are right: that takes a look at their content,
    /// which is to have this digest.
    pub(crate) doubtful: Vec<(u32, Digest)>,
    /// Files that stay with another time or mode. Those that turn out to have another content are replaced.
    pub(crate) adjusted: Vec<Adjusted>,
    /// Files, links and folders that go, those below the removals and the replaced folders included.
    pub(crate) removed: u64,
}

impl RestorePlan {
    /// Plans to make what is on disk below the roots of `tree` into `tree`. `disk` lists the roots by their paths.
    ///
    /// A file of the same size, time and mode is taken to be the same if its time has a fraction of a second: a kernel's clock
    /// made that time, and an edit makes another. Whole seconds are what tools set, archivers and package managers above all, and
    /// they give the same one to different contents. Such files are doubtful, and so are those of which only the time or the mode
    /// differs and `may_adjust` says that these can be set.
    pub(crate) fn new(tree: &Tree, disk: &[Listed], may_adjust: impl Fn(&Listed) -> bool) -> Self {
        let mut plan = RestorePlan {
            actions: Vec::with_capacity(tree.nodes().len()),
            removals: Vec::new(),
            replaced_folders: Vec::new(),
            doubtful: Vec::new(),
            adjusted: Vec::new(),
            removed: 0,
        };
        let on_disk = pair(tree.nodes(), disk);
        // Of what is on disk, the node that it is, or that takes its place.
        let mut node_of: Vec<Option<u32>> = vec![None; disk.len()];
        for ((node, index), found) in tree.nodes().iter().zip(0u32..).zip(&on_disk) {
            let Some(found) = *found else {
                plan.actions.push(Action::Create);
                continue;
            };
            node_of[found as usize] = Some(index);
            let item = &disk[found as usize];
            let action = match &node.kind {
                NodeKind::Directory if item.kind != FileType::Directory => Action::Replace,
                NodeKind::Directory if has_same_meta(item, node) => Action::Keep,
                NodeKind::Directory => Action::Adjust,
                NodeKind::File { size_bytes, digest } => {
                    let action = plan_file(item, node, &may_adjust);
                    if action == Action::Adjust {
                        plan.adjusted.push(Adjusted {
                            node: index,
                            inode: item.inode,
                            ctime: item.ctime,
                        });
                    }
                    let is_settled = action == Action::Keep && node.mtime.nanoseconds != 0;
                    if action != Action::Replace && *size_bytes > 0 && !is_settled {
                        plan.doubtful.push((index, *digest));
                    }
                    action
                }
                NodeKind::Symlink { target } => keep_if(
                    item.kind == FileType::Symlink
                        && item.mtime == node.mtime
                        && item.target.as_ref() == Some(target),
                ),
                NodeKind::Hardlink { to } => keep_if(
                    plan.actions[*to as usize] == Action::Keep
                        && on_disk[*to as usize]
                            .is_some_and(|target| disk[target as usize].inode == item.inode),
                ),
            };
            if action == Action::Replace && item.kind == FileType::Directory {
                plan.replaced_folders.push(index);
            }
            plan.actions.push(action);
        }
        plan.find_removals(disk, &node_of);
        plan
    }

    /// Replaces files that were to stay, with their other names. They are in order.
    pub(crate) fn replace_files(&mut self, tree: &Tree, files: &[u32]) {
        if files.is_empty() {
            return;
        }
        for file in files {
            self.actions[*file as usize] = Action::Replace;
        }
        for (node, index) in tree.nodes().iter().zip(0..) {
            if let NodeKind::Hardlink { to } = node.kind
                && self.actions[index] == Action::Keep
                && files.binary_search(&to).is_ok()
            {
                self.actions[index] = Action::Replace;
            }
        }
    }

    /// The same, but what the snapshot does not have stays where it is, as far as nothing of the snapshot takes its place.
    pub(crate) fn without_removals(self) -> Self {
        RestorePlan {
            removals: Vec::new(),
            removed: 0,
            ..self
        }
    }

    /// True when everything is right already.
    pub(crate) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.actions.iter().all(|action| *action == Action::Keep)
    }

    fn find_removals(&mut self, disk: &[Listed], node_of: &[Option<u32>]) {
        for (item, node) in disk.iter().zip(node_of) {
            if node.is_some() {
                continue;
            }
            self.removed += 1;
            // Below a folder that goes, or is replaced, it goes with that.
            let folder = item.parent.and_then(|parent| node_of[parent as usize]);
            if let Some(folder) = folder
                && self.actions[folder as usize] != Action::Replace
            {
                self.removals.push(Removal {
                    folder,
                    name: item.name.clone(),
                });
            }
        }
    }
}

fn plan_file(item: &Listed, node: &Node, may_adjust: impl Fn(&Listed) -> bool) -> Action {
    if item.kind != FileType::RegularFile || item.size_bytes != node.size_bytes() {
        return Action::Replace;
    }
    match has_same_meta(item, node) {
        true => Action::Keep,
        false if may_adjust(item) => Action::Adjust,
        false => Action::Replace,
    }
}

fn has_same_meta(item: &Listed, node: &Node) -> bool {
    item.mtime == node.mtime && item.mode == u32::from(node.mode)
}

fn keep_if(same: bool) -> Action {
    match same {
        true => Action::Keep,
        false => Action::Replace,
    }
}
