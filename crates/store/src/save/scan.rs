//! Describing the tree to save.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headstart_digest::Digest;
use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::fs::FileType;

use super::{SaveError, SaveOptions, read, stat_cache::Stamp};
use crate::{
    Node, NodeKind, Progress, SpecialKind, Step, Tree, Warning, Xattr,
    dir_handles::{self, Anchor, DirHandles},
    listing::{self, IsWanted, ListRoot, Listed},
    on_disk,
    tree::{self, DIRECTORY_MODE_MASK, FILE_MODE_MASK},
    xattrs,
};

/// What there is to save.
pub(super) struct Scan {
    /// The listing; digests of files are yet to be filled in.
    pub(super) tree: Tree,
    /// What the system says of each node, by which a later save knows it again.
    pub(super) stamps: Vec<Stamp>,
    /// Where its roots are.
    pub(super) roots: Vec<Anchor>,
    /// What was left out.
    pub(super) warnings: Vec<Warning>,
}

/// Lists everything below the paths of `options`.
pub(super) fn scan(
    options: &SaveOptions,
    only: Option<&BTreeSet<RelPath>>,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<Scan, SaveError> {
    progress.start(Step::Scan, None);
    let mut roots = Vec::new();
    for path in outermost(&options.paths) {
        roots.push(open_root(&options.root, path)?);
    }
    let starts: Vec<ListRoot<'_>> = roots
        .iter()
        .map(|(root, path)| ListRoot {
            parent: &root.parent,
            name: &root.name,
            listed_name: path.as_bytes(),
            path: path.join_to(&options.root),
        })
        .collect();
    let left_out = left_out(options)?;
    let is_wanted = |path: &Path| {
        left_out.as_deref() != Some(path) && only.is_none_or(|only| is_part_of(only, path, &options.root))
    };
    let is_wanted: Option<&IsWanted<'_>> = match left_out.is_some() || only.is_some() {
        true => Some(&is_wanted),
        false => None,
    };
    let listed = listing::list(&starts, is_wanted, Step::Scan, progress, interrupt)?;
    if interrupt.load(Ordering::Relaxed) {
        return Err(SaveError::Interrupted);
    }
    let mut nodes = Nodes::default();
    for item in listed {
        nodes.add(item);
    }
    let tree = Tree::new(nodes.nodes).map_err(|error| SaveError::TooLarge(error.to_string()))?;
    // One that is gone would look empty.
    for (root, path) in &roots {
        let found = dir_handles::look(&root.parent, &root.name).at("look at", path.join_to(&options.root))?;
        if found.is_none() || !tree.roots().any(|(_, listed)| listed == **path) {
            let (path, root) = ((*path).clone(), options.root.clone());
            return Err(SaveError::NotFound { path, root });
        }
    }
    let mut roots: HashMap<&RelPath, Anchor> = roots.into_iter().map(|(root, path)| (path, root)).collect();
    let roots = tree
        .roots()
        .map(|(node, path)| Anchor {
            node,
            ..roots.remove(&path).expect("the tree's roots are those asked for")
        })
        .collect();
    progress.finish(Step::Scan);
    Ok(Scan {
        tree,
        stamps: nodes.stamps,
        roots,
        warnings: nodes.warnings,
    })
}

/// The extended attributes of the folders of a tree.
pub(super) fn folder_xattrs(scan: &Scan, base: &Path) -> Result<Vec<Xattr>, PathError> {
    let tree = &scan.tree;
    let mut dirs = DirHandles::new(tree, &scan.roots, base);
    let mut found = Vec::new();
    for (node, index) in tree.nodes().iter().zip(0u32..) {
        if node.kind == NodeKind::Directory {
            let folder = match dirs.folder(index) {
                Err(error) if read::is_gone(&error.source) => continue,
                folder => folder?,
            };
            let attributes = xattrs::read(folder, index);
            found.extend(attributes.at("read the attributes of", dirs.path(index))?);
        }
    }
    Ok(found)
}

/// What is left out, as a path below the root of `options`; nothing when it lies elsewhere.
fn left_out(options: &SaveOptions) -> Result<Option<PathBuf>, PathError> {
    let Some(folder) = &options.leave_out else {
        return Ok(None);
    };
    let base = on_disk::resolve(&options.root).at("find", &options.root)?;
    let below = folder.strip_prefix(base).ok();
    Ok(below.map(|below| options.root.join(below)))
}

/// Whether `path` leads to one of `only`, is one, or lies below one.
fn is_part_of(only: &BTreeSet<RelPath>, path: &Path, base: &Path) -> bool {
    let relative = path.strip_prefix(base).ok();
    let Some(path) = relative.and_then(|path| RelPath::parse_lenient(path).ok()) else {
        return false;
    };
    // A folder sorts directly before what is in it.
    let leads_there = only
        .range(&path..)
        .next()
        .is_some_and(|next| next.starts_with(&path));
    leads_there || std::iter::successors(path.parent(), RelPath::parent).any(|above| only.contains(&above))
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

fn open_root<'p>(base: &Path, path: &'p RelPath) -> Result<(Anchor, &'p RelPath), SaveError> {
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
    let root = Anchor {
        node: 0,
        parent: Arc::new(parent),
        name: name.into(),
    };
    Ok((root, path))
}

/// Turns what is listed into nodes.
#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
    stamps: Vec<Stamp>,
    /// The node of what was listed, by its index; special files have none.
    node_of: Vec<Option<u32>>,
    warnings: Vec<Warning>,
    /// By inode, of files with several names: the node that has the body.
    hardlinks: HashMap<(u64, u64), u32>,
}

impl Nodes {
    fn add(&mut self, item: Listed) {
        let parent = item
            .parent
            .map(|parent| self.node_of[parent as usize].expect("folders are nodes"));
        let index = self.nodes.len() as u32;
        let (kind, mode, mtime) = match item.kind {
            FileType::Directory => (NodeKind::Directory, item.mode & DIRECTORY_MODE_MASK, item.mtime),
            FileType::RegularFile => match self.earlier_name(&item, index) {
                Some(to) => (NodeKind::Hardlink { to }, 0, Default::default()),
                None => {
                    let file = NodeKind::File {
                        size_bytes: item.size_bytes,
                        // Empty files may not be read at all.
                        digest: match item.size_bytes {
                            0 => Digest::of(b""),
                            _ => Digest::from_bytes([0; 32]),
                        },
                    };
                    (file, item.mode & FILE_MODE_MASK, item.mtime)
                }
            },
            FileType::Symlink => {
                let target = item.target.unwrap_or_default();
                (NodeKind::Symlink { target }, 0, item.mtime)
            }
            special => {
                self.node_of.push(None);
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
        self.node_of.push(Some(index));
        self.stamps.push(Stamp {
            device: item.inode.0,
            inode: item.inode.1,
            ctime: item.ctime,
        });
        self.nodes.push(Node {
            parent,
            name: item.name,
            mode: mode as u16,
            mtime,
            kind,
        });
    }

    fn earlier_name(&mut self, item: &Listed, index: u32) -> Option<u32> {
        if item.names < 2 {
            return None;
        }
        let first = *self.hardlinks.entry(item.inode).or_insert(index);
        (first != index).then_some(first)
    }

    fn path_of(&self, parent: Option<u32>, name: &[u8]) -> RelPath {
        match parent {
            None => RelPath::parse(name).expect("roots were parsed"),
            Some(parent) => {
                let mut path = tree::path_in(&self.nodes, parent);
                path.push(name).expect("names from the system are plain");
                path
            }
        }
    }
}
