//! End-to-end tests: the real `headstart` against real git, servers and package managers. One file per subject.
//!
//! They check that the command line is wired up and that the parts keep their promises together; what can fail at a lower
//! level is tested there.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod affected;
mod architecture;
mod backfill;
mod bootstrap;
mod cache;
mod ci;
mod ci_action;
mod clone;
mod clone_background;
mod clone_damage;
mod clone_failures;
mod clone_kinds;
mod clone_transports;
mod deps;
mod interruption;
mod layers;
mod layers_build;
mod layers_engine;
mod layers_hostile;
mod layers_html;
mod layers_metrics;
mod layers_services;
mod mount;
mod outage;
mod output;
mod pull;
mod reflink;
mod remote;
mod save_restore;
mod seed;
mod support;
mod try_;

use std::{fs, path::Path};

use headstart_testkit::TestEnv;

/// A machine with the `headstart` of this build.
fn machine() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_headstart"))
}

#[test]
fn every_file_is_declared_as_a_module() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e");
    let declared = include_str!("main.rs");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(
            module == "main" || declared.contains(&format!("\nmod {module};\n")),
            "{name} is not declared"
        );
    }
}
