//! Workspace patterns: which folders they match, found without listing more than they lead through.

use std::collections::{BTreeMap, BTreeSet};

use bstr::ByteSlice as _;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use headstart_fs::RelPath;

use crate::{
    TasksError,
    source::{EntryKind, SourceTree},
};

/// More folders than a repository has.
const MOST_FOLDERS: usize = 1_000_000;
/// `{a,b}{c,d}...` multiplies.
const MOST_ALTERNATIVES: usize = 1000;
/// Longer than any folder's path; what is compiled from a pattern is many times as long.
const LONGEST_PATTERN_BYTES: usize = 4 << 10;
/// In one list.
const MOST_PATTERNS: usize = 10_000;
/// Of all patterns of a list, alternatives written out.
const MOST_TEXT_BYTES: usize = 1 << 20;
/// Names between slashes, of all patterns of a list: each is compiled.
const MOST_PARTS: usize = 50_000;
/// Where installed packages are, which are nobody's projects.
const NEVER: &[&[u8]] = &[b"node_modules", b".git"];

const TOO_MUCH_TEXT: &str = "the patterns are more than 1 MiB of text";

/// Patterns of one manifest.
pub(crate) struct Patterns {
    included: Vec<Vec<Part>>,
    excluded: GlobSet,
}

#[derive(Debug)]
enum Part {
    /// `**`: any number of folders.
    AnyDepth,
    One {
        glob: GlobSet,
        /// It names folders with a leading dot, which are left out otherwise.
        wants_hidden: bool,
    },
}

impl Patterns {
    /// Parses globs, and globs with a leading `!` that take folders out again.
    pub(crate) fn parse(patterns: &[String]) -> Result<Self, String> {
        check_size(patterns)?;
        let mut included = Vec::new();
        let mut excluded = GlobSetBuilder::new();
        let (mut text_bytes, mut part_count) = (0, 0);
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(pattern) => {
                    let glob = GlobBuilder::new(tidy(pattern)).literal_separator(true).build();
                    excluded.add(glob.map_err(|error| error.to_string())?);
                }
                None => {
                    for alternative in alternatives(pattern)? {
                        text_bytes += alternative.len();
                        if text_bytes > MOST_TEXT_BYTES {
                            return Err(TOO_MUCH_TEXT.to_owned());
                        }
                        let parts = parts(tidy(&alternative))?;
                        part_count += parts.len();
                        if part_count > MOST_PARTS {
                            return Err(format!("the patterns have more than {MOST_PARTS} parts"));
                        }
                        included.push(parts);
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
                            Part::One {
                                wants_hidden: false, ..
                            } if is_hidden => {}
                            Part::One { glob, .. } => {
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
        (pattern, mut at): (usize, usize),
        level: &mut BTreeMap<RelPath, BTreeSet<(usize, usize)>>,
        matched: &mut BTreeSet<RelPath>,
    ) {
        while let Some(part) = self.included[pattern].get(at) {
            level.entry(folder.clone()).or_default().insert((pattern, at));
            if matches!(part, Part::One { .. }) {
                return;
            }
            // No folder is a number of folders, too.
            at += 1;
        }
        matched.insert(folder.clone());
    }
}

fn tidy(pattern: &str) -> &str {
    pattern.trim_start_matches("./").trim_end_matches('/')
}

fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            // Several in a row are one.
            "**" if matches!(parts.last(), Some(Part::AnyDepth)) => {}
            "**" => parts.push(Part::AnyDepth),
            ".." => return Err(format!("{pattern:?} leaves the workspace")),
            part => {
                let glob = Glob::new(part).map_err(|error| error.to_string())?;
                parts.push(Part::One {
                    wants_hidden: part.starts_with('.'),
                    glob: compile(glob).map_err(|error| error.to_string())?,
                });
            }
        }
    }
    Ok(parts)
}

/// Refuses patterns that nobody writes, and that take more memory than there is.
pub(crate) fn check_size(patterns: &[String]) -> Result<(), String> {
    if patterns.len() > MOST_PATTERNS {
        return Err(format!("there are more than {MOST_PATTERNS} patterns"));
    }
    if patterns
        .iter()
        .any(|pattern| pattern.len() > LONGEST_PATTERN_BYTES)
    {
        return Err(format!("a pattern has more than {LONGEST_PATTERN_BYTES} bytes"));
    }
    match patterns.iter().map(String::len).sum::<usize>() > MOST_TEXT_BYTES {
        true => Err(TOO_MUCH_TEXT.to_owned()),
        false => Ok(()),
    }
}

/// Compiles a glob. On its own, one that compiles to too much would be a panic.
pub(crate) fn compile(glob: Glob) -> Result<GlobSet, globset::Error> {
    GlobSetBuilder::new().add(glob).build()
}

/// A pattern with `{a,b/c}` written out, for what is in braces may hold slashes.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut done_bytes = 0;
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() > MOST_ALTERNATIVES {
            return Err(format!(
                "{pattern:?} has more than {MOST_ALTERNATIVES} alternatives"
            ));
        }
        // The innermost first: then there are no braces within.
        let Some(close) = pattern.find('}') else {
            done_bytes += pattern.len();
            if done_bytes > MOST_TEXT_BYTES {
                return Err(TOO_MUCH_TEXT.to_owned());
            }
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
        let too_many = vec!["a".to_owned(); MOST_PATTERNS + 1];
        let too_much = vec!["a".repeat(LONGEST_PATTERN_BYTES); 300];
        let too_long = vec!["a/".repeat(200_000)];
        let multiplied = vec![format!("{{{}}}{}", ",".repeat(900), "x".repeat(3000))];
        for patterns in [too_many, too_much, too_long, multiplied] {
            assert!(Patterns::parse(&patterns).is_err());
        }
    }

    #[test]
    fn what_compiles_to_too_much_is_refused() {
        let classes = "[!a]".repeat(1000);
        for pattern in [classes.clone(), format!("!{classes}")] {
            // Whether it is refused is for the library to say; it must not be a panic.
            let _ = Patterns::parse(&[pattern]);
        }
    }

    #[test]
    fn several_of_any_depth_in_a_row_are_one() {
        assert_eq!(expand(&[&"**/".repeat(1000), "none"]), expand(&["**"]));
        assert_eq!(parts("a/**/**/b/**").unwrap().len(), 4);
    }
}
