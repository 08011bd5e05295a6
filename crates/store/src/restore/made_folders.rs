//! The folders above roots, as far as a restore has to make them.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use headstart_fs::{AtPath as _, PathError, RelPath};
use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use super::set_back::{Before, Made};
use crate::dir_handles::{self, DIRECTORY};

/// Folders made above roots. On drop those that are empty are removed, which they are after a failure, and what they were
/// made in is as before.
#[derive(Default)]
pub(super) struct MadeFolders(Vec<(Made, Arc<OwnedFd>, Vec<u8>)>);

impl MadeFolders {
    /// Like [`dir_handles::open_parent`], but makes what is missing.
    pub(super) fn open_parent(&mut self, base: &Path, path: &RelPath) -> Result<Arc<OwnedFd>, PathError> {
        let mut folder = Arc::new(dir_handles::open_base(base)?);
        let mut shown = base.to_owned();
        let mut components = path.components();
        components.next_back();
        for component in components {
            shown.push(RelPath::parse(component).expect("a component is plain").as_path());
            let before = Before::of(folder.clone()).at("look at", &shown)?;
            match fs::mkdirat(&folder, component, Mode::from_raw_mode(0o777)) {
                Ok(()) => {
                    let made = before.made().at("look at", &shown)?;
                    self.0.push((made, folder.clone(), component.to_vec()));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).at("create", &shown),
            }
            let opened = fs::openat(&folder, component, DIRECTORY, Mode::empty());
            folder = Arc::new(opened.at("open", &shown)?);
        }
        Ok(folder)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for (made, parent, name) in self.0.drain(..).rev() {
            made.set_back_if(|| fs::unlinkat(&parent, &*name, AtFlags::REMOVEDIR).is_ok());
        }
    }
}

/// The folder that roots are relative to and those above it, as far as a restore has to make them. They are removed on drop,
/// unless they are to be kept.
pub(super) struct MadeAbove(Vec<PathBuf>);

impl MadeAbove {
    pub(super) fn create(folder: &Path) -> Result<Self, PathError> {
        let missing = folder.ancestors().take_while(|above| !above.exists());
        let made = MadeAbove(missing.map(Path::to_owned).collect());
        std::fs::create_dir_all(folder).at("create", folder)?;
        Ok(made)
    }

    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeAbove {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
