//! What commits need of the object database and is not in it: walks of their trees, on all cores.
//!
//! Owns which paths count and what is missing. A walk never fetches: where a tree is missing it stops, says so, and goes on
//! from there when it is asked again after the tree has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher as _},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::ObjectId;
use headstart_fs::RelPath;

use crate::{
    bulk::SharedSet,
    local::{LocalError, LocalObjects},
    sparse::Cone,
    tree_diff::{self, CorruptTree, Side},
};

/// Which paths count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Files and folders, with all in them; everything when empty.
    pub(crate) paths: Vec<BString>,
    pub(crate) cone: Option<Cone>,
}

/// How much of a folder counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    /// Each entry is looked at.
    Some,
    Nothing,
}

impl Selection {
    fn folder(&self, dir: &BStr) -> Keep {
        let by_path = match self.paths.is_empty() || self.is_inside(dir) {
            true => Keep::All,
            false => match self.paths.iter().any(|path| is_below(path.as_ref(), dir)) {
                true => Keep::Some,
                false => Keep::Nothing,
            },
        };
        let by_cone = match (&self.cone, RelPath::parse(dir.as_bytes())) {
            (Some(cone), Ok(dir)) if cone.contains_all_of(&dir) => Keep::All,
            (Some(cone), Ok(dir)) if cone.contains_files_of(&dir) => Keep::Some,
            (Some(_), _) => Keep::Nothing,
            (None, _) => Keep::All,
        };
        match (by_path, by_cone) {
            (Keep::Nothing, _) | (_, Keep::Nothing) => Keep::Nothing,
            (Keep::All, Keep::All) => Keep::All,
            _ => Keep::Some,
        }
    }

    /// Whether a file counts that is directly in a folder that counts.
    fn file(&self, path: &BStr) -> bool {
        self.paths.is_empty() || self.is_inside(path)
    }

    fn is_inside(&self, path: &BStr) -> bool {
        self.paths
            .iter()
            .any(|selected| selected == path || is_below(path, selected.as_ref()))
    }
}

fn is_below(path: &BStr, dir: &BStr) -> bool {
    dir.is_empty()
        || path
            .strip_prefix(dir.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"/"))
}

/// One thing to walk.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Everything in a tree.
    All { tree: ObjectId, dir: BString },
    /// Both sides of what differs between two trees.
    Changed {
        old: ObjectId,
        new: ObjectId,
        dir: BString,
    },
    /// All sides of what a merge has from none of its parents.
    Merged {
        parents: Vec<ObjectId>,
        new: ObjectId,
        dir: BString,
    },
}

/// What one round of walks found missing.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Blobs, each once over all rounds, with a number that those of one path share.
    pub(crate) blobs: Vec<(u32, ObjectId)>,
    /// Trees, each once.
    pub(crate) trees: Vec<ObjectId>,
    /// What to walk when the trees are here.
    pub(crate) rest: Vec<Task>,
}

/// A walk in rounds.
pub(crate) struct TreeWalk<'a> {
    selection: Selection,
    trees: SharedSet,
    blobs: SharedSet,
    interrupt: &'a AtomicBool,
}

impl<'a> TreeWalk<'a> {
    pub(crate) fn new(selection: Selection, interrupt: &'a AtomicBool) -> Self {
        TreeWalk {
            selection,
            trees: SharedSet::new(),
            blobs: SharedSet::new(),
            interrupt,
        }
    }

    /// Walks `tasks` as far as trees are here. `on_missing` is told how many more objects are missing.
    pub(crate) fn round(
        &self,
        objects: &LocalObjects,
        tasks: &[Task],
        on_missing: &(dyn Fn(u64) + Sync),
    ) -> Result<Round, LocalError> {
        // Not a thread pool's iterators: each thread keeps its cache of delta bases from the first task to the last, and
        // neighbours in history are next to each other.
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = |objects: LocalObjects| -> Result<Round, LocalError> {
            let mut walker = Walker::new(self, objects);
            while !failed.load(Ordering::Relaxed) {
                let start = next.fetch_add(TASKS_AT_ONCE, Ordering::Relaxed);
                let Some(tasks) = tasks.get(start..) else { break };
                for task in tasks.iter().take(TASKS_AT_ONCE) {
                    let before = walker.round.blobs.len();
                    walker.run(task.clone()).inspect_err(|_| {
                        failed.store(true, Ordering::Relaxed);
                    })?;
                    on_missing((walker.round.blobs.len() - before) as u64);
                }
            }
            Ok(walker.round)
        };
        let mut round = thread::scope(|scope| {
            let work = &work;
            let walkers: Vec<_> = (0..threads)
                .map(|_| {
                    let objects = objects.clone();
                    scope.spawn(move || work(objects))
                })
                .collect();
            let mut all = Round::default();
            for walker in walkers {
                let one = walker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.blobs.extend(one.blobs);
                all.trees.extend(one.trees);
                all.rest.extend(one.rest);
            }
            Ok::<_, LocalError>(all)
        })?;
        round.trees.sort_unstable();
        round.trees.dedup();
        on_missing(round.trees.len() as u64);
        Ok(round)
    }
}

/// Tasks a thread takes at once: few enough that all threads end together, enough that their trees are similar.
const TASKS_AT_ONCE: usize = 32;

/// One thread's part of a round.
struct Walker<'a> {
    walk: &'a TreeWalk<'a>,
    objects: LocalObjects,
    round: Round,
    stack: Vec<Task>,
}

impl<'a> Walker<'a> {
    fn new(walk: &'a TreeWalk<'a>, objects: LocalObjects) -> Self {
        Walker {
            walk,
            objects,
            round: Round::default(),
            stack: Vec::new(),
        }
    }

