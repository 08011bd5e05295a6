//! The `[projects]` and `[affected]` tables of `headstart.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

/// What a repository says about its projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TasksConfig {
    /// `[projects.<name>]`, by name.
    pub projects: BTreeMap<String, ProjectConfig>,
    /// `[affected]`.
    pub affected: AffectedConfig,
}

/// `[projects.<name>]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProjectConfig {
    /// Its folder, relative to that of `headstart.toml`. Where a package is, this names it and adds to what it depends on.
    pub path: PathBuf,
    /// Names of projects it depends on.
    #[serde(default)]
    pub depends_on: Vec<String>,
}

/// `[affected]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AffectedConfig {
    /// Globs of files that affect every project, such as a shared compiler configuration. One with a leading `!` takes files out
    /// again, those that count by themselves (lockfiles) too; the last that matches decides.
    pub global: Vec<String>,
    /// Folders with the manifest of a workspace. Default: the top of the repository.
    pub workspaces: Option<Vec<PathBuf>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_needs_a_path_and_nothing_unknown() {
        let read = |text: &str| toml::from_str::<ProjectConfig>(text).map_err(|error| error.to_string());
        assert!(read("path = \"a\"\ndepends-on = [\"b\"]").is_ok());
        assert!(
            read("depends-on = []")
                .unwrap_err()
                .contains("missing field `path`")
        );
        assert!(
            read("path = \"a\"\ncommand = \"x\"")
                .unwrap_err()
                .contains("unknown field `command`")
        );
    }
}
