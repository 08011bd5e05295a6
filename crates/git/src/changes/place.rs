//! Where fetched objects go.

use std::{fs, path::Path, time::Duration};

use bstr::BStr;
use headstart_fs::AtPath as _;
use tempfile::TempDir;

use super::ChangesError;
use crate::local::LocalRepository;

/// Folder in the git directory for what headstart keeps there.
const FOLDER: &str = "headstart";
const PREFIX: &str = "affected-";
/// A place older than this belongs to a process that was killed.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// The repository itself, or a bare one of its own that borrows its objects.
pub(super) enum Place<'r> {
    /// A remote owes objects here anyway: more of them break no promise.
    Here,
    Beside {
        repository: LocalRepository<'r>,
        _folder: TempDir,
    },
}

impl<'r> Place<'r> {
    /// For what `remote` sends.
    pub(super) fn choose(repository: &LocalRepository<'r>, remote: &BStr) -> Result<Self, ChangesError> {
        match repository.is_promisor(remote) {
            true => Ok(Place::Here),
            false => Self::beside(repository),
        }
    }

    fn beside(original: &LocalRepository<'r>) -> Result<Self, ChangesError> {
        let parent = original.common_dir.join(FOLDER);
        fs::create_dir_all(&parent).at("create", &parent)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .at("create a temporary folder in", &parent)?;
        remove_abandoned(&parent, folder.path());
        let path = folder.path().to_owned();
        let write = |name: &str, content: &[u8]| {
            let file = path.join(name);
            fs::write(&file, content).at("write", &file)
        };
        for name in ["objects/info", "objects/pack", "refs"] {
            let new = path.join(name);
            fs::create_dir_all(&new).at("create", &new)?;
        }
        write("HEAD", b"ref: refs/heads/none\n")?;
        write(
            "config",
            b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
        )?;
        let mut alternates = original
            .common_dir
            .join("objects")
            .into_os_string()
            .into_encoded_bytes();
        alternates.push(b'\n');
        write("objects/info/alternates", &alternates)?;
        let boundary: String = original.shallow()?.iter().map(|id| format!("{id}\n")).collect();
        if !boundary.is_empty() {
            write("shallow", boundary.as_bytes())?;
        }
        Ok(Place::Beside {
            repository: LocalRepository {
                environment: original.environment,
                git_dir: path.clone(),
                common_dir: path,
                workdir: None,
                config: original.config.clone(),
            },
            _folder: folder,
        })
    }
}

/// Removes what killed processes left. By the file system's own clock, and nobody's concern when it fails.
fn remove_abandoned(parent: &Path, new: &Path) {
    let modified = |path: &Path| fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let (Ok(entries), Ok(now)) = (fs::read_dir(parent), modified(new)) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        let age = modified(&entry.path())
            .ok()
            .and_then(|then| now.duration_since(then).ok());
        if is_ours && age.is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
