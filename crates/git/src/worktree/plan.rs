//! What is known of the tree to write, and what can be written now. No I/O: one lock holds a [`Plan`].
//!
//! Objects are offered in any order. A tree adds the paths in it and asks for their objects; a blob that is asked for
//! yields the files to write, once the attributes of their directory are known. What nobody asks for yet is held
//! within a budget while trees are missing; what was let go is asked for again at the end.

use std::{collections::HashMap, sync::Arc};

use gix::{
    ObjectId,
    bstr::{BStr, BString, ByteSlice as _},
    objs::{CommitRefIter, Kind, tree::EntryKind},
    validate::path::component,
};
use headstart_fs::RelPath;

use super::{
    WorktreeError,
    attributes::{Converter, Scope},
    files::Dir,
    index::{FileStat, IndexEntry, IndexTree},
    tree::{self, TreeError},
};
use crate::{pack::ObjectData, sparse::Cone};

/// Bytes of objects held for a path or attributes that are still to come.
const HELD_BYTES: usize = 64 << 20;

/// Longest path from the root, as long as the system takes in one piece.
pub(super) const LONGEST_PATH_BYTES: usize = 4095;

/// Paths a commit may have: some times those of the largest monorepos. A few small trees that name each other several
/// times would otherwise stand for more than memory holds.
pub(super) const MOST_PATHS: usize = 10_000_000;

/// One file, symlink or submodule.
struct File {
    dir: u32,
    name: BString,
    kind: EntryKind,
    id: ObjectId,
    /// Set when it is written.
    stat: Option<FileStat>,
    skip_worktree: bool,
}

/// One directory.
struct Directory {
    dir: Arc<Dir>,
    tree: ObjectId,
    keep: Keep,
    scope: u32,
}

/// What the sparse cone keeps of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    /// The files directly in it; what is below is asked of the cone.
    Files,
    Nothing,
}

/// Attributes that may still have to come.
struct PendingScope {
    above: Option<u32>,
    dir: BString,
    content: Option<ObjectData>,
    /// Known when its content is and that of all above.
    known: Option<Arc<Scope>>,
    /// Scopes and files that wait for this one.
    inner: Vec<u32>,
    waiting: Vec<(u32, ObjectData)>,
}

/// Why an object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    Commit,
    Tree(u32),
    /// Before files: a file is subject to the attributes in itself.
    Attributes(u32),
    File(u32),
}

/// A file to write now.
pub(super) struct Job {
    pub(super) file: u32,
    pub(super) dir: Arc<Dir>,
    pub(super) name: BString,
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
    pub(super) scope: Arc<Scope>,
    /// Empty for submodules.
    pub(super) content: ObjectData,
}

pub(super) struct Plan {
    cone: Option<Cone>,
    protect: component::Options,
    directories: Vec<Directory>,
    files: Vec<File>,
    scopes: Vec<PendingScope>,
    wanted: HashMap<ObjectId, Vec<Want>>,
    /// Commits and trees among the wanted.
    wanted_trees: usize,
    /// Files and symlinks to write, of those known.
    files_to_write: u64,
    held: HashMap<ObjectId, (Kind, ObjectData)>,
    held_bytes: usize,
    /// All trees met are as git would write them, and none is empty.
    canonical: bool,
}

impl Plan {
    pub(super) fn new(
        tip: ObjectId,
        cone: Option<Cone>,
        protect: component::Options,
        outermost: Scope,
    ) -> Self {
        Plan {
            cone,
            protect,
            directories: Vec::new(),
            files: Vec::new(),
            scopes: vec![PendingScope {
                above: None,
                dir: BString::default(),
                content: None,
                known: Some(Arc::new(outermost)),
                inner: Vec::new(),
                waiting: Vec::new(),
            }],
            wanted: HashMap::from([(tip, vec![Want::Commit])]),
            wanted_trees: 1,
            files_to_write: 0,
            held: HashMap::new(),
            held_bytes: 0,
            canonical: true,
        }
    }

    /// Takes an object and adds what can be written now to `jobs`.
    pub(super) fn offer(
        &mut self,
        id: ObjectId,
        kind: Kind,
        data: ObjectData,
        converter: &Converter,
        jobs: &mut Vec<Job>,
    ) -> Result<(), WorktreeError> {
        let mut offered = vec![(id, kind, data)];
        while let Some((id, kind, data)) = offered.pop() {
            let Some(mut wants) = self.wanted.remove(&id) else {
                self.hold(id, kind, data);
                continue;
            };
            wants.sort_unstable();
            let mut asked = Vec::new();
            for want in wants {
                match (want, kind) {
                    (Want::Commit, Kind::Commit) => {
                        self.wanted_trees -= 1;
                        asked.push(self.start(id, &data)?);
                    }
                    (Want::Tree(directory), Kind::Tree) => {
                        self.wanted_trees -= 1;
                        self.expand(directory, &data, &mut asked, jobs)?;
                    }
                    (Want::Attributes(scope), Kind::Blob) => {
                        self.scopes[scope as usize].content = Some(data.clone());
                        self.settle_scopes(scope, converter, jobs)?;
                    }
                    (Want::File(file), Kind::Blob) => self.place(file, data.clone(), jobs),
                    _ => {
                        return Err(WorktreeError::CorruptObject {
                            id,
                            what: "it is not of the type its tree or reference says",
                        });
                    }
                }
            }
            // A tree that comes later may name it again.
            self.hold(id, kind, data);
            for id in asked {
                if let Some((kind, data)) = self.held.remove(&id) {
                    self.held_bytes -= data.len();
                    offered.push((id, kind, data));
                }
            }
            if self.wanted_trees == 0 && !self.held.is_empty() {
                // All paths are known: what is held belongs to none of them.
                for (_, data) in std::mem::take(&mut self.held).into_values() {
                    self.held_bytes -= data.len();
                }
            }
        }
        Ok(())
    }