    fn run(&mut self, task: Task) -> Result<(), LocalError> {
        let (mut data, mut other) = (Vec::new(), Vec::new());
        self.stack.push(task);
        while let Some(task) = self.stack.pop() {
            if self.walk.interrupt.load(Ordering::Relaxed) {
                return Err(LocalError::Interrupted);
            }
            match task {
                Task::All { tree, dir } => {
                    if self.read([tree], [&mut data], || Task::All {
                        tree,
                        dir: dir.clone(),
                    })? {
                        self.all(&data, dir.as_ref()).map_err(|_| corrupt(tree))?;
                    }
                }
                Task::Changed { old, new, dir } => {
                    let again = || Task::Changed {
                        old,
                        new,
                        dir: dir.clone(),
                    };
                    if self.read([old, new], [&mut data, &mut other], again)? {
                        self.changed(&data, &other, dir.as_ref())
                            .map_err(|_| corrupt(new))?;
                    }
                }
                Task::Merged { parents, new, dir } => {
                    let mut buffers: Vec<Vec<u8>> = vec![Vec::new(); parents.len()];
                    let ids = parents.iter().copied().chain([new]);
                    let all = buffers.iter_mut().chain([&mut data]);
                    let again = || Task::Merged {
                        parents: parents.clone(),
                        new,
                        dir: dir.clone(),
                    };
                    if self.read(ids, all, again)? {
                        self.merged(&buffers, &data, dir.as_ref())
                            .map_err(|_| corrupt(new))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads trees; where some are missing, notes them and that `again` is left to do, and answers false.
    fn read<'b>(
        &mut self,
        ids: impl IntoIterator<Item = ObjectId>,
        buffers: impl IntoIterator<Item = &'b mut Vec<u8>>,
        again: impl FnOnce() -> Task,
    ) -> Result<bool, LocalError> {
        let missing_before = self.round.trees.len();
        for (id, buffer) in ids.into_iter().zip(buffers) {
            if id == ObjectId::empty_tree(id.kind()) {
                buffer.clear();
            } else if !self.objects.read_tree(id, buffer)? {
                self.round.trees.push(id);
            }
        }
        let complete = self.round.trees.len() == missing_before;
        if !complete {
            self.round.rest.push(again());
        }
        Ok(complete)
    }

    fn all(&mut self, tree: &[u8], dir: &BStr) -> Result<(), CorruptTree> {
        for entry in tree_diff::entries(tree) {
            let (name, side) = entry?;
            self.side(dir, name, side);
        }
        Ok(())
    }

    fn changed(&mut self, old: &[u8], new: &[u8], dir: &BStr) -> Result<(), CorruptTree> {
        tree_diff::diff(old, new, |name, old, new| match (old, new) {
            (Some(old), Some(new)) if old.is_tree() && new.is_tree() => {
                let dir = tree_diff::join(dir, name);
                if self.walk.selection.folder(dir.as_ref()) != Keep::Nothing {
                    let (old, new) = (old.id, new.id);
                    self.stack.push(Task::Changed { old, new, dir });
                }
            }
            (old, new) => {
                for side in old.into_iter().chain(new) {
                    self.side(dir, name, side);
                }
            }
        })
    }

    fn merged(&mut self, parents: &[Vec<u8>], new: &[u8], dir: &BStr) -> Result<(), CorruptTree> {
        let listed = |tree| tree_diff::entries(tree).collect::<Result<BTreeMap<_, _>, _>>();
        let parents = parents
            .iter()
            .map(|tree| listed(tree))
            .collect::<Result<Vec<_>, _>>()?;
        let new = listed(new)?;
        let names: BTreeSet<&BStr> = parents
            .iter()
            .chain([&new])
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        for name in names {
            let (result, before) = (
                new.get(name).copied(),
                parents.iter().map(|tree| tree.get(name).copied()),
            );
            if before.clone().any(|side| side == result) {
                continue;
            }
            let (trees, others): (Vec<Side>, Vec<Side>) = before.flatten().partition(Side::is_tree);
            for side in others {
                self.side(dir, name, side);
            }
            match result {
                Some(result) if result.is_tree() && !trees.is_empty() => {
                    let dir = tree_diff::join(dir, name);
                    if self.walk.selection.folder(dir.as_ref()) != Keep::Nothing {
                        self.stack.push(Task::Merged {
                            parents: trees.iter().map(|side| side.id).collect(),
                            new: result.id,
                            dir,
                        });
                    }
                }
                result => trees
                    .into_iter()
                    .chain(result)
                    .for_each(|side| self.side(dir, name, side)),
            }
        }
        Ok(())
    }

    /// Takes what is at one path: a blob to look for, or a tree with everything in it.
    fn side(&mut self, dir: &BStr, name: &BStr, side: Side) {
        let selection = &self.walk.selection;
        if side.is_tree() {
            let dir = tree_diff::join(dir, name);
            let wanted = match selection.folder(dir.as_ref()) {
                Keep::All => self.walk.trees.insert(side.id),
                Keep::Some => true,
                Keep::Nothing => false,
            };
            if wanted {
                self.stack.push(Task::All { tree: side.id, dir });
            }
        } else if side.is_blob()
            && (selection.paths.is_empty() || selection.file(tree_diff::join(dir, name).as_ref()))
            && self.walk.blobs.insert(side.id)
            && !self.objects.contains(&side.id)
        {
            let mut hasher = DefaultHasher::new();
            hasher.write(dir);
            hasher.write(name);
            self.round.blobs.push((hasher.finish() as u32, side.id));
        }
    }
}

fn corrupt(tree: ObjectId) -> LocalError {
    LocalError::object(tree, "it is not a tree")
}
