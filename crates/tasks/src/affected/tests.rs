use super::*;
use crate::{TasksConfig, discover, testing::Files};

const FILES: &[(&str, &str)] = &[
    (
        "package.json",
        r#"{"workspaces": ["packages/*", "packages/a/nested"]}"#,
    ),
    ("packages/a/package.json", r#"{"name": "a"}"#),
    ("packages/a/nested/package.json", r#"{"name": "nested"}"#),
    (
        "packages/b/package.json",
        r#"{"name": "b", "dependencies": {"a": "1"}}"#,
    ),
    (
        "packages/c/package.json",
        r#"{"name": "c", "dependencies": {"b": "1", "d": "1"}}"#,
    ),
    (
        "packages/d/package.json",
        r#"{"name": "d", "dependencies": {"c": "1"}}"#,
    ),
    ("Cargo.toml", "[workspace]\nmembers = ['native']\n"),
    ("native/Cargo.toml", "[package]\nname = 'native'\n"),
];

/// `name(reasons)` of each affected project, then `outside` files.
fn affected(changed: &[&str], global: &[&str]) -> String {
    let mut config = TasksConfig::default();
    config.affected.global = global.iter().map(|glob| (*glob).to_owned()).collect();
    let projects = discover(&mut Files::new(FILES), &config).unwrap().projects;
    let files: Vec<RelPath> = changed
        .iter()
        .map(|path| RelPath::parse(*path).unwrap())
        .collect();
    let affected = projects.affected_by(&files);
    let mut words: Vec<String> = affected
        .projects
        .iter()
        .map(|project| {
            let dependencies: Vec<&str> = project
                .dependencies
                .iter()
                .map(|other| other.name.as_str())
                .collect();
            let name = &project.project.name;
            match project.is_changed() {
                true => format!("{name}({} {})", project.files.len(), project.global.len()),
                false => format!("{name}<{}", dependencies.join(",")),
            }
        })
        .collect();
    words.extend(affected.outside.iter().map(|path| format!("outside:{path}")));
    words.join(" ")
}

#[test]
fn a_change_affects_its_project_and_all_that_depend_on_it() {
    assert_eq!(affected(&["packages/b/src/x.ts"], &[]), "b(1 0) c<b,d d<c");
    assert_eq!(
        affected(&["packages/a/x", "packages/b/y"], &[]),
        "a(1 0) b(1 0) c<b,d d<c"
    );
    assert_eq!(affected(&[], &[]), "");
}

#[test]
fn cycles_end() {
    assert_eq!(affected(&["packages/d/x"], &[]), "c<d d(1 0)");
}

#[test]
fn a_file_belongs_to_the_deepest_folder_around_it() {
    assert_eq!(affected(&["packages/a/nested/deep/x"], &[]), "nested(1 0)");
    assert_eq!(affected(&["packages/a/nestedx"], &[]), "a(1 0) b<a c<b,d d<c");
    assert_eq!(
        affected(&["packages/a"], &[]),
        "outside:packages/a",
        "a folder that was a file"
    );
}

#[test]
fn files_outside_of_all_projects_affect_none() {
    assert_eq!(
        affected(&["README.md", "docs/x"], &[]),
        "outside:README.md outside:docs/x"
    );
}

#[test]
fn lockfiles_affect_the_projects_of_their_workspace() {
    assert_eq!(
        affected(&["yarn.lock"], &[]),
        "a(0 1) nested(0 1) b(0 1) c(0 1) d(0 1) outside:yarn.lock"
    );
    assert_eq!(affected(&["Cargo.lock"], &[]), "native(0 1) outside:Cargo.lock");
    assert_eq!(affected(&["docs/yarn.lock"], &[]), "outside:docs/yarn.lock");
}

#[test]
fn the_last_rule_that_matches_decides() {
    assert_eq!(affected(&["yarn.lock"], &["!yarn.lock"]), "outside:yarn.lock");
    let all = "native(0 1) a(0 1) nested(0 1) b(0 1) c(0 1) d(0 1) outside:tsconfig.json";
    assert_eq!(affected(&["tsconfig.json"], &["*.json"]), all);
    assert_eq!(affected(&["x.json"], &["*.json", "!x.*"]), "outside:x.json");
    assert_eq!(
        affected(&["deep/tsconfig.json"], &["*.json"]),
        "outside:deep/tsconfig.json"
    );
}

#[test]
fn a_project_that_is_not_understood_always_counts() {
    let files = [
        ("package.json", r#"{"workspaces": ["*"]}"#),
        ("a/package.json", "oops"),
    ];
    let projects = discover(&mut Files::new(&files), &TasksConfig::default())
        .unwrap()
        .projects;
    let affected = projects.affected_by([]);
    assert_eq!(affected.projects.len(), 1);
    assert!(affected.projects[0].is_changed());
}