    /// Keeps an object for paths that are not known yet.
    fn hold(&mut self, id: ObjectId, kind: Kind, data: ObjectData) {
        if self.wanted_trees > 0 && kind != Kind::Commit && self.held_bytes + data.len() <= HELD_BYTES {
            self.held_bytes += data.len();
            if let Some((_, same)) = self.held.insert(id, (kind, data)) {
                self.held_bytes -= same.len();
            }
        }
    }

    /// Begins with the tree of the commit.
    fn start(&mut self, commit: ObjectId, data: &[u8]) -> Result<ObjectId, WorktreeError> {
        let tree = CommitRefIter::from_bytes(data, gix::hash::Kind::Sha1)
            .tree_id()
            .map_err(|_| WorktreeError::CorruptObject {
                id: commit,
                what: "it is not a commit that names a tree",
            })?;
        let keep = match &self.cone {
            Some(cone) if !cone.contains_all_of(&RelPath::root()) => Keep::Files,
            _ => Keep::All,
        };
        self.add_directory(Dir::root(), tree, keep, 0);
        Ok(tree)
    }

    fn add_directory(&mut self, dir: Arc<Dir>, tree: ObjectId, keep: Keep, scope: u32) {
        let index = self.directories.len() as u32;
        self.directories.push(Directory {
            dir,
            tree,
            keep,
            scope,
        });
        self.wanted_trees += 1;
        self.want(tree, Want::Tree(index));
    }

    fn want(&mut self, id: ObjectId, want: Want) {
        self.wanted.entry(id).or_default().push(want);
    }

    /// Adds the entries of a directory whose tree has come; `asked` gets the objects they need.
    fn expand(
        &mut self,
        directory: u32,
        data: &[u8],
        asked: &mut Vec<ObjectId>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), WorktreeError> {
        let Directory {
            dir,
            tree,
            keep,
            scope,
        } = &self.directories[directory as usize];
        let (dir, tree, keep, mut scope) = (dir.clone(), *tree, *keep, *scope);
        let checked = tree::check(data, self.protect).map_err(|error| match error {
            TreeError::Corrupt => WorktreeError::CorruptObject {
                id: tree,
                what: "it is not a tree",
            },
            TreeError::Name(name, reason) => WorktreeError::InvalidPath {
                path: dir.path_of(name),
                reason,
            },
        })?;
        // Git never writes the tree of an empty directory but that of the root.
        self.canonical &= checked.canonical && (!checked.entries.is_empty() || dir.path.is_empty());
        if self.files.len() + self.directories.len() + checked.entries.len() > MOST_PATHS {
            return Err(WorktreeError::TooLarge("it has too many paths"));
        }

        let attributes = checked.entries.iter().find(|entry| {
            entry.name == ".gitattributes"
                && matches!(entry.kind, EntryKind::Blob | EntryKind::BlobExecutable)
        });
        if let Some(attributes) = attributes.filter(|_| keep != Keep::Nothing) {
            let inner = self.scopes.len() as u32;
            self.scopes.push(PendingScope {
                above: Some(scope),
                dir: dir.path.clone(),
                content: None,
                known: None,
                inner: Vec::new(),
                waiting: Vec::new(),
            });
            self.scopes[scope as usize].inner.push(inner);
            scope = inner;
            self.want(attributes.id, Want::Attributes(scope));
            self.directories[directory as usize].scope = scope;
        }

        for entry in checked.entries {
            if dir.path.len() + 1 + entry.name.len() > LONGEST_PATH_BYTES {
                return Err(WorktreeError::TooLarge("it has a path of more than 4095 bytes"));
            }
            if entry.kind == EntryKind::Tree {
                let child = dir.child(entry.name);
                let keep = self.keep(keep, child.path.as_bstr());
                self.add_directory(child, entry.id, keep, scope);
                asked.push(entry.id);
                continue;
            }
            let file = self.files.len() as u32;
            self.files.push(File {
                dir: directory,
                name: entry.name.to_owned(),
                kind: entry.kind,
                id: entry.id,
                stat: None,
                skip_worktree: keep == Keep::Nothing,
            });
            if keep == Keep::Nothing {
                continue;
            }
            if entry.kind == EntryKind::Commit {
                // A submodule has no content here, so nothing to wait for.
                jobs.push(self.job(file, Arc::new(Scope::default()), ObjectData::default()));
            } else {
                self.files_to_write += 1;
                self.want(entry.id, Want::File(file));
                asked.push(entry.id);
            }
        }
        Ok(())
    }

