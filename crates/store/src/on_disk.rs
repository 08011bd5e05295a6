//! Where a path leads on disk, and when what is there was used.

use std::{
    io,
    path::{Component, Path, PathBuf, absolute},
};

/// The absolute path without symlinks of what `path` names, or will name once folders are made for what is not there.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in absolute(path)?.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            component => resolved.push(component),
        }
        match resolved.canonicalize() {
            Ok(canonical) => resolved = canonical,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(resolved)
}

/// Marks a file as used now, by the file system's clock.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: time(UTIME_OMIT),
        last_modification: time(UTIME_NOW),
    };
    match rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()) {
        Ok(()) => Ok(()),
        // A shared or read-only store: it is there, and nobody here may evict from it.
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {
            std::fs::metadata(path).map(drop)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_lies_where_it_will_be_made() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("real/folder")).unwrap();
        std::os::unix::fs::symlink("real/folder", real.join("link")).unwrap();
        for (path, expected) in [
            ("link", "real/folder"),
            ("link/..", "real"),
            ("link/new/er", "real/folder/new/er"),
            ("new/../link/x", "real/folder/x"),
            ("./real/./folder", "real/folder"),
        ] {
            assert_eq!(
                resolve(&temp.path().join(path)).unwrap(),
                real.join(expected),
                "{path}"
            );
        }
        assert_eq!(resolve(Path::new("")).ok(), None);
    }
}
