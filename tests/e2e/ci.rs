//! `headstart ci`, in the environment each CI system gives its jobs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use headstart_testkit::{CacheServer, Manifest, Run, TestEnv, skipped};

use crate::{
    machine,
    support::{assert_store_is_sound, many_files, names},
};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_headstart");

/// The files a GitHub runner hands to a step, and the runner's reading of them.
pub(crate) struct Runner<'a> {
    pub(crate) env: &'a TestEnv,
    pub(crate) folder: PathBuf,
    /// The folder of the action's scripts.
    pub(crate) action: PathBuf,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(env: &'a TestEnv) -> Self {
        let folder = env.root().join("runner");
        fs::create_dir_all(&folder).unwrap();
        let action = Path::new(env!("CARGO_MANIFEST_DIR")).join("../action");
        Runner { env, folder, action }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        vec![
            ("GITHUB_ACTIONS".into(), "true".into()),
            ("GITHUB_OUTPUT".into(), file("output")),
            ("GITHUB_STATE".into(), file("state")),
            ("GITHUB_STEP_SUMMARY".into(), file("summary")),
            ("RUNNER_TEMP".into(), file("temp")),
            ("RUNNER_TOOL_CACHE".into(), file("tools")),
        ]
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// A file of `name<<delimiter` values, read as the runner reads it.
    pub(crate) fn values(&self, name: &str) -> BTreeMap<String, String> {
        let text = self.text(name);
        let mut lines = text.lines();
        let mut values = BTreeMap::new();
        while let Some(line) = lines.next() {
            let (name, delimiter) = line.split_once("<<").expect("a name and a delimiter");
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
            values.insert(name.to_owned(), value.join("\n"));
        }
        values
    }

    pub(crate) fn output(&self, name: &str) -> String {
        self.values("output")[name].clone()
    }

    /// The next job: nothing of the last one's files is left.
    pub(crate) fn next_job(&self) {
        for name in names(&self.folder) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.env.headstart().envs(self.variables()).args(args).run()
    }

    /// Runs a file of the action with node as the runner does; `None`, after saying why, where there is no node.
    pub(crate) fn step(&self, script: &str, inputs: &[(&str, &str)]) -> Option<Output> {
        if !Command::new("node")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            skipped("the GitHub action needs node on PATH");
            return None;
        }
        let inputs = inputs
            .iter()
            .map(|(name, value)| (format!("INPUT_{}", name.to_uppercase()), (*value).to_owned()));
        let state = self
            .values("state")
            .into_iter()
            .map(|(name, value)| (format!("STATE_{name}"), value));
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("node")
            .arg(self.action.join(script))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HOME", self.env.home())
            .env("HEADSTART_STORE", self.env.store())
            .envs(self.variables())
            .env("INPUT_HEADSTART", BINARY)
            .envs(inputs)
            .envs(state)
            .current_dir(self.env.work())
            .output()
            .unwrap();
        Some(output)
    }
}

