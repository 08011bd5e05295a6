//! Packs of a seed become packs of a clone: by another name for the same file, else as a copy.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, PathError};

use super::{SeedError, SeedPart, check::PackOrder, commit_graph};

/// The index last: with it, git sees the pack.
const EXTENSIONS: [&str; 3] = ["pack", "rev", "idx"];

/// What a part of a seed has brought into a repository.
#[derive(Debug, Default)]
pub(crate) struct LinkedPart {
    /// Bytes of the `.pack` files.
    pub(crate) pack_bytes: u64,
    /// All files that were made.
    files: Vec<PathBuf>,
    /// The indexes among them.
    indexes: Vec<PathBuf>,
}

impl LinkedPart {
    /// Takes it all away again.
    pub(crate) fn remove(self) {
        // The index first, so that nobody sees a pack that goes. What stays is not wrong, only of no use.
        for file in self.files.iter().rev() {
            let _ = fs::remove_file(file);
        }
    }

    /// The indexes of the packs.
    pub(crate) fn indexes(&self) -> &[PathBuf] {
        &self.indexes
    }

    /// Gives the repository the commit-graph of `part`, if it has one and all commits it is about are in these packs.
    pub(crate) fn add_commit_graph(&mut self, part: &SeedPart, objects: &Path) {
        let Some(graph) = &part.commit_graph else { return };
        let target = commit_graph::path_in(objects);
        let is_whole = || -> Result<bool, SeedError> {
            let mut indexes: Vec<PathBuf> =
                part.packs.iter().map(|pack| pack.with_extension("idx")).collect();
            indexes.extend_from_slice(&self.indexes);
            let order = PackOrder::open(&indexes)?;
            let listed = commit_graph::ListedCommits::load(graph)?;
            Ok(listed.ids().iter().all(|id| order.contains(id)))
        };
        // It only saves git time.
        if is_whole().is_ok_and(|is_whole| is_whole)
            && fs::create_dir_all(objects.join("info")).is_ok()
            && link_or_copy(graph, &target).is_ok()
        {
            self.files.push(target);
        }
    }
}

/// Puts the packs of `part` into the object folder `objects`, each with `promisor` in its `.promisor` file: the remote owes
/// what they lack. Files are hardlinked where they are on the same file system: git never changes a pack, it removes it.
pub(crate) fn link_part(part: &SeedPart, objects: &Path, promisor: &[u8]) -> Result<LinkedPart, PathError> {
    let mut linked = LinkedPart::default();
    match link_into(part, objects, promisor, &mut linked) {
        Ok(()) => Ok(linked),
        Err(error) => {
            linked.remove();
            Err(error)
        }
    }
}

fn link_into(
    part: &SeedPart,
    objects: &Path,
    promisor: &[u8],
    linked: &mut LinkedPart,
) -> Result<(), PathError> {
    let folder = objects.join("pack");
    fs::create_dir_all(&folder).at("create", &folder)?;
    for pack in &part.packs {
        let target = folder.join(pack.file_name().unwrap_or_default());
        // One that was here before keeps the `.promisor` file it has.
        let mut is_new = true;
        for extension in EXTENSIONS {
            let (from, to) = (pack.with_extension(extension), target.with_extension(extension));
            if extension == "idx" && is_new {
                let promisor_path = target.with_extension("promisor");
                fs::write(&promisor_path, promisor).at("write", &promisor_path)?;
                linked.files.push(promisor_path);
            }
            match link_or_copy(&from, &to) {
                Ok(Made::New) => linked.files.push(to.clone()),
                // Another part had the same pack.
                Ok(Made::Existed) => is_new &= extension != "pack",
                // Git does without.
                Err(error) if extension == "rev" && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at("link or copy", &from),
            }
            if extension == "pack" {
                linked.pack_bytes += fs::metadata(&to).at("look at", &to)?.len();
            }
            if extension == "idx" {
                linked.indexes.push(to);
            }
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Made {
    New,
    Existed,
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<Made> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Made::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::Existed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        // Another file system, a file of another user's, or as many names as a file may have.
        Err(_) => {
            let copied = fs::copy(from, to);
            if copied.is_err() {
                let _ = fs::remove_file(to);
            }
            copied.map(|_| Made::New)
        }
    }
}
