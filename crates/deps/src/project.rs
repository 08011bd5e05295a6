//! A project while its caches are found: its files, and what its keys are made of.

use std::path::{Path, PathBuf};

use headstart_digest::Digest;
use headstart_fs::RelPath;

use crate::{
    DependencyCache, DepsError, Holds, Host, Install, KeyInput, Manager, OnRestoreKey, Tools,
    content::Content,
    files::{self, MAX_LOCKFILE_BYTES},
    freshness::Freshness,
    key::{InputKind, keys},
    lockfile::{self, Keeps},
    restore::Settle,
    search::Folder,
};

/// A folder with lockfiles, in the tree that was searched.
pub(crate) struct Project<'a> {
    /// The folder that was searched.
    pub(crate) base: &'a Path,
    /// Every interesting folder of the tree.
    pub(crate) folders: &'a [Folder],
    /// This project's.
    pub(crate) at: &'a Folder,
    pub(crate) host: &'a Host,
    pub(crate) tools: &'a dyn Tools,
}

impl Project<'_> {
    /// The project's folder on disk.
    pub(crate) fn folder(&self) -> PathBuf {
        self.at.path.join_to(self.base)
    }

    /// A file of the project on disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The interesting folders from the project's own downwards, each relative to the project.
    pub(crate) fn folders_below(&self) -> impl Iterator<Item = (RelPath, &Folder)> {
        self.folders.iter().filter_map(|folder| {
            let path = below(&folder.path, &self.at.path)?;
            Some((path, folder))
        })
    }

    /// The bytes of a file as an input; nothing when there is no such file.
    pub(crate) fn file_input(&self, name: &str) -> Result<Option<KeyInput>, DepsError> {
        let bytes = files::read(&self.path(name), MAX_LOCKFILE_BYTES)?;
        Ok(bytes.map(|bytes| KeyInput::new(InputKind::File, name, Digest::of(&bytes).to_string())))
    }

    /// What a lockfile means as an input, or its bytes if it is not understood; nothing when there is no such file.
    pub(crate) fn lockfile_input(&self, name: &str, keeps: Keeps) -> Result<Option<KeyInput>, DepsError> {
        let bytes = files::read(&self.path(name), MAX_LOCKFILE_BYTES)?;
        Ok(bytes.map(|bytes| match lockfile::meaning(name, &bytes, keeps) {
            Some(meaning) => {
                let digest = Digest::of(meaning.as_bytes());
                KeyInput::new(InputKind::Fields, name, digest.to_string())
            }
            None => KeyInput::new(InputKind::File, name, Digest::of(&bytes).to_string()),
        }))
    }

    /// The bytes of those of `names` that exist.
    pub(crate) fn file_inputs<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<KeyInput>, DepsError> {
        names
            .into_iter()
            .filter_map(|name| self.file_input(name).transpose())
            .collect()
    }
}

/// `path` relative to `folder`, if it lies in it.
pub(crate) fn below(path: &RelPath, folder: &RelPath) -> Option<RelPath> {
    if !path.starts_with(folder) {
        return None;
    }
    let rest = &path.as_bytes()[folder.as_bytes().len()..];
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    RelPath::parse(rest).ok()
}

/// A path this crate spells out itself.
pub(crate) fn rel(path: &str) -> RelPath {
    RelPath::parse(path).expect("our own paths are plain")
}

/// A cache whose key is not yet made: `[[deps.cache]]` may still add to it.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) manager: Manager,
    pub(crate) holds: Holds,
    pub(crate) root: PathBuf,
    pub(crate) paths: Vec<RelPath>,
    /// Parts of the key that are spelled out; each is an input too.
    pub(crate) readable: Vec<String>,
    pub(crate) inputs: Vec<KeyInput>,
    pub(crate) on_restore_key: OnRestoreKey,
    pub(crate) superseded_by: Option<&'static str>,
    pub(crate) install: Option<Install>,
    pub(crate) left_alone_if: Option<RelPath>,
    pub(crate) content: Content,
    pub(crate) freshness: Freshness,
    pub(crate) settle: Settle,
}

