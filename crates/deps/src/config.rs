//! The `[deps]` table of `headstart.toml`.
//!
//! The file arrives with a clone, so it is not trusted: it can name paths and key files inside the project, known
//! cache folders and known tools, and no program.

use std::path::PathBuf;

use serde::Deserialize;

/// `[deps]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DepsConfig {
    /// Caches (`npm-cache`) or managers (`npm`) to leave alone. An unknown name is an error.
    pub disable: Vec<String>,
    /// Folders, relative to the project, that are not searched for lockfiles.
    pub ignore: Vec<PathBuf>,
    /// Keeps the restore keys of one repository apart from those of others in a shared store. The name of the
    /// repository is a good one.
    pub scope: Option<String>,
    /// `[[deps.cache]]`: more caches, or more inputs and folders for the one of that name.
    pub cache: Vec<CacheConfig>,
}

/// `[[deps.cache]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CacheConfig {
    /// Its name. That of a found cache adds to that cache; another makes a new one.
    pub name: String,
    /// The folder of the project it belongs to, relative to the folder of `headstart.toml`. Default: that folder.
    pub project: PathBuf,
    /// Where `paths` begin, for a new cache: a folder inside the project or a known cache folder such as
    /// `~/.cache/ms-playwright`. Default: the project.
    pub root: Option<String>,
    /// What is kept, relative to `root`.
    pub paths: Vec<PathBuf>,
    /// Files that decide what is kept, relative to the project; `*`, `**`, `?`, `[...]` and `{...}` are globs.
    pub key_files: Vec<String>,
    /// Tools whose versions decide what is kept: names of [`KNOWN_TOOLS`](crate::KNOWN_TOOLS).
    pub tools: Vec<String>,
    /// Whether a new cache is only good for this operating system, processor and C library. Default: true.
    pub platform: Option<bool>,
    /// Whether an older version of a new cache is of use where there is no exact one. Default: false.
    pub restore_keys: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = toml::from_str::<DepsConfig>("[[cache]]\nname = \"x\"\nrun = \"make\"").unwrap_err();
        assert!(error.to_string().contains("unknown field `run`"), "{error}");
    }

    #[test]
    fn names_are_in_kebab_case() {
        let config: DepsConfig =
            toml::from_str("disable = [\"npm\"]\n[[cache]]\nname = \"x\"\nkey-files = [\"a\"]").unwrap();
        assert_eq!(config.disable, ["npm"]);
        assert_eq!(config.cache[0].key_files, ["a"]);
    }
}
