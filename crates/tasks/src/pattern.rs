//! Workspace patterns: which folders they match, found without listing more than they lead through.

use std::collections::{BTreeMap, BTreeSet};

use bstr::ByteSlice as _;
use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use headstart_fs::RelPath;

use crate::{
    TasksError,
    source::{EntryKind, SourceTree},
};

/// More folders than a repository has.
const MOST_FOLDERS: usize = 1_000_000;
/// `{a,b}{c,d}...` multiplies.
const MOST_ALTERNATIVES: usize = 1000;
/// Where installed packages are, which are nobody's projects.
const NEVER: &[&[u8]] = &[b"node_modules", b".git"];

/// Patterns of one manifest.
pub(crate) struct Patterns {
    included: Vec<Vec<Part>>,
    excluded: GlobSet,
}

#[derive(Debug)]
enum Part {
    /// `**`: any number of folders.
    AnyDepth,
    One(GlobMatcher),
}

impl Patterns {
    /// Parses globs, and globs with a leading `!` that take folders out again.
    pub(crate) fn parse(patterns: &[String]) -> Result<Self, String> {
        let mut included = Vec::new();
        let mut excluded = GlobSetBuilder::new();
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(pattern) => {
                    let glob = GlobBuilder::new(tidy(pattern)).literal_separator(true).build();
                    excluded.add(glob.map_err(|error| error.to_string())?);
                }
                None => {
                    for alternative in alternatives(pattern)? {
                        included.push(parts(tidy(&alternative))?);
                    }
                }
            }
        }
        Ok(Patterns {
            included,
            excluded: excluded.build().map_err(|error| error.to_string())?,
        })
    }

    /// The folders below `root` that match, sorted. `manifest` is who says so, for messages.
    pub(crate) fn expand(
        &self,
        tree: &mut dyn SourceTree,
        root: &RelPath,
        manifest: &RelPath,
    ) -> Result<Vec<RelPath>, TasksError> {
        let mut matched = BTreeSet::new();
        let mut seen = 0;
        let mut level: BTreeMap<RelPath, BTreeSet<(usize, usize)>> = BTreeMap::new();
        for pattern in 0..self.included.len() {
            self.arrive(root, (pattern, 0), &mut level, &mut matched);
        }
        while !level.is_empty() {
            seen += level.len();
            if seen > MOST_FOLDERS {
                return Err(TasksError::TooMany {
                    path: manifest.clone(),
                    limit: MOST_FOLDERS,
                });
            }
            let folders: Vec<RelPath> = level.keys().cloned().collect();
            let lists = tree.list(&folders).map_err(TasksError::Source)?;
            let mut next = BTreeMap::new();
            for ((folder, states), list) in level.iter().zip(lists) {
                for (name, kind) in list {
                    if kind != EntryKind::Folder || NEVER.contains(&name.as_bytes()) {
                        continue;
                    }
                    let mut child = folder.clone();
                    if child.push(&name).is_err() {
                        continue;
                    }
                    for &(pattern, at) in states {
                        let is_hidden = name.starts_with(b".");
                        match &self.included[pattern][at] {
                            Part::AnyDepth if is_hidden => {}
                            Part::AnyDepth => self.arrive(&child, (pattern, at), &mut next, &mut matched),
                            Part::One(glob) if is_hidden && !glob.glob().glob().starts_with('.') => {}
                            Part::One(glob) => {
                                if name.to_path().is_ok_and(|name| glob.is_match(name)) {
                                    self.arrive(&child, (pattern, at + 1), &mut next, &mut matched);
                                }
                            }
                        }
                    }
                }
            }
            level = next;
        }
        let below = |folder: &RelPath| {
            folder.as_bytes()[root.as_bytes().len()..]
                .trim_start_with(|c| c == '/')
                .to_vec()
        };
        matched.retain(|folder| {
            !below(folder)
                .to_path()
                .is_ok_and(|path| self.excluded.is_match(path))
        });
        Ok(matched.into_iter().collect())
    }

    /// Notes that the first parts of a pattern have led to `folder`.
    fn arrive(
        &self,
        folder: &RelPath,
        (pattern, at): (usize, usize),
        level: &mut BTreeMap<RelPath, BTreeSet<(usize, usize)>>,
        matched: &mut BTreeSet<RelPath>,
    ) {
        match self.included[pattern].get(at) {
            None => {
                matched.insert(folder.clone());
            }
            Some(part) => {
                level.entry(folder.clone()).or_default().insert((pattern, at));
                // No folder is a number of folders, too.
                if matches!(part, Part::AnyDepth) {
                    self.arrive(folder, (pattern, at + 1), level, matched);
                }
            }
        }
    }
}

fn tidy(pattern: &str) -> &str {
    pattern.trim_start_matches("./").trim_end_matches('/')
}

fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let parts = pattern.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts
        .map(|part| match part {
            "**" => Ok(Part::AnyDepth),
            ".." => Err(format!("{pattern:?} leaves the workspace")),
            part => Glob::new(part)
                .map(|glob| Part::One(glob.compile_matcher()))
                .map_err(|error| error.to_string()),
        })
        .collect()
}

/// A pattern with `{a,b/c}` written out, for what is in braces may hold slashes.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() > MOST_ALTERNATIVES {
            return Err(format!(
                "{pattern:?} has more than {MOST_ALTERNATIVES} alternatives"
            ));
        }
        // The innermost first: then there are no braces within.
        let Some(close) = pattern.find('}') else {
            done.push(pattern);
            continue;
        };
        let Some(start) = pattern[..close].rfind('{') else {
            return Err(format!("{pattern:?} has a brace too many"));
        };
        for choice in pattern[start + 1..close].split(',') {
            open.push(format!("{}{choice}{}", &pattern[..start], &pattern[close + 1..]));
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    fn expand(patterns: &[&str]) -> String {
        let mut files = Files::new(&[
            ("packages/a/package.json", ""),
            ("packages/a/node_modules/dep/package.json", ""),
            ("packages/b/nested/package.json", ""),
            ("packages/.hidden/package.json", ""),
            ("apps/web/package.json", ""),
            ("apps/test/package.json", ""),
            ("tools/x/y/z/package.json", ""),
            ("file", ""),
        ]);
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let patterns = Patterns::parse(&patterns).unwrap();
        let found = patterns.expand(
            &mut files,
            &RelPath::root(),
            &RelPath::parse("package.json").unwrap(),
        );
        found
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn patterns_match_folders() {
        assert_eq!(expand(&["packages/*"]), "packages/a packages/b");
        assert_eq!(expand(&["./apps/web/"]), "apps/web");
        assert_eq!(expand(&["packages/.hidden"]), "packages/.hidden");
        assert_eq!(expand(&["tools/**"]), "tools tools/x tools/x/y tools/x/y/z");
        assert_eq!(expand(&["**/nested", "file", "none/*"]), "packages/b/nested");
        assert_eq!(
            expand(&["{apps,packages/b}/*"]),
            "apps/test apps/web packages/b/nested"
        );
        assert_eq!(
            expand(&["packages/**/dep"]),
            "",
            "installed packages are no projects"
        );
    }

    #[test]
    fn an_exclamation_mark_takes_folders_out() {
        assert_eq!(expand(&["apps/*", "!**/test"]), "apps/web");
        assert_eq!(expand(&["apps/*", "!apps/**"]), "");
    }

    #[test]
    fn hostile_patterns_are_refused() {
        for pattern in ["../*", "a/../../b", "[", "a}", &"{a,b}".repeat(20)] {
            assert!(Patterns::parse(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }
}
