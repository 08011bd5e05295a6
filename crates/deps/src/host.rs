//! What the machine is like, told by the caller: this crate reads no environment, home or clock of its own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// The machine the caches are for.
#[derive(Debug, Clone)]
pub struct Host {
    /// Operating system as Rust names it: `linux`, `macos`.
    pub os: String,
    /// Processor as Node names it: `x64`, `arm64`; others as Rust names them.
    pub arch: String,
    /// The C library where there is a choice: `glibc` or `musl` on Linux.
    pub libc: Option<String>,
    /// The home folder. Absolute.
    pub home: PathBuf,
    /// The environment variables.
    pub env: BTreeMap<OsString, OsString>,
}

impl Host {
    /// `linux-x64-glibc`, `macos-arm64`: what native code depends on.
    pub fn platform(&self) -> String {
        let mut platform = format!("{}-{}", self.os, self.arch);
        if let Some(libc) = &self.libc {
            platform.push('-');
            platform.push_str(libc);
        }
        platform
    }

    /// An environment variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        self.env
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The folder an environment variable names, if it names an absolute one; managers resolve relative ones against
    /// whatever folder they run in, which no cache can follow.
    pub(crate) fn var_folder(&self, name: &str) -> Option<PathBuf> {
        self.var(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// npm reads `npm_config_x` and `NPM_CONFIG_X` alike.
    pub(crate) fn npm_config_folder(&self, name: &str) -> Option<PathBuf> {
        self.var_folder(&format!("npm_config_{name}"))
            .or_else(|| self.var_folder(&format!("NPM_CONFIG_{}", name.to_uppercase())))
    }

    /// The folder for caches: `$XDG_CACHE_HOME`, `~/Library/Caches`, `~/.cache`.
    pub(crate) fn cache_home(&self) -> PathBuf {
        if let Some(folder) = self.var_folder("XDG_CACHE_HOME") {
            return folder;
        }
        match self.is_mac() {
            true => self.home.join("Library/Caches"),
            false => self.home.join(".cache"),
        }
    }

    /// Expands a leading `~/`; other relative paths are relative to `base`.
    pub(crate) fn resolve(&self, path: &str, base: &Path) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => base.join(path),
        }
    }

    pub(crate) fn is_mac(&self) -> bool {
        self.os == "macos"
    }
}
