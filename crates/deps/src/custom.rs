//! `[[deps.cache]]`: caches a project defines itself. The definition came with a clone, so it may only reach into the
//! project and into folders known to be caches: never where keys, tokens or documents are.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use headstart_digest::Digest;
use headstart_fs::{AtPath as _, RelPath};

use crate::{
    DepsError, Freshness, KNOWN_TOOLS, KeyInput, Manager, OnRestoreKey,
    config::CacheConfig,
    content::{Content, join},
    files::{self, MAX_LOCKFILE_BYTES},
    key::InputKind,
    project::{Draft, Project},
};

/// Folders in the home that hold nothing but caches. `~/.cache` as a whole is not one: tools keep sessions there.
pub const KNOWN_ROOTS: [&str; 17] = [
    ".bun/install/cache",
    ".cache/Cypress",
    ".cache/deno",
    ".cache/electron",
    ".cache/go-build",
    ".cache/ms-playwright",
    ".cache/node-gyp",
    ".cache/pip",
    ".cache/pre-commit",
    ".cache/puppeteer",
    ".cache/pypoetry",
    ".cache/turbo",
    ".cache/uv",
    ".cache/yarn",
    ".gradle/caches",
    ".m2/repository",
    ".npm/_cacache",
];
/// The most files the key files of one cache may match.
const MAX_KEY_FILES: usize = 100_000;
/// The longest name.
const MAX_NAME_BYTES: usize = 64;

/// The folder of the project a definition belongs to: one of the tree at `base`, not behind a link.
pub(crate) fn project_folder(config: &CacheConfig, base: &Path) -> Result<RelPath, DepsError> {
    let path = RelPath::parse_lenient(&config.project).map_err(|error| refused(config, error))?;
    check_free_of_links(&path, base).map_err(|reason| refused(config, reason))?;
    Ok(path)
}

/// Makes a new cache.
pub(crate) fn create(config: &CacheConfig, project: &Project<'_>) -> Result<Draft, DepsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if config.name.is_empty() || config.name.len() > MAX_NAME_BYTES || !config.name.bytes().all(is_plain) {
        return Err(refused(
            config,
            "its name must be 1 to 64 of letters, digits, -, _ and .",
        ));
    }
    if config.paths.is_empty() {
        return Err(refused(
            config,
            "no cache of that name was found, and it names no paths",
        ));
    }
    if config.key_files.is_empty() {
        return Err(refused(
            config,
            "it names no key-files, so that nothing would ever change its key",
        ));
    }
    let root = find_root(config, project).map_err(|reason| refused(config, reason))?;
    let mut draft = match root {
        Root::Project(_) => Draft::installed(
            &config.name,
            Manager::Custom,
            project.folder(),
            Freshness::NotChecked,
        ),
        Root::Home(root) => Draft::downloads(&config.name, Manager::Custom, root, Content::Files),
    };
    draft.on_restore_key = match config.restore_keys {
        true => OnRestoreKey::Useful,
        false => OnRestoreKey::Useless,
    };
    if config.platform.unwrap_or(true) {
        draft = draft.platform(project.host);
    }
    extend(&mut draft, config, project)?;
    Ok(draft)
}

/// Adds paths, key files and tools to a cache.
pub(crate) fn extend(
    draft: &mut Draft,
    config: &CacheConfig,
    project: &Project<'_>,
) -> Result<(), DepsError> {
    let root = find_root(config, project).map_err(|reason| refused(config, reason))?;
    let is_found = draft.manager != Manager::Custom;
    if is_found && config.root.is_some() {
        return Err(refused(config, "the root of a cache that was found is fixed"));
    }
    for path in &config.paths {
        // What a lockfile chooses is not widened: its paths are only where it is looked for.
        if is_found && draft.content != Content::Paths {
            return Err(refused(
                config,
                "paths can only be added to caches inside the project",
            ));
        }
        let path = RelPath::parse_lenient(path).map_err(|error| refused(config, error))?;
        let path = match &root {
            Root::Project(below) => join(below, &path),
            Root::Home(_) => path,
        };
        let is_git = path.components().any(|component| component == b".git");
        if matches!(root, Root::Project(_)) && (path.is_root() || is_git) {
            return Err(refused(config, "the project itself and .git are not caches"));
        }
        draft
            .inputs
            .push(KeyInput::new(InputKind::Setting, "path", path.to_string()));
        draft.paths.push(path);
    }
    draft.inputs.extend(key_files(config, project)?);
    for tool in &config.tools {
        if !KNOWN_TOOLS.iter().any(|(known, _)| known == tool) {
            let known: Vec<&str> = KNOWN_TOOLS.iter().map(|(known, _)| *known).collect();
            return Err(refused(
                config,
                format!("{tool:?} is none of the tools {}", known.join(", ")),
            ));
        }
        *draft = draft.clone().tool(project.tools, tool, tool);
    }
    Ok(())
}

