//! cargo: the crates of the lockfile, their index entries and Git dependencies in `CARGO_HOME`.
//!
//! Unpacked sources are kept beside the crates they come from, with their times: cargo would unpack them on one thread
//! (386 crates, 22,500 files: 3.5 s; written in parallel it is less than half), and takes newer files for changed ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use headstart_fs::RelPath;

use crate::{
    DepsError, Manager,
    content::{Content, entries_with_prefixes, existing, folders_in},
    files::{self, MAX_LOCKFILE_BYTES},
    lockfile::Keeps,
    project::{Draft, Project, rel},
};

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    if !project.at.has("Cargo.lock") {
        return Ok(Vec::new());
    }
    let home = project
        .host
        .var_folder("CARGO_HOME")
        .unwrap_or_else(|| project.host.home.join(".cargo"));
    let crates = Content::Crates(project.path("Cargo.lock"));
    Ok(vec![
        Draft::downloads("cargo-registry", Manager::Cargo, home, crates)
            .paths(
                [
                    "registry/index",
                    "registry/cache",
                    "registry/src",
                    "git/db",
                    "git/checkouts",
                ]
                .map(rel),
            )
            .inputs(project.lockfile_input("Cargo.lock", Keeps::Downloads)?)
            .install("cargo", &["fetch", "--locked"], project.folder()),
    ])
}

/// What a lockfile takes from outside.
#[derive(Default)]
struct Sources {
    /// Versions of each crate from a registry.
    crates: BTreeMap<String, BTreeSet<String>>,
    /// Abbreviated commits of each Git repository, by the last part of its URL.
    repositories: BTreeMap<String, BTreeSet<String>>,
}

fn load_sources(lockfile: &Path) -> Result<Sources, DepsError> {
    let lock = files::read_toml(lockfile, MAX_LOCKFILE_BYTES)?.unwrap_or_default();
    let mut sources = Sources::default();
    for package in lock
        .get("package")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
    {
        let field = |name| package.get(name).and_then(toml::Value::as_str);
        let (Some(name), Some(version), Some(source)) = (field("name"), field("version"), field("source"))
        else {
            continue;
        };
        if let Some(git) = source.strip_prefix("git+") {
            let (url, commit) = git.split_once('#').unwrap_or((git, ""));
            let url = url.split('?').next().unwrap_or(url);
            let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let last = last.strip_suffix(".git").unwrap_or(last);
            // cargo abbreviates checkouts to seven digits, to more where that is ambiguous.
            let commit = commit.get(..7).unwrap_or_default();
            sources
                .repositories
                .entry(last.to_owned())
                .or_default()
                .insert(commit.to_owned());
        } else {
            sources
                .crates
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    Ok(sources)
}

/// What the lockfile names in the cargo home `root`.
pub(crate) fn crates(lockfile: &Path, root: &Path) -> Result<Vec<RelPath>, DepsError> {
    let sources = load_sources(lockfile)?;
    let mut paths = Vec::new();
    for registry in folders_in(root, &rel("registry/index"))? {
        paths.extend(existing(root, &registry, "config.json"));
        for name in sources.crates.keys() {
            paths.extend(existing(root, &registry, &format!(".cache/{}", index_path(name))));
        }
    }
    for (kind, suffix) in [("registry/cache", ".crate"), ("registry/src", "")] {
        for registry in folders_in(root, &rel(kind))? {
            for (name, versions) in &sources.crates {
                for version in versions {
                    paths.extend(existing(root, &registry, &format!("{name}-{version}{suffix}")));
                }
            }
        }
    }
    let repositories: BTreeSet<String> = sources
        .repositories
        .keys()
        .map(|name| format!("{name}-"))
        .collect();
    paths.extend(entries_with_prefixes(root, &rel("git/db"), &repositories)?);
    for checkouts in entries_with_prefixes(root, &rel("git/checkouts"), &repositories)? {
        let commits = sources
            .repositories
            .values()
            .flatten()
            .filter(|commit| !commit.is_empty());
        paths.extend(entries_with_prefixes(
            root,
            &checkouts,
            &commits.cloned().collect(),
        )?);
    }
    Ok(paths)
}

/// Where an index keeps a crate: `1/a`, `2/ab`, `3/a/abc`, `se/rd/serde`.
fn index_path(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match (name.len(), name.get(..2), name.get(2..4)) {
        (1 | 2, ..) => format!("{}/{name}", name.len()),
        (3, ..) => format!("3/{}/{name}", &name[..1]),
        (_, Some(one), Some(two)) => format!("{one}/{two}/{name}"),
        // Not a name any registry has; it will not be found either.
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    const LOCK: &str = r#"
version = 4
[[package]]
name = "mine"
version = "0.1.0"
[[package]]
name = "serde"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
[[package]]
name = "dep"
version = "0.1.0"
source = "git+https://example.com/x/repo.git?branch=main#0123456789abcdef0123456789abcdef01234567"
"#;

    #[test]
    fn the_home_is_narrowed_to_what_the_lockfile_names() {
        let sandbox = Sandbox::new();
        sandbox.write("Cargo.lock", LOCK);
        for path in [
            "registry/index/r-1/config.json",
            "registry/index/r-1/.cache/se/rd/serde",
            "registry/index/r-1/.cache/se/rd/serde_json",
            "registry/cache/r-1/serde-1.0.0.crate",
            "registry/cache/r-1/serde-1.0.1.crate",
            "registry/src/r-1/serde-1.0.0/lib.rs",
            "git/db/repo-0a/HEAD",
            "git/db/other-0a/HEAD",
            "git/checkouts/repo-0a/0123456/lib.rs",
            "git/checkouts/repo-0a/7654321/lib.rs",
        ] {
            sandbox.write_home(path, "");
        }
        let found = crates(&sandbox.folder().join("Cargo.lock"), &sandbox.host.home).unwrap();
        let found: Vec<String> = found.iter().map(RelPath::to_string).collect();
        assert_eq!(
            found,
            [
                "registry/index/r-1/config.json",
                "registry/index/r-1/.cache/se/rd/serde",
                "registry/cache/r-1/serde-1.0.0.crate",
                "registry/src/r-1/serde-1.0.0",
                "git/db/repo-0a",
                "git/checkouts/repo-0a/0123456",
            ]
        );
    }

    #[test]
    fn hostile_names_stay_inside() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "Cargo.lock",
            "[[package]]\nname = \"../../x\"\nversion = \"é1\"\nsource = \"registry+x\"\n\
             [[package]]\nname = \"g\"\nversion = \"1\"\nsource = \"git+#é\"\n",
        );
        sandbox.write_home("registry/src/r-1/x", "");
        assert_eq!(
            crates(&sandbox.folder().join("Cargo.lock"), &sandbox.host.home).unwrap(),
            []
        );
    }

    #[test]
    fn the_key_fits_every_platform() {
        let mut sandbox = Sandbox::new();
        sandbox.write("Cargo.lock", LOCK);
        let before = sandbox.cache("cargo-registry").key;
        sandbox.host.arch = "arm64".to_owned();
        sandbox.set_env("CARGO_HOME", "/opt/cargo");
        let after = sandbox.cache("cargo-registry");
        assert_eq!(before, after.key);
        assert_eq!(after.root, Path::new("/opt/cargo"));
    }
}
