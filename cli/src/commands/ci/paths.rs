//! The paths of a cache as actions/cache takes them: relative to the workspace, `~/…`, absolute, with `*` and `**`.
//!
//! A snapshot has one root, so paths are sorted by the folder they begin in: the workspace, the home, or for any other
//! absolute path the folder above it. Each folder is a part with a snapshot of its own. Which parts there are follows
//! from the text of the paths alone, so that save and restore agree whatever is on disk. Lines that begin with `!` take away
//! from what the others find.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use headstart_digest::Digest;
use headstart_fs::RelPath;
use headstart_store::Within;

use super::exclusions::Exclusions;

/// The hexadecimal digits that tell lists of paths apart.
const DIGEST_CHARS: usize = 16;
/// The deepest folder that is looked into for a `**`.
const MAX_DEPTH: usize = 64;

/// All paths of a cache.
#[derive(Debug)]
pub(super) struct CachePaths {
    /// Never empty.
    pub(super) parts: Vec<Part>,
    pub(super) exclusions: Exclusions,
    digest: String,
}

/// The paths that begin in one folder.
#[derive(Debug)]
pub(super) struct Part {
    /// `workspace`, `~`, or an absolute path.
    pub(super) title: String,
    /// The folder on this machine.
    pub(super) root: PathBuf,
    patterns: BTreeMap<String, Pattern>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Plain(RelPath),
    Glob {
        /// The folder that the search begins in.
        base: RelPath,
        matcher: GlobMatcher,
        /// How many components a match has at most.
        depth: usize,
    },
}

/// The places paths are relative to.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The current folder, without symlinks.
    pub(super) workspace: PathBuf,
    pub(super) home: Option<PathBuf>,
}

impl CachePaths {
    /// Parses the lines of all `texts`. The error says what to write instead.
    pub(super) fn parse(texts: &[String], places: &Places) -> Result<Self, String> {
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        let mut exclusions = Exclusions::default();
        let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some(excluded) = line.strip_prefix('!') {
                let excluded = excluded.trim();
                if excluded.starts_with('!') {
                    return Err(format!("{line:?} excludes twice"));
                }
                let added = exclusions.add(line, &places.locate(excluded)?);
                added.map_err(|reason| format!("{line:?}: {reason}"))?;
                continue;
            }
            let Located { title, root, below } = places.locate(line)?;
            let pattern = Pattern::parse(&below).map_err(|reason| format!("{line:?}: {reason}"))?;
            let part = parts.entry(title.clone()).or_insert_with(|| Part {
                title,
                root,
                patterns: BTreeMap::new(),
            });
            part.patterns.insert(below, pattern);
        }
        if parts.is_empty() {
            return Err("no path is given".to_owned());
        }
        // Titles and patterns hold no control characters, so the list has one reading.
        let list: Vec<String> = parts
            .values()
            .flat_map(|part| {
                part.patterns
                    .keys()
                    .map(move |below| format!("{}\n{below}\n", part.title))
            })
            .chain(exclusions.written().cloned())
            .collect();
        let mut digest = Digest::of(list.concat().as_bytes()).to_string();
        digest.truncate(DIGEST_CHARS);
        Ok(CachePaths {
            parts: parts.into_values().collect(),
            exclusions,
            digest,
        })
    }

    /// What the keys of a part's entries start with: another list of paths is another cache, as with actions/cache. At
    /// the front, so that the prefix of a key stays one.
    pub(super) fn key_prefix(&self, part: usize) -> String {
        format!("{}.{part}.", self.digest)
    }

    /// What of a part is on disk.
    pub(super) fn find(&self, part: usize, places: &Places) -> Vec<RelPath> {
        let mut found = BTreeSet::new();
        let part = &self.parts[part];
        let is_wanted = |path: &Path| !places.are_in(path) && !self.exclusions.exclude(path);
        for pattern in part.patterns.values() {
            pattern.find(&part.root, &is_wanted, &mut found);
        }
        found.into_iter().collect()
    }

    /// What a snapshot of a part may restore: what the paths name, and what is below it.
    pub(super) fn within(&self, part: usize, places: &Places) -> Within {
        let Part { root, patterns, .. } = &self.parts[part];
        let (root, patterns) = (root.clone(), patterns.clone());
        let (places, exclusions) = (places.clone(), self.exclusions.clone());
        Within::new(move |path| {
            let mut above = std::iter::successors(Some(path.clone()), RelPath::parent);
            let is_named =
                above.any(|above| !above.is_root() && patterns.values().any(|pattern| pattern.is(&above)));
            let path = path.join_to(&root);
            is_named && !places.are_in(&path) && !exclusions.exclude(&path)
        })
    }
}

impl Pattern {
    fn parse(below: &str) -> Result<Self, String> {
        if !is_glob(below) {
            return RelPath::parse(below)
                .map(Pattern::Plain)
                .map_err(|error| error.to_string());
        }
        let plain: Vec<&str> = below
            .split('/')
            .take_while(|component| !is_glob(component))
            .collect();
        let base = RelPath::parse(plain.join("/")).map_err(|error| error.to_string())?;
        let depth = match below.contains("**") {
            true => MAX_DEPTH,
            false => below.split('/').count(),
        };
        Ok(Pattern::Glob {
            base,
            matcher: matcher(below)?,
            depth,
        })
    }