impl Draft {
    /// A pool of downloads in `root`, good for every platform, completed by the manager.
    pub(crate) fn downloads(name: &str, manager: Manager, root: PathBuf, content: Content) -> Self {
        Draft {
            name: name.to_owned(),
            manager,
            holds: Holds::Downloads,
            root,
            paths: Vec::new(),
            readable: Vec::new(),
            inputs: Vec::new(),
            on_restore_key: OnRestoreKey::Useful,
            superseded_by: None,
            install: None,
            left_alone_if: None,
            content,
            freshness: Freshness::NotChecked,
            settle: Settle::Nothing,
        }
    }

    /// An installed tree in the project, exactly as the install left it.
    pub(crate) fn installed(name: &str, manager: Manager, root: PathBuf, freshness: Freshness) -> Self {
        Draft {
            holds: Holds::Installed,
            on_restore_key: OnRestoreKey::NeedsInstall,
            freshness,
            ..Draft::downloads(name, manager, root, Content::Paths)
        }
    }

    pub(crate) fn paths(mut self, paths: impl IntoIterator<Item = RelPath>) -> Self {
        self.paths.extend(paths);
        self
    }

    pub(crate) fn inputs(mut self, inputs: impl IntoIterator<Item = KeyInput>) -> Self {
        self.inputs.extend(inputs);
        self
    }

    pub(crate) fn install(
        mut self,
        program: &'static str,
        args: &'static [&'static str],
        folder: PathBuf,
    ) -> Self {
        self.install = Some(Install {
            program,
            args,
            env: &[],
            folder,
        });
        self
    }

    /// Gives the install an environment variable.
    pub(crate) fn install_env(mut self, env: &'static [(&'static str, &'static str)]) -> Self {
        if let Some(install) = &mut self.install {
            install.env = env;
        }
        self
    }

    pub(crate) fn superseded_by(mut self, name: &'static str) -> Self {
        self.superseded_by = Some(name);
        self
    }

    /// Makes it good for this platform only.
    pub(crate) fn platform(mut self, host: &Host) -> Self {
        let platform = host.platform();
        self.inputs
            .push(KeyInput::new(InputKind::Platform, "platform", &platform));
        self.readable.push(platform);
        self
    }

    /// Makes it good for this version of a tool only; `label` is how the key spells the tool.
    pub(crate) fn tool(mut self, tools: &dyn Tools, tool: &str, label: &str) -> Self {
        let version = tools.version(tool).unwrap_or_else(|| "none".to_owned());
        // Long answers (rustc's) stay out of the readable part.
        if version.len() <= 16
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        {
            self.readable.push(format!("{label}{version}"));
        }
        self.inputs.push(KeyInput::new(InputKind::Tool, tool, version));
        self
    }

    /// Makes the keys. `scope` names the repository.
    pub(crate) fn finish(mut self, project: &RelPath, scope: Option<&str>) -> DependencyCache {
        self.inputs
            .push(KeyInput::new(InputKind::Project, "folder", project.to_string()));
        if let Some(scope) = scope {
            self.inputs
                .push(KeyInput::new(InputKind::Project, "scope", scope));
        }
        let keys = keys(&self.name, &self.readable, &mut self.inputs);
        let restore_keys = match self.on_restore_key {
            OnRestoreKey::Useless => Vec::new(),
            OnRestoreKey::Useful | OnRestoreKey::NeedsInstall => vec![keys.restore.clone()],
        };
        self.paths.sort();
        // Folders sort before what is in them, and a snapshot's roots do not lie in each other.
        self.paths.dedup_by(|path, before| path.starts_with(before));
        DependencyCache {
            name: self.name,
            manager: self.manager,
            holds: self.holds,
            project: project.clone(),
            root: self.root,
            paths: self.paths,
            key: keys.exact,
            restore_keys,
            older_prefix: keys.restore,
            inputs: self.inputs,
            on_restore_key: self.on_restore_key,
            superseded_by: self.superseded_by.map(str::to_owned),
            install: self.install,
            left_alone_if: self.left_alone_if,
            content: self.content,
            freshness: self.freshness,
            settle: self.settle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_goes_by_component() {
        assert_eq!(below(&rel("a/b"), &rel("a")), Some(rel("b")));
        assert_eq!(below(&rel("a"), &rel("a")), Some(RelPath::root()));
        assert_eq!(below(&rel("ab"), &rel("a")), None);
        assert_eq!(below(&rel("a"), &RelPath::root()), Some(rel("a")));
    }
}
