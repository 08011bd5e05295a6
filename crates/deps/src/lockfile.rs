//! What a lockfile means for what is on disk, in one spelling: two lockfiles that mean the same give the same key.
//!
//! A lockfile that is not understood means its bytes.

use serde_json::Value;

/// Whose key it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// What was downloaded: the project's own packages do not matter.
    Downloads,
    /// The tree that an install makes: the version of one of the project's own packages does not matter.
    Tree,
}

/// The one spelling of the lockfile `name`; `None` when it is not understood.
pub(crate) fn meaning(name: &str, bytes: &[u8], keeps: Keeps) -> Option<String> {
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
    match name.rsplit('/').next()? {
        "package-lock.json" | "npm-shrinkwrap.json" => npm(text, keeps),
        "yarn.lock" => yarn(text, keeps),
        "pnpm-lock.yaml" => Some(pnpm(text, keeps)),
        "Cargo.lock" => cargo(text),
        "uv.lock" => uv(text),
        "poetry.lock" => toml::from_str::<toml::Table>(text)
            .ok()
            .map(|lock| to_text(&lock)),
        "go.sum" | "go.work.sum" => Some(go_sum(text)),
        _ => None,
    }
}

/// JSON with sorted keys.
fn to_text(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    value.to_string()
}

fn npm(text: &str, keeps: Keeps) -> Option<String> {
    let mut lock: Value = serde_json::from_str(text).ok()?;
    let top = lock.as_object_mut()?;
    for field in ["name", "version"] {
        top.remove(field);
    }
    let Some(packages) = top.get_mut("packages").and_then(Value::as_object_mut) else {
        // Version 1 has packages from elsewhere only.
        return Some(to_text(&lock));
    };
    let is_own = |path: &str| !path.contains("node_modules/");
    match keeps {
        Keeps::Downloads => {
            let mut downloads: Vec<String> = packages
                .iter()
                .filter(|(path, package)| !is_own(path) && package.get("link") != Some(&Value::Bool(true)))
                .map(|(_, package)| {
                    to_text(&["version", "resolved", "integrity"].map(|field| package.get(field)))
                })
                .collect();
            downloads.sort();
            downloads.dedup();
            Some(downloads.join("\n"))
        }
        Keeps::Tree => {
            for (path, package) in packages.iter_mut() {
                if let Some(package) = package.as_object_mut().filter(|_| is_own(path)) {
                    for field in ["version", "license", "funding"] {
                        package.remove(field);
                    }
                }
            }
            Some(to_text(&lock))
        }
    }
}

/// Both formats are blocks of lines, and comments.
fn yarn(text: &str, keeps: Keeps) -> Option<String> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.starts_with(' ') {
            true => blocks.last_mut()?.push(line),
            false => blocks.push(vec![line]),
        }
    }
    if keeps == Keeps::Downloads {
        let is_own = |block: &Vec<&str>| {
            let of_workspace =
                |line: &&str| line.starts_with("  resolution: ") && line.contains("@workspace:");
            block.iter().any(of_workspace)
        };
        blocks.retain(|block| !is_own(block));
    }
    blocks.sort();
    Some(blocks.concat().join("\n"))
}

