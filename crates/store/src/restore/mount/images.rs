//! The folder that images are kept in.

use std::{
    fs::{DirBuilder, File},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use headstart_digest::SnapshotId;
use headstart_fs::{AtPath as _, publish};
use rustix::{
    fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
    process::geteuid,
};
use tempfile::NamedTempFile;

use super::{super::engine::Engine, NotMounted, attach, image, place::Place};
use crate::{Tree, erofs::Layout};

/// A folder of images, named by the snapshots they are of. Each is written once and never changed.
pub(super) struct Images<'a> {
    folder: &'a Path,
}

impl<'a> Images<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Images { folder }
    }

    /// Opens the image of a snapshot and marks it as used now; `None` where there is none, or none of this user's.
    pub(super) fn open(&self, id: SnapshotId) -> Result<Option<File>, NotMounted> {
        match self.check() {
            Err(NotMounted::Io { error }) if error.kind() == ErrorKind::NotFound => return Ok(None),
            checked => checked?,
        }
        let path = self.path(id);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.at("open", &path)?,
        };
        let owner = rustix::fs::fstat(&file).at("look at", &path)?.st_uid;
        if owner != geteuid().as_raw() {
            return Ok(None);
        }
        rustix::fs::futimens(&file, &now()).at("touch", &path)?;
        Ok(Some(file.into()))
    }

    /// Writes the image of a snapshot; with the bytes that were read from the store for it. Of two processes the last
    /// one's stays.
    pub(super) fn write(
        &self,
        engine: &Engine<'_>,
        layout: &Layout<'_>,
        id: SnapshotId,
    ) -> Result<(File, u64), NotMounted> {
        let path = self.path(id);
        let temp = self.create()?;
        let fetched_bytes = image::write(engine, layout, temp.as_file(), temp.path())?;
        let image = temp.persist(&path).map_err(|error| error.error);
        Ok((image.at("publish", &path)?, fetched_bytes))
    }

    /// Mounts an image of nothing at `place`, and shows it to nobody: whether the kernel does it is better known before an
    /// image is written.
    pub(super) fn rehearse(&self, place: &Place<'_>) -> Result<(), NotMounted> {
        let temp = self.create()?;
        let nothing = Tree::default();
        let layout = Layout::new(&nothing)?;
        layout
            .write_head(image::owner(), temp.as_file())
            .at("write", temp.path())?;
        place.rehearse(&attach::mount_image(temp.as_file())?)
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// What is in the folder is believed: nobody else may put anything there.
    fn check(&self) -> Result<(), NotMounted> {
        let stat = rustix::fs::stat(self.folder).at("look at", self.folder)?;
        let others = Mode::WGRP | Mode::WOTH;
        if stat.st_uid != geteuid().as_raw() || Mode::from_raw_mode(stat.st_mode).intersects(others) {
            return Err(NotMounted::Shared(self.folder.to_owned()));
        }
        Ok(())
    }

    fn create(&self) -> Result<NamedTempFile, NotMounted> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.folder).at("create", self.folder)?;
        self.check()?;
        Ok(publish::temp_beside(&self.folder.join("image"))?)
    }
}

/// Times to set: now, by the clock of the file system.
fn now() -> Timestamps {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}
