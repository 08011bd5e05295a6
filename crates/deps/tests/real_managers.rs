//! Real package managers: install, save, move to a machine with another home and another checkout, restore, and let the
//! manager's own frozen install say whether anything is missing while there is no network.
//!
//! `tests/run` installs the managers and names them in `HEADSTART_TEST_*`; what is not there is skipped, loudly.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use headstart_deps::{
    DependencyCache, DepsConfig, Holds, Host, InstallOutput, OnDisk, ProcessTools, RestoreOutcome,
    RestoreSettings, SaveOutcome, SaveSettings, ThenInstall, find_caches, install, restore, save, status,
};
use headstart_store::{LinkMode, MemoryStore, NoProgress, Runtime};
use headstart_testkit::skipped;
use tempfile::TempDir;

/// A project and how its manager is used on it.
struct Case {
    /// Its name on PATH.
    program: &'static str,
    /// The variable that names it in tests; without one it is taken from PATH.
    variable: Option<&'static str>,
    /// What is committed, without the lockfile.
    files: &'static [(&'static str, &'static str)],
    lockfile: &'static str,
    /// Makes the lockfile and installs.
    setup: &'static [&'static str],
    /// Shows that the dependencies are there; must fail where they are not.
    check: &'static [&'static str],
}

const IS_ODD: &str = r#"{"name": "demo", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
    "dependencies": {"is-odd": "3.0.1", "@sindresorhus/is": "4.6.0"}}"#;
const WORKSPACE: &str = r#"{"name": "a", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}}"#;
const NODE_CHECK: &[&str] = &[
    "node",
    "-e",
    "if (!require('is-odd')(3)) throw 1; require('module').createRequire(process.cwd() + '/packages/a/x.js')('is-number')",
];

/// A home, a checkout and an environment.
struct Machine {
    dir: TempDir,
    env: BTreeMap<OsString, OsString>,
}

impl Machine {
    fn new(case: &Case, checkout: &str, programs: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let mut path = OsString::from(programs);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy().to_lowercase();
                ["proxy", "cert", "rustup", "pyenv"]
                    .iter()
                    .any(|part| name.contains(part))
            })
            .collect();
        env.insert("PATH".into(), path);
        env.insert("HOME".into(), home.clone().into());
        if case.variable == Some("HEADSTART_TEST_YARN") {
            // As root, Yarn 1 would use a folder of the system's.
            env.insert("YARN_CACHE_FOLDER".into(), home.join(".cache/yarn").into());
        }
        env.insert("CARGO_HOME".into(), home.join(".cargo").into());
        if std::env::var_os("RUSTUP_HOME").is_none() {
            let home = std::env::var_os("HOME").unwrap();
            env.insert("RUSTUP_HOME".into(), Path::new(&home).join(".rustup").into());
        }
        let machine = Machine { dir, env };
        let folder = machine.folder(checkout);
        for (name, text) in case.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        machine
    }

    fn folder(&self, checkout: &str) -> PathBuf {
        self.dir.path().join(checkout)
    }

    fn host(&self) -> Host {
        Host {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            libc: None,
            home: self.dir.path().join("home"),
            env: self.env.clone(),
        }
    }

    fn caches(&self, folder: &Path) -> Vec<DependencyCache> {
        let tools = ProcessTools::new(self.env.clone());
        find_caches(folder, &self.host(), &tools, &DepsConfig::default()).unwrap()
    }

    fn run(&self, folder: &Path, line: &[&str]) -> std::process::Output {
        Command::new("env")
            .arg("-i")
            .args(self.env.iter().map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                pair
            }))
            .args(line)
            .current_dir(folder)
            .output()
            .unwrap()
    }

    fn must_run(&self, folder: &Path, line: &[&str]) {
        let output = self.run(folder, line);
        assert!(
            output.status.success(),
            "{line:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// From now on nothing can be fetched: every way out leads to a port nobody listens on.
    fn unplug(&mut self) {
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "YARN_HTTP_PROXY",
            "YARN_HTTPS_PROXY",
        ] {
            self.env.insert(name.into(), "http://127.0.0.1:9".into());
        }
        self.env.remove(&OsString::from("no_proxy"));
        self.env.remove(&OsString::from("NO_PROXY"));
        self.env.insert("GOPROXY".into(), "off".into());
        self.env.insert("npm_config_fetch_retries".into(), "0".into());
    }
}

/// A store with what a first machine saved, and the lockfile it made.
struct Saved<'a> {
    case: &'a Case,
    programs: PathBuf,
    lock: Vec<u8>,
    store: MemoryStore,
    runtime: Runtime,
    names: Vec<String>,
    _tools: TempDir,
}