fn pnpm(text: &str, keeps: Keeps) -> String {
    let mut kept = String::new();
    let mut is_kept = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            // What the project's own packages ask for, and how packages depend on each other.
            let is_elsewhere =
                ["importers:", "snapshots:", "dependencies:", "devDependencies:"].contains(&line);
            is_kept = keeps == Keeps::Tree || !is_elsewhere;
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Crates with a source: those without are the project's own.
fn cargo(text: &str) -> Option<String> {
    let lock: toml::Table = toml::from_str(text).ok()?;
    let mut lines: Vec<String> = Vec::new();
    for package in lock.get("package")?.as_array()? {
        if let Some(source) = package.get("source") {
            let fields = ["name", "version", "checksum"].map(|field| package.get(field));
            lines.push(to_text(&(source, fields)));
        }
    }
    // Lockfiles of version 1 have the checksums here.
    lines.extend(lock.get("metadata").map(to_text));
    lines.sort();
    Some(lines.join("\n"))
}

fn uv(text: &str) -> Option<String> {
    let mut lock: toml::Table = toml::from_str(text).ok()?;
    for package in lock.get_mut("package")?.as_array_mut()? {
        let is_own = package.get("source").is_some_and(|source| {
            let kinds = ["editable", "virtual", "workspace"];
            kinds.iter().any(|kind| source.get(kind).is_some())
        });
        if let Some(package) = package.as_table_mut().filter(|_| is_own) {
            package.remove("version");
        }
    }
    Some(to_text(&lock))
}

fn go_sum(text: &str) -> String {
    let mut lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(name: &str, keeps: Keeps, one: &str, other: &str) -> bool {
        let [one, other] =
            [one, other].map(|text| meaning(name, text.as_bytes(), keeps).expect("understood"));
        one == other
    }

    const NPM: &str = r#"{"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "packages": {
        "": {"name": "shop", "version": "1.0.0", "dependencies": {"ms": "2"}},
        "packages/a": {"name": "a", "version": "1.0.0"},
        "node_modules/a": {"resolved": "packages/a", "link": true},
        "node_modules/ms": {"version": "2.1.3", "resolved": "https://r/ms.tgz", "integrity": "sha512-x"}}}"#;

    #[test]
    fn versions_of_the_projects_own_packages_do_not_matter_to_npm() {
        let released = NPM.replace("1.0.0", "1.1.0").replace(", ", ",\r\n\t");
        for keeps in [Keeps::Tree, Keeps::Downloads] {
            assert!(same("package-lock.json", keeps, NPM, &released));
            for change in [("2.1.3", "2.1.4"), ("sha512-x", "sha512-y"), ("r/ms", "r2/ms")] {
                let changed = NPM.replace(change.0, change.1);
                assert!(!same("package-lock.json", keeps, NPM, &changed), "{change:?}");
            }
        }
        let asks_for_more = NPM.replace(r#"{"ms": "2"}"#, r#"{"ms": "*"}"#);
        assert!(same("package-lock.json", Keeps::Downloads, NPM, &asks_for_more));
        assert!(!same("package-lock.json", Keeps::Tree, NPM, &asks_for_more));
    }

    #[test]
    fn comments_and_order_do_not_matter_to_yarn() {
        let one = "# yarn lockfile v1\n\n\na@1:\n  version \"1.0.0\"\n\nb@2:\n  version \"2.0.0\"\n";
        let other = "# by hand\r\nb@2:\r\n  version \"2.0.0\"\r\na@1:\r\n  version \"1.0.0\"\r\n";
        assert!(same("yarn.lock", Keeps::Tree, one, other));
        assert!(!same(
            "yarn.lock",
            Keeps::Tree,
            one,
            &one.replace("2.0.0", "2.0.1")
        ));
        let berry = "__metadata:\n  version: 8\n\n\"a@npm:1\":\n  version: 1\n  resolution: \"a@npm:1\"\n\n\"w@workspace:.\":\n  \
                     version: 0.0.0-use.local\n  resolution: \"w@workspace:.\"\n  dependencies:\n    a: 1\n";
        let asks_for_more = berry.replace("    a: 1\n", "    a: 1\n    c: 1\n");
        assert!(same("yarn.lock", Keeps::Downloads, berry, &asks_for_more));
        assert!(!same("yarn.lock", Keeps::Tree, berry, &asks_for_more));
        assert_eq!(meaning("yarn.lock", b"  indented: nowhere\n", Keeps::Tree), None);
    }

    #[test]
    fn what_importers_ask_for_does_not_matter_to_the_store_of_pnpm() {
        let one = "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a: 1\n\npackages:\n\n  a@1.0.0:\n    \
                   resolution: {integrity: sha512-x}\n";
        let other = one.replace("      a: 1", "      a: '*'");
        assert!(same("pnpm-lock.yaml", Keeps::Downloads, one, &other));
        assert!(!same("pnpm-lock.yaml", Keeps::Tree, one, &other));
        let changed = one.replace("sha512-x", "sha512-y");
        assert!(!same("pnpm-lock.yaml", Keeps::Downloads, one, &changed));
    }

    #[test]
    fn members_of_the_workspace_do_not_matter_to_cargo() {
        let one = "version = 4\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\ndependencies = [\"a\"]\n[[package]]\nname = \"a\"\n\
                   version = \"2.0.0\"\nsource = \"registry+x\"\nchecksum = \"c\"\n";
        let released = format!("# a comment\n{}", one.replace("1.0.0", "1.0.1"));
        assert!(same("Cargo.lock", Keeps::Downloads, one, &released));
        for change in [
            ("2.0.0", "2.0.1"),
            ("\"c\"", "\"d\""),
            ("registry+x", "registry+y"),
        ] {
            let changed = one.replace(change.0, change.1);
            assert!(!same("Cargo.lock", Keeps::Downloads, one, &changed), "{change:?}");
        }
        assert_eq!(meaning("Cargo.lock", b"not toml", Keeps::Downloads), None);
    }

    #[test]
    fn the_version_of_the_project_does_not_matter_to_uv_and_order_not_to_go() {
        let one = "version = 1\n[[package]]\nname = \"own\"\nversion = \"0.1\"\nsource = { virtual = \".\" }\n[[package]]\nname = \"a\"\n\
                   version = \"2\"\nsource = { registry = \"r\" }\n";
        assert!(same("uv.lock", Keeps::Downloads, one, &one.replace("0.1", "0.2")));
        assert!(!same(
            "uv.lock",
            Keeps::Downloads,
            one,
            &one.replace("\"2\"", "\"3\"")
        ));
        assert!(same(
            "go.sum",
            Keeps::Downloads,
            "a v1 h1:x\nb v1 h1:y\n",
            "b v1 h1:y\r\n\na v1 h1:x\n"
        ));
        assert!(!same("go.sum", Keeps::Downloads, "a v1 h1:x\n", "a v1 h1:y\n"));
    }
}