    fn keep(&self, above: Keep, dir: &BStr) -> Keep {
        let cone = match (above, &self.cone) {
            (Keep::All, _) | (_, None) => return Keep::All,
            (Keep::Nothing, _) => return Keep::Nothing,
            (Keep::Files, Some(cone)) => cone,
        };
        match RelPath::parse(dir.as_bytes()) {
            Ok(dir) if cone.contains_all_of(&dir) => Keep::All,
            Ok(dir) if cone.contains_files_of(&dir) => Keep::Files,
            _ => Keep::Nothing,
        }
    }

    fn place(&mut self, file: u32, content: ObjectData, jobs: &mut Vec<Job>) {
        let entry = &self.files[file as usize];
        let scope = self.directories[entry.dir as usize].scope;
        match &self.scopes[scope as usize].known {
            Some(known) => jobs.push(self.job(file, known.clone(), content)),
            None if self.held_bytes + content.len() <= HELD_BYTES => {
                self.held_bytes += content.len();
                self.scopes[scope as usize].waiting.push((file, content));
            }
            // No room to wait: it comes again when all attributes are there.
            None => self.want(entry.id, Want::File(file)),
        }
    }

    fn job(&self, file: u32, scope: Arc<Scope>, content: ObjectData) -> Job {
        let entry = &self.files[file as usize];
        Job {
            file,
            dir: self.directories[entry.dir as usize].dir.clone(),
            name: entry.name.clone(),
            kind: entry.kind,
            id: entry.id,
            scope,
            content,
        }
    }

    /// Works out the attributes of a scope whose content has come, and of those inside it that waited for it.
    fn settle_scopes(
        &mut self,
        scope: u32,
        converter: &Converter,
        jobs: &mut Vec<Job>,
    ) -> Result<(), WorktreeError> {
        let mut unsettled = vec![scope];
        while let Some(index) = unsettled.pop() {
            let pending = &self.scopes[index as usize];
            let above = pending.above.map(|above| &self.scopes[above as usize]);
            let (Some(above), Some(content), None) = (
                above.and_then(|above| above.known.as_ref()),
                &pending.content,
                &pending.known,
            ) else {
                continue;
            };
            let known = Arc::new(converter.scope(above, pending.dir.as_bstr(), content)?);
            let pending = &mut self.scopes[index as usize];
            pending.known = Some(known.clone());
            unsettled.extend(&pending.inner);
            for (file, content) in std::mem::take(&mut pending.waiting) {
                self.held_bytes -= content.len();
                jobs.push(self.job(file, known.clone(), content));
            }
        }
        Ok(())
    }

    /// Notes that a file is written.
    pub(super) fn written(&mut self, file: u32, stat: FileStat) {
        self.files[file as usize].stat = Some(stat);
    }

    /// Asks again for the content of a file that could not be written yet.
    pub(super) fn want_again(&mut self, file: u32) {
        self.want(self.files[file as usize].id, Want::File(file));
    }

    /// Files and symlinks to write in all, once all paths are known.
    pub(super) fn total(&self) -> Option<u64> {
        (self.wanted_trees == 0).then_some(self.files_to_write)
    }

    /// Objects that are needed before all paths and attributes are known.
    pub(super) fn wanted_structure(&self) -> Vec<ObjectId> {
        let is_structure = |want: &Want| !matches!(want, Want::File(_));
        self.wanted
            .iter()
            .filter(|(_, wants)| wants.iter().any(is_structure))
            .map(|(id, _)| *id)
            .collect()
    }

    /// All objects that are known to be needed.
    pub(super) fn wanted(&self) -> Vec<ObjectId> {
        self.wanted.keys().copied().collect()
    }

    /// The content of the index, when everything is written.
    pub(super) fn into_index(self) -> (Vec<IndexEntry>, Vec<IndexTree>) {
        let path = |file: &File| {
            self.directories[file.dir as usize]
                .dir
                .path_of(file.name.as_bstr())
        };
        let entries = self
            .files
            .iter()
            .map(|file| IndexEntry {
                path: path(file),
                mode: file.kind as u32,
                id: file.id,
                stat: file.stat.unwrap_or_default(),
                skip_worktree: file.skip_worktree,
            })
            .collect();
        let trees = self.directories.iter().filter(|_| self.canonical);
        let trees = trees
            .map(|directory| IndexTree {
                path: directory.dir.path.clone(),
                id: directory.tree,
            })
            .collect();
        (entries, trees)
    }
}
