//! npm, Yarn, pnpm and bun, with the public registry: a project with one workspace.

use headstart_deps::Holds;

use crate::{Case, OverATree, Saved, case::files};

const PACKAGE: (&str, &str) = (
    "package.json",
    r#"{"name": "demo", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
    "dependencies": {"is-odd": "3.0.1", "@sindresorhus/is": "4.6.0"}}"#,
);
const WORKSPACE: (&str, &str) = (
    "packages/a/package.json",
    r#"{"name": "a", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}}"#,
);
const CHECK: &[&str] = &[
    "node",
    "-e",
    "if (!require('is-odd')(3)) throw 1; require('module').createRequire(process.cwd() + '/packages/a/x.js')('is-number')",
];

#[test]
fn npm_works_from_what_was_restored() {
    let case = Case {
        program: "npm",
        files: files([PACKAGE, WORKSPACE]),
        lockfile: Some("package-lock.json"),
        setup: &["npm", "install", "--no-audit", "--no-fund"],
        check: CHECK,
        over_a_tree: OverATree::StartsOver,
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["npm-cache", "npm-node_modules"]) else {
        return;
    };
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_classic_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN"),
        files: files([PACKAGE, WORKSPACE]),
        lockfile: Some("yarn.lock"),
        // As root, Yarn 1 would use a folder of the system's.
        env: vec![("YARN_CACHE_FOLDER", "{home}/.cache/yarn".to_owned())],
        setup: &["yarn", "install", "--non-interactive"],
        check: CHECK,
        ..Case::default()
    };
    let caches = ["yarn-classic-cache", "yarn-classic-node_modules"];
    let Some(saved) = Saved::by(&case, &caches) else {
        return;
    };
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_berry_with_node_modules_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN_BERRY"),
        files: files([
            PACKAGE,
            WORKSPACE,
            (
                ".yarnrc.yml",
                "nodeLinker: node-modules\nenableTelemetry: false\n",
            ),
        ]),
        lockfile: Some("yarn.lock"),
        setup: &["yarn", "install", "--no-immutable"],
        check: CHECK,
        over_a_tree: OverATree::KeepsAllBut(&[".yarn/install-state.gz"]),
        ..Case::default()
    };
    let caches = ["yarn-berry-cache", "yarn-berry-node_modules"];
    let Some(saved) = Saved::by(&case, &caches) else {
        return;
    };
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn yarn_berry_with_plug_n_play_works_from_what_was_restored() {
    let case = Case {
        program: "yarn",
        variable: Some("HEADSTART_TEST_YARN_BERRY"),
        files: files([
            PACKAGE,
            WORKSPACE,
            (
                ".yarnrc.yml",
                "enableGlobalCache: false\nenableTelemetry: false\n",
            ),
        ]),
        lockfile: Some("yarn.lock"),
        setup: &["yarn", "install", "--no-immutable"],
        check: &["yarn", "node", "-e", "if (!require('is-odd')(3)) throw 1"],
        over_a_tree: OverATree::KeepsAllBut(&[".yarn/install-state.gz"]),
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["yarn-berry-cache", "yarn-berry-pnp"]) else {
        return;
    };
    saved.installs_from_the_downloads();
    // The packages are in the zips: without an install it takes both.
    let second = saved.restored(&[Holds::Downloads, Holds::Installed]);
    second.machine.must_run(case.check);
    saved.installs_over_everything();
}

#[test]
fn pnpm_works_from_what_was_restored() {
    let case = Case {
        program: "pnpm",
        variable: Some("HEADSTART_TEST_PNPM"),
        files: files([
            PACKAGE,
            WORKSPACE,
            ("pnpm-workspace.yaml", "packages:\n  - packages/*\n"),
        ]),
        lockfile: Some("pnpm-lock.yaml"),
        setup: &["pnpm", "install", "--no-frozen-lockfile"],
        check: CHECK,
        over_a_tree: OverATree::KeepsAllBut(&[
            "node_modules/.modules.yaml",
            "node_modules/.pnpm-workspace-state-v1.json",
            "node_modules/.pnpm/lock.yaml",
        ]),
        settled: &["node_modules/.modules.yaml"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["pnpm-node_modules", "pnpm-store"]) else {
        return;
    };
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}

#[test]
fn bun_works_from_what_was_restored() {
    let case = Case {
        program: "bun",
        variable: Some("HEADSTART_TEST_BUN"),
        files: files([PACKAGE, WORKSPACE]),
        lockfile: Some("bun.lock"),
        setup: &["bun", "install"],
        check: CHECK,
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["bun-cache", "bun-node_modules"]) else {
        return;
    };
    saved.installs_from_the_downloads();
    saved.works_from_the_tree();
    saved.installs_over_everything();
}
