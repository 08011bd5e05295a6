//! `headstart deps status|save|restore`, with real package managers where they are installed.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use headstart_testkit::{Headstart, Manifest, TestEnv, skipped};

use crate::{machine, support::many_files};

const PACKAGE: &str =
    "{\"name\":\"demo\",\"version\":\"1.0.0\",\"private\":true,\"dependencies\":{\"is-number\":\"7.0.0\"}}\n";

/// What package managers need beside `PATH` and `HOME` to reach their registries and toolchains.
pub(crate) fn network(home: &Path) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> = env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy().to_lowercase();
            [
                "proxy",
                "ssl_cert",
                "ca_cert",
                "rustup",
                "pyenv",
                "npm_config_registry",
            ]
            .iter()
            .any(|part| name.contains(part))
        })
        .collect();
    if env::var_os("RUSTUP_HOME").is_none() {
        let real_home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        variables.push(("RUSTUP_HOME".into(), real_home.join(".rustup").into()));
    }
    // Yarn 1 has a folder of the system's for root.
    variables.push(("YARN_CACHE_FOLDER".into(), home.join(".cache/yarn").into()));
    variables
}

/// A package manager on a machine, with its program first on `PATH`.
struct Manager<'a> {
    env: &'a TestEnv,
    path: OsString,
}

impl<'a> Manager<'a> {
    /// `variable` names the program where `tests/run` installed it; without one it has to be on `PATH`.
    fn find(env: &'a TestEnv, program: &str, variable: Option<&str>) -> Option<Self> {
        let system = env::var_os("PATH").unwrap();
        let path = match variable {
            None if env::split_paths(&system).any(|folder| folder.join(program).is_file()) => system,
            None => {
                skipped(&format!("{program} is not installed"));
                return None;
            }
            Some(variable) => {
                let Some(found) = env::var_os(variable) else {
                    skipped(&format!(
                        "{variable} does not name {program} (tests/run installs it)"
                    ));
                    return None;
                };
                let folder = Path::new(&found).parent().unwrap().to_owned();
                env::join_paths([folder].into_iter().chain(env::split_paths(&system))).unwrap()
            }
        };
        Some(Manager { env, path })
    }

    /// Runs a command line of the manager in the folder `app`.
    fn run(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.env.home())
            .envs(network(&self.env.home()))
            .current_dir(self.env.path("app"));
        let output = command.output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{line}: {text}");
        text
    }

    fn headstart(&self) -> Headstart<'a> {
        self.env
            .headstart()
            .env("PATH", &self.path)
            .envs(network(&self.env.home()))
    }
}

