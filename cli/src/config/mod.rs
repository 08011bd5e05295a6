//! Settings: defaults < system < user < repository < environment < command line, each with its origin.
//!
//! Repository files arrive with a clone and are not trusted: they may define dependency caches, but never a local path.
//! A remote they name is only proposed to the user: what it holds would land in caches that other projects share, and
//! what is saved would go there.

mod file;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

pub(crate) use file::{ByteSize, CiSave, SettingsFile, parse_age};
use headstart_deps::DepsConfig;
use headstart_fs::AtPath as _;
use jiff::SignedDuration;

use crate::error::{CommandError, Kind};

/// Name of the repository's settings file.
pub(crate) const REPOSITORY_FILE: &str = "headstart.toml";
/// The system's settings file.
const SYSTEM_FILE: &str = "/etc/headstart/config.toml";
/// More than any sensible settings file; larger ones are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// A file the user or the administrator wrote.
    Trusted(PathBuf),
    /// A file that came with a repository.
    Repository(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    CommandLine(&'static str),
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Setting<T> {
    pub(crate) fn new(value: T, origin: Origin) -> Self {
        Setting { value, origin }
    }
}

/// What the files say, the repository's last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Folder of the local store.
    pub(crate) store_dir: Option<Setting<PathBuf>>,
    /// Remote store, as the user's own files name it.
    pub(crate) remote: Option<Setting<String>>,
    /// Remote store that the repository proposes.
    pub(crate) proposed_remote: Option<Setting<String>>,
    /// Bytes the local store may take before `cache gc` evicts.
    pub(crate) max_bytes: Option<Setting<u64>>,
    /// How long an entry of the local store may stay unused.
    pub(crate) max_age: Option<Setting<SignedDuration>>,
    /// Whether saves start an eviction in the background.
    pub(crate) auto_gc: Option<Setting<bool>>,
    /// Dependency caches.
    pub(crate) deps: DepsConfig,
    /// When `headstart ci save` saves.
    pub(crate) ci_save: Option<CiSave>,
    /// Whether a miss of `headstart ci restore` fails the job.
    pub(crate) ci_fail_on_cache_miss: Option<bool>,
}

impl Settings {
    /// Reads the system's and the user's file; missing ones say nothing.
    pub(crate) fn load_user(user_file: Option<&Path>) -> Result<Self, CommandError> {
        let mut settings = Settings::default();
        for path in [Some(Path::new(SYSTEM_FILE)), user_file].into_iter().flatten() {
            if let Some(file) = load(path)? {
                if let Some(key) = file.key_only_for_repositories() {
                    return Err(
                        CommandError::usage(format!("{} may not set {key}", path.display()))
                            .hint("it belongs into the headstart.toml of a repository"),
                    );
                }
                settings.apply(file, Origin::Trusted(path.to_owned()));
            }
        }
        Ok(settings)
    }

    /// Adds what the repository in `root` says.
    pub(crate) fn add_repository(&mut self, root: &Path) -> Result<(), CommandError> {
        let path = root.join(REPOSITORY_FILE);
        // A link would have what it points to read, and quoted in an error.
        if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(CommandError::usage(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        let Some(file) = load(&path)? else { return Ok(()) };
        if let Some(key) = file.key_only_for_users() {
            return Err(CommandError::usage(format!("{} may not set {key}", path.display()))
                .hint("it would act on every machine that clones the repository; set it in your own settings file"));
        }
        self.apply(file, Origin::Repository(path));
        Ok(())
    }

    fn apply(&mut self, file: SettingsFile, origin: Origin) {
        let SettingsFile {
            store,
            remote,
            deps,
            ci,
            ..
        } = file;
        if let Some(dir) = store.dir {
            self.store_dir = Some(Setting::new(dir, origin.clone()));
        }
        if let Some(max_size) = store.max_size {
            self.max_bytes = Some(Setting::new(max_size.bytes(), origin.clone()));
        }
        if let Some(max_age) = store.max_age {
            self.max_age = Some(Setting::new(max_age.0, origin.clone()));
        }
        if let Some(auto_gc) = store.auto_gc {
            self.auto_gc = Some(Setting::new(auto_gc, origin.clone()));
        }
        if let Some(url) = remote.url {
            match origin {
                Origin::Repository(_) => self.proposed_remote = Some(Setting::new(url, origin)),
                _ => self.remote = Some(Setting::new(url, origin)),
            }
        }
        self.ci_save = ci.save.or(self.ci_save);
        self.ci_fail_on_cache_miss = ci.fail_on_cache_miss.or(self.ci_fail_on_cache_miss);
        if let Some(deps) = deps {
            self.deps = deps;
        }
    }
}

fn load(path: &Path) -> Result<Option<SettingsFile>, CommandError> {
    let text = match read_limited(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CommandError::from_error(Kind::Usage, &error)),
    };
    parse(&text, &path.display().to_string()).map(Some)
}

/// Reads a settings file that is called `shown` in messages.
pub(crate) fn parse(text: &str, shown: &str) -> Result<SettingsFile, CommandError> {
    SettingsFile::parse(text).map_err(|error| {
        let error = error.to_string();
        CommandError::usage(format!("{shown} is not understood:\n{}", error.trim_end()))
            .hint("docs/guide/configuration.md lists every key")
    })
}

fn read_limited(path: &Path) -> Result<String, headstart_fs::PathError> {
    let bytes = fs::metadata(path).at("read", path)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "{bytes} bytes are too many for a settings file"
        )))
        .at("read", path);
    }
    fs::read_to_string(path).at("read", path)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built in"),
            Origin::Trusted(path) | Origin::Repository(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "${name}"),
            Origin::CommandLine(flag) => f.write_str(flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_repository(text: &str) -> Result<Settings, CommandError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(REPOSITORY_FILE), text).unwrap();
        let mut settings = Settings::default();
        settings.add_repository(dir.path()).map(|()| settings)
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = in_repository("[remote]\nurll = 'x'\n").unwrap_err().to_text();
        assert!(
            error.contains("headstart.toml") && error.contains("urll"),
            "{error}"
        );
    }

    #[test]
    fn a_repository_may_not_choose_local_paths() {
        let error = in_repository("[store]\ndir = '/tmp/x'\n").unwrap_err().to_text();
        assert!(error.contains("may not set store.dir"), "{error}");
        for key in ["max-size = '1GB'", "max-age = '1d'", "auto-gc = false"] {
            let error = in_repository(&format!("[store]\n{key}\n")).unwrap_err().to_text();
            assert!(error.contains("may not set store."), "{error}");
        }
    }

    #[test]
    fn projects_are_the_business_of_repositories() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "[projects.web]\npath = 'web'\n").unwrap();
        let error = Settings::load_user(Some(&path)).unwrap_err().to_text();
        assert!(error.contains("may not set projects"), "{error}");
        assert!(in_repository("[projects.web]\npath = 'web'\n").is_ok());
    }

    #[test]
    fn a_remote_of_a_repository_is_only_proposed() {
        let settings = in_repository("[remote]\nurl = 'http://cache.example:7460'\n").unwrap();
        assert_eq!(settings.remote, None);
        assert_eq!(
            settings.proposed_remote.unwrap().value,
            "http://cache.example:7460"
        );
    }
}
