//! What `git blame` of one file needs: the blobs the file has had, under its earlier names too.
//!
//! Follows a file as a blame does: from a merge to the first parent that has the same content, else to all of them. Where a
//! parent lacks the file, a blame compares it with every file that vanishes in that commit, so their contents are needed
//! before it is known which of them it was renamed from. Each such rename costs a round.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use bstr::{BStr, BString, ByteSlice as _};
use gix::ObjectId;

use super::{Backfill, Found, parse_id, range};
use crate::{
    local::{LocalError, os_string},
    progress::Step,
    tree_diff::{self, Side},
    tree_walk::{Selection, Task},
};

/// Bytes of paths that one command line takes for sure.
const LONGEST_PATHS_BYTES: usize = 1 << 20;

/// A file at a commit.
type Origin = (ObjectId, BString);

/// A file that a parent of the commit lacks.
struct Appeared {
    commit: ObjectId,
    parent: ObjectId,
    path: BString,
    blob: ObjectId,
}

impl Backfill<'_> {
    pub(super) fn find_for_blame(&mut self, file: &Path) -> Result<Found, LocalError> {
        let path = self.repository.path_in_tree(file)?;
        let head = self.repository.git_without_fetching();
        let head = head.args(["rev-parse", "--verify", "HEAD^{commit}"]).run()?;
        let mut origins: Vec<Origin> = vec![(parse_id(head.stdout.trim())?, path.clone())];
        let mut trail = Trail::default();
        let mut all = Found::default();
        while !origins.is_empty() {
            for (tip, path) in &origins {
                self.find_trees_of(*tip, path, &mut all)?;
            }
            if all.more {
                return Ok(all);
            }
            let appeared = self.follow(&mut trail, std::mem::take(&mut origins))?;
            if trail.seen.is_empty() {
                return Err(LocalError::NoSuchPath { path });
            }
            for appeared in appeared {
                let vanished = self.vanished(&appeared, &mut all)?;
                let same = vanished.iter().filter(|(_, side)| side.id == appeared.blob);
                let mut sources: Vec<BString> = same.map(|(path, _)| path.clone()).collect();
                if sources.is_empty() && !vanished.is_empty() {
                    trail.wanted.push(appeared.blob);
                    trail.wanted.extend(vanished.iter().map(|(_, side)| side.id));
                    if self.options.dry_run {
                        all.more = true;
                        continue;
                    }
                    self.fetch_wanted(&mut trail, &mut all)?;
                    sources.extend(self.rename_source(&appeared, &vanished)?);
                }
                origins.extend(sources.into_iter().map(|source| (appeared.parent, source)));
            }
        }
        all.blobs = self.missing(&mut trail);
        Ok(all)
    }

    /// Follows files down history; answers where they appeared.
    fn follow(&self, trail: &mut Trail, mut origins: Vec<Origin>) -> Result<Vec<Appeared>, LocalError> {
        let mut appeared = Vec::new();
        while let Some((commit, path)) = origins.pop() {
            let (tree, parents) = self.objects.commit(commit)?;
            let Some(blob) = trail.blob_at(self, tree, path.as_ref())? else {
                continue;
            };
            if !trail.seen.insert((commit, path.clone())) {
                continue;
            }
            trail.wanted.push(blob);
            let mut befores = Vec::new();
            for parent in parents.into_iter().filter(|parent| self.objects.contains(parent)) {
                let (tree, _) = self.objects.commit(parent)?;
                befores.push((parent, trail.blob_at(self, tree, path.as_ref())?));
            }
            if let Some((parent, _)) = befores.iter().find(|(_, before)| *before == Some(blob)) {
                origins.push((*parent, path));
                continue;
            }
            for (parent, before) in befores {
                match before {
                    Some(_) => origins.push((parent, path.clone())),
                    None => appeared.push(Appeared {
                        commit,
                        parent,
                        path: path.clone(),
                        blob,
                    }),
                }
            }
        }
        Ok(appeared)
    }

    /// Brings the trees on the way to `path` in all history, where a clone may lack some.
    fn find_trees_of(&mut self, tip: ObjectId, path: &BString, all: &mut Found) -> Result<(), LocalError> {
        let listed = self.repository.git_without_fetching();
        let listed = listed.args(["rev-list", &tip.to_string(), "--"]).run()?;
        let tasks = range::all_of_each(&self.objects, &listed.stdout)?;
        let selection = Selection {
            paths: vec![path.clone()],
            cone: None,
        };
        self.find_trees(selection, tasks, all)
    }

    fn find_trees(
        &mut self,
        selection: Selection,
        tasks: Vec<Task>,
        all: &mut Found,
    ) -> Result<(), LocalError> {
        let found = self.find(selection, tasks)?;
        all.trees += found.trees;
        all.tree_batches += found.tree_batches;
        all.more |= found.more;
        Ok(())
    }

    /// The files that are gone where a file appeared.
    fn vanished(&mut self, appeared: &Appeared, all: &mut Found) -> Result<Vec<(BString, Side)>, LocalError> {
        let old = self.objects.commit(appeared.parent)?.0;
        let new = self.objects.commit(appeared.commit)?.0;
        let tasks = range::changed(old, new).into_iter().collect();
        self.find_trees(Selection::default(), tasks, all)?;
        let mut vanished = Vec::new();
        let mut pairs = vec![(BString::default(), Some(old), Some(new))];
        while let Some((dir, old, new)) = pairs.pop() {
            let read = |id: Option<ObjectId>| -> Result<Vec<u8>, LocalError> {
                let mut data = Vec::new();
                if let Some(id) = id
                    && !self.objects.read_tree(id, &mut data)?
                    && !self.options.dry_run
                {
                    return Err(LocalError::object(id, "it is missing"));
                }
                Ok(data)
            };
            let (old_data, new_data) = (read(old)?, read(new)?);
            tree_diff::diff(&old_data, &new_data, |name, old, new| {
                let path = tree_diff::join(dir.as_ref(), name);
                let tree = |side: Option<Side>| side.filter(Side::is_tree).map(|side| side.id);
                match (tree(old), tree(new)) {
                    (None, None) => {
                        let gone = old.filter(|side| side.is_blob() && new.is_none());
                        vanished.extend(gone.map(|side| (path, side)));
                    }
                    (None, Some(_)) => {}
                    (old, new) => pairs.push((path, old, new)),
                }
            })
            .map_err(|_| LocalError::object(appeared.commit, "one of its trees is corrupt"))?;
        }
        // A file that became a folder, or the other way round, is told twice; its name is not gone.
        vanished.retain(|(path, _)| *path != appeared.path);
        Ok(vanished)
    }

    /// The blobs on the trail that are missing; none is answered twice.
    fn missing(&self, trail: &mut Trail) -> Vec<ObjectId> {
        let mut wanted = std::mem::take(&mut trail.wanted);
        wanted.retain(|id| trail.asked.insert(*id) && !self.objects.contains(id));
        self.progress.advance(Step::FindMissing, wanted.len() as u64);
        wanted
    }

    fn fetch_wanted(&mut self, trail: &mut Trail, all: &mut Found) -> Result<(), LocalError> {
        let wanted = self.missing(trail);
        all.fetched_blobs += wanted.len() as u64;
        self.fetch_blobs(&wanted)
    }

    /// Which of the files that vanished became the one that appeared. Git says, with the contents at hand.
    fn rename_source(
        &self,
        appeared: &Appeared,
        vanished: &[(BString, Side)],
    ) -> Result<Option<BString>, LocalError> {
        let mut command = self
            .repository
            .git_without_fetching()
            .env("GIT_LITERAL_PATHSPECS", "1")
            .args([
                "diff-tree",
                "-r",
                "-M",
                "--diff-filter=R",
                "--name-status",
                "-z",
                "--no-commit-id",
            ])
            .args([appeared.parent.to_string(), appeared.commit.to_string()]);
        let paths = [&appeared.path]
            .into_iter()
            .chain(vanished.iter().map(|(path, _)| path));
        let length: usize = paths.clone().map(|path| path.len() + 1).sum();
        if length > LONGEST_PATHS_BYTES {
            return Ok(None);
        }
        command = command.arg("--").args(paths.map(|path| os_string(path.as_ref())));
        let listed = command.run()?;
        let fields: Vec<&[u8]> = listed.stdout.split(|byte| *byte == 0).collect();
        let renames = fields.chunks_exact(3);
        let mut ours = renames.filter(|fields| fields[2] == appeared.path.as_slice());
        Ok(ours.next().map(|fields| fields[1].into()))
    }
}

