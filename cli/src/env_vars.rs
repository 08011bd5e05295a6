//! Every environment variable headstart reads, declared once.

/// Folder of the local store; `--store`. Since 0.1.
pub(crate) const STORE: &str = "HEADSTART_STORE";
/// Remote store behind the local one; `--remote`. Since 0.1.
pub(crate) const REMOTE: &str = "HEADSTART_REMOTE";
/// Bearer token for a `headstart-server` remote. Since 0.1.
pub(crate) const TOKEN: &str = "HEADSTART_TOKEN";
/// The user's settings file instead of `$XDG_CONFIG_HOME/headstart/config.toml`. Since 0.1.
pub(crate) const CONFIG: &str = "HEADSTART_CONFIG";
/// The git program for the few steps git itself does. Since 0.1.
pub(crate) const GIT: &str = "HEADSTART_GIT";

/// Folder of per-user caches, by the XDG base directory specification.
pub(crate) const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Folder of per-user settings, by the XDG base directory specification.
pub(crate) const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// The user's home folder.
pub(crate) const HOME: &str = "HOME";
