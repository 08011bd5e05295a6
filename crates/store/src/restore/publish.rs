//! The last step of a restore: what was made in staging takes its place, and what is not in the snapshot goes.

use std::{io, os::fd::AsFd};

use headstart_fs::{AtPath as _, PathError};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::{
    RestoreError,
    engine::Engine,
    plan::{Action, Adjusted, RestorePlan},
    staging::{self, Stagings},
};
use crate::{
    Node, NodeKind,
    dir_handles::{self, Anchor, DirHandles},
};

impl Engine<'_> {
    /// Makes the tree on disk what the plan says. What is killed here leaves whole files, and the next restore goes on.
    pub(super) fn publish(
        &self,
        plan: &RestorePlan,
        staged: &[Anchor],
        in_place: &[Anchor],
        published: &mut DirHandles<'_>,
        mut stagings: Stagings,
    ) -> Result<(), RestoreError> {
        self.check_interrupt()?;
        // First, as this is what may be refused.
        self.adjust_files(plan, in_place)?;
        stagings.begin_to_publish();
        let nodes = self.tree().nodes();
        // Folders whose content changes: their time, and perhaps their mode, has to be set.
        let mut changed: Vec<u32> = plan
            .removals
            .iter()
            .map(|removal| removal.folder)
            .chain(
                staged
                    .iter()
                    .filter_map(|anchor| nodes[anchor.node as usize].parent),
            )
            .chain(self.tree().roots().map(|(root, _)| root))
            .filter(|folder| nodes[*folder as usize].kind == NodeKind::Directory && !plan.makes(*folder))
            .collect();
        changed.sort_unstable();
        changed.dedup();
        for folder in &changed {
            let writable = staging::make_writable(published.folder(*folder)?);
            writable.at("make writable", published.path(*folder))?;
        }
        for removal in &plan.removals {
            let removed = staging::remove_tree(published.folder(removal.folder)?, &removal.name);
            removed.at(
                "remove what the snapshot lacks from",
                published.path(removal.folder),
            )?;
        }
        for anchor in staged {
            let replaces = plan.actions[anchor.node as usize] == Action::Replace;
            let (folder, name) = published.place(anchor.node)?;
            let mut renamed = fs::renameat(&anchor.parent, &*anchor.name, folder, name);
            // A folder and something else do not replace each other.
            if replaces && matches!(renamed, Err(Errno::NOTDIR | Errno::ISDIR)) {
                renamed = staging::remove_tree(folder, name)
                    .and_then(|()| fs::renameat(&anchor.parent, &*anchor.name, folder, name));
            }
            renamed.at("move a finished file to", published.path(anchor.node))?;
        }
        // Before the times are set: staging folders may lie in restored ones.
        drop(stagings);
        let renamed = staged.iter().map(|anchor| anchor.node);
        let adjusted = (0u32..)
            .zip(&plan.actions)
            .filter(|(_, action)| **action == Action::Adjust)
            .map(|(node, _)| node);
        changed.extend(renamed.chain(adjusted));
        changed.sort_unstable();
        changed.dedup();
        for node in changed.into_iter().rev() {
            if nodes[node as usize].kind == NodeKind::Directory {
                set_folder_meta(published, node, &nodes[node as usize])?;
            }
        }
        Ok(())
    }

    /// Gives files that are there, and are what the snapshot has but for that, their times and modes.
    fn adjust_files(&self, plan: &RestorePlan, in_place: &[Anchor]) -> Result<(), RestoreError> {
        let dirs = || DirHandles::new(self.tree(), in_place, &self.options.root);
        plan.adjusted
            .par_iter()
            .filter(|file| plan.actions[file.node as usize] == Action::Adjust)
            .try_for_each_init(dirs, |dirs, file| {
                let (folder, name) = dirs.place(file.node)?;
                let adjusted = adjust(folder, name, file, &self.tree().nodes()[file.node as usize]);
                Ok(adjusted.at("set the time and mode of", dirs.path(file.node))?)
            })
    }
}

/// Refuses what is no longer the file that was looked at: a new time would hide what somebody wrote meanwhile.
fn adjust(folder: impl AsFd, name: &[u8], looked_at: &Adjusted, node: &Node) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(folder, name, flags, Mode::empty())?;
    let stat = fs::fstat(&file)?;
    if dir_handles::inode(&stat) != looked_at.inode || dir_handles::ctime(&stat) != looked_at.ctime {
        return Err(io::Error::other("it changed meanwhile"));
    }
    Ok(dir_handles::set_meta(file, node)?)
}

pub(super) fn set_folder_meta(dirs: &mut DirHandles<'_>, index: u32, node: &Node) -> Result<(), PathError> {
    let done = dir_handles::set_meta(dirs.folder(index)?, node);
    done.at("set the time and mode of", dirs.path(index))
}

#[cfg(test)]
mod tests {
    use headstart_digest::Digest;

    use super::*;
    use crate::{Mtime, testing::write};

    #[test]
    fn what_was_edited_meanwhile_keeps_its_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        write(&path, "before");
        let folder = dir_handles::open_base(temp.path()).unwrap();
        let stat = dir_handles::look(&folder, b"file").unwrap().unwrap();
        let looked_at = Adjusted {
            node: 0,
            inode: dir_handles::inode(&stat),
            ctime: dir_handles::ctime(&stat),
        };
        let saved = Mtime {
            seconds: 1000,
            nanoseconds: 5,
        };
        let node = Node {
            parent: None,
            name: (*b"file").into(),
            mode: 0o600,
            mtime: saved,
            kind: NodeKind::File {
                size_bytes: 6,
                digest: Digest::of(b"before"),
            },
        };
        let seen = || dir_handles::mtime(&dir_handles::look(&folder, b"file").unwrap().unwrap());
        let earlier = Adjusted {
            ctime: saved,
            ..looked_at.clone()
        };
        assert!(adjust(&folder, b"file", &earlier, &node).is_err());
        assert_eq!(seen(), dir_handles::mtime(&stat));
        adjust(&folder, b"file", &looked_at, &node).unwrap();
        assert_eq!(seen(), saved);
    }
}
