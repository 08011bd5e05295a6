//! The order of a restore: plan, make in staging, publish (which is in `publish.rs`).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use headstart_fs::{AtPath as _, PathError, RelPath};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    LinkMode, RestoreError, RestoreOptions, Unlisted, fetch,
    made_folders::{MadeAbove, MadeFolders},
    pieces::{self, Needs},
    plan::{Action, RestorePlan},
    publish::set_folder_meta,
    set_back::Before,
    staging::{self, Staging, Stagings},
    write::{OpenPieces, Writer, is_empty_file},
};
use crate::{
    NodeKind, Progress, Runtime, Snapshot, Step, Store, Tree, Warning, Xattrs, content_check,
    dir_handles::{self, Anchor, DirHandles},
    listing::{self, ListRoot, Listed},
    on_disk,
    pool::{self, Method, Pool, Taken},
};

/// Restores one snapshot.
pub(super) struct Engine<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) runtime: &'a Runtime,
    pub(super) options: &'a RestoreOptions,
    pub(super) unlisted: Unlisted,
    pub(super) snapshot: &'a Snapshot,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a AtomicBool,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) files_written: u64,
    pub(super) files_kept: u64,
    pub(super) files_removed: u64,
    pub(super) files_mounted: u64,
    pub(super) files_linked: u64,
    pub(super) bytes_written: u64,
    pub(super) fetched_bytes: u64,
    pub(super) warnings: Vec<Warning>,
}

