use super::*;
use crate::testing::Files;

fn config(text: &str) -> TasksConfig {
    #[derive(serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct File {
        projects: BTreeMap<String, ProjectConfig>,
        affected: crate::AffectedConfig,
    }
    let file: File = toml::from_str(text).unwrap();
    TasksConfig {
        projects: file.projects,
        affected: file.affected,
    }
}

/// `kind name at path: dependencies`, a line for each project.
fn found(files: &[(&str, &str)], toml: &str) -> Result<Vec<String>, String> {
    let discovered = discover(&mut Files::new(files), &config(toml)).map_err(|error| error.to_string())?;
    let list = &discovered.projects.list;
    let mut lines: Vec<String> = list
        .iter()
        .map(|project| {
            let names: Vec<&str> = project
                .depends_on
                .iter()
                .map(|number| list[*number].name.as_str())
                .collect();
            format!(
                "{} {} at {}: {}",
                project.kind.name(),
                project.name,
                project.path,
                names.join(" ")
            )
        })
        .collect();
    lines.extend(discovered.warnings.iter().map(ToString::to_string));
    Ok(lines)
}

#[test]
fn npm_workspaces_are_a_list_or_a_table() {
    let core = ("packages/core/package.json", r#"{"name": "@a/core"}"#);
    let cli = (
        "packages/cli/package.json",
        r#"{"name": "cli", "dependencies": {"@a/core": "^1.0.0", "react": "19"}, "devDependencies": {"cli": "*"}}"#,
    );
    let expected = [
        "npm root at .: cli",
        "npm cli at packages/cli: @a/core",
        "npm @a/core at packages/core: ",
    ];
    for workspaces in [
        r#"["packages/*"]"#,
        r#"{"packages": ["packages/*"], "nohoist": []}"#,
    ] {
        let root = format!(
            "\u{feff}{{\"name\": \"root\", \"dependencies\": {{\"cli\": \"*\"}}, \"workspaces\": {workspaces}}}"
        );
        assert_eq!(
            found(&[("package.json", &root), core, cli], "").unwrap(),
            expected
        );
    }
}

#[test]
fn pnpm_workspaces_are_in_a_file_of_their_own() {
    let files = [
        ("package.json", "{}"),
        (
            "pnpm-workspace.yaml",
            "packages:\n  - 'libs/**'\n  - '!**/fixtures/**'\ncatalog:\n  react: ^19\n",
        ),
        (
            "libs/a/package.json",
            r#"{"name": "a", "peerDependencies": {"b": "workspace:*"}}"#,
        ),
        (
            "libs/b/package.json",
            r#"{"name": "b", "optionalDependencies": {"x": "workspace:a@^1"}}"#,
        ),
        ("libs/b/fixtures/c/package.json", r#"{"name": "c"}"#),
    ];
    assert_eq!(
        found(&files, "").unwrap(),
        ["npm a at libs/a: b", "npm b at libs/b: a"],
        "a cycle is fine"
    );
}

#[test]
fn dependencies_by_path_lead_to_what_is_there() {
    let files = [
        ("package.json", r#"{"workspaces": ["a", "b"]}"#),
        (
            "a/package.json",
            r#"{"name": "a", "dependencies": {"renamed": "link:../b", "out": "file:../../../etc"}}"#,
        ),
        ("b/package.json", "{}"),
    ];
    assert_eq!(found(&files, "").unwrap(), ["npm a at a: b", "npm b at b: "]);
}

#[test]
fn cargo_workspaces_have_members_and_whatever_these_reach_by_path() {
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['crates/*']\nexclude = ['crates/old']\n[workspace.dependencies]\nbase = { path = 'crates/base' }\nserde = '1'\n\
             [patch.crates-io]\nvendored = { path = 'vendor/v' }\n",
        ),
        (
            "crates/app/Cargo.toml",
            "[package]\nname = 'app'\n[dependencies]\nbase.workspace = true\nserde.workspace = true\nvendored = '1'\n",
        ),
        (
            "crates/base/Cargo.toml",
            "[package]\nname = 'base'\n[target.'cfg(unix)'.dev-dependencies]\nhelper = { path = '../../tools/helper' }\nout = { path = '../../../x' }\n",
        ),
        ("crates/old/Cargo.toml", "[package]\nname = 'old'\n"),
        ("crates/notes/README", ""),
        ("tools/helper/Cargo.toml", "[package]\nname = 'helper'\n"),
        ("vendor/v/Cargo.toml", "[package]\nname = 'vendored'\n"),
    ];
    let expected = [
        "cargo app at crates/app: base vendored",
        "cargo base at crates/base: helper",
        "cargo helper at tools/helper: ",
        "cargo vendored at vendor/v: ",
    ];
    assert_eq!(found(&files, "").unwrap(), expected);
}

#[test]
fn a_repository_without_workspaces_is_one_project() {
    assert_eq!(
        found(&[("package.json", r#"{"name": "one"}"#)], "").unwrap(),
        ["npm one at .: "]
    );
    assert_eq!(
        found(&[("Cargo.toml", "[package]\nname = 'one'\n")], "").unwrap(),
        ["cargo one at .: "]
    );
    let both = [
        ("package.json", r#"{"name": "tools"}"#),
        ("Cargo.toml", "[package]\nname = 'one'\n"),
    ];
    assert_eq!(found(&both, "").unwrap(), ["cargo one at .: "]);
    assert_eq!(found(&[("README", "")], "").unwrap(), [""; 0]);
}

#[test]
fn headstart_toml_names_folders_and_adds_to_packages() {
    let files = [
        ("package.json", r#"{"workspaces": ["web"]}"#),
        ("web/package.json", r#"{"name": "@a/web"}"#),
        ("infra/main.tf", ""),
        ("proto/x.proto", ""),
    ];
    let toml = "[projects.infra]\npath = 'infra'\ndepends-on = ['@a/web']\n[projects.proto]\npath = './proto/'\n\
        [projects.site]\npath = 'web'\ndepends-on = ['proto']\n";
    let expected = [
        "folder infra at infra: site",
        "folder proto at proto: ",
        "npm site at web: proto",
    ];
    assert_eq!(found(&files, toml).unwrap(), expected);
}

#[test]
fn workspaces_may_be_elsewhere() {
    let files = [
        ("front/package.json", r#"{"workspaces": ["a"]}"#),
        ("front/a/package.json", r#"{"name": "a"}"#),
        ("back/Cargo.toml", "[workspace]\nmembers = ['b']\n"),
        ("back/b/Cargo.toml", "[package]\nname = 'b'\n"),
    ];
    let toml = "[affected]\nworkspaces = ['front', 'back']\n";
    assert_eq!(
        found(&files, toml).unwrap(),
        ["cargo b at back/b: ", "npm a at front/a: "]
    );
}

#[test]
fn what_the_settings_get_wrong_is_named() {
    let files = [("a/file", ""), ("b/file", "")];
    for (toml, expected) in [
        ("[projects.x]\npath = '../x'", "projects.x.path"),
        ("[projects.x]\npath = 'none'", "none is not a folder with files"),
        (
            "[projects.x]\npath = 'a'\n[projects.y]\npath = 'a'",
            "is that of projects.x already",
        ),
        (
            "[projects.x]\npath = 'a'\ndepends-on = ['typo']",
            "there is no project \"typo\"",
        ),
        ("[affected]\nglobal = ['[']", "affected.global"),
        ("[affected]\nworkspaces = ['/']", "affected.workspaces"),
    ] {
        let error = found(&files, toml).unwrap_err();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}

#[test]
fn a_workspace_manifest_that_is_not_understood_is_an_error() {
    let deep = "[".repeat(100_000);
    for (name, text) in [
        ("package.json", "{"),
        ("package.json", "[]"),
        ("package.json", &deep),
        ("package.json", r#"{"workspaces": ["../*"]}"#),
        ("pnpm-workspace.yaml", "packages: [\n"),
        ("Cargo.toml", "= 1"),
        ("Cargo.toml", "[workspace]\nmembers = ['[']"),
    ] {
        let error = found(&[(name, text)], "").unwrap_err();
        assert!(error.starts_with(&format!("{name} is not understood")), "{error}");
    }
}

#[test]
fn a_package_that_is_not_understood_is_a_project_and_a_warning() {
    let files = [
        ("package.json", r#"{"workspaces": ["*"]}"#),
        ("a/package.json", "{oops"),
        ("Cargo.toml", "[workspace]\nmembers = ['b']\n"),
        ("b/Cargo.toml", "oops"),
    ];
    let lines = found(&files, "").unwrap();
    assert_eq!(lines[..2], ["npm a at a: ", "cargo b at b: "]);
    assert!(
        lines[2].starts_with("a/package.json: it is not understood (key must be a string"),
        "{lines:?}"
    );
    assert!(
        lines[3].starts_with("b/Cargo.toml: it is not understood ("),
        "{lines:?}"
    );
}

#[test]
fn a_name_that_two_packages_have_stands_for_both() {
    let files = [
        ("package.json", r#"{"workspaces": ["*"]}"#),
        ("a/package.json", r#"{"name": "same"}"#),
        ("b/package.json", r#"{"name": "same"}"#),
        (
            "c/package.json",
            r#"{"name": "c", "dependencies": {"same": "1"}}"#,
        ),
    ];
    let lines = found(&files, "").unwrap();
    assert_eq!(lines[2], "npm c at c: same same");
    assert!(
        lines[3].starts_with("b/package.json: its name, \"same\", is that of a/package.json too"),
        "{lines:?}"
    );
}