    /// Whether it names this path itself.
    fn is(&self, path: &RelPath) -> bool {
        match self {
            Pattern::Plain(plain) => path == plain,
            Pattern::Glob { matcher, .. } => {
                matcher.is_match(path.as_path()) && path.components().all(|name| name != b".git")
            }
        }
    }

    /// Adds what is on disk below `root`. Links are not followed, and nothing is looked for below a match.
    fn find(&self, root: &Path, is_wanted: &dyn Fn(&Path) -> bool, found: &mut BTreeSet<RelPath>) {
        let (base, matcher, depth) = match self {
            Pattern::Plain(path) => {
                let full = path.join_to(root);
                if full.symlink_metadata().is_ok() && is_wanted(&full) {
                    found.insert(path.clone());
                }
                return;
            }
            Pattern::Glob { base, matcher, depth } => (base, matcher, *depth),
        };
        let mut pending = vec![base.clone()];
        while let Some(folder) = pending.pop() {
            // What cannot be listed holds nothing that could be saved.
            let Ok(entries) = fs::read_dir(folder.join_to(root)) else {
                continue;
            };
            for entry in entries.flatten() {
                let mut path = folder.clone();
                let name = entry.file_name();
                // A pattern such as `*` does not mean the repository, or a folder that holds everything.
                if name == ".git" || path.push(name.as_bytes()).is_err() {
                    continue;
                }
                if matcher.is_match(path.as_path()) && is_wanted(&entry.path()) {
                    found.insert(path);
                } else if path.components().count() < depth
                    && entry.file_type().is_ok_and(|kind| kind.is_dir())
                {
                    pending.push(path);
                }
            }
        }
    }
}

/// Whether it is a pattern.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Compiles a pattern: `*` stays within a name, and braces mean themselves, as in actions/cache.
pub(super) fn matcher(text: &str) -> Result<GlobMatcher, String> {
    let text = text.replace('{', "\\{").replace('}', "\\}");
    let glob = GlobBuilder::new(&text).literal_separator(true).build();
    Ok(glob.map_err(|error| error.kind().to_string())?.compile_matcher())
}

/// A path and the folder it begins in.
pub(super) struct Located {
    pub(super) title: String,
    pub(super) root: PathBuf,
    pub(super) below: String,
}

impl Places {
    fn locate(&self, line: &str) -> Result<Located, String> {
        if line.contains(char::is_control) {
            return Err(format!("{line:?} has a control character"));
        }
        let (workspace, home) = (&self.workspace, self.home.as_deref());
        let below_home = line.strip_prefix("~/").or((line == "~").then_some(""));
        let absolute = match (below_home, home) {
            (Some(below), Some(home)) => plain(&home.join(below)),
            (Some(_), None) => return Err(format!("{line:?}: the home folder is not known; set $HOME")),
            (None, _) => plain(&workspace.join(line)),
        };
        if self.are_in(&absolute) {
            return Err(format!(
                "{line:?} holds the whole workspace or home: a restore would remove what is new in it; name folders in it"
            ));
        }
        let below = |root: &Path| {
            let below = absolute.strip_prefix(root).ok()?;
            Some(below.to_string_lossy().into_owned())
        };
        // What is written as a path of the home belongs to it, though the workspace may lie in it.
        let in_workspace = below_home.is_none().then(|| below(workspace)).flatten();
        if let Some(below) = in_workspace {
            return Ok(Located {
                title: "workspace".to_owned(),
                root: workspace.clone(),
                below,
            });
        }
        if let Some(home) = home
            && let Some(below) = below(home)
        {
            return Ok(Located {
                title: "~".to_owned(),
                root: home.to_owned(),
                below,
            });
        }
        let text = absolute.to_string_lossy();
        // With a pattern the folder is the one above its first component that is one.
        let glob = text.find(['*', '?', '[']).unwrap_or(text.len());
        let cut = text[..glob].rfind('/').unwrap_or(0);
        let root = if cut == 0 { "/" } else { &text[..cut] };
        Ok(Located {
            title: root.to_owned(),
            root: PathBuf::from(root),
            below: text[cut + 1..].to_owned(),
        })
    }

    /// True when the workspace or the home is `path` or in it, whatever links lead there.
    fn are_in(&self, path: &Path) -> bool {
        let guarded = [Some(&self.workspace), self.home.as_ref()];
        let holds = |path: &Path| {
            let mut guarded = guarded.iter().flatten();
            guarded.any(|folder| folder.starts_with(path) || resolve(folder).starts_with(path))
        };
        holds(path) || holds(&resolve(path))
    }
}

/// The path without links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        Some(folder.canonicalize().ok()?.join(rest))
    });
    found.unwrap_or_else(|| path.to_owned())
}

