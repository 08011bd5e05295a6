//! The last step of a restore: what was made in staging takes its place, and what is not in the snapshot goes.

use headstart_fs::{AtPath as _, PathError};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::{
    RestoreError,
    engine::Engine,
    plan::{Action, RestorePlan},
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
        self.adjust_files(plan, in_place)?;
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
        let nodes = self.tree().nodes();
        let files: Vec<u32> = (0u32..)
            .zip(&plan.actions)
            .filter(|(node, action)| {
                **action == Action::Adjust && nodes[*node as usize].kind != NodeKind::Directory
            })
            .map(|(node, _)| node)
            .collect();
        let dirs = || DirHandles::new(self.tree(), in_place, &self.options.root);
        files.par_iter().try_for_each_init(dirs, |dirs, node| {
            self.check_interrupt()?;
            let (folder, name) = dirs.place(*node)?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let done = fs::openat(folder, name, flags, Mode::empty())
                .and_then(|file| dir_handles::set_meta(file, &nodes[*node as usize]));
            Ok(done.at("set the time and mode of", dirs.path(*node))?)
        })
    }
}

pub(super) fn set_folder_meta(dirs: &mut DirHandles<'_>, index: u32, node: &Node) -> Result<(), PathError> {
    let done = dir_handles::set_meta(dirs.folder(index)?, node);
    done.at("set the time and mode of", dirs.path(index))
}
