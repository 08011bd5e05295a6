//! pnpm: `node_modules` of every workspace, and its store.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use headstart_fs::{AtPath as _, publish};
use serde_json::Value;

use crate::{
    DepsError, Host, KeyInput, Manager,
    content::Content,
    files::{self, MAX_CONFIG_BYTES, MAX_LOCKFILE_BYTES},
    freshness::Freshness,
    key::InputKind,
    lockfile::Keeps,
    managers::pnpm_tree,
    node::{NodeProject, strings},
    npmrc::Npmrc,
    project::{Draft, Project, rel},
    restore::Settle,
};

const TREE: &str = "pnpm-node_modules";
const INSTALL: &[&str] = &["install", "--frozen-lockfile"];
/// Without a terminal to ask on, pnpm replaces a tree of another layout only when it is told that nobody is there.
const INSTALL_ENV: &[(&str, &str)] = &[("CI", "true")];
/// Settings that change what an install writes, as `.npmrc` spells them. `pnpm-workspace.yaml`, where they have moved,
/// goes into the key as a whole.
const LAYOUT: [&str; 20] = [
    "dedupe-direct-deps",
    "dedupe-injected-deps",
    "enable-modules-dir",
    "enable-global-virtual-store",
    "extend-node-path",
    "hoist",
    "hoist-pattern",
    "hoist-workspace-packages",
    "ignore-scripts",
    "inject-workspace-packages",
    "modules-dir",
    "node-linker",
    "omit",
    "optional",
    "production",
    "public-hoist-pattern",
    "shamefully-hoist",
    "symlink",
    "virtual-store-dir",
    "virtual-store-dir-max-length",
];
/// The same settings in `pnpm-workspace.yaml`: a tree of another layout is of no use to an install.
const LAYOUT_YAML: [&str; 12] = [
    "enableGlobalVirtualStore",
    "hoist",
    "hoistPattern",
    "hoistWorkspacePackages",
    "injectWorkspacePackages",
    "modulesDir",
    "nodeLinker",
    "publicHoistPattern",
    "shamefullyHoist",
    "symlink",
    "virtualStoreDir",
    "virtualStoreDirMaxLength",
];

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let lockfile = project.path("pnpm-lock.yaml");
    let workspace = files::read_yaml(&project.path("pnpm-workspace.yaml"))?.unwrap_or(Value::Null);
    let node = NodeProject::load(
        project,
        Some(strings(workspace.get("packages").unwrap_or(&Value::Null))),
    )?;
    let npmrc = Npmrc::load(project)?;
    let major = node.major(project, "pnpm");
    let layout = LAYOUT_YAML.iter().filter_map(|name| {
        Some(KeyInput::new(
            InputKind::Setting,
            *name,
            workspace.get(name)?.to_string(),
        ))
    });
    let pnpm = KeyInput::new(InputKind::Setting, "pnpm major", &major);

    let tree = Draft::installed(
        TREE,
        Manager::Pnpm,
        project.folder(),
        Freshness::PnpmCurrentLockfile(lockfile),
    )
    .paths(node.node_modules())
    .inputs(project.lockfile_input("pnpm-lock.yaml", Keeps::Tree)?)
    .inputs(project.file_inputs(["pnpm-workspace.yaml", ".pnpmfile.cjs", ".pnpmfile.mjs"])?)
    .inputs(node.inputs(project)?)
    .inputs(npmrc.inputs(&LAYOUT))
    .inputs(layout)
    .inputs(super::npm::node_env(project))
    .inputs([pnpm.clone()])
    .platform(project.host)
    .tool(project.tools, "node", "node")
    .install("pnpm", INSTALL, project.folder())
    .install_env(INSTALL_ENV);

    let version = store_version(&major);
    let folder = store_folder(project.host, &npmrc).join(version.folder);
    let tree = Draft {
        settle: Settle::PnpmStore(folder.clone()),
        ..tree
    };
    let mut store = Draft::downloads("pnpm-store", Manager::Pnpm, folder, Content::Files)
        .paths(["files", version.index].map(rel))
        // Packages that run builds are stored as built.
        .inputs(project.lockfile_input("pnpm-lock.yaml", Keeps::Downloads)?)
        .inputs([pnpm])
        .platform(project.host)
        .superseded_by(TREE)
        .install("pnpm", INSTALL, project.folder())
        .install_env(INSTALL_ENV);
    store.left_alone_if = version.database.map(rel);
    Ok(vec![tree, store])
}

