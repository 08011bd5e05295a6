//! The folders above roots, as far as a restore has to make them.

use std::{os::fd::OwnedFd, path::Path};

use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use crate::dir_handles::{self, DIRECTORY};

/// Folders made above roots. On drop those that are empty are removed, which they are after a failure.
#[derive(Default)]
pub(super) struct MadeFolders(Vec<(OwnedFd, Vec<u8>)>);

impl MadeFolders {
    /// Like [`dir_handles::open_parent`], but makes what is missing.
    pub(super) fn open_parent(&mut self, base: &Path, path: &RelPath) -> Result<OwnedFd, PathError> {
        let mut folder = dir_handles::open_base(base)?;
        let mut shown = base.to_owned();
        let mut components = path.components();
        components.next_back();
        for component in components {
            shown.push(RelPath::parse(component).expect("a component is plain").as_path());
            match fs::mkdirat(&folder, component, Mode::from_raw_mode(0o777)) {
                Ok(()) => {
                    let parent = folder.try_clone().at("open", &shown)?;
                    self.0.push((parent, component.to_vec()));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).at("create", &shown),
            }
            folder = fs::openat(&folder, component, DIRECTORY, Mode::empty()).at("open", &shown)?;
        }
        Ok(folder)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for (parent, name) in self.0.drain(..).rev() {
            let _ = fs::unlinkat(parent, &*name, AtFlags::REMOVEDIR);
        }
    }
}