impl<'a> Saved<'a> {
    /// Installs on a first machine and saves. `None` where the manager is not installed.
    fn by(case: &'a Case) -> Option<Self> {
        let tools = tempfile::tempdir().unwrap();
        if let Some(variable) = case.variable {
            let Some(program) = std::env::var_os(variable) else {
                skipped(&format!(
                    "{} is not installed ({variable} is not set; tests/run installs it)",
                    case.program
                ));
                return None;
            };
            symlink(program, tools.path().join(case.program)).unwrap();
        } else if Command::new(case.program).arg("--version").output().is_err()
            && Command::new(case.program).arg("version").output().is_err()
        {
            skipped(&format!("{} is not installed", case.program));
            return None;
        }
        let first = Machine::new(case, "first", tools.path());
        let folder = first.folder("first");
        first.must_run(&folder, case.setup);
        let store = MemoryStore::new();
        let runtime = Runtime::new().unwrap();
        let mut names = Vec::new();
        for cache in first.caches(&folder) {
            let settings = SaveSettings {
                stat_cache: None,
                facts: BTreeMap::new(),
                now: "2026-01-01T00:00:00Z".parse().unwrap(),
            };
            let save = || {
                save(
                    &cache,
                    &store,
                    None,
                    &runtime,
                    &settings,
                    &NoProgress,
                    &AtomicBool::new(false),
                )
            };
            let outcome = save().unwrap();
            assert!(
                matches!(outcome, SaveOutcome::Saved(_)),
                "{}: {outcome:?}",
                cache.name
            );
            assert!(matches!(save().unwrap(), SaveOutcome::KeyExists(_)));
            names.push(cache.name);
        }
        Some(Saved {
            case,
            programs: tools.path().to_owned(),
            lock: std::fs::read(folder.join(case.lockfile)).unwrap(),
            store,
            runtime,
            names,
            _tools: tools,
        })
    }

    /// A second machine, without a network, where the caches that hold `holds` are restored.
    fn restored(&self, holds: &[Holds]) -> (Machine, PathBuf, Vec<DependencyCache>) {
        let mut second = Machine::new(self.case, "elsewhere/second", &self.programs);
        let folder = second.folder("elsewhere/second");
        std::fs::write(folder.join(self.case.lockfile), &self.lock).unwrap();
        let caches = second.caches(&folder);
        second.unplug();
        for cache in caches.iter().filter(|cache| holds.contains(&cache.holds)) {
            let settings = RestoreSettings {
                link: LinkMode::Copy,
                pool: None,
                then: ThenInstall::No,
            };
            let outcome = restore(
                cache,
                &self.store,
                &self.runtime,
                &settings,
                &NoProgress,
                &AtomicBool::new(false),
            );
            let outcome = outcome.unwrap();
            assert!(
                matches!(outcome, RestoreOutcome::Exact(_)),
                "{}: {outcome:?}",
                cache.name
            );
        }
        (second, folder, caches)
    }

    /// The frozen install, without a network, from the restored downloads alone.
    fn installs_from_the_downloads(&self) {
        let (second, folder, caches) = self.restored(&[Holds::Downloads]);
        let command = caches.iter().find_map(|cache| cache.install.clone()).unwrap();
        let output = install(
            &command,
            &second.host(),
            InstallOutput::Capture,
            &AtomicBool::new(false),
        );
        if let Err(error) = output {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{}: {error}: {}", command.display(), cause.unwrap_or_default());
        }
        second.must_run(&folder, self.case.check);
    }

    /// The restored tree works without an install.
    fn works_from_the_tree(&self) {
        let (second, folder, caches) = self.restored(&[Holds::Installed]);
        second.must_run(&folder, self.case.check);
        let trees: Vec<_> = caches
            .into_iter()
            .filter(|cache| cache.holds == Holds::Installed)
            .collect();
        for found in status(&trees, &self.store, &self.runtime).unwrap() {
            assert_eq!(found.on_disk, OnDisk::Present);
        }
    }

    /// An install over everything restored has nothing to fetch and breaks nothing.
    fn installs_over_everything(&self) {
        let (second, folder, caches) = self.restored(&[Holds::Downloads, Holds::Installed]);
        let command = caches.iter().find_map(|cache| cache.install.clone()).unwrap();
        let output = install(
            &command,
            &second.host(),
            InstallOutput::Capture,
            &AtomicBool::new(false),
        );
        if let Err(error) = output {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{}: {error}: {}", command.display(), cause.unwrap_or_default());
        }
        second.must_run(&folder, self.case.check);
    }
}