/// Where the paths of a definition begin.
enum Root {
    /// A folder of the project, relative to it.
    Project(RelPath),
    /// A known cache folder in the home, or a folder in one.
    Home(PathBuf),
}

fn find_root(config: &CacheConfig, project: &Project<'_>) -> Result<Root, String> {
    let root = config.root.as_deref().unwrap_or(".");
    let Some(below) = root.strip_prefix("~/") else {
        let path = RelPath::parse_lenient(Path::new(root)).map_err(|error| error.to_string())?;
        return Ok(Root::Project(path));
    };
    let path = RelPath::parse_lenient(Path::new(below)).map_err(|error| error.to_string())?;
    let is_known = KNOWN_ROOTS
        .iter()
        .any(|known| path.starts_with(&crate::project::rel(known)));
    if !is_known {
        return Err(format!(
            "{root} is not a known cache folder; known are ~/{}",
            KNOWN_ROOTS.join(", ~/")
        ));
    }
    check_free_of_links(&path, &project.host.home)?;
    Ok(Root::Home(path.join_to(&project.host.home)))
}

/// What is or lies behind a link may be anywhere.
fn check_free_of_links(path: &RelPath, base: &Path) -> Result<(), String> {
    let mut folder = Some(path.clone());
    while let Some(path) = folder.filter(|path| !path.is_root()) {
        let on_disk = path.join_to(base);
        if on_disk
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_symlink())
        {
            return Err(format!("{} is a link", on_disk.display()));
        }
        folder = path.parent();
    }
    Ok(())
}

/// Digests of the files that match. Every name and pattern must match one.
fn key_files(config: &CacheConfig, project: &Project<'_>) -> Result<Vec<KeyInput>, DepsError> {
    let (globs, plain): (Vec<&String>, Vec<&String>) = config
        .key_files
        .iter()
        .partition(|pattern| pattern.contains(['*', '?', '[', '{']));
    let mut inputs = Vec::new();
    for name in plain {
        let name = RelPath::parse_lenient(Path::new(name)).map_err(|error| refused(config, error))?;
        check_free_of_links(&name, &project.folder()).map_err(|reason| refused(config, reason))?;
        let input = project.file_input(&name.to_string())?;
        inputs.push(input.ok_or_else(|| refused(config, format!("the key file {name} does not exist")))?);
    }
    if globs.is_empty() {
        return Ok(inputs);
    }
    let mut matcher = GlobSetBuilder::new();
    for glob in &globs {
        let plain = RelPath::parse_lenient(Path::new(glob)).map_err(|error| refused(config, error))?;
        let glob = GlobBuilder::new(&plain.to_string())
            .literal_separator(true)
            .build()
            .map_err(|error| refused(config, error))?;
        matcher.add(glob);
    }
    let matcher = matcher.build().map_err(|error| refused(config, error))?;
    let mut has_match = vec![false; globs.len()];
    for path in matching_files(&project.folder(), &matcher)? {
        let on_disk = path.join_to(&project.folder());
        if let Some(bytes) = files::read(&on_disk, MAX_LOCKFILE_BYTES)? {
            let digest = Digest::of(&bytes).to_string();
            inputs.push(KeyInput::new(InputKind::File, path.to_string(), digest));
            for glob in matcher.matches(path.as_path()) {
                has_match[glob] = true;
            }
        }
    }
    // A misspelt pattern would leave the key as it is forever.
    if let Some((glob, _)) = globs.iter().zip(has_match).find(|(_, has_match)| !has_match) {
        return Err(refused(
            config,
            format!("the pattern {glob:?} of its key-files matches no file"),
        ));
    }
    Ok(inputs)
}

