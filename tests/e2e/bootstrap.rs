//! `headstart bootstrap`: a clone and its dependency caches in one go.

use std::fs;

use headstart_testkit::{CacheServer, GitHttpServer, Manifest, Repository, TestEnv, fixtures};

use crate::{
    machine,
    support::{assert_sound, dead_address, many_files, names},
};

/// A lockfile as `npm install` writes it for a project without dependencies of its own.
const LOCKFILE: &str = "{\"name\":\"demo\",\"version\":\"1.0.0\",\"lockfileVersion\":3,\"requires\":true,\"packages\":{\"\":{\"name\":\"demo\",\"version\":\"1.0.0\"}}}\n";

/// An origin with an npm project in it, below the folder of a machine.
fn origin_with_project(env: &TestEnv) -> Repository {
    let work = Repository::create(env.root().join("project"));
    work.write("package.json", "{\"name\":\"demo\",\"version\":\"1.0.0\"}\n")
        .write("package-lock.json", LOCKFILE)
        .write(".gitignore", "node_modules\n")
        .write("src/index.js", "export default 1;\n")
        .commit("a project");
    let origin = Repository::create_bare(env.root().join("project.git"));
    let _ = work.git(["push", "-q", &origin.file_url(), "main"]);
    origin
}

#[test]
fn a_second_machine_gets_the_dependencies_the_first_one_saved() {
    let server = CacheServer::start(env!("CARGO_BIN_EXE_headstart"));
    let (first, second) = (machine(), machine());
    let origin = origin_with_project(&first);
    let git = GitHttpServer::start(first.root());
    let url = git.url("project.git");
    let remote = ["--remote", server.url()];

    let _ = first
        .headstart()
        .args(["bootstrap", &url, "app"])
        .args(remote)
        .run()
        .success();
    assert_sound(&Repository::at(first.path("app")));
    many_files(&first.path("app/node_modules"), 300);
    // What npm notes about its work; a tree without it is not npm's and not saved.
    let note = "{\"name\":\"demo\",\"lockfileVersion\":3,\"requires\":true,\"packages\":{}}\n";
    fs::write(first.path("app/node_modules/.package-lock.json"), note).unwrap();
    let _ = first
        .headstart()
        .args(["deps", "save", "app"])
        .args(remote)
        .run()
        .success();

    let report = second
        .headstart()
        .args(["bootstrap", "--json", &url, "app"])
        .args(remote)
        .run()
        .success()
        .json();
    let cache = report["caches"]
        .as_array()
        .unwrap()
        .iter()
        .find(|cache| cache["outcome"] == "exact");
    let cache = cache.unwrap_or_else(|| panic!("no cache was hit: {report:#}"));
    assert!(cache["remote_bytes"].as_u64().unwrap() > 0, "{report:#}");
    let [ours, theirs] = [&second, &first].map(|env| Manifest::of(env.path("app/node_modules")));
    theirs.assert_same(&ours);
    assert_sound(&Repository::at(second.path("app")));
    assert_eq!(
        Repository::at(second.path("app")).git(["rev-parse", "HEAD"]),
        origin.git(["rev-parse", "main"])
    );

    // Again: the clone is there, the dependencies are right, nothing is fetched.
    let again = second
        .headstart()
        .args(["bootstrap", "--json", &url, "app"])
        .args(remote)
        .run()
        .success()
        .json();
    assert!(again["clone"].is_null(), "{again:#}");
    assert!(
        again["caches"]
            .as_array()
            .unwrap()
            .iter()
            .all(|cache| cache["files_written"] == 0),
        "{again:#}"
    );
}

#[test]
fn a_project_without_package_managers_is_just_cloned() {
    let env = machine();
    let origin = fixtures::rich(env.root().join("rich.git"));
    let report = env
        .run(["bootstrap", "--json", &origin.file_url(), "app"])
        .success()
        .json();
    assert_eq!(report["caches"].as_array().map(Vec::len), Some(0), "{report:#}");
    assert_sound(&Repository::at(env.path("app")));
}

#[test]
fn a_miss_and_a_dead_remote_still_give_a_clone() {
    let env = machine();
    let origin = origin_with_project(&env);
    let remote = format!("http://{}", dead_address());
    let run = env
        .run(["bootstrap", "--remote", &remote, &origin.file_url(), "app"])
        .success()
        .says("warning")
        .says("--install");
    assert_eq!(run.stderr().matches("warning").count(), 1, "{}", run.stderr());
    assert_sound(&Repository::at(env.path("app")));
}

#[test]
fn a_clone_that_fails_is_the_error() {
    let env = machine();
    let _ = env
        .run(["bootstrap", "file:///no/such/place.git", "app"])
        .code(1)
        .says("/no/such/place.git");
    assert_eq!(names(&env.work()), [""; 0]);
}

#[test]
fn a_remote_that_the_repository_names_is_not_asked() {
    let env = machine();
    let origin = origin_with_project(&env);
    let work = Repository::at(env.root().join("project"));
    let address = dead_address();
    work.write(
        "headstart.toml",
        format!("[remote]\nurl = \"http://{address}\"\n"),
    )
    .commit("a proposal");
    let _ = work.git(["push", "-q", &origin.file_url(), "main"]);
    let run = env
        .run(["bootstrap", &origin.file_url(), "app"])
        .says("proposes the remote");
    assert!(!run.stderr().contains("warning"), "{run:?}");
    let _ = run.success();
}

#[test]
fn a_wrong_headstart_toml_in_the_clone_is_named() {
    let env = machine();
    let origin = origin_with_project(&env);
    let work = Repository::at(env.root().join("project"));
    work.write("headstart.toml", "[deps]\nno-such-key = 1\n")
        .commit("a mistake");
    let _ = work.git(["push", "-q", &origin.file_url(), "main"]);
    // The clone is done and stays; the rest is not.
    let _ = env
        .run(["bootstrap", &origin.file_url(), "app"])
        .code(3)
        .says("headstart.toml")
        .says("no-such-key");
    assert_sound(&Repository::at(env.path("app")));
}
