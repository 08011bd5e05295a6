//! cargo, with the public registry: what it downloads, and `target` as a cache of the project's own.

use headstart_deps::Holds;

use crate::{Case, OverATree, Saved, case::files};

const PACKAGE: (&str, &str) = (
    "Cargo.toml",
    "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
     [dependencies]\nitoa = \"=1.0.9\"\ncfg-if = \"=1.0.0\"\n",
);
const MAIN: (&str, &str) = (
    "src/main.rs",
    "fn main() { println!(\"{}\", itoa::Buffer::new().format(1)); }\n",
);
const BUILD: &[&str] = &["cargo", "build", "--locked", "--offline", "--verbose"];

#[test]
fn cargo_project_builds_from_what_was_restored() {
    let case = Case {
        program: "cargo",
        files: files([PACKAGE, MAIN]),
        lockfile: Some("Cargo.lock"),
        env: vec![("CARGO_HOME", "{home}/.cargo".to_owned())],
        setup: &["cargo", "fetch"],
        check: &["cargo", "check", "--locked", "--offline", "--quiet"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["cargo-registry"]) else {
        return;
    };
    saved.installs_from_the_downloads();
}

/// The case of the guide.
fn with_target() -> Case {
    Case {
        program: "cargo",
        files: files([PACKAGE, MAIN]),
        lockfile: Some("Cargo.lock"),
        env: vec![("CARGO_HOME", "{home}/.cargo".to_owned())],
        // cargo tells the crates of a registry apart by where they are.
        needs_the_same_home: true,
        config: "[[cache]]\nname = \"target\"\npaths = [\"target\"]\n\
                 key-files = [\"Cargo.lock\", \"Cargo.toml\"]\ntools = [\"rustc\"]\n",
        setup: &["cargo", "build"],
        install: Some(BUILD),
        check: &["target/debug/demo"],
        // For make: the checkout's absolute paths.
        over_a_tree: OverATree::KeepsAllBut(&["target/debug/demo.d"]),
        ..Case::default()
    }
}

#[test]
fn cargo_compiles_nothing_where_the_files_are_older_than_the_restored_target() {
    let case = Case {
        // Of the same commit, in a checkout that keeps the times of files.
        install: Some(&[
            "sh",
            "-c",
            "touch -d 2020-01-01 Cargo.toml Cargo.lock src src/main.rs && exec cargo build --locked --offline --verbose",
        ]),
        ..with_target()
    };
    let Some(saved) = Saved::by(&case, &["cargo-registry", "target"]) else {
        return;
    };
    saved.installs_over_everything();
}

#[test]
fn cargo_compiles_only_the_projects_own_crates_in_a_new_checkout() {
    let case = with_target();
    let Some(saved) = Saved::by(&case, &["cargo-registry", "target"]) else {
        return;
    };
    let second = saved.restored(&[Holds::Downloads, Holds::Installed]);
    let said = second.machine.must_run(BUILD);
    let compiled: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Compiling "))
        .filter_map(|crate_| crate_.split(' ').next())
        .collect();
    assert_eq!(compiled, ["demo"], "{said}");
    second.machine.must_run(case.check);
}
