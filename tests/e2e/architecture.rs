//! Which crate may use which: the folders are the architecture, and this test is its guard.

use std::{collections::BTreeMap, fs, path::Path};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each of our crates with the ones of ours it may use. Tests may use `testkit` besides.
const MAY_USE: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("fs", &[]),
    ("process", &[]),
    ("protocol", &["digest"]),
    ("store", &["protocol", "digest", "fs"]),
    ("git", &["process", "fs", "digest"]),
    ("deps", &["store", "process", "fs", "digest"]),
    ("cache-server", &["store", "protocol", "digest", "fs"]),
    (
        "cli",
        &["deps", "digest", "fs", "git", "process", "protocol", "store"],
    ),
    // Test support: no crate of ours may be linked into tests twice.
    ("testkit", &[]),
];

#[test]
fn crates_use_only_what_they_may() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .other_options(["--offline".into()])
        .exec()
        .unwrap();
    let may_use: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = short(&package.name).expect("our packages are called headstart-*");
        let Some(allowed) = may_use.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(used) = short(&dependency.name) else {
                continue;
            };
            let in_tests = dependency.kind == DependencyKind::Development;
            // A crate may switch on its own test features.
            let fine = allowed.contains(&used) || (in_tests && (used == "testkit" || used == name));
            if !fine {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_documents_name_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/design/architecture.md")).unwrap();
    for (name, _) in MAY_USE {
        assert!(
            text.contains(&format!("`{name}`")),
            "docs/design/architecture.md does not mention `{name}`"
        );
    }
}

fn short(package: &str) -> Option<&str> {
    package.strip_prefix("headstart-")
}
