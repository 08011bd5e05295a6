//! Which crate may use which: the table in the documentation is the rule, and this test its guard.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use cargo_metadata::{DependencyKind, MetadataCommand};

const DOCUMENT: &str = "docs/design/architecture.md";

#[test]
fn crates_use_only_what_the_documented_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let may_use = table(&fs::read_to_string(root.join(DOCUMENT)).unwrap());
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let name = short(&package.name).expect("our packages are called headstart-*");
        found.insert(name.to_owned());
        let Some(allowed) = may_use.get(name) else {
            wrong.push(format!("{name} is not in the table of {DOCUMENT}"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(used) = short(&dependency.name) else {
                continue;
            };
            // Tests may use the testkit, and a crate may switch on its own test features.
            let for_tests =
                dependency.kind == DependencyKind::Development && (used == "testkit" || used == name);
            if !allowed.contains(used) && !for_tests {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    wrong.extend(
        may_use
            .keys()
            .filter(|name| !found.contains(*name))
            .map(|name| format!("{name} does not exist")),
    );
    assert_eq!(wrong, [""; 0]);
}

/// The rows of the one table: a crate, and the crates it may use.
fn table(document: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [name, _, may_use] = cells[..] else {
            panic!("a row of {DOCUMENT} has not three cells: {row}");
        };
        (
            names(name).pop_first().expect("a row names its crate"),
            names(may_use),
        )
    })
    .collect()
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split_whitespace()
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

fn short(package: &str) -> Option<&str> {
    package.strip_prefix("headstart-")
}
