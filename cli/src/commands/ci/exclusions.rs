//! `!` lines among the paths of a cache: what they match is not saved, although a pattern finds it.
//!
//! As with actions/cache they take away from what the paths find. A folder that is found is saved whole: a line that matches
//! only something in it changes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use globset::GlobMatcher;

use super::paths::{self, Located};

/// All exclusions, by how they are written into the digest of the list.
#[derive(Debug, Clone, Default)]
pub(super) struct Exclusions(BTreeMap<String, Exclusion>);

#[derive(Debug, Clone)]
struct Exclusion {
    /// As the workflow has it.
    line: String,
    /// Of absolute paths.
    matcher: GlobMatcher,
    /// The deepest folder that all it matches are in, or the one path that it matches.
    base: PathBuf,
}

impl Exclusions {
    /// Adds `line`, which says `located`.
    pub(super) fn add(&mut self, line: &str, located: &Located) -> Result<(), String> {
        let absolute = located.root.join(&located.below);
        let text = absolute.to_string_lossy();
        let base = text.split('/').take_while(|name| !paths::is_glob(name));
        let exclusion = Exclusion {
            line: line.to_owned(),
            matcher: paths::matcher(&text)?,
            base: PathBuf::from(base.collect::<Vec<_>>().join("/")),
        };
        let written = format!("!{}\n{}\n", located.title, located.below);
        self.0.insert(written, exclusion);
        Ok(())
    }

    /// How they are written into the digest of the list, in order.
    pub(super) fn written(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Whether a path, or a folder it is in, is excluded.
    pub(super) fn exclude(&self, path: &Path) -> bool {
        let mut matchers = self.0.values().map(|exclusion| &exclusion.matcher);
        matchers.any(|matcher| path.ancestors().any(|above| matcher.is_match(above)))
    }

    /// The lines that name only what is in a folder that is saved whole.
    pub(super) fn without_effect(&self, saved: &[PathBuf]) -> Vec<&str> {
        let lies_in_saved = |exclusion: &&Exclusion| {
            let mut saved = saved.iter();
            saved.any(|folder| exclusion.base.starts_with(folder) && folder.is_dir())
        };
        let useless = self.0.values().filter(lies_in_saved);
        useless.map(|exclusion| exclusion.line.as_str()).collect()
    }
}
