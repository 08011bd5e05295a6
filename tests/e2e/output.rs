//! What every command shares: streams, `--json`, `--quiet`, colour, closed pipes, exit codes.

use headstart_testkit::fixtures;

use crate::machine;

#[test]
fn json_is_one_document_with_a_schema() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 3, 3);
    let url = origin.file_url();
    for (args, schema) in [
        (["clone", &url, "a"].as_slice(), "headstart.clone/1"),
        (&["bootstrap", &url, "b"], "headstart.bootstrap/1"),
        (&["save", "--key", "k", "a"], "headstart.save/1"),
        (&["restore", "--key", "k", "--root", "c"], "headstart.restore/1"),
        (&["deps", "status", "a"], "headstart.deps-status/1"),
        (&["deps", "save", "a"], "headstart.deps-save/1"),
        (&["deps", "restore", "a"], "headstart.deps-restore/1"),
        (&["cache", "status"], "headstart.cache-status/1"),
        (&["cache", "verify"], "headstart.cache-verify/1"),
        (&["cache", "gc", "--dry-run"], "headstart.cache-gc/1"),
    ] {
        let run = env.headstart().args(args).arg("--json").run().success();
        assert_eq!(run.json()["schema"], schema, "{args:?}");
        assert_eq!(run.stderr(), "", "{args:?}");
    }
}

#[test]
fn a_json_error_is_the_last_line_of_stderr() {
    let env = machine();
    let run = env.run(["clone", "--json", "file:///no/such.git", "a"]).code(1);
    let error = run.json_error();
    assert_eq!(error["schema"], "headstart.error/1", "{error}");
    assert_eq!(error["exit_code"], 1, "{error}");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("/no/such.git")),
        "{error}"
    );
    assert_eq!(run.stdout(), "");
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 3, 3);
    for args in [
        ["clone", &origin.file_url(), "a"].as_slice(),
        &["bootstrap", &origin.file_url(), "b"],
        &["save", "--key", "k", "a"],
        &["restore", "--key", "k", "--root", "c"],
        &["deps", "save", "a"],
    ] {
        let run = env.headstart().args(args).arg("--quiet").run().success();
        assert_eq!(
            (run.stdout(), run.stderr()),
            (String::new(), String::new()),
            "{args:?}"
        );
    }
    let _ = env
        .run(["clone", "--quiet", "file:///no/such.git", "d"])
        .code(1)
        .says("error");
}

#[test]
fn there_is_no_colour_and_no_cursor_play_outside_a_terminal() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 30, 30);
    for (name, no_color) in [("a", ""), ("b", "1")] {
        let run = env
            .headstart()
            .args(["clone", &origin.file_url(), name])
            .env("NO_COLOR", no_color)
            .run()
            .success();
        let text = run.stdout() + &run.stderr();
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let env = machine();
    for args in [
        ["--help"].as_slice(),
        &["completions", "bash"],
        &["cache", "status"],
    ] {
        let script = "\"$@\" | true; echo ${PIPESTATUS[0]} >&2";
        let run = env
            .headstart()
            .args(args)
            .through(["bash", "-c", script, "bash"])
            .run()
            .success();
        let code = run.stderr().trim().to_owned();
        assert!(["0", "141"].contains(&code.as_str()), "{args:?}: {code}");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_explained() {
    let env = machine();
    for args in [
        ["no-such-command"].as_slice(),
        &["clone"],
        &["clone", "--no-such-flag", "x"],
        &["clone", "--depth", "0", "x"],
        &["save", "tree"],
        &["restore", "--key", "k", "--link", "magic"],
        &[],
    ] {
        let run = env.run(args).code(2);
        assert!(run.stderr().contains("--help"), "{args:?}: {}", run.stderr());
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let env = machine();
    let _ = env.run(["--version"]).success().prints("headstart 0.");
    for command in [
        "clone",
        "bootstrap",
        "save",
        "restore",
        "deps",
        "cache",
        "try",
        "completions",
    ] {
        let _ = env.run([command, "--help"]).success().prints("Usage:");
    }
}

#[test]
fn a_home_that_is_missing_or_read_only_is_no_obstacle_to_a_clone() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("mono.git"), 3, 3);
    let nowhere = env.root().join("no-such-home");
    let run = env
        .headstart()
        .args(["clone", &origin.file_url(), "a"])
        .env("HOME", &nowhere)
        .env("HEADSTART_STORE", "");
    let _ = run.run().success();
    assert!(!nowhere.exists());
}
