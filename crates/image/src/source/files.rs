//! Named files: those of a folder, or of an archive.

use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, PathError};
use rustix::fs::{Mode, OFlags};

use super::read_all;
use crate::ImageError;

/// A set of files with names.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// Opens a file: its length and its bytes.
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + Send + '_>), ImageError>;

    /// Reads a file that should be short.
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        read_all(name, self.open(name)?.1, limit)
    }
}

/// Opens a file. What is a pipe or a device is refused, where reading might never end.
pub(crate) fn open_file(path: &Path) -> Result<File, PathError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?);
    match file.metadata().at("look at", path)?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")).at("read", path),
    }
}

/// The files of a folder.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Folder(path)
    }
}

impl Files for Folder {
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + Send + '_>), ImageError> {
        let path = self.0.join(name);
        let file = match open_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ImageError::missing(name, self.0.display().to_string()));
            }
            opened => opened?,
        };
        let length = file.metadata().at("look at", &path)?.len();
        Ok((length, Box::new(file)))
    }
}
