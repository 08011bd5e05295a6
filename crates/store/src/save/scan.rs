//! Listing the tree to save: folders are read in parallel, then put in path order.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headstart_digest::Digest;
use headstart_fs::{AtPath as _, PathError, RelPath};
use parking_lot::Mutex;
use rustix::{
    fs::{self, Dir, FileType, Mode, Stat},
    io::Errno,
};

use super::{SaveError, SaveOptions};
use crate::{
    FormatError, Node, NodeKind, Progress, SpecialKind, Step, Tree, Warning, Xattr,
    dir_handles::{self, DIRECTORY, DirHandles, RootHandle},
    tree::{self, DIRECTORY_MODE_MASK, FILE_MODE_MASK},
    xattrs,
};

/// What there is to save.
pub(super) struct Scan {
    /// The listing; digests of files are yet to be filled in.
    pub(super) tree: Tree,
    /// Where its roots are.
    pub(super) roots: Vec<RootHandle>,
    /// What was left out.
    pub(super) warnings: Vec<Warning>,
}

/// A name in a folder.
struct Item {
    name: Box<[u8]>,
    stat: Stat,
    /// Of a symlink.
    target: Option<Box<[u8]>>,
    /// Of a folder: where its listing is.
    listing: Option<usize>,
}

/// Listings of folders, by number. Numbers are given out before a folder is read.
type Listings = Mutex<Vec<Vec<Item>>>;

/// Lists everything below the paths of `options`.
pub(super) fn scan(
    options: &SaveOptions,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<Scan, SaveError> {
    progress.start(Step::Scan, None);
    let walk = Walk {
        listings: Mutex::default(),
        error: Mutex::new(None),
        progress,
        interrupt,
    };
    let mut roots = Vec::new();
    for path in outermost(&options.paths) {
        roots.push(open_root(&options.root, path)?);
    }
    // Numbers of the items of `roots`, which is itself a listing.
    let mut root_items = Vec::new();
    rayon::scope(|scope| {
        for (root, path) in &roots {
            match look_at(&root.parent, &root.name, || path.join_to(&root.base)) {
                // Whoever took it away since `open_root` gets a snapshot without it.
                Ok(None) => {}
                Ok(Some(mut item)) => {
                    item.name = path.as_bytes().into();
                    if is_directory(&item) {
                        let listing = walk.new_listing();
                        item.listing = Some(listing);
                        let parent = root.parent.try_clone();
                        let (walk, name, shown) = (&walk, root.name.clone(), path.join_to(&root.base));
                        match parent.at("open", &shown) {
                            Ok(parent) => {
                                scope.spawn(move |scope| walk.list(scope, &parent, &name, shown, listing));
                            }
                            Err(error) => walk.fail(error),
                        }
                    }
                    root_items.push(item);
                }
                Err(error) => walk.fail(error),
            }
        }
    });
    if let Some(error) = walk.error.into_inner() {
        return Err(error.into());
    }
    if interrupt.load(Ordering::Relaxed) {
        return Err(SaveError::Interrupted);
    }
    let (nodes, warnings) = Assembly::default().run(root_items, walk.listings.into_inner());
    let too_large = |error: FormatError| SaveError::TooLarge(error.to_string());
    let tree = Tree::new(nodes).map_err(too_large)?;
    let mut roots: HashMap<RelPath, RootHandle> =
        roots.into_iter().map(|(root, path)| (path.clone(), root)).collect();
    let roots = tree
        .roots()
        .map(|(node, path)| RootHandle {
            node,
            ..roots.remove(&path).expect("the tree's roots are those asked for")
        })
        .collect();
    progress.finish(Step::Scan);
    Ok(Scan {
        tree,
        roots,
        warnings,
    })
}

/// The extended attributes of the folders of a tree.
pub(super) fn folder_xattrs(tree: &Tree, roots: &[RootHandle]) -> Result<Vec<Xattr>, PathError> {
    let mut dirs = DirHandles::new(tree, roots);
    let mut found = Vec::new();
    for (node, index) in tree.nodes().iter().zip(0u32..) {
        if node.kind == NodeKind::Directory {
            let attributes = xattrs::read(dirs.folder(index)?, index);
            found.extend(attributes.at("read the attributes of", dirs.path(index))?);
        }
    }
    Ok(found)
}

/// The paths that do not lie below another, in order, each once.
fn outermost(paths: &[RelPath]) -> Vec<&RelPath> {
    let mut sorted: Vec<&RelPath> = paths.iter().collect();
    sorted.sort();
    let mut kept: Vec<&RelPath> = Vec::new();
    for path in sorted {
        if kept.last().is_none_or(|last| !path.starts_with(last)) {
            kept.push(path);
        }
    }
    kept
}

fn open_root<'p>(base: &Path, path: &'p RelPath) -> Result<(RootHandle, &'p RelPath), SaveError> {
    let not_found = || SaveError::NotFound {
        path: path.clone(),
        root: base.to_owned(),
    };
    let (parent, name) = dir_handles::open_parent(base, path).map_err(|error| {
        match (error.kind(), std::fs::symlink_metadata(&error.path)) {
            (std::io::ErrorKind::NotADirectory, Ok(metadata)) if metadata.is_symlink() => {
                SaveError::BehindSymlink {
                    path: path.clone(),
                    root: base.to_owned(),
                }
            }
            (std::io::ErrorKind::NotADirectory | std::io::ErrorKind::NotFound, _) => not_found(),
            _ => error.into(),
        }
    })?;
    if dir_handles::look(&parent, name)
        .at("look at", path.join_to(base))?
        .is_none()
    {
        return Err(not_found());
    }
    let root = RootHandle {
        node: 0,
        parent,
        name: name.into(),
        base: base.to_owned(),
    };
    Ok((root, path))
}