/// Makes a program of a shell script.
pub(crate) fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Panics unless the step ended with this code; gives all it wrote.
#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn an_exact_match_a_restore_key_and_a_miss() {
    let env = machine();
    let runner = Runner::new(&env);
    let tree = env.path("node_modules");
    many_files(&tree, 120);
    let saved = Manifest::of(&tree);
    let restore = |key: &str| {
        runner.next_job();
        runner
            .run(&[
                "ci",
                "restore",
                "--path",
                "node_modules",
                "--key",
                key,
                "--restore-keys",
                "nope-\nnpm-",
            ])
            .success()
    };
    let _ = restore("npm-1")
        .says("::group::headstart ci restore")
        .says("::endgroup::");
    assert_eq!(runner.output("cache-hit"), "");
    assert_eq!(runner.output("cache-primary-key"), "npm-1");
    assert_eq!(runner.output("cache-matched-key"), "");
    let _ = runner
        .run(&["ci", "save", "--path", "node_modules", "--key", "npm-1"])
        .success()
        .prints("saved");
    assert!(
        runner.text("summary").contains("| workspace | saved | 120 |"),
        "{}",
        runner.text("summary")
    );

    fs::remove_dir_all(&tree).unwrap();
    let _ = restore("npm-1");
    assert_eq!(runner.output("cache-hit"), "true");
    assert_eq!(runner.output("cache-matched-key"), "npm-1");
    saved.assert_same(&Manifest::of(&tree));
    assert!(
        runner.text("summary").contains("| workspace | hit |"),
        "{}",
        runner.text("summary")
    );
    let _ = restore("npm-2");
    assert_eq!(runner.output("cache-hit"), "false");
    assert_eq!(runner.output("cache-primary-key"), "npm-2");
    assert_eq!(runner.output("cache-matched-key"), "npm-1");
    // Another list of paths is another cache, and no entry of `headstart save` is one.
    let other = env.run([
        "ci",
        "restore",
        "--json",
        "--path",
        "node_modules\nother",
        "--key",
        "npm-1",
    ]);
    assert_eq!(other.success().json()["hit"], "miss");
    let _ = env.run(["restore", "--fail-on-miss", "--key", "npm-1"]).code(1);
    assert_store_is_sound(&env);
}

#[test]
fn paths_in_the_workspace_and_in_the_home_are_one_cache() {
    let env = machine();
    many_files(&env.path("packages/a/node_modules"), 20);
    many_files(&env.home().join(".npm/_cacache"), 30);
    let paths = [
        "--path",
        "**/node_modules\n~/.npm",
        "--path",
        "not-there",
        "--key",
        "k",
    ];
    let trees = || {
        [
            Manifest::of(env.path("packages")),
            Manifest::of(env.home().join(".npm")),
        ]
    };
    let before = trees();
    let _ = env.headstart().args(["ci", "save"]).args(paths).run().success();
    fs::remove_dir_all(env.path("packages/a/node_modules")).unwrap();
    fs::remove_dir_all(env.home().join(".npm")).unwrap();
    let lookup = env
        .headstart()
        .args(["ci", "restore", "--json", "--lookup-only"])
        .args(paths)
        .run();
    assert_eq!(lookup.success().json()["hit"], "exact");
    assert!(!env.home().join(".npm").exists());
    let restored = env
        .headstart()
        .args(["ci", "restore", "--json"])
        .args(paths)
        .run()
        .success()
        .json();
    assert_eq!(restored["hit"], "exact", "{restored}");
    for (before, after) in before.into_iter().zip(trees()) {
        before.without_mtimes().assert_same(&after.without_mtimes());
    }
}

#[test]
fn a_part_that_was_never_there_is_no_miss() {
    let env = machine();
    many_files(&env.path("dist"), 5);
    let paths = ["--path", "dist\n~/.npm", "--key", "k"];
    let _ = env.headstart().args(["ci", "save"]).args(paths).run().success();
    let restored = env
        .headstart()
        .args(["ci", "restore", "--json"])
        .args(paths)
        .run()
        .success();
    assert_eq!(restored.json()["hit"], "exact");
    // Nothing at all is not saved.
    let nothing = env
        .run(["ci", "save", "--path", "no\nnothing", "--key", "k"])
        .success();
    let _ = nothing.says("none of its paths exists");
}

