//! What every command is handed: settings, the store, the environment, and the wish to stop.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use clap::Args;

use crate::{
    config::{Origin, Setting, Settings},
    env_vars,
    error::{CommandError, Kind},
    interrupt,
};

/// Where snapshots are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// Folder of the local store
    ///
    /// Default: `headstart` in the user's cache folder. Also `$HEADSTART_STORE` and `store.dir` in the settings.
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    store: Option<PathBuf>,
    /// Remote store behind the local one: http(s)://, s3://, gs://, az:// or file://
    ///
    /// Default: none. Also `$HEADSTART_REMOTE` and `remote.url` in the settings. A token for a headstart-server is
    /// read from `$HEADSTART_TOKEN`; buckets take their credentials from the environment variables their own tools use.
    #[arg(long, value_name = "URL", global = true, help_heading = "Global options")]
    remote: Option<String>,
}

/// The process's surroundings, read once.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) interrupt: Arc<AtomicBool>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    args: StoreArgs,
}

impl Context {
    /// Reads the surroundings, but no settings files.
    pub(crate) fn without_settings(args: StoreArgs) -> Result<Self, CommandError> {
        let environment: BTreeMap<OsString, OsString> = env::vars_os().collect();
        let interrupt = interrupt::watch().map_err(|error| {
            CommandError::from_error(Kind::Failed, &error).context("cannot watch for signals")
        })?;
        Ok(Context {
            settings: Settings::default(),
            interrupt,
            environment,
            args,
        })
    }

    /// Reads the settings of the system and the user.
    pub(crate) fn load_settings(&mut self) -> Result<(), CommandError> {
        if let Some(path) = self.var(env_vars::CONFIG)
            && !Path::new(path).exists()
        {
            let sentence = format!("{} does not exist (${})", path.display(), env_vars::CONFIG);
            return Err(CommandError::usage(sentence).hint("unset the variable, or make the file"));
        }
        self.settings = Settings::load_user(self.user_settings_file().as_deref())?;
        Ok(())
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsString> {
        self.environment
            .get(name.as_ref() as &std::ffi::OsStr)
            .filter(|value| !value.is_empty())
    }

    /// The user's home folder.
    pub(crate) fn home(&self) -> Result<PathBuf, CommandError> {
        self.var(env_vars::HOME).map(PathBuf::from).ok_or_else(|| {
            CommandError::failed("the home folder is not known: $HOME is not set")
                .hint("set HOME, or name the folders by flags")
        })
    }

    /// The git program.
    pub(crate) fn git(&self) -> PathBuf {
        self.var(env_vars::GIT)
            .map_or_else(|| PathBuf::from("git"), PathBuf::from)
    }

    /// The same surroundings with the settings of the repository in `root` added.
    pub(crate) fn for_repository(&self, root: &Path) -> Result<Self, CommandError> {
        let mut context = self.clone();
        context.settings.add_repository(root)?;
        Ok(context)
    }

    /// Folder of the local store, and who says so.
    pub(crate) fn store_dir(&self) -> Result<Setting<PathBuf>, CommandError> {
        if let Some(dir) = &self.args.store {
            return Ok(Setting::new(dir.clone(), Origin::CommandLine("--store")));
        }
        if let Some(dir) = self.var(env_vars::STORE) {
            return Ok(Setting::new(dir.into(), Origin::Environment(env_vars::STORE)));
        }
        if let Some(dir) = &self.settings.store_dir {
            return Ok(dir.clone());
        }
        let caches = match self.var(env_vars::XDG_CACHE_HOME).map(PathBuf::from) {
            Some(caches) if caches.is_absolute() => caches,
            _ => self.home()?.join(".cache"),
        };
        Ok(Setting::new(caches.join("headstart"), Origin::Default))
    }

    /// False where the store's default place is in a home that does not exist: an account of a service, a container.
    pub(crate) fn has_home_for_store(&self) -> bool {
        let Ok(dir) = self.store_dir() else { return false };
        let home = dir.value.ancestors().nth(2);
        !matches!(dir.origin, Origin::Default) || home.is_some_and(Path::exists)
    }

    /// URL of the remote store, if any, and who says so. An empty value switches off what a weaker layer names.
    pub(crate) fn remote(&self) -> Option<Setting<String>> {
        let remote = if let Some(url) = &self.args.remote {
            Setting::new(url.clone(), Origin::CommandLine("--remote"))
        } else if let Some(url) = self
            .environment
            .get(env_vars::REMOTE.as_ref() as &std::ffi::OsStr)
        {
            Setting::new(
                url.to_string_lossy().into_owned(),
                Origin::Environment(env_vars::REMOTE),
            )
        } else {
            self.settings.remote.clone()?
        };
        (!remote.value.is_empty()).then_some(remote)
    }

    fn user_settings_file(&self) -> Option<PathBuf> {
        if let Some(path) = self.var(env_vars::CONFIG) {
            return Some(path.into());
        }
        let folder = match self.var(env_vars::XDG_CONFIG_HOME).map(PathBuf::from) {
            Some(folder) if folder.is_absolute() => folder,
            _ => PathBuf::from(self.var(env_vars::HOME)?).join(".config"),
        };
        Some(folder.join("headstart/config.toml"))
    }
}