struct Walk<'a> {
    listings: Listings,
    /// The first one.
    error: Mutex<Option<PathError>>,
    progress: &'a dyn Progress,
    interrupt: &'a AtomicBool,
}

impl Walk<'_> {
    fn new_listing(&self) -> usize {
        let mut listings = self.listings.lock();
        listings.push(Vec::new());
        listings.len() - 1
    }

    fn fail(&self, error: PathError) {
        self.error.lock().get_or_insert(error);
    }

    /// Lists the folder `name` in `parent` as number `listing`, and has those in it listed.
    fn list<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        parent: &OwnedFd,
        name: &[u8],
        path: PathBuf,
        listing: usize,
    ) {
        if self.interrupt.load(Ordering::Relaxed) || self.error.lock().is_some() {
            return;
        }
        match self.read_folder(parent, name, &path) {
            Ok((folder, mut items)) => {
                items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                self.progress.advance(Step::Scan, items.len() as u64);
                let folder = Arc::new(folder);
                for item in items.iter_mut().filter(|item| is_directory(item)) {
                    let listing = self.new_listing();
                    item.listing = Some(listing);
                    let (folder, name) = (folder.clone(), item.name.clone());
                    let path = join(&path, &item.name);
                    scope.spawn(move |scope| self.list(scope, &folder, &name, path, listing));
                }
                self.listings.lock()[listing] = items;
            }
            Err(error) => self.fail(error),
        }
    }

    fn read_folder(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &Path,
    ) -> Result<(OwnedFd, Vec<Item>), PathError> {
        let folder = fs::openat(parent, name, DIRECTORY, Mode::empty()).at("open", path)?;
        let mut items = Vec::new();
        for entry in Dir::read_from(&folder).at("read the folder", path)? {
            let entry = entry.at("read the folder", path)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                // One that is gone by now was never there.
                items.extend(look_at(&folder, name, || join(path, name))?);
            }
        }
        Ok((folder, items))
    }
}

fn look_at(
    folder: &OwnedFd,
    name: &[u8],
    path: impl Fn() -> PathBuf,
) -> Result<Option<Item>, PathError> {
    let Some(stat) = dir_handles::look(folder, name).map_err(|error| at("look at", path(), error))? else {
        return Ok(None);
    };
    let target = match dir_handles::file_type(&stat) {
        FileType::Symlink => {
            let target = fs::readlinkat(folder, name, Vec::new())
                .map_err(|error| at("read the link", path(), error))?;
            Some(target.to_bytes().into())
        }
        _ => None,
    };
    Ok(Some(Item {
        name: name.into(),
        stat,
        target,
        listing: None,
    }))
}