#[test]
fn what_goes_wrong_with_the_cache_never_fails_the_job() {
    let env = machine();
    many_files(&env.path("dist"), 10);
    fs::write(env.root().join("file"), "").unwrap();
    let store = env.root().join("file/store");
    let bad_settings = env.root().join("bad.toml");
    fs::write(&bad_settings, "nonsense = 1\n").unwrap();
    let surroundings: [(&str, &Path); 4] = [
        ("HEADSTART_STORE", &store),
        ("HEADSTART_REMOTE", Path::new("gopher://x")),
        ("HEADSTART_CONFIG", &bad_settings),
        ("HEADSTART_TOKEN", Path::new("\u{1}")),
    ];
    for (name, value) in surroundings {
        for step in ["restore", "save"] {
            let run = env.headstart().args(["ci", step, "--path", "dist", "--key", "k"]);
            let run = run.env(name, value).env(
                "HEADSTART_REMOTE",
                if name == "HEADSTART_REMOTE" {
                    "gopher://x"
                } else {
                    "http://127.0.0.1:1"
                },
            );
            let _ = run.run().success().says("warning");
            let found = env.headstart().args(["ci", step]).env(name, value).run();
            let _ = found.success();
        }
    }
    fs::write(env.path("headstart.toml"), "nonsense = 1\n").unwrap();
    let _ = env.run(["ci", "restore"]).success().says("nonsense");
    let _ = env
        .run(["ci", "save", "--path", "dist", "--key", "k"])
        .success()
        .says("nonsense");
    fs::write(env.path("headstart.toml"), "[ci]\nfail-on-cache-miss = true\n").unwrap();
    let _ = env
        .run(["ci", "restore", "--path", "dist", "--key", "other"])
        .code(1);
    let _ = env
        .run([
            "ci",
            "restore",
            "--path",
            "dist",
            "--key",
            "other",
            "--fail-on-cache-miss=false",
        ])
        .success();
}

#[test]
fn a_remote_that_cannot_be_used_leaves_the_local_store() {
    let env = machine();
    many_files(&env.path("dist"), 10);
    fs::write(env.path("go.mod"), "module example.com/x\n\ngo 1.21\n").unwrap();
    let settings =
        "[[deps.cache]]\nname = 'dist'\npaths = ['dist']\nkey-files = ['go.mod']\n[deps]\ndisable = ['go']\n";
    fs::write(env.path("headstart.toml"), settings).unwrap();
    let step = |step: &str, args: &[&str]| {
        let command = env
            .headstart()
            .args(["ci", step, "--json", "--remote", "bogus://x"]);
        command.args(args).run().success()
    };
    for args in [["--path", "dist", "--key", "k"].as_slice(), &[]] {
        let saved = step("save", args).says("bogus");
        assert_eq!(saved.json()["caches"][0]["outcome"], "saved", "{saved:?}");
        let restored = step("restore", args).says("the local store is used alone");
        assert_eq!(restored.stderr().matches("warning").count(), 1, "{restored:?}");
        assert_eq!(restored.json()["hit"], "exact", "{restored:?}");
        let looked_up = step("restore", &[args, &["--lookup-only"]].concat());
        assert_eq!(looked_up.json()["hit"], "exact", "{looked_up:?}");
    }
}

#[test]
fn settings_that_are_not_understood_are_a_miss_that_later_steps_are_told_of() {
    let env = machine();
    let runner = Runner::new(&env);
    let settings = env.root().join("bad.toml");
    fs::write(&settings, "nonsense = 1\n").unwrap();
    let run = |args: &[&str]| {
        let command = env.headstart().envs(runner.variables());
        command.env("HEADSTART_CONFIG", &settings).args(args).run()
    };
    let _ = run(&["ci", "restore", "--path", "dist", "--key", "k"])
        .success()
        .says("nonsense");
    assert_eq!(runner.output("cache-hit"), "");
    assert_eq!(runner.output("cache-primary-key"), "k");
    assert_eq!(runner.values("state")["HEADSTART_PRIMARY_KEY"], "k");
    let found = run(&["ci", "restore", "--json", "--dotenv", "cache.env"]).success();
    assert_eq!(found.json()["hit"], "miss");
    assert!(
        fs::read_to_string(env.path("cache.env"))
            .unwrap()
            .contains("HEADSTART_CACHE_HIT=\n")
    );
    let strict = [
        "ci",
        "restore",
        "--path",
        "dist",
        "--key",
        "k",
        "--fail-on-cache-miss",
    ];
    let _ = run(&strict).code(2);
    let saved = run(&["ci", "save", "--json", "--path", "dist", "--key", "k"]).success();
    assert_eq!(saved.json()["caches"].as_array().unwrap().len(), 0, "{saved:?}");
    let _ = run(&["ci", "save", "--path", ".", "--key", "k"]).code(2);
}