/// The path without `.`, `..` and double slashes, by its text alone.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            workspace: "/home/me/src/repo".into(),
            home: Some("/home/me".into()),
        }
    }

    fn parse(lines: &str) -> Result<CachePaths, String> {
        CachePaths::parse(&[lines.to_owned()], &places())
    }

    #[test]
    fn paths_are_sorted_by_the_folder_they_begin_in() {
        let paths =
            parse("./node_modules/\n ~/.npm \n\n/home/me/src/repo/dist\n../other\n/opt/cache/x").unwrap();
        let parts: Vec<(&str, Vec<&String>)> = paths
            .parts
            .iter()
            .map(|part| (part.title.as_str(), part.patterns.keys().collect()))
            .collect();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = [
            ("/opt/cache", words(&["x"])),
            ("workspace", words(&["dist", "node_modules"])),
            ("~", words(&[".npm", "src/other"])),
        ];
        assert_eq!(parts.len(), 3);
        for ((title, found), (expected_title, expected)) in parts.into_iter().zip(expected) {
            assert_eq!(title, expected_title);
            assert_eq!(found, expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_list_on_another_machine_is_the_same_cache() {
        let here = parse("node_modules\n~/.npm").unwrap();
        let elsewhere = Places {
            workspace: "/builds/x".into(),
            home: Some("/root".into()),
        };
        let there = CachePaths::parse(&["~/.npm/".into(), "./node_modules".into()], &elsewhere).unwrap();
        assert_eq!(here.key_prefix(0), there.key_prefix(0));
        assert_ne!(here.key_prefix(0), here.key_prefix(1));
        assert_ne!(here.key_prefix(0), parse("node_modules").unwrap().key_prefix(0));
        assert_ne!(
            here.key_prefix(0),
            parse("node_modules\n~/.npm\n!x").unwrap().key_prefix(0)
        );
    }

    #[test]
    fn what_a_restore_must_not_empty_is_refused() {
        for wrong in [
            "",
            "!node_modules",
            "node_modules\n!.",
            "node_modules\n!!x",
            ".",
            "..",
            "~",
            "~/src",
            "/",
            "/home",
            "node_modules/../..",
            "a\u{7}b",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn patterns_find_whole_folders_and_follow_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().canonicalize().unwrap();
        for folder in [
            "node_modules/a/node_modules",
            "p/q/node_modules",
            "p/{x}",
            ".git/node_modules",
        ] {
            fs::create_dir_all(workspace.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("p", workspace.join("linked")).unwrap();
        let places = Places {
            workspace,
            home: None,
        };
        let find = |text: &str| {
            let paths = CachePaths::parse(&[text.to_owned()], &places).unwrap();
            paths
                .find(0, &places)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(find("**/node_modules"), ["node_modules", "p/q/node_modules"]);
        assert_eq!(find("p/*"), ["p/q", "p/{x}"]);
        assert_eq!(find("p/{*"), ["p/{x}"]);
        assert_eq!(find("node_modules\nnot-there"), ["node_modules"]);
        // Whatever the order.
        assert_eq!(find("!p/q\n**/node_modules"), ["node_modules"]);
        assert_eq!(find("p/*\n!p/q/"), ["p/{x}"]);
        assert_eq!(find("p/*\n!**/{*"), ["p/q"]);
        assert_eq!(find("node_modules\n!node_modules/a"), ["node_modules"]);
    }

    #[test]
    fn a_link_to_a_folder_above_the_workspace_or_home_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("real/repo/packages")).unwrap();
        std::fs::create_dir_all(base.join("data/me")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        std::os::unix::fs::symlink("data/me", base.join("home")).unwrap();
        let places = Places {
            workspace: base.join("real/repo"),
            home: Some(base.join("home")),
        };
        for path in [
            "link",
            "link/repo",
            "link/repo/packages/..",
            "data/me",
            "data",
            "home",
        ] {
            let path = base.join(path).display().to_string();
            assert!(
                CachePaths::parse(std::slice::from_ref(&path), &places).is_err(),
                "{path} was taken"
            );
        }
        let inside = base.join("link/repo/packages").display().to_string();
        assert!(CachePaths::parse(&[inside], &places).is_ok());
    }

    #[test]
    fn a_snapshot_may_restore_what_the_paths_name_and_no_more() {
        let paths = parse("~/.npm\n~/.git-cache/*/x\n~/.keep/.git/lfs").unwrap();
        let allows = paths.within(0, &places());
        for (root, expected) in [
            (".npm", true),
            (".npm/_cacache/index", true),
            (".git-cache/a/x/y", true),
            (".keep/.git/lfs", true),
            ("", false),
            (".", false),
            (".bashrc", false),
            (".npmrc", false),
            (".git-cache/a", false),
            (".git-cache/.git/x", false),
        ] {
            let root = RelPath::parse_lenient(Path::new(root)).unwrap();
            assert_eq!(allows.allows(&root), expected, "{root}");
        }
    }
}