fn at(action: &'static str, path: PathBuf, error: Errno) -> PathError {
    PathError {
        action,
        path,
        source: error.into(),
    }
}

fn is_directory(item: &Item) -> bool {
    dir_handles::file_type(&item.stat) == FileType::Directory
}

fn join(folder: &Path, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    folder.join(std::ffi::OsStr::from_bytes(name))
}

/// Puts listings together in path order.
#[derive(Default)]
struct Assembly {
    nodes: Vec<Node>,
    warnings: Vec<Warning>,
    /// Device and inode of files with several names, and the node that has the body.
    hardlinks: HashMap<(u64, u64), u32>,
}

impl Assembly {
    /// A loop over a stack of listings and not a recursion: a tree may be deeper than the stack of a thread.
    fn run(mut self, roots: Vec<Item>, mut listings: Vec<Vec<Item>>) -> (Vec<Node>, Vec<Warning>) {
        let mut stack = vec![(None, roots.into_iter())];
        while let Some((parent, items)) = stack.last_mut() {
            let parent = *parent;
            let Some(item) = items.next() else {
                stack.pop();
                continue;
            };
            let index = self.nodes.len() as u32;
            let listing = item.listing;
            self.add(parent, item);
            if let Some(listing) = listing {
                stack.push((Some(index), std::mem::take(&mut listings[listing]).into_iter()));
            }
        }
        (self.nodes, self.warnings)
    }

    fn add(&mut self, parent: Option<u32>, item: Item) {
        let index = self.nodes.len() as u32;
        let mtime = dir_handles::mtime(&item.stat);
        let mode = item.stat.st_mode;
        let (kind, mode, mtime) = match dir_handles::file_type(&item.stat) {
            FileType::Directory => (NodeKind::Directory, mode & DIRECTORY_MODE_MASK, mtime),
            FileType::RegularFile => match self.earlier_name(&item.stat, index) {
                Some(to) => (NodeKind::Hardlink { to }, 0, Default::default()),
                None => {
                    let file = NodeKind::File {
                        size_bytes: item.stat.st_size as u64,
                        digest: Digest::from_bytes([0; 32]),
                    };
                    (file, mode & FILE_MODE_MASK, mtime)
                }
            },
            FileType::Symlink => {
                let target = item.target.unwrap_or_default();
                (NodeKind::Symlink { target }, 0, mtime)
            }
            special => {
                self.warnings.push(Warning::Special {
                    path: self.path_of(parent, &item.name),
                    kind: match special {
                        FileType::Socket => SpecialKind::Socket,
                        FileType::Fifo => SpecialKind::Fifo,
                        FileType::CharacterDevice | FileType::BlockDevice => SpecialKind::Device,
                        _ => SpecialKind::Unknown,
                    },
                });
                return;
            }
        };
        self.nodes.push(Node {
            parent,
            name: item.name,
            mode: mode as u16,
            mtime,
            kind,
        });
    }

    // The width of these fields differs between systems.
    #[allow(clippy::unnecessary_cast)]
    fn earlier_name(&mut self, stat: &Stat, index: u32) -> Option<u32> {
        if stat.st_nlink < 2 {
            return None;
        }
        let first = *self
            .hardlinks
            .entry((stat.st_dev as u64, stat.st_ino as u64))
            .or_insert(index);
        (first != index).then_some(first)
    }

    fn path_of(&self, parent: Option<u32>, name: &[u8]) -> RelPath {
        let mut path = parent.map_or_else(RelPath::root, |parent| tree::path_in(&self.nodes, parent));
        match parent {
            Some(_) => path.push(name).expect("names from the system are plain"),
            None => path = RelPath::parse(name).expect("roots were parsed"),
        }
        path
    }
}