/// The files below `folder` that match. Links, `.git` and installed packages are passed over.
fn matching_files(folder: &Path, matcher: &GlobSet) -> Result<Vec<RelPath>, DepsError> {
    let mut found = Vec::new();
    let mut pending = vec![RelPath::root()];
    while let Some(path) = pending.pop() {
        let on_disk = path.join_to(folder);
        for entry in std::fs::read_dir(&on_disk).at("list", &on_disk)? {
            let entry = entry.at("list", &on_disk)?;
            let kind = entry.file_type().at("look at", entry.path())?;
            let name = entry.file_name();
            let mut below = path.clone();
            if below.push(name.as_encoded_bytes()).is_err() || name == ".git" || name == "node_modules" {
                continue;
            }
            if kind.is_dir() {
                pending.push(below);
            } else if kind.is_file() && matcher.is_match(below.as_path()) {
                found.push(below);
            }
            if found.len() > MAX_KEY_FILES {
                return Err(DepsError::TooMany {
                    path: folder.to_owned(),
                    limit: MAX_KEY_FILES,
                });
            }
        }
    }
    Ok(found)
}

fn refused(config: &CacheConfig, reason: impl ToString) -> DepsError {
    DepsError::Refused {
        name: config.name.clone(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DepsConfig, find_caches, testing::Sandbox};

    fn sandbox(toml: &str) -> Sandbox {
        let mut sandbox = Sandbox::new();
        sandbox.config = toml::from_str::<DepsConfig>(toml).unwrap();
        sandbox.write("Cargo.lock", "");
        sandbox
    }

    fn refusal(toml: &str) -> String {
        let sandbox = sandbox(toml);
        match find_caches(&sandbox.folder(), &sandbox.host, &sandbox.tools, &sandbox.config) {
            Err(DepsError::Refused { reason, .. }) => reason,
            other => panic!("{toml} was taken: {other:?}"),
        }
    }

    #[test]
    fn a_cache_of_ones_own_follows_its_key_files_and_tools() {
        let mut sandbox = sandbox(
            "[[cache]]\nname = \"target\"\npaths = [\"target\"]\nkey-files = [\"Cargo.lock\", \"crates/**/*.toml\"]\n\
             tools = [\"rustc\"]",
        );
        sandbox
            .tools
            .0
            .insert("rustc", "rustc 1.95.0 (long) host: x86_64");
        sandbox.write("crates/a/a.toml", "x");
        let before = sandbox.cache("target");
        assert!(
            before.key.starts_with("target-linux-x64-glibc-"),
            "{}",
            before.key
        );
        assert!(before.restore_keys.is_empty());
        sandbox.write("crates/a/b.toml", "x");
        let after = sandbox.cache("target").key;
        assert_ne!(before.key, after);
        sandbox.tools.0.insert("rustc", "rustc 1.96.0");
        assert_ne!(after, sandbox.cache("target").key);
    }

    #[test]
    fn a_found_cache_takes_more_key_files() {
        let mut sandbox = sandbox("");
        let before = sandbox.cache("cargo-registry").key;
        sandbox.config =
            toml::from_str("[[cache]]\nname = \"cargo-registry\"\nkey-files = [\"Cargo.lock\", \"Cargo.*\"]")
                .unwrap();
        assert_eq!(
            before,
            sandbox.cache("cargo-registry").key,
            "the lockfile was in it already"
        );
        sandbox.write("Cargo.x", "");
        assert_ne!(before, sandbox.cache("cargo-registry").key);
    }

    #[test]
    fn a_repository_reaches_into_no_private_folder() {
        let of = |line: &str| {
            refusal(&format!(
                "[[cache]]\nname = \"x\"\nkey-files = [\"Cargo.lock\"]\n{line}"
            ))
        };
        assert!(of("paths = [\"id_rsa\"]\nroot = \"~/.ssh\"").contains("not a known cache folder"));
        assert!(of("paths = [\"x\"]\nroot = \"~/.cache\"").contains("not a known cache folder"));
        assert!(of("paths = [\"x\"]\nroot = \"~/.npm/_cacache/../../.ssh\"").contains(".."));
        assert!(of("paths = [\"x\"]\nroot = \"/etc\"").contains("absolute"));
        assert!(of("paths = [\"../x\"]").contains(".."));
        assert!(of("paths = [\"/etc/passwd\"]").contains("absolute"));
        assert!(of("paths = [\".\"]").contains("not caches"));
        assert!(of("paths = [\".git/hooks\"]").contains("not caches"));
        assert!(of("paths = [\"hooks\"]\nroot = \".git\"").contains("not caches"));
        assert!(of("paths = [\"x\"]\ntools = [\"sh\"]").contains("none of the tools"));
        assert!(refusal("[[cache]]\nname = \"x\"\npaths = [\"y\"]").contains("key-files"));
        assert!(
            refusal("[[cache]]\nname = \"x\"\npaths = [\"y\"]\nkey-files = [\"no\"]")
                .contains("does not exist")
        );
        assert!(
            refusal("[[cache]]\nname = \"cargo-registry\"\npaths = [\"y\"]").contains("inside the project")
        );
    }

    #[test]
    fn a_pattern_that_matches_no_file_is_refused() {
        let of = |pattern: &str| {
            refusal(&format!(
                "[[cache]]\nname = \"x\"\npaths = [\"y\"]\nkey-files = [\"Cargo.*\", \"{pattern}\"]"
            ))
        };
        assert_eq!(
            of("schema/**/*.sql"),
            "the pattern \"schema/**/*.sql\" of its key-files matches no file"
        );
        assert!(of("../*").contains(".."), "{}", of("../*"));
        assert!(of("a/../Cargo.*").contains(".."));
        assert!(of("/etc/*").contains("absolute"));
        let found = "[[cache]]\nname = \"cargo-registry\"\nkey-files = [\"no*\"]";
        assert!(refusal(found).contains("\"no*\""));
    }

    #[test]
    fn a_link_of_the_repository_leads_nowhere() {
        let sandbox = sandbox(
            "[[cache]]\nname = \"x\"\nkey-files = [\"Cargo.lock\"]\npaths = [\"id\"]\nroot = \"link\"",
        );
        sandbox.write_home("private/id", "");
        std::os::unix::fs::symlink(sandbox.host.home.join("private"), sandbox.folder().join("link")).unwrap();
        let cache = sandbox.cache("x");
        assert_eq!(cache.root, sandbox.folder());
        assert_eq!(cache.find_paths_to_save().unwrap(), []);
        let key = "paths = [\"x\"]\nkey-files = [\"Cargo.lock\"]\nproject = \"link\"";
        let config = toml::from_str::<DepsConfig>(&format!("[[cache]]\nname = \"x\"\n{key}")).unwrap();
        let found = find_caches(&sandbox.folder(), &sandbox.host, &sandbox.tools, &config);
        assert!(matches!(found, Err(DepsError::Refused { .. })), "{found:?}");
    }

    #[test]
    fn a_known_folder_behind_a_link_is_refused() {
        let toml =
            "[[cache]]\nname = \"x\"\nkey-files = [\"Cargo.lock\"]\npaths = [\"x\"]\nroot = \"~/.cache/uv\"";
        let sandbox = sandbox(toml);
        assert_eq!(sandbox.cache("x").root, sandbox.host.home.join(".cache/uv"));
        std::os::unix::fs::symlink("/etc", sandbox.host.home.join(".cache")).unwrap();
        let found = find_caches(&sandbox.folder(), &sandbox.host, &sandbox.tools, &sandbox.config);
        assert!(matches!(found, Err(DepsError::Refused { .. })), "{found:?}");
    }
}