/// How a major version of pnpm lays out its store.
struct StoreVersion {
    folder: &'static str,
    index: &'static str,
    /// The index when it is one database for all projects, that must not be replaced under a user's hands.
    database: Option<&'static str>,
}

fn store_version(major: &str) -> StoreVersion {
    match major.parse() {
        Ok(0..=9) => StoreVersion {
            folder: "v3",
            index: "files",
            database: None,
        },
        Ok(10) => StoreVersion {
            folder: "v10",
            index: "index",
            database: None,
        },
        _ => StoreVersion {
            folder: "v11",
            index: "index.db",
            database: Some("index.db"),
        },
    }
}

/// The store, as long as the project is on the file system of the home; elsewhere pnpm makes one beside the project.
fn store_folder(host: &Host, npmrc: &Npmrc) -> PathBuf {
    if let Some(folder) = npmrc.get_trusted("store-dir") {
        return host.resolve(folder, &host.home);
    }
    if let Some(home) = host.var_folder("PNPM_HOME") {
        return home.join("store");
    }
    if let Some(data) = host.var_folder("XDG_DATA_HOME") {
        return data.join("pnpm/store");
    }
    match host.is_mac() {
        true => host.home.join("Library/pnpm/store"),
        false => host.home.join(".local/share/pnpm/store"),
    }
}

/// Tells a restored `node_modules` which store it belongs to: pnpm notes the store's path, which has another machine's home
/// in it, and where the note differs it installs everything again. All else stays as restored, the folder's time too.
pub(crate) fn note_store(folder: &Path, store: &Path) -> Result<(), DepsError> {
    let note = folder.join("node_modules/.modules.yaml");
    let (Some(text), Some(store)) = (files::read_text(&note, MAX_CONFIG_BYTES)?, store.to_str()) else {
        return Ok(());
    };
    let store = Value::from(store).to_string();
    let noted: Vec<String> = text
        .split('\n')
        .map(|line| match line.split_once("storeDir") {
            // JSON since pnpm 8, YAML before; a JSON string is one in YAML too.
            Some(("  \"", rest)) if rest.starts_with("\": ") => {
                let comma = if rest.ends_with(',') { "," } else { "" };
                format!("  \"storeDir\": {store}{comma}")
            }
            Some(("", rest)) if rest.starts_with(": ") => format!("storeDir: {store}"),
            _ => line.to_owned(),
        })
        .collect();
    let noted = noted.join("\n");
    if noted == text {
        return Ok(());
    }
    let modules = folder.join("node_modules");
    let modified = modules.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.at("look at", &modules)?;
    let permissions = note.metadata().at("look at", &note)?.permissions();
    let mut temp = publish::temp_beside(&note)?;
    temp.write_all(noted.as_bytes()).at("write", temp.path())?;
    temp.as_file()
        .set_permissions(permissions)
        .at("change the mode of", temp.path())?;
    temp.persist(&note)
        .map_err(|error| error.error)
        .at("rename a temporary file to", &note)?;
    File::open(&modules)
        .and_then(|modules| modules.set_modified(modified))
        .at("set the time of", &modules)?;
    Ok(())
}