#[test]
fn exclusions_take_away_from_what_patterns_find() {
    let env = machine();
    for folder in ["packages/a/dist", "packages/b/dist"] {
        many_files(&env.path(folder), 5);
    }
    let paths = ["--path", "packages/*/dist\n!packages/b/dist", "--key", "k"];
    let _ = env.headstart().args(["ci", "save"]).args(paths).run().success();
    for package in ["a", "b"] {
        fs::remove_dir_all(env.path("packages").join(package)).unwrap();
    }
    let restored = env
        .headstart()
        .args(["ci", "restore", "--json"])
        .args(paths)
        .run()
        .success();
    assert_eq!(restored.json()["hit"], "exact");
    assert_eq!(names(&env.path("packages")), ["a"]);
    // A folder that is named is saved whole, and that is said.
    let paths = [
        "--path",
        "packages\n!packages/a/dist/package-000",
        "--key",
        "whole",
    ];
    let saved = env
        .headstart()
        .args(["ci", "save", "--json"])
        .args(paths)
        .run()
        .success();
    let saved = saved.says("!packages/a/dist/package-000 excludes nothing");
    assert_eq!(saved.json()["caches"][0]["files"], 5);
}

#[test]
fn a_damaged_store_is_a_miss() {
    let env = machine();
    many_files(&env.path("dist"), 10);
    let args = ["--path", "dist", "--key", "k"];
    let _ = env.headstart().args(["ci", "save"]).args(args).run().success();
    fs::remove_dir_all(env.path("dist")).unwrap();
    let status = Command::new("sh")
        .args([
            "-c",
            "find \"$0\" -path '*/packs/*' -type f -exec chmod u+w {} + -exec truncate -s 5 {} +",
        ])
        .arg(env.store())
        .status();
    assert!(status.unwrap().success());
    let run = env
        .headstart()
        .args(["ci", "restore", "--json", "--link", "copy"])
        .args(args)
        .run()
        .success();
    assert_eq!(run.json()["hit"], "miss");
}

#[test]
fn hostile_values_set_nothing_and_say_nothing_to_the_runner() {
    let env = machine();
    let runner = Runner::new(&env);
    let wrong = runner
        .run(&["ci", "restore", "--path", "dist", "--key", "k\ncache-hit=true"])
        .code(2);
    assert!(wrong.stderr().contains("control character"), "{}", wrong.stderr());
    assert_eq!(runner.text("output"), "");
    for path in ["!dist", "dist\n!..", ".", "~", "/", "..", "a[", "dist\n\u{1b}[2J"] {
        let _ = runner
            .run(&["ci", "restore", "--path", path, "--key", "k"])
            .code(2)
            .says("--path");
    }
    let odd = "::add-mask::x/|`y`";
    many_files(&env.path(odd), 2);
    let key = "::error::k<<EOF ##[add-path]y";
    for step in ["save", "restore"] {
        let run = runner.run(&["ci", step, "--path", odd, "--key", key]).success();
        for line in run.stdout().lines().chain(run.stderr().lines()) {
            let is_ours = line.starts_with("::group::") || line == "::endgroup::";
            assert!(
                is_ours || !line.trim_start().starts_with("::") && !line.contains("##["),
                "{line}"
            );
        }
    }
    assert_eq!(runner.output("cache-matched-key"), key);
}

