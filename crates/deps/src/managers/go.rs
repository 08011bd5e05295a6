//! Go modules: the downloads `go.sum` names in `GOMODCACHE`. Unpacked modules are left out: go unpacks them faster
//! than they could be fetched, and keeps them read-only.

use std::{collections::BTreeSet, path::Path};

use headstart_fs::RelPath;

use crate::{
    DepsError, Host, Manager,
    content::{Content, existing},
    files::{self, MAX_LOCKFILE_BYTES},
    lockfile::Keeps,
    project::{Draft, Project, rel},
};

const DOWNLOADS: &str = "cache/download";

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let is_module = project.at.has("go.mod") && project.at.has("go.sum");
    let is_workspace = project.at.has("go.work");
    if !is_module && !is_workspace {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> = ["go.mod", "go.sum", "go.work", "go.work.sum"]
        .map(str::to_owned)
        .into();
    if is_workspace {
        // The modules of a workspace are below it; their own projects are found as well, and cost a lookup each.
        for (path, folder) in project.folders_below().filter(|(path, _)| !path.is_root()) {
            let of_module = ["go.mod", "go.sum"].into_iter().filter(|name| folder.has(name));
            names.extend(of_module.map(|name| format!("{path}/{name}")));
        }
    }
    let sums = names
        .iter()
        .filter(|name| name.ends_with(".sum"))
        .map(|name| project.path(name))
        .collect();
    let mut inputs = Vec::new();
    for name in &names {
        inputs.extend(project.lockfile_input(name, Keeps::Downloads)?);
    }
    Ok(vec![
        Draft::downloads(
            "go-modules",
            Manager::Go,
            module_cache(project.host),
            Content::GoModules(sums),
        )
        .paths([rel(DOWNLOADS)])
        .inputs(inputs)
        .install("go", &["mod", "download"], project.folder()),
    ])
}

fn module_cache(host: &Host) -> std::path::PathBuf {
    if let Some(folder) = host.var_folder("GOMODCACHE") {
        return folder;
    }
    // GOPATH is a list; the first is where modules go.
    let path = host
        .var("GOPATH")
        .and_then(|list| std::env::split_paths(list).next());
    path.filter(|path| path.is_absolute())
        .unwrap_or_else(|| host.home.join("go"))
        .join("pkg/mod")
}

/// What the checksum files name in the module cache `root`.
pub(crate) fn modules(sums: &[std::path::PathBuf], root: &Path) -> Result<Vec<RelPath>, DepsError> {
    let mut names = BTreeSet::new();
    for sum in sums {
        for line in files::read_text(sum, MAX_LOCKFILE_BYTES)?
            .unwrap_or_default()
            .lines()
        {
            let mut words = line.split_whitespace();
            if let (Some(module), Some(version)) = (words.next(), words.next()) {
                let version = version.strip_suffix("/go.mod").unwrap_or(version);
                names.insert(format!("{}/@v/{}", escaped(module), escaped(version)));
            }
        }
    }
    let mut paths = Vec::new();
    for name in names {
        for kind in ["info", "mod", "zip", "ziphash"] {
            paths.extend(existing(root, &rel(DOWNLOADS), &format!("{name}.{kind}")));
        }
    }
    Ok(paths)
}

/// As the module cache spells names: capitals as `!` and the small letter, for file systems that know no difference.
fn escaped(name: &str) -> String {
    name.chars()
        .flat_map(|char| {
            let mark = char.is_ascii_uppercase().then_some('!');
            mark.into_iter().chain([char.to_ascii_lowercase()])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    #[test]
    fn the_cache_is_narrowed_to_the_modules_of_go_sum() {
        let sandbox = Sandbox::new();
        sandbox.write("go.mod", "module x\n");
        sandbox.write(
            "go.sum",
            "github.com/BurntSushi/toml v1.0.0 h1:x=\ngithub.com/BurntSushi/toml v1.0.0/go.mod h1:y=\n\
             ../../../etc v1/go.mod h1:z=\n",
        );
        let at = "go/pkg/mod/cache/download/github.com/!burnt!sushi/toml/@v";
        for name in ["v1.0.0.zip", "v1.0.0.mod", "v1.0.1.zip", "list"] {
            sandbox.write_home(&format!("{at}/{name}"), "");
        }
        let cache = sandbox.cache("go-modules");
        let found = modules(&[sandbox.folder().join("go.sum")], &cache.root).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            found[0].to_string(),
            format!("{}/v1.0.0.mod", &at["go/pkg/mod/".len()..])
        );
    }

    #[test]
    fn the_module_cache_is_where_go_says() {
        let mut sandbox = Sandbox::new();
        sandbox.set_env("GOPATH", "/one:/two");
        assert_eq!(module_cache(&sandbox.host), Path::new("/one/pkg/mod"));
        sandbox.set_env("GOMODCACHE", "/three");
        assert_eq!(module_cache(&sandbox.host), Path::new("/three"));
    }
}