/// What is known while files are followed.
#[derive(Default)]
struct Trail {
    seen: HashSet<Origin>,
    /// Blobs to look for.
    wanted: Vec<ObjectId>,
    asked: HashSet<ObjectId>,
    /// What is at a path below a tree.
    known: HashMap<(ObjectId, BString), Option<ObjectId>>,
}

impl Trail {
    /// The blob at `path` in `tree`.
    fn blob_at(
        &mut self,
        backfill: &Backfill<'_>,
        tree: ObjectId,
        path: &BStr,
    ) -> Result<Option<ObjectId>, LocalError> {
        let key = (tree, path.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let (name, rest) = match path.split_once_str("/") {
            Some((name, rest)) => (name, Some(rest)),
            None => (path.as_bytes(), None),
        };
        let mut data = Vec::new();
        if !backfill.objects.read_tree(tree, &mut data)? {
            return Err(LocalError::object(tree, "it is missing"));
        }
        let mut found = None;
        for entry in tree_diff::entries(&data) {
            let (entry_name, side) = entry.map_err(|_| LocalError::object(tree, "it is not a tree"))?;
            if entry_name == name && side.is_tree() == rest.is_some() {
                found = Some(side);
                break;
            }
        }
        let blob = match (found, rest) {
            (Some(side), Some(rest)) => self.blob_at(backfill, side.id, rest.as_bstr())?,
            (Some(side), None) if side.is_blob() => Some(side.id),
            _ => None,
        };
        self.known.insert(key, blob);
        Ok(blob)
    }
}