#[test]
fn gitlab_circleci_buildkite_and_a_plain_shell() {
    let env = machine();
    many_files(&env.path("dist"), 10);
    let cache = ["--path", "dist", "--key", "it's $(k)"];
    let run = |step: &str, variables: &[(&str, &str)], more: &[&str]| {
        let command = env.headstart().args(["ci", step]).args(cache).args(more);
        command.envs(variables.iter().copied()).run().success()
    };
    let gitlab = |status| [("GITLAB_CI", "true"), ("CI_JOB_STATUS", status)];
    let _ = run("save", &gitlab("failed"), &[])
        .says("nothing is saved")
        .says("section_start:");
    let _ = run(
        "save",
        &[("BUILDKITE", "true"), ("BUILDKITE_COMMAND_EXIT_STATUS", "3")],
        &[],
    )
    .says("nothing is saved")
    .says("--- headstart ci save");
    let _ = run("save", &gitlab("running"), &[]).prints("saved");
    let _ = run("restore", &gitlab("running"), &["--dotenv", "cache.env"]).says("section_end:");
    assert_eq!(
        fs::read_to_string(env.path("cache.env")).unwrap(),
        "HEADSTART_CACHE_HIT=true\nHEADSTART_CACHE_PRIMARY_KEY=it's $(k)\nHEADSTART_CACHE_MATCHED_KEY=it's $(k)\n"
    );

    let bash_env = env.root().join("bash-env");
    let _ = run(
        "restore",
        &[("CIRCLECI", "true"), ("BASH_ENV", bash_env.to_str().unwrap())],
        &[],
    );
    let script = ". \"$0\"; printf '%s|' \"$HEADSTART_CACHE_HIT\" \"$HEADSTART_CACHE_MATCHED_KEY\"";
    let read = Command::new("sh")
        .args(["-c", script])
        .arg(&bash_env)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "true|it's $(k)|");

    let bin = env.root().join("bin");
    let agent = bin.join("buildkite-agent");
    let log = env.root().join("agent.log");
    program(&agent, &format!("echo \"$@\" >> '{}'", log.display()));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let buildkite = [
        ("BUILDKITE", "true"),
        ("BUILDKITE_JOB_ID", "0190-ab"),
        ("PATH", path.as_str()),
    ];
    let _ = run("restore", &buildkite, &[]);
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        "meta-data set headstart-cache-hit:0190-ab true\n"
    );
    program(&agent, "exit 1");
    let _ = run("restore", &buildkite, &[]).says("warning");

    let shell = run("restore", &[], &[]);
    assert!(
        !shell.stderr().contains("section_") && !shell.stderr().contains("::"),
        "{}",
        shell.stderr()
    );
}

#[test]
fn caches_found_by_lockfiles_cross_machines() {
    let server = CacheServer::start(BINARY);
    let (first, second) = (machine(), machine());
    let step = |env: &TestEnv, step: &str| {
        env.headstart()
            .args(["ci", step, "--json"])
            .env("HEADSTART_REMOTE", server.url())
            .run()
            .success()
            .json()
    };
    for env in [&first, &second] {
        fs::write(env.path("go.mod"), "module example.com/x\n\ngo 1.21\n").unwrap();
        let cache = "[[deps.cache]]\nname = 'built'\npaths = ['built']\nkey-files = ['go.mod']\n[deps]\ndisable = ['go']\n";
        fs::write(env.path("headstart.toml"), cache).unwrap();
    }
    assert_eq!(step(&first, "restore")["hit"], "miss");
    many_files(&first.path("built"), 10);
    let saved = step(&first, "save");
    assert_eq!(saved["caches"][0]["outcome"], "saved", "{saved}");
    let restored = step(&second, "restore");
    assert_eq!(restored["hit"], "exact", "{restored}");
    Manifest::of(first.path("built")).assert_same(&Manifest::of(second.path("built")));
    assert_eq!(step(&second, "save")["caches"][0]["outcome"], "exists");
}