/// Installs on one machine, saves, restores on another one through a folder both see; the manager then finds nothing to do.
fn assert_moves(
    program: &str,
    variable: Option<&str>,
    files: &[(&str, &str)],
    install: &str,
    frozen: &str,
    kept: &str,
) {
    let (first, second) = (machine(), machine());
    let Some(manager) = Manager::find(&first, program, variable) else {
        return;
    };
    let remote = tempfile::tempdir().unwrap();
    let remote = format!("file://{}", remote.path().display());
    for (name, content) in files {
        let path = first.path("app").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let _ = manager.run(install);
    let _ = manager
        .headstart()
        .args(["deps", "save", "app", "--remote", &remote])
        .run()
        .success();
    let status = manager
        .headstart()
        .args(["deps", "status", "--json", "app", "--remote", &remote])
        .run()
        .success()
        .json();
    assert!(
        status["caches"]
            .as_array()
            .is_some_and(|caches| !caches.is_empty()),
        "{status:#}"
    );

    // What is committed goes to the other machine, and nothing else.
    fs::create_dir(second.path("app")).unwrap();
    for entry in fs::read_dir(first.path("app")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if !["node_modules", "target", ".yarn", ".pnp.cjs", ".pnp.loader.mjs"]
            .iter()
            .any(|made| *name == **made)
        {
            assert!(
                Command::new("cp")
                    .arg("-a")
                    .arg(&path)
                    .arg(second.path("app"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    let manager = Manager::find(&second, program, variable).unwrap();
    let report = manager
        .headstart()
        .args(["deps", "restore", "--json", "app", "--remote", &remote])
        .run()
        .success()
        .json();
    assert!(report.to_string().contains("\"exact\""), "{report:#}");
    if kept.starts_with("node_modules") {
        let [ours, theirs] = [&second, &first].map(|env| Manifest::of(env.path("app").join(kept)));
        theirs.assert_same(&ours);
    }
    let _ = manager.run(frozen);
}

#[test]
fn npm_finds_its_modules() {
    assert_moves(
        "npm",
        None,
        &[("package.json", PACKAGE)],
        "npm install --no-audit --no-fund",
        "npm ls is-number",
        "node_modules",
    );
}

#[test]
fn yarn_1_finds_its_modules() {
    let files = [("package.json", PACKAGE)];
    let frozen = "yarn install --frozen-lockfile --offline";
    assert_moves(
        "yarn",
        Some("HEADSTART_TEST_YARN"),
        &files,
        "yarn install",
        frozen,
        "node_modules/is-number",
    );
}

#[test]
fn yarn_berry_finds_its_zips() {
    let settings = "enableTelemetry: false\nenableGlobalCache: false\n";
    let files = [("package.json", PACKAGE), (".yarnrc.yml", settings)];
    assert_moves(
        "yarn",
        Some("HEADSTART_TEST_YARN_BERRY"),
        &files,
        "yarn install",
        "yarn install --immutable --immutable-cache",
        ".yarn",
    );
}

#[test]
fn pnpm_finds_its_modules() {
    let files = [("package.json", PACKAGE)];
    assert_moves(
        "pnpm",
        Some("HEADSTART_TEST_PNPM"),
        &files,
        "pnpm install",
        "pnpm install --frozen-lockfile --offline",
        "node_modules/.pnpm",
    );
}

#[test]
fn a_cargo_project_finds_its_crates() {
    let manifest = "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.11\"\n";
    let files = [("Cargo.toml", manifest), ("src/main.rs", "fn main() {}\n")];
    assert_moves(
        "cargo",
        None,
        &files,
        "cargo fetch",
        "cargo fetch --locked --offline",
        ".cargo",
    );
}

#[test]
fn another_lockfile_is_never_an_exact_hit() {
    let env = machine();
    let lockfile = |content: &str| fs::write(env.path("app/package-lock.json"), content).unwrap();
    fs::create_dir(env.path("app")).unwrap();
    fs::write(env.path("app/package.json"), PACKAGE).unwrap();
    lockfile("{\"lockfileVersion\":3,\"packages\":{}}");
    many_files(&env.path("app/node_modules"), 20);
    // What npm notes about its work; a tree without it is not npm's and not saved.
    fs::write(
        env.path("app/node_modules/.package-lock.json"),
        "{\"lockfileVersion\":3,\"packages\":{}}",
    )
    .unwrap();
    let _ = env.run(["deps", "save", "app"]).success();
    fs::remove_dir_all(env.path("app/node_modules")).unwrap();
    lockfile("{\"lockfileVersion\":3,\"packages\":{\"node_modules/ms\":{\"version\":\"2.1.3\"}}}");
    let report = env.run(["deps", "restore", "--json", "app"]).success().json();
    assert!(!report.to_string().contains("\"exact\""), "{report:#}");
    let explained = env.run(["deps", "status", "--explain", "app"]).success();
    let _ = explained.prints("Fields package-lock.json:");
    // Written otherwise, it means the same.
    lockfile("{\"packages\": { },\n \"lockfileVersion\": 3}");
    let report = env.run(["deps", "restore", "--json", "app"]).success().json();
    assert!(report.to_string().contains("\"exact\""), "{report:#}");
    assert!(env.path("app/node_modules/package-000").is_dir());
}

#[test]
fn a_headstart_toml_with_a_mistake_is_named_with_its_line() {
    let env = machine();
    for (content, said) in [
        ("[deps]\nno-such-key = 1\n", "no-such-key"),
        ("no-such-table = 1\n", "no-such-table"),
        ("[deps\n", "headstart.toml"),
        (
            "[[deps.cache]]\nname = \"x\"\nroot = \"~/.ssh\"\nkey-files = [\"k\"]\npaths = [\".\"]\n",
            ".ssh",
        ),
        (
            "[[deps.cache]]\nname = \"x\"\nkey-files = [\"k\"]\npaths = [\"../../etc\"]\n",
            "etc",
        ),
        ("[store]\ndir = \"/tmp/elsewhere\"\n", "store.dir"),
    ] {
        fs::create_dir_all(env.path("app")).unwrap();
        fs::write(env.path("app/headstart.toml"), content).unwrap();
        let run = env
            .run(["deps", "status", "app"])
            .says("headstart.toml")
            .says(said);
        assert!(matches!(run.status().code(), Some(1 | 2)), "{content}: {run:?}");
    }
}

#[test]
fn a_folder_without_projects_says_so() {
    let env = machine();
    fs::create_dir(env.path("app")).unwrap();
    for command in ["status", "save", "restore"] {
        let _ = env.run(["deps", command, "app"]).success();
    }
    let _ = env
        .run(["deps", "status", "no-such-folder"])
        .code(1)
        .says("no-such-folder");
}
