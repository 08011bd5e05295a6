//! `headstart affected`: what a branch changed, for people, scripts and CI.

use headstart_testkit::{GitHttpServer, Repository, Run, TestEnv};

use crate::machine;

/// An origin with an npm and a Cargo workspace, a folder of its own, and a branch `topic` that changes some of them.
fn origin(env: &TestEnv) -> Repository {
    let origin = Repository::create(env.root().join("origin"));
    origin.serve_filters();
    origin
        .write("package.json", r#"{"workspaces": ["packages/*"]}"#)
        .write("packages/core/package.json", r#"{"name": "@acme/core"}"#)
        .write("packages/web/package.json", r#"{"name": "web", "dependencies": {"@acme/core": "workspace:*"}}"#)
        .write("packages/alone/package.json", r#"{"name": "alone"}"#)
        .write("Cargo.toml", "[workspace]\nmembers = [\"native\"]\n")
        .write("native/Cargo.toml", "[package]\nname = \"native\"\n")
        .write("deploy/site.yaml", "replicas: 1\n")
        .write(
            "headstart.toml",
            "[projects.deploy]\npath = \"deploy\"\ndepends-on = [\"web\"]\n[affected]\nglobal = [\"tsconfig.json\"]\n",
        );
    origin.commit("one");
    let _ = origin.git(["checkout", "-q", "-b", "topic"]);
    origin
        .write("packages/core/src/index.ts", "export {}\n")
        .write("README.md", "hello\n")
        .commit("core");
    let _ = origin.git(["checkout", "-q", "main"]);
    origin
        .write("native/src/lib.rs", "// elsewhere\n")
        .commit("native");
    origin
}

fn clone(env: &TestEnv, url: &str, args: &[&str]) -> Repository {
    let status = env
        .git()
        .args(["clone", "-q", "--branch=topic"])
        .args(args)
        .args([url, "clone"])
        .status();
    assert!(status.unwrap().success());
    Repository::at(env.path("clone"))
}

fn affected(env: &TestEnv, args: &[&str]) -> Run {
    env.headstart()
        .arg("affected")
        .args(args)
        .current_dir(env.path("clone"))
        .run()
}

#[test]
fn stdout_is_one_project_a_line_and_stderr_says_why() {
    let env = machine();
    let origin = origin(&env);
    let _ = clone(&env, &origin.file_url(), &[]);
    let run = affected(&env, &[]).success();
    assert_eq!(run.stdout(), "@acme/core\ndeploy\nweb\n");
    let merge_base = &origin.git(["rev-parse", "main~1"])[..10];
    let summary = format!(
        "2 files differ between HEAD and {merge_base}, its merge base with origin/HEAD: 1 projects changed, 2 more depend on them."
    );
    let _ = run.says(&summary).says("1 of the files are in no project.");
    let files = affected(&env, &["--files", "--quiet"]).success();
    assert_eq!(
        (files.stdout().as_str(), files.stderr().as_str()),
        ("README.md\npackages/core/src/index.ts\n", "")
    );
    let from_below = env
        .headstart()
        .args(["affected", "-q"])
        .current_dir(env.path("clone/packages/web"))
        .run();
    assert_eq!(from_below.success().stdout(), "@acme/core\ndeploy\nweb\n");
}

#[test]
fn a_depth_1_checkout_over_http_gives_the_same_json() {
    let env = machine();
    let origin = origin(&env);
    let server = GitHttpServer::start(env.root());
    let whole = env.second_machine();
    let _ = clone(&whole, &origin.file_url(), &[]);
    let mut expected = affected(&whole, &["--json", "--base", "origin/main"])
        .success()
        .json();
    let shallow = clone(&env, &server.url("origin"), &["--depth=1"]);
    let mut found = affected(&env, &["--json", "--base", "origin/main"])
        .success()
        .json();

    let fetched = found["fetched"].clone();
    assert_eq!(
        fetched["history_objects"], 2,
        "the base and its parent: {fetched}"
    );
    assert_eq!(
        fetched["tree_objects"], 3,
        "those above `packages/core/src`: {fetched}"
    );
    for report in [&mut expected, &mut found] {
        report["fetched"] = serde_json::Value::Null;
        report["total_seconds"] = serde_json::Value::Null;
    }
    assert_eq!(expected, found);
    assert_eq!(found["schema"], "headstart.affected/1");
    assert_eq!(found["files"][1]["path"], "packages/core/src/index.ts");
    assert_eq!(found["files"][1]["status"], "A");
    assert_eq!(found["outside"], serde_json::json!(["README.md"]));
    let deploy = &found["projects"][0];
    assert_eq!(
        (deploy["name"].as_str(), deploy["changed"].as_bool()),
        (Some("deploy"), Some(false))
    );
    assert_eq!(deploy["because"]["dependencies"], serde_json::json!(["web"]));

    let _ = shallow.git(["fsck", "--no-dangling"]);
    assert_eq!(
        shallow.git(["rev-list", "--count", "--all"]),
        "1",
        "the checkout is as shallow as it was"
    );
    assert!(
        env.path("clone/.git/headstart")
            .read_dir()
            .unwrap()
            .next()
            .is_none(),
        "nothing is left"
    );
}

#[test]
fn unrelated_histories_are_an_error_and_not_everything() {
    let env = machine();
    let origin = origin(&env);
    let _ = origin.git(["checkout", "-q", "--orphan", "pages"]);
    let pages = origin.commit("unrelated");
    let _ = clone(&env, &origin.file_url(), &["--depth=1"]);
    let run = affected(&env, &["--base", "pages"]).code(1);
    assert_eq!(run.stdout(), "");
    let topic = origin.git(["rev-parse", "topic"]);
    let _ = run.says(&format!(
        "error: pages ({pages}) and HEAD ({topic}) have no commit in common"
    ));
    let run = affected(&env, &["--base", "nope"]).code(1);
    let _ = run
        .says("error: nope names no commit")
        .says("`git ls-remote` lists what there is");
}

#[test]
fn shared_files_affect_everything_they_are_said_to() {
    let env = machine();
    let origin = origin(&env);
    let clone = clone(&env, &origin.file_url(), &[]);
    clone.write("tsconfig.json", "{}");
    let run = affected(&env, &["--uncommitted", "--base", "HEAD", "-q"]).success();
    assert_eq!(run.stdout(), "deploy\nnative\nalone\n@acme/core\nweb\n");
    clone.commit("shared");
    let run = affected(&env, &["--base", "HEAD~1", "--json"]).success().json();
    assert_eq!(run["global"], serde_json::json!(["tsconfig.json"]));
    assert_eq!(run["projects"].as_array().unwrap().len(), 5);
    clone.write("Cargo.lock", "").commit("lockfile");
    assert_eq!(
        affected(&env, &["--base", "HEAD~1", "-q"]).success().stdout(),
        "native\n"
    );
}

#[test]
fn odd_names_and_broken_manifests_are_told_apart() {
    let env = machine();
    let origin = origin(&env);
    let clone = clone(&env, &origin.file_url(), &[]);
    clone
        .write("packages/alone/package.json", "{oops")
        .write("odd\nname\x1b[2J", "")
        .commit("odd");
    let run = affected(&env, &["--base", "HEAD~1"]).success();
    assert_eq!(run.stdout(), "packages/alone\n");
    let _ = run.says("warning: packages/alone/package.json: it is not understood (key must be a string");
    let run = affected(&env, &["--base", "HEAD~1", "--files", "-q"]).success();
    assert_eq!(
        run.stdout(),
        "\"odd\\nname\\033[2J\"\npackages/alone/package.json\n"
    );
    clone.write("package.json", "[").commit("broken");
    let run = affected(&env, &["--base", "HEAD~1"]).code(1);
    let _ = run.says("error: package.json is not understood");
    let run = affected(&env, &["--uncommitted", "--head", "main"]).code(2);
    assert_eq!(run.stdout(), "");
}

#[test]
fn settings_of_the_compared_commit_count() {
    let env = machine();
    let origin = origin(&env);
    let clone = clone(&env, &origin.file_url(), &[]);
    clone.write(
        "headstart.toml",
        "[projects.deploy]\npath = \"deploy\"\ndepends-on = [\"typo\"]\n",
    );
    assert_eq!(
        affected(&env, &["-q"]).success().stdout(),
        "@acme/core\ndeploy\nweb\n"
    );
    clone.commit("typo");
    let run = affected(&env, &["-q"]).code(2);
    let _ = run.says("headstart.toml: projects.deploy.depends-on: there is no project \"typo\"");
}
