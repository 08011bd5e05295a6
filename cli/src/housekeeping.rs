//! Looking after the local store while nobody asks for it: saves start an eviction in the background.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use headstart_process::Command;

use crate::context::Context;

/// At most one eviction is started in this time.
const PAUSE: Duration = Duration::from_secs(600);
/// Its modification time tells when the last one was started.
const MARKER: &str = "v1/auto-gc";

impl Context {
    /// Starts `cache gc --auto` in the background, unless one was started a short while ago or the settings say not to. For
    /// the end of what saves. Takes a few milliseconds and fails silently: the next save tries again, and `headstart cache gc`
    /// says what is wrong.
    pub(crate) fn collect_in_background(&self) {
        let is_on = self.settings.auto_gc.as_ref().is_none_or(|setting| setting.value);
        let Ok(dir) = self.store_dir() else { return };
        if is_on && is_due(&dir.value).unwrap_or(false) {
            let _ = self.start_gc(&dir.value);
        }
    }

    fn start_gc(&self, store: &Path) -> Option<()> {
        // The settings go along as flags: a repository's folder, which may hold relative names, is left.
        let mut command = Command::new(std::env::current_exe().ok()?)
            .args(["cache", "gc", "--auto", "--quiet", "--store"])
            .arg(store.canonicalize().ok()?);
        if let Some(max_bytes) = &self.settings.max_bytes {
            command = command.arg("--max-size").arg(max_bytes.value.to_string());
        }
        if let Some(max_age) = &self.settings.max_age {
            command = command
                .arg("--max-age")
                .arg(format!("{}s", max_age.value.as_secs()));
        }
        command
            .env_remove(crate::env_vars::CONFIG)
            .current_dir("/")
            .spawn_detached(Path::new("/dev/null"))
            .ok()
    }
}

/// True, once per pause, for whoever asks first. Looks at one file only: whether there is too much is counted in the
/// background.
fn is_due(store: &Path) -> io::Result<bool> {
    let marker = store.join(MARKER);
    // A time in the future is a clock that was set back.
    let is_recent = fs::metadata(&marker)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|started| {
            SystemTime::now()
                .duration_since(started)
                .is_ok_and(|age| age < PAUSE)
        });
    if is_recent {
        return Ok(false);
    }
    File::create(&marker)?.set_modified(SystemTime::now())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_in_a_while() {
        let store = tempfile::tempdir().unwrap();
        assert!(is_due(store.path()).is_err(), "no store was made for it");
        fs::create_dir(store.path().join("v1")).unwrap();
        assert!(is_due(store.path()).unwrap());
        assert!(!is_due(store.path()).unwrap());
        let marker = File::options()
            .write(true)
            .open(store.path().join(MARKER))
            .unwrap();
        marker.set_modified(SystemTime::now() - PAUSE * 2).unwrap();
        assert!(is_due(store.path()).unwrap());
        marker.set_modified(SystemTime::now() + PAUSE * 9).unwrap();
        assert!(is_due(store.path()).unwrap(), "the clock was set back");
    }
}
