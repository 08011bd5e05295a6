//! Named files: those of a folder, or of an archive.

use std::{
    fmt,
    fs::File,
    io::{ErrorKind, Read},
    path::PathBuf,
};

use headstart_fs::AtPath as _;

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
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ImageError::missing(name, self.0.display().to_string()));
            }
            opened => opened.at("open", &path)?,
        };
        let length = file.metadata().at("look at", &path)?.len();
        Ok((length, Box::new(file)))
    }
}
