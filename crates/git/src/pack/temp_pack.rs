//! The files of a pack while they are not complete, and how they become visible.

use std::{
    fs::{File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use gix::ObjectId;
use headstart_fs::{AtPath as _, PathError};
use tempfile::NamedTempFile;

use super::{
    index_files::{index_order, write_idx, write_rev},
    schedule::Entry,
};

/// A pack being received, in a temporary file that goes away when dropped. `git gc` removes what a kill leaves,
/// because it knows the prefix of the name.
pub(super) struct TempPack<'a> {
    dir: &'a Path,
    pack: NamedTempFile,
}

impl<'a> TempPack<'a> {
    pub(super) fn create(dir: &'a Path) -> Result<Self, PathError> {
        Ok(TempPack {
            dir,
            pack: temp_file(dir, "tmp_pack_")?,
        })
    }

    pub(super) fn pack_file(&self) -> &File {
        self.pack.as_file()
    }

    pub(super) fn pack_path(&self) -> &Path {
        self.pack.path()
    }

    /// Waits until the pack is on the disk, as git does by default (`core.fsync`).
    pub(super) fn sync_pack(&self) -> Result<(), PathError> {
        self.pack.as_file().sync_data().at("sync", self.pack.path())
    }

    /// Makes the pack part of the repository: the index comes last, and only with it do readers see the pack.
    pub(super) fn publish(
        self,
        id: ObjectId,
        entries: &[Entry],
        promisor: Option<&[u8]>,
    ) -> Result<(), PathError> {
        let order = index_order(entries);
        let idx = temp_file(self.dir, "tmp_idx_")?;
        write_idx(idx.as_file(), entries, &order, id).at("write", idx.path())?;
        idx.as_file().sync_data().at("sync", idx.path())?;
        let rev = temp_file(self.dir, "tmp_rev_")?;
        write_rev(rev.as_file(), &order, id).at("write", rev.path())?;
        rev.as_file().sync_data().at("sync", rev.path())?;
        let promisor = promisor
            .map(|content| {
                let file = temp_file(self.dir, "tmp_promisor_")?;
                file.as_file().write_all(content).at("write", file.path())?;
                Ok(file)
            })
            .transpose()?;

        // Git fetches into an existing pack by rewriting its promisor file, so that one stays writable.
        let (read_only, writable) = (0o444, 0o644);
        persist(self.pack, self.dir, id, "pack", read_only)?;
        persist(rev, self.dir, id, "rev", read_only)?;
        if let Some(promisor) = promisor {
            persist(promisor, self.dir, id, "promisor", writable)?;
        }
        persist(idx, self.dir, id, "idx", read_only)
    }
}

fn temp_file(dir: &Path, prefix: &str) -> Result<NamedTempFile, PathError> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempfile_in(dir)
        .at("create a temporary file in", dir)
}

fn persist(
    file: NamedTempFile,
    dir: &Path,
    id: ObjectId,
    extension: &str,
    mode: u32,
) -> Result<(), PathError> {
    let path = dir.join(format!("pack-{id}.{extension}"));
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .at("set the mode of", file.path())?;
    file.persist(&path)
        .map_err(|error| error.error)
        .at("rename a temporary file to", &path)?;
    Ok(())
}
