//! The GitHub action: its scripts, run by node as GitHub's runner does.

use std::{fs, path::PathBuf};

use crate::{
    ci::{BINARY, Runner, ended, program},
    machine,
    support::{dead_address, many_files, names},
};

#[test]
fn the_action_restores_and_saves() {
    let env = machine();
    let runner = Runner::new(&env);
    let inputs = [
        ("path", "dist"),
        ("key", "k-1"),
        ("restore-keys", "k-\n"),
        ("job-status", "success"),
    ];
    let Some(main) = runner.step("main.js", &inputs) else {
        return;
    };
    let _ = ended(&main, 0);
    assert_eq!(runner.output("cache-hit"), "");
    many_files(&env.path("dist"), 10);
    // The key may have changed by now: what counts is the one that was looked for.
    let changed = [("path", "dist"), ("key", "k-changed"), ("job-status", "success")];
    let said = ended(&runner.step("post.js", &changed).unwrap(), 0);
    assert!(said.contains("saved"), "{said}");

    runner.next_job();
    fs::remove_dir_all(env.path("dist")).unwrap();
    let _ = ended(&runner.step("main.js", &inputs).unwrap(), 0);
    assert_eq!(runner.output("cache-hit"), "true");
    assert_eq!(names(&env.path("dist")), ["package-000"]);
    let said = ended(&runner.step("post.js", &inputs).unwrap(), 0);
    assert!(said.contains("it is not saved again"), "{said}");
}

#[test]
fn a_failed_job_saves_when_asked() {
    let env = machine();
    let runner = Runner::new(&env);
    many_files(&env.path("dist"), 10);
    let post = |status: &str, always: &str| {
        let inputs = [
            ("path", "dist"),
            ("key", "k"),
            ("job-status", status),
            ("save-always", always),
        ];
        Some(ended(&runner.step("post.js", &inputs)?, 0))
    };
    let Some(said) = post("failure", "") else { return };
    assert!(said.contains("The job failed; nothing is saved"), "{said}");
    assert!(
        post("cancelled", "false")
            .unwrap()
            .contains("was cancelled; nothing is saved")
    );
    fs::write(env.path("headstart.toml"), "[ci]\nsave = 'always'\n").unwrap();
    assert!(post("failure", "false").unwrap().contains("nothing is saved"));
    let said = post("failure", "").unwrap();
    assert!(said.contains(" saved "), "{said}");
    fs::remove_file(env.path("headstart.toml")).unwrap();
    let said = post("failure", "true").unwrap();
    assert!(said.contains(" exists "), "{said}");
}

#[test]
fn a_dead_remote_is_a_warning_of_the_action_and_its_token_a_secret() {
    let env = machine();
    let runner = Runner::new(&env);
    many_files(&env.path("dist"), 10);
    let url = format!("http://{}", dead_address());
    let token = "a-token-of-some-length-0123456789";
    let inputs = [
        ("path", "dist"),
        ("key", "k"),
        ("remote", url.as_str()),
        ("token", token),
    ];
    let Some(main) = runner.step("main.js", &inputs) else {
        return;
    };
    let said = ended(&main, 0);
    assert_eq!(said.matches("::warning").count(), 1, "{said}");
    assert!(said.contains(&format!("::add-mask::{token}\n")), "{said}");
    assert_eq!(runner.output("cache-hit"), "");
    let said = ended(&runner.step("post.js", &inputs).unwrap(), 0);
    assert_eq!(said.matches("::warning").count(), 1, "{said}");
    // It asked for a failure.
    let strict = [
        inputs.as_slice(),
        &[("fail-on-cache-miss", "true"), ("key", "other")],
    ]
    .concat();
    let _ = ended(&runner.step("main.js", &strict).unwrap(), 1);
}

#[test]
fn a_program_that_cannot_be_run_does_not_fail_the_job() {
    let env = machine();
    let runner = Runner::new(&env);
    let inputs = [("headstart", "/no/such/program"), ("path", "dist"), ("key", "k")];
    let Some(main) = runner.step("main.js", &inputs) else {
        return;
    };
    assert!(ended(&main, 0).contains("::warning"));
    let broken = env.root().join("broken");
    program(&broken, "kill -9 $$");
    let inputs = [
        ("headstart", broken.to_str().unwrap()),
        ("path", "dist"),
        ("key", "k"),
    ];
    assert!(ended(&runner.step("main.js", &inputs).unwrap(), 0).contains("SIGKILL"));
    // It asked for a failure.
    let no_program = broken.join("not-a-folder");
    for program in [&broken, &no_program] {
        let strict = [
            ("headstart", program.to_str().unwrap()),
            ("path", "dist"),
            ("key", "k"),
            ("fail-on-cache-miss", "true"),
        ];
        assert!(ended(&runner.step("main.js", &strict).unwrap(), 1).contains("::error"));
        let _ = ended(&runner.step("post.js", &strict).unwrap(), 0);
    }
}

/// Puts a cargo on the runner's PATH that does what `cargo install … --root DIR` does: it leaves the program in DIR/bin. Each
/// run adds a line to the file returned.
fn cargo_that_copies(runner: &Runner<'_>) -> PathBuf {
    let log = runner.env.root().join("cargo.log");
    let script = format!(
        "echo \"$@\" >> '{}'; for root; do :; done; mkdir -p \"$root/bin\"; cp '{BINARY}' \"$root/bin/headstart\"",
        log.display()
    );
    program(&runner.folder.join("bin/cargo"), &script);
    log
}

#[test]
fn the_action_builds_again_when_its_sources_changed() {
    let env = machine();
    let mut runner = Runner::new(&env);
    let log = cargo_that_copies(&runner);
    let scripts = runner.action.clone();
    let inputs = [("headstart", ""), ("path", "dist"), ("key", "k")];
    for (checkout, source, builds) in [("one", "1", 1), ("two", "1", 1), ("one", "2", 2), ("two", "1", 2)] {
        let checkout = env.root().join(checkout);
        for folder in ["action", "cli/src"] {
            fs::create_dir_all(checkout.join(folder)).unwrap();
        }
        for script in names(&scripts) {
            fs::copy(scripts.join(&script), checkout.join("action").join(&script)).unwrap();
        }
        fs::write(checkout.join("cli/src/main.rs"), source).unwrap();
        runner.action = checkout.join("action");
        runner.next_job();
        let Some(main) = runner.step("main.js", &inputs) else {
            return;
        };
        let _ = ended(&main, 0);
        let built = fs::read_to_string(&log).unwrap();
        assert_eq!(built.lines().count(), builds, "{built}");
    }
}

#[test]
fn the_action_builds_a_program_once_where_there_is_none() {
    let env = machine();
    let runner = Runner::new(&env);
    let log = cargo_that_copies(&runner);
    let inputs = [("headstart", ""), ("path", "dist"), ("key", "k")];
    for _ in 0..2 {
        runner.next_job();
        let Some(main) = runner.step("main.js", &inputs) else {
            return;
        };
        let _ = ended(&main, 0);
        assert_eq!(runner.output("cache-primary-key"), "k");
    }
    let built = fs::read_to_string(log).unwrap();
    assert_eq!(built.lines().count(), 1, "{built}");
    assert!(built.starts_with("install --locked --quiet --path "), "{built}");
    program(&runner.folder.join("bin/cargo"), "exit 101");
    fs::remove_dir_all(runner.folder.join("tools")).unwrap();
    runner.next_job();
    let said = ended(&runner.step("main.js", &inputs).unwrap(), 0);
    assert!(said.contains("could not be built"), "{said}");
}