#[test]
fn npm_works_from_what_was_restored() {
    let case = Case {
        program: "npm",
        variable: None,
        files: &[("package.json", IS_ODD), ("packages/a/package.json", WORKSPACE)],
        lockfile: "package-lock.json",
        setup: &["npm", "install", "--no-audit", "--no-fund"],
        check: NODE_CHECK,
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["npm-node_modules", "npm-cache"]);
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_classic_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN"),
        files: &[("package.json", IS_ODD), ("packages/a/package.json", WORKSPACE)],
        lockfile: "yarn.lock",
        setup: &["yarn", "install", "--non-interactive"],
        check: NODE_CHECK,
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["yarn-classic-node_modules", "yarn-classic-cache"]);
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_berry_with_node_modules_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN_BERRY"),
        files: &[
            ("package.json", IS_ODD),
            ("packages/a/package.json", WORKSPACE),
            (
                ".yarnrc.yml",
                "nodeLinker: node-modules\nenableTelemetry: false\n",
            ),
        ],
        lockfile: "yarn.lock",
        setup: &["yarn", "install", "--no-immutable"],
        check: NODE_CHECK,
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["yarn-berry-node_modules", "yarn-berry-cache"]);
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_berry_with_plug_n_play_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN_BERRY"),
        files: &[
            ("package.json", IS_ODD),
            ("packages/a/package.json", WORKSPACE),
            (
                ".yarnrc.yml",
                "enableGlobalCache: false\nenableTelemetry: false\n",
            ),
        ],
        lockfile: "yarn.lock",
        setup: &["yarn", "install", "--no-immutable"],
        check: &["yarn", "node", "-e", "if (!require('is-odd')(3)) throw 1"],
    };
    let Some(mut saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["yarn-berry-pnp", "yarn-berry-cache"]);
    saved.names.clear();
    saved.installs_from_the_downloads();
    saved.installs_over_everything();
    let (second, folder, _) = saved.restored(&[Holds::Downloads, Holds::Installed]);
    second.must_run(&folder, case.check);
}

#[test]
fn pnpm_works_from_what_was_restored() {
    let case = Case {
        program: "pnpm",
        variable: Some("HEADSTART_TEST_PNPM"),
        files: &[
            ("package.json", IS_ODD),
            ("packages/a/package.json", WORKSPACE),
            ("pnpm-workspace.yaml", "packages:\n  - packages/*\n"),
        ],
        lockfile: "pnpm-lock.yaml",
        setup: &["pnpm", "install", "--no-frozen-lockfile"],
        check: NODE_CHECK,
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["pnpm-node_modules", "pnpm-store"]);
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn bun_works_from_what_was_restored() {
    let case = Case {
        program: "bun",
        variable: Some("HEADSTART_TEST_BUN"),
        files: &[("package.json", IS_ODD), ("packages/a/package.json", WORKSPACE)],
        lockfile: "bun.lock",
        setup: &["bun", "install"],
        check: NODE_CHECK,
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["bun-node_modules", "bun-cache"]);
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn cargo_project_builds_from_what_was_restored() {
    let case = Case {
        program: "cargo",
        variable: None,
        files: &[
            (
                "Cargo.toml",
                "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.9\"\n\
                 cfg-if = \"=1.0.0\"\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"{}\", itoa::Buffer::new().format(1)); }\n",
            ),
        ],
        lockfile: "Cargo.lock",
        setup: &["cargo", "fetch"],
        check: &["cargo", "check", "--locked", "--offline", "--quiet"],
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["cargo-registry"]);
    saved.installs_from_the_downloads();
}

#[test]
fn go_builds_from_what_was_restored() {
    let case = Case {
        program: "go",
        variable: None,
        files: &[
            (
                "go.mod",
                "module demo\n\ngo 1.17\n\nrequire example.com/Greeting v1.0.0\n",
            ),
            (
                "main.go",
                "package main\n\nimport greeting \"example.com/Greeting\"\n\nfunc main() { println(greeting.Hello) }\n",
            ),
            // A proxy in a folder: the public one need not be reachable.
            (
                "proxy.py",
                r#"
import os, zipfile
at = "proxy/example.com/!greeting/@v/v1.0.0"
os.makedirs(os.path.dirname(at))
module = "module example.com/Greeting\n\ngo 1.17\n"
open(at + ".mod", "w").write(module)
open(at + ".info", "w").write('{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}')
with zipfile.ZipFile(at + ".zip", "w") as archive:
    archive.writestr("example.com/Greeting@v1.0.0/go.mod", module)
    archive.writestr("example.com/Greeting@v1.0.0/x.go", 'package greeting\n\nconst Hello = "hello"\n')
"#,
            ),
        ],
        lockfile: "go.sum",
        setup: &[
            "sh",
            "-c",
            "python3 proxy.py && GOPROXY=file://$PWD/proxy GONOSUMDB=example.com GOFLAGS=-mod=mod sh -c 'go mod tidy && go mod download'",
        ],
        check: &["go", "build", "-o", "demo", "."],
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["go-modules"]);
    saved.installs_from_the_downloads();
}

#[test]
fn uv_works_from_what_was_restored() {
    let case = Case {
        program: "uv",
        variable: Some("HEADSTART_TEST_UV"),
        files: &[(
            "pyproject.toml",
            "[project]\nname = \"demo\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\n\
             dependencies = [\"iniconfig==2.0.0\"]\n",
        )],
        lockfile: "uv.lock",
        setup: &["uv", "sync"],
        check: &[".venv/bin/python", "-c", "import iniconfig"],
    };
    let Some(saved) = Saved::by(&case) else { return };
    assert_eq!(saved.names, ["uv-cache"]);
    saved.installs_from_the_downloads();
}
