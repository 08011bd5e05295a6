//! A project and a home in a temporary folder, for the unit tests.

use std::{collections::BTreeMap, path::Path};

use headstart_fs::RelPath;
use tempfile::TempDir;

use crate::{
    DependencyCache, DepsConfig, Host, find_caches, project::Project, search::search, tools::fake::FakeTools,
};

pub(crate) struct Sandbox {
    dir: TempDir,
    pub(crate) host: Host,
    pub(crate) tools: FakeTools,
    pub(crate) config: DepsConfig,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["project", "home"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let host = Host {
            os: "linux".to_owned(),
            arch: "x64".to_owned(),
            libc: Some("glibc".to_owned()),
            home: dir.path().join("home"),
            env: BTreeMap::new(),
        };
        let tools = FakeTools([("node", "127"), ("python3", "3.12")].into());
        Sandbox {
            dir,
            host,
            tools,
            config: DepsConfig::default(),
        }
    }

    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.folder().join(path), text);
    }

    pub(crate) fn write_home(&self, path: &str, text: &str) {
        write(&self.host.home.join(path), text);
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.host.env.insert(name.into(), value.into());
    }

    /// Runs `test` on the project in folder `at`.
    pub(crate) fn project(&self, at: &str, test: impl FnOnce(&Project<'_>)) {
        let folders = search(&self.folder()).unwrap();
        let path = RelPath::parse(at).unwrap();
        let empty = crate::search::Folder {
            path: path.clone(),
            files: Default::default(),
        };
        test(&Project {
            base: &self.folder(),
            folders: &folders,
            at: folders
                .iter()
                .find(|folder| folder.path == path)
                .unwrap_or(&empty),
            host: &self.host,
            tools: &self.tools,
        });
    }

    pub(crate) fn caches(&self) -> Vec<DependencyCache> {
        find_caches(&self.folder(), &self.host, &self.tools, &self.config).unwrap()
    }

    pub(crate) fn cache(&self, name: &str) -> DependencyCache {
        let caches = self.caches();
        let names: Vec<_> = caches.iter().map(DependencyCache::title).collect();
        caches
            .into_iter()
            .find(|cache| cache.title() == name)
            .unwrap_or_else(|| panic!("{name} is not among {names:?}"))
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