/// Compares `node_modules/.pnpm/lock.yaml`, pnpm's copy of the lockfile it installed, with the lockfile.
pub(crate) fn why_stale(lockfile: &Path, folder: &Path) -> Result<Option<String>, DepsError> {
    let copy = folder.join("node_modules/.pnpm/lock.yaml");
    let Some(installed) = files::read(&copy, MAX_LOCKFILE_BYTES)? else {
        return Ok(Some(
            "pnpm did not make this node_modules (it has no .pnpm/lock.yaml)".to_owned(),
        ));
    };
    if files::read(lockfile, MAX_LOCKFILE_BYTES)?.as_ref() != Some(&installed) {
        return Ok(Some("node_modules was installed for another lockfile".to_owned()));
    }
    pnpm_tree::why_incomplete(&String::from_utf8_lossy(&installed), folder)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::testing::Sandbox;

    fn sandbox() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("package.json", r#"{"packageManager": "pnpm@10.1.0"}"#);
        sandbox.write("pnpm-lock.yaml", "lockfileVersion: '9.0'\n");
        sandbox.write("pnpm-workspace.yaml", "packages:\n  - packages/*\n");
        sandbox.write("packages/a/package.json", "{}");
        sandbox
    }

    #[test]
    fn every_workspace_has_its_node_modules() {
        let cache = sandbox().cache(TREE);
        let paths: Vec<String> = cache.paths.iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["node_modules", "packages/a/node_modules"]);
        assert_eq!(cache.restore_keys.len(), 1);
    }

    #[test]
    fn a_tree_of_another_layout_is_not_offered() {
        let sandbox = sandbox();
        let before = sandbox.cache(TREE).restore_keys;
        sandbox.write(".npmrc", "node-linker=hoisted\n");
        let after = sandbox.cache(TREE).restore_keys;
        assert_ne!(before, after);
        sandbox.write(
            "pnpm-workspace.yaml",
            "packages:\n  - packages/*\nnodeLinker: hoisted\n",
        );
        assert_ne!(after, sandbox.cache(TREE).restore_keys);
    }

    #[test]
    fn the_store_is_where_pnpm_says() {
        let mut sandbox = sandbox();
        let home = sandbox.host.home.clone();
        assert_eq!(
            sandbox.cache("pnpm-store").root,
            home.join(".local/share/pnpm/store/v10")
        );
        sandbox.set_env("PNPM_HOME", "/p");
        assert_eq!(sandbox.cache("pnpm-store").root, Path::new("/p/store/v10"));
        sandbox.write("package.json", r#"{"packageManager": "pnpm@12.1.0"}"#);
        let cache = sandbox.cache("pnpm-store");
        assert_eq!(cache.root, Path::new("/p/store/v11"));
        assert_eq!(cache.left_alone_if, Some(rel("index.db")));
    }

    #[test]
    fn a_restored_tree_is_told_of_this_machines_store() {
        let sandbox = sandbox();
        let note = |text: &str| {
            sandbox.write("node_modules/.modules.yaml", text);
            note_store(&sandbox.folder(), Path::new("/b/v10")).unwrap();
            std::fs::read_to_string(sandbox.folder().join("node_modules/.modules.yaml")).unwrap()
        };
        assert_eq!(
            note("{\n  \"storeDir\": \"/a/v10\",\n  \"x\": 1\n}"),
            "{\n  \"storeDir\": \"/b/v10\",\n  \"x\": 1\n}"
        );
        assert_eq!(
            note("skipped: []\nstoreDir: /a/v3"),
            "skipped: []\nstoreDir: \"/b/v10\""
        );
    }

    #[test]
    fn noting_the_store_leaves_the_time_of_the_folder() {
        let sandbox = sandbox();
        sandbox.write("node_modules/.modules.yaml", "storeDir: /a/v3\n");
        let modules = File::open(sandbox.folder().join("node_modules")).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        modules.set_modified(then).unwrap();
        note_store(&sandbox.folder(), Path::new("/b/v10")).unwrap();
        assert_eq!(modules.metadata().unwrap().modified().unwrap(), then);
    }

    #[test]
    fn a_note_that_is_right_is_not_written_again() {
        let sandbox = sandbox();
        sandbox.write("node_modules/.modules.yaml", "storeDir: \"/b/v10\"\n");
        let note = File::open(sandbox.folder().join("node_modules/.modules.yaml")).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        note.set_modified(then).unwrap();
        note_store(&sandbox.folder(), Path::new("/b/v10")).unwrap();
        let found = sandbox
            .folder()
            .join("node_modules/.modules.yaml")
            .metadata()
            .unwrap();
        assert_eq!(found.modified().unwrap(), then);
    }

    #[test]
    fn only_a_tree_of_this_very_lockfile_is_fresh() {
        let sandbox = sandbox();
        let lockfile = sandbox.folder().join("pnpm-lock.yaml");
        let reason = || why_stale(&lockfile, &sandbox.folder()).unwrap();
        assert!(reason().unwrap().contains("did not make"));
        sandbox.write("node_modules/.pnpm/lock.yaml", "lockfileVersion: '6.0'\n");
        assert!(reason().unwrap().contains("another lockfile"));
        sandbox.write("node_modules/.pnpm/lock.yaml", "lockfileVersion: '9.0'\n");
        assert_eq!(reason(), None);
    }
}
