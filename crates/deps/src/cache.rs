//! A dependency cache: what is kept, under which keys, and what a match is good for.

use std::path::PathBuf;

use headstart_fs::RelPath;

use crate::{content::Content, freshness::Freshness, key::KeyInput, restore::Settle};

/// Who writes the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// npm.
    Npm,
    /// Yarn 1.
    YarnClassic,
    /// Yarn 2 and later.
    YarnBerry,
    /// pnpm.
    Pnpm,
    /// bun.
    Bun,
    /// cargo.
    Cargo,
    /// uv.
    Uv,
    /// pip.
    Pip,
    /// Poetry.
    Poetry,
    /// Go modules.
    Go,
    /// Maven.
    Maven,
    /// Gradle.
    Gradle,
    /// A `[[deps.cache]]` of the project's own.
    Custom,
}

/// What an entry found by a restore key, so of another lockfile, is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRestoreKey {
    /// Nothing: the install would throw it away, or nothing would complete it.
    Useless,
    /// It is a pool of downloads: the manager takes from it what fits and downloads the rest, whenever it runs.
    Useful,
    /// It is an installed tree: right only after the frozen install has brought it up to date.
    NeedsInstall,
}

/// What a cache spares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The install: the tree it leaves behind.
    Installed,
    /// The downloads: the install still runs, from the disk.
    Downloads,
}

/// The manager's own install, faithful to the lockfile. Built in: no configuration file can name another command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The program, looked up on `PATH`.
    pub program: &'static str,
    /// Its arguments.
    pub args: &'static [&'static str],
    /// Environment variables it needs besides the user's.
    pub env: &'static [(&'static str, &'static str)],
    /// The folder it runs in.
    pub folder: PathBuf,
}

/// One dependency cache of a project.
#[derive(Debug, Clone)]
pub struct DependencyCache {
    /// `npm-node_modules`, `cargo-registry`: unique among the caches of a project.
    pub name: String,
    /// Who writes it.
    pub manager: Manager,
    /// What it spares.
    pub holds: Holds,
    /// The project's folder, relative to the one that was searched.
    pub project: RelPath,
    /// The folder `paths` are relative to: the project's, or a cache folder in the home.
    pub root: PathBuf,
    /// Where it is: folders and files, whether they exist or not.
    pub paths: Vec<RelPath>,
    /// The exact key.
    pub key: String,
    /// Prefixes of keys that are tried, in order, when the exact key is a miss. Empty when nothing is made of them.
    pub restore_keys: Vec<String>,
    /// Everything that went into the key, in the order of the record.
    pub inputs: Vec<KeyInput>,
    /// What a match of a restore key is good for.
    pub on_restore_key: OnRestoreKey,
    /// The cache of the same project whose exact hit makes this one unnecessary.
    pub superseded_by: Option<String>,
    /// What brings the project up to date on a miss. `None` where the manager has no such command that leaves
    /// everything outside the project and its caches alone.
    pub install: Option<Install>,
    /// A file that, where it exists below `root`, forbids a restore: a database of other projects' packages as well.
    pub left_alone_if: Option<RelPath>,
    /// How the keys of its older versions begin, whether they are of use or not.
    pub(crate) older_prefix: String,
    pub(crate) content: Content,
    pub(crate) freshness: Freshness,
    pub(crate) settle: Settle,
}

impl Manager {
    /// Every manager that is found by its files.
    pub(crate) const FOUND: [Manager; 12] = [
        Manager::Bun,
        Manager::Cargo,
        Manager::Go,
        Manager::Gradle,
        Manager::Maven,
        Manager::Npm,
        Manager::Pip,
        Manager::Pnpm,
        Manager::Poetry,
        Manager::Uv,
        Manager::YarnBerry,
        Manager::YarnClassic,
    ];

    /// Its name, as `disable` in `headstart.toml` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Npm => "npm",
            Manager::YarnClassic => "yarn-classic",
            Manager::YarnBerry => "yarn-berry",
            Manager::Pnpm => "pnpm",
            Manager::Bun => "bun",
            Manager::Cargo => "cargo",
            Manager::Uv => "uv",
            Manager::Pip => "pip",
            Manager::Poetry => "poetry",
            Manager::Go => "go",
            Manager::Maven => "maven",
            Manager::Gradle => "gradle",
            Manager::Custom => "custom",
        }
    }
}

impl Install {
    /// The command line, for messages.
    pub fn display(&self) -> String {
        format!("{} {}", self.program, self.args.join(" "))
    }
}

impl DependencyCache {
    /// `npm-node_modules`, or `npm-node_modules (services/web)` for a project in a sub-folder.
    pub fn title(&self) -> String {
        match self.project.is_root() {
            true => self.name.clone(),
            false => format!("{} ({})", self.name, self.project),
        }
    }
}