impl Engine<'_> {
    pub(super) fn restore(&self) -> Result<Applied, RestoreError> {
        self.check_keep()?;
        let above = MadeAbove::create(&self.options.root)?;
        let applied = self.restore_below()?;
        above.keep();
        Ok(applied)
    }

    fn restore_below(&self) -> Result<Applied, RestoreError> {
        let root = &self.options.root;
        let plan = self.plan()?;
        let kept = plan
            .actions
            .iter()
            .filter(|action| **action == Action::Keep)
            .count() as u64;
        if plan.is_empty() {
            return Ok(Applied {
                files_kept: kept,
                ..Applied::default()
            });
        }
        // Removed when they end up empty, after the staging folders that may be in them.
        let mut made_parents = MadeFolders::default();
        let in_place = self.anchor_roots(&mut made_parents)?;
        let mut published = DirHandles::new(self.tree(), &in_place, root);
        let stagings = self.make_stagings(&plan, &in_place, &mut published)?;
        let staged = self.anchor_staged(&plan, &stagings);

        let writer = Writer {
            snapshot: self.snapshot,
            staged: &staged,
            root,
            store_location: self.store.location(),
            pool: None,
            xattrs: self.options.xattrs,
            progress: self.progress,
            interrupt: self.interrupt,
            error: Mutex::new(None),
            warnings: Mutex::default(),
            bytes_written: AtomicU64::new(0),
        };
        let made = self.make(&plan, writer, &in_place, &stagings)?;
        self.publish(&plan, &staged, &in_place, &mut published, stagings)?;
        Ok(Applied {
            files_written: plan.actions.len() as u64 - kept,
            files_kept: kept,
            files_removed: plan.removed,
            ..made
        })
    }

    pub(super) fn tree(&self) -> &Tree {
        self.snapshot.tree()
    }

    /// The store must not be removed or written over by a restore from it.
    pub(super) fn check_keep(&self) -> Result<(), RestoreError> {
        let Some(keep) = &self.options.keep else {
            return Ok(());
        };
        let base = &self.options.root;
        let resolved = on_disk::resolve(base).at("find", base)?;
        for (_, path) in self.tree().roots() {
            let place = path.join_to(&resolved);
            if place.starts_with(keep) || keep.starts_with(&place) {
                let path = path.join_to(base);
                return Err(RestoreError::InTheStore { path });
            }
        }
        Ok(())
    }

    /// Compares the snapshot with what is on disk.
    fn plan(&self) -> Result<RestorePlan, RestoreError> {
        self.progress.start(Step::Plan, None);
        let mut roots = Vec::new();
        for (node, path) in self.tree().roots() {
            match dir_handles::open_parent(&self.options.root, &path) {
                Ok((parent, name)) => {
                    let anchor = Anchor {
                        node,
                        parent: Arc::new(parent),
                        name: name.into(),
                    };
                    roots.push((anchor, path));
                }
                // Nothing is there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.in_the_way(error)),
            }
        }
        let starts: Vec<ListRoot<'_>> = roots
            .iter()
            .map(|(anchor, path)| ListRoot {
                parent: &anchor.parent,
                name: &anchor.name,
                listed_name: path.as_bytes(),
                path: path.join_to(&self.options.root),
            })
            .collect();
        let disk = listing::list(&starts, None, Step::Plan, self.progress, self.interrupt)?;
        self.check_interrupt()?;
        let mut plan = RestorePlan::new(self.tree(), &disk, self.may_adjust());
        drop(disk);
        let on_disk: Vec<Anchor> = roots.into_iter().map(|(anchor, _)| anchor).collect();
        self.progress.finish(Step::Plan);
        let changed = content_check::find_changed(
            self.tree(),
            &plan.doubtful,
            &on_disk,
            &self.options.root,
            self.progress,
            self.interrupt,
        );
        plan.replace_files(self.tree(), &changed.ok_or(RestoreError::Interrupted)?);
        match (self.unlisted, plan.replaced_folders.first()) {
            (Unlisted::Remove, _) => Ok(plan),
            (Unlisted::Keep, None) => Ok(plan.without_removals()),
            (Unlisted::Keep, Some(node)) => Err(RestoreError::InTheWay {
                path: self.tree().path(*node),
                root: self.options.root.clone(),
            }),
        }
    }

    /// Whether time and mode of a file that is there may be set. Another name of it may be somebody else's, only its owner can, it has to
    /// be opened, and attributes are not compared.
    fn may_adjust(&self) -> impl Fn(&Listed) -> bool + use<> {
        let user = rustix::process::geteuid();
        let compares_all = self.options.xattrs == Xattrs::Drop;
        move |item| {
            let is_ours = item.owner == user.as_raw() && item.mode & 0o400 != 0;
            compares_all && item.names == 1 && (is_ours || user.is_root())
        }
    }

    /// Where the roots will be. Folders above them are made.
    fn anchor_roots(&self, made: &mut MadeFolders) -> Result<Vec<Anchor>, RestoreError> {
        let anchor = |(node, path): (u32, RelPath)| {
            let parent = made
                .open_parent(&self.options.root, &path)
                .map_err(|error| self.in_the_way(error))?;
            Ok(Anchor {
                node,
                parent,
                name: path.file_name().unwrap_or(b".").into(),
            })
        };
        self.tree().roots().map(anchor).collect()
    }

    /// One staging folder for each root, on its file system: in the root if it stays, else beside it.
    fn make_stagings(
        &self,
        plan: &RestorePlan,
        in_place: &[Anchor],
        published: &mut DirHandles<'_>,
    ) -> Result<Stagings, RestoreError> {
        let mut stagings = Stagings::default();
        for anchor in in_place {
            let stays = matches!(plan.actions[anchor.node as usize], Action::Keep | Action::Adjust)
                && self.tree().nodes()[anchor.node as usize].kind == NodeKind::Directory;
            let parent = match stays {
                false => anchor.parent.clone(),
                true => {
                    let folder = published.folder(anchor.node)?.try_clone_to_owned();
                    Arc::new(folder.at("open", published.path(anchor.node))?)
                }
            };
            let staging = Before::of(parent).and_then(|before| {
                if stays {
                    staging::make_writable(before.folder())?;
                }
                Staging::create(before)
            });
            stagings.push(staging.at("create a temporary folder for", published.path(anchor.node))?);
        }
        Ok(stagings)
    }

    /// The nodes that are made in staging and renamed into place, each with all that is below it.
    fn anchor_staged(&self, plan: &RestorePlan, stagings: &[Staging]) -> Vec<Anchor> {
        let mut roots_before = 0;
        let mut anchors = Vec::new();
        for (node, index) in self.tree().nodes().iter().zip(0u32..) {
            roots_before += usize::from(node.parent.is_none());
            let parent_stays = node.parent.is_none_or(|parent| !plan.makes(parent));
            if plan.makes(index) && parent_stays {
                anchors.push(Anchor {
                    node: index,
                    parent: stagings[roots_before - 1].folder().clone(),
                    name: index.to_string().into_bytes().into(),
                });
            }
        }
        anchors
    }

    /// Makes all that is new in staging.
    fn make(
        &self,
        plan: &RestorePlan,
        mut writer: Writer<'_>,
        in_place: &[Anchor],
        stagings: &[Staging],
    ) -> Result<Applied, RestoreError> {
        let nodes = self.tree().nodes();
        let made = |wanted: fn(&NodeKind) -> bool| -> Vec<u32> {
            (0u32..)
                .zip(nodes)
                .filter(|(index, node)| plan.makes(*index) && wanted(&node.kind))
                .map(|(index, _)| index)
                .collect()
        };
        let folders = made(|kind| *kind == NodeKind::Directory);
        let small = made(|kind| matches!(kind, NodeKind::Symlink { .. }) || is_empty_file(kind));
        let files = made(|kind| matches!(kind, NodeKind::File { .. }) && !is_empty_file(kind));
        let hardlinks = made(|kind| matches!(kind, NodeKind::Hardlink { .. }));
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let to_write = small.len() + files.len() + hardlinks.len();
        self.progress.start(Step::WriteFiles, Some(to_write as u64));

        let mut dirs = writer.dirs();
        for folder in &folders {
            writer.make_folder(&mut dirs, *folder)?;
        }
        writer.pool = self.open_pool(&writer, stagings);
        let linked = self.take_from_pool(&writer, &files, threads)?;
        let needs = pieces::find(self.snapshot, |node| {
            let is_linked = linked
                .get(node as usize)
                .is_some_and(|taken| taken.load(Ordering::Relaxed));
            plan.makes(node) && !is_linked
        });
        let fetched_bytes = self.write_files(&writer, needs, &small, threads)?;
        let mut published = DirHandles::new(self.tree(), in_place, &self.options.root);
        let mut targets = writer.dirs();
        for node in hardlinks {
            if let NodeKind::Hardlink { to } = nodes[node as usize].kind {
                let from = match plan.makes(to) {
                    true => &mut targets,
                    false => &mut published,
                };
                writer.make_hardlink(&mut dirs, node, from, to)?;
            }
        }
        self.finish_folders(&writer, &folders)?;
        self.progress.finish(Step::WriteFiles);
        Ok(Applied {
            files_linked: linked
                .iter()
                .filter(|taken| taken.load(Ordering::Relaxed))
                .count() as u64,
            bytes_written: writer.bytes_written.into_inner(),
            warnings: writer.warnings.into_inner(),
            fetched_bytes,
            ..Applied::default()
        })
    }

    /// Opens the pool if the link mode wants one and the file system can.
    fn open_pool(&self, writer: &Writer<'_>, stagings: &[Staging]) -> Option<Pool> {
        let path = self.options.pool.as_ref()?;
        let method = match self.options.link {
            LinkMode::Copy => return None,
            LinkMode::Hardlink => Method::Hardlink,
            LinkMode::Auto | LinkMode::Reflink => {
                if !stagings.iter().all(|staging| pool::can_reflink(staging.folder())) {
                    if self.options.link == LinkMode::Reflink {
                        writer.warn(Warning::NoReflink);
                    }
                    return None;
                }
                Method::Reflink
            }
        };
        match Pool::open_or_create(path, method) {
            Ok(pool) => Some(pool),
            Err(error) => {
                writer.warn(Warning::Pool {
                    reason: format!("{error}: {}", error.source),
                });
                None
            }
        }
    }

    /// Makes the files the pool has. Tells by node which; nothing when there is no pool.
    fn take_from_pool(
        &self,
        writer: &Writer<'_>,
        files: &[u32],
        threads: usize,
    ) -> Result<Vec<AtomicBool>, RestoreError> {
        let Some(pool) = &writer.pool else {
            return Ok(Vec::new());
        };
        let taken: Vec<AtomicBool> = self
            .tree()
            .nodes()
            .iter()
            .map(|_| AtomicBool::new(false))
            .collect();
        let never = AtomicBool::new(false);
        writer.for_each(files, threads, |dirs, node| {
            if never.load(Ordering::Relaxed) || !writer.xattrs_of(node).is_empty() {
                return Ok(());
            }
            match writer.take_from_pool(dirs, node, pool)? {
                Taken::Yes => taken[node as usize].store(true, Ordering::Relaxed),
                Taken::No => {}
                Taken::Never => {
                    if !never.swap(true, Ordering::Relaxed) && self.options.link != LinkMode::Auto {
                        writer.warn(Warning::Pool {
                            reason: "it lies on another file system".to_owned(),
                        });
                    }
                }
            }
            Ok(())
        })?;
        Ok(taken)
    }

    /// Makes the files that need nothing, then those that need frames. Returns how many bytes were read.
    fn write_files(
        &self,
        writer: &Writer<'_>,
        needs: Needs,
        small: &[u32],
        threads: usize,
    ) -> Result<u64, RestoreError> {
        let open_pieces = OpenPieces::new(&needs.pieces_of);
        let reads = fetch::plan(self.snapshot, needs.frames);
        let fetched_bytes = fetch::total_bytes(&reads);
        self.progress.start(Step::Fetch, Some(fetched_bytes));
        let (sender, frames) = mpsc::channel(fetch::FRAMES_AHEAD);
        let frames = Mutex::new(frames);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let fetched = fetch::run(
                    self.store,
                    self.runtime,
                    self.snapshot,
                    reads,
                    sender,
                    self.progress,
                    self.interrupt,
                );
                if let Err(error) = fetched {
                    writer.fail(error);
                }
            });
            if let Err(error) = writer.for_each(small, threads, |dirs, node| writer.make_small(dirs, node)) {
                writer.fail(error);
            }
            for _ in 0..threads {
                scope.spawn(|| writer.write_frames(&frames, &open_pieces));
            }
        });
        writer.check()?;
        self.progress.finish(Step::Fetch);
        Ok(fetched_bytes)
    }

    /// Gives folders in staging their modes and times, deepest first: a folder without rights would hide what is in it.
    /// Those that are renamed get theirs afterwards, since renaming a folder takes the right to write to it.
    fn finish_folders(&self, writer: &Writer<'_>, folders: &[u32]) -> Result<(), RestoreError> {
        let mut dirs = writer.dirs();
        for node in folders.iter().rev() {
            let folder = dirs.folder(*node)?;
            if !writer.xattrs_of(*node).is_empty() {
                let folder = folder.try_clone_to_owned().at("open", dirs.path(*node))?;
                writer.set_xattrs(*node, &folder);
            }
            let is_renamed = writer
                .staged
                .binary_search_by_key(node, |anchor| anchor.node)
                .is_ok();
            if !is_renamed {
                set_folder_meta(&mut dirs, *node, &self.tree().nodes()[*node as usize])?;
            }
        }
        Ok(())
    }

    pub(super) fn check_interrupt(&self) -> Result<(), RestoreError> {
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(RestoreError::Interrupted),
            false => Ok(()),
        }
    }

    /// What is to be said of a folder above a root that could not be opened.
    fn in_the_way(&self, error: PathError) -> RestoreError {
        let root = &self.options.root;
        match (error.kind(), error.path.strip_prefix(root)) {
            (io::ErrorKind::NotADirectory, Ok(path)) => RestoreError::InTheWay {
                path: RelPath::parse_lenient(path).expect("made of plain components"),
                root: root.clone(),
            },
            _ => error.into(),
        }
    }
}

impl RestorePlan {
    /// True for what has to be made.
    pub(super) fn makes(&self, node: u32) -> bool {
        matches!(self.actions[node as usize], Action::Create | Action::Replace)
    }
}
