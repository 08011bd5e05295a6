//! uv, pip and Poetry: their caches of wheels. Virtual environments hold absolute paths and are not kept; from a warm
//! cache they are made again in moments.

use std::path::Path;

use crate::{
    DepsError, KeyInput, Manager,
    content::Content,
    files::{self, MAX_LOCKFILE_BYTES},
    key::InputKind,
    lockfile::Keeps,
    project::{Draft, Project, rel},
    search::{is_pylock, is_requirements},
};

/// The most files a `requirements.txt` may draw in.
const MAX_INCLUDES: usize = 256;

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let mut drafts = Vec::new();
    if project.at.has("uv.lock") {
        drafts.push(uv(project)?);
    } else if project.at.has("poetry.lock") {
        drafts.push(poetry(project)?);
    }
    drafts.extend(pip(project)?);
    Ok(drafts)
}

fn uv(project: &Project<'_>) -> Result<Draft, DepsError> {
    let folder = project
        .host
        .var_folder("UV_CACHE_DIR")
        .or_else(|| Some(project.host.var_folder("XDG_CACHE_HOME")?.join("uv")))
        .unwrap_or_else(|| project.host.home.join(".cache/uv"));
    Ok(Draft::downloads("uv-cache", Manager::Uv, folder, Content::Files)
        .paths([headstart_fs::RelPath::root()])
        .inputs(project.lockfile_input("uv.lock", Keeps::Downloads)?)
        .inputs(project.file_input(".python-version")?)
        .platform(project.host)
        .install("uv", &["sync", "--frozen"], project.folder()))
}

fn poetry(project: &Project<'_>) -> Result<Draft, DepsError> {
    let host = project.host;
    let folder = host
        .var_folder("POETRY_CACHE_DIR")
        .unwrap_or_else(|| host.cache_home().join("pypoetry"));
    Ok(
        Draft::downloads("poetry-cache", Manager::Poetry, folder, Content::Files)
            .paths(["artifacts", "cache"].map(rel))
            .inputs(project.lockfile_input("poetry.lock", Keeps::Downloads)?)
            .inputs(project.file_input(".python-version")?)
            .platform(host)
            .tool(project.tools, "python3", "python")
            .install("poetry", &["install", "--no-interaction"], project.folder()),
    )
}

/// pip has no install that leaves the system alone, so its cache comes without one.
fn pip(project: &Project<'_>) -> Result<Option<Draft>, DepsError> {
    let names: Vec<&str> = project
        .at
        .files
        .iter()
        .map(String::as_str)
        .filter(|name| is_requirements(name) || is_pylock(name))
        .collect();
    if names.is_empty() {
        return Ok(None);
    }
    let host = project.host;
    let folder = host
        .var_folder("PIP_CACHE_DIR")
        .unwrap_or_else(|| host.cache_home().join("pip"));
    Ok(Some(
        Draft::downloads("pip-cache", Manager::Pip, folder, Content::Files)
            .paths(["http", "http-v2", "wheels"].map(rel))
            .inputs(with_includes(project, &names)?)
            .platform(host)
            .tool(project.tools, "python3", "python"),
    ))
}

/// The files and those they draw in with `-r` and `-c`, as inputs. What lies outside the project is left out.
fn with_includes(project: &Project<'_>, names: &[&str]) -> Result<Vec<KeyInput>, DepsError> {
    let mut pending: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut inputs: Vec<KeyInput> = Vec::new();
    while let Some(name) = pending.pop() {
        let is_known = inputs.iter().any(|input| input.name == name);
        let Some(bytes) = files::read(&project.path(&name), MAX_LOCKFILE_BYTES)?.filter(|_| !is_known) else {
            continue;
        };
        if inputs.len() == MAX_INCLUDES {
            return Err(DepsError::TooMany {
                path: project.folder(),
                limit: MAX_INCLUDES,
            });
        }
        pending.extend(included(&name, &String::from_utf8_lossy(&bytes)));
        let digest = headstart_digest::Digest::of(&bytes).to_string();
        inputs.push(KeyInput::new(InputKind::File, name, digest));
    }
    Ok(inputs)
}

/// What a requirements file called `name` draws in, relative to the project.
fn included(name: &str, text: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let rest = ["-r", "--requirement", "-c", "--constraint"]
                .into_iter()
                .find_map(|option| line.strip_prefix(option))?;
            let file = rest
                .trim_start_matches(['=', ' ', '\t'])
                .split_whitespace()
                .next()?;
            let path = headstart_fs::RelPath::parse_lenient(&folder.join(file)).ok()?;
            Some(path.to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    #[test]
    fn a_change_of_an_included_file_changes_the_key() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "requirements.txt",
            "-r deps/base.txt\n--constraint=../outside.txt\nflask==3\n",
        );
        sandbox.write("deps/base.txt", "-c more.txt\n");
        sandbox.write("deps/more.txt", "six==1\n-r base.txt\n");
        let before = sandbox.cache("pip-cache");
        assert!(
            before.key.starts_with("pip-cache-linux-x64-glibc-python3.12-"),
            "{}",
            before.key
        );
        assert_eq!(before.install, None);
        sandbox.write("deps/more.txt", "six==2\n-r base.txt\n");
        assert_ne!(before.key, sandbox.cache("pip-cache").key);
    }

    #[test]
    fn caches_are_where_the_tools_say() {
        let mut sandbox = Sandbox::new();
        for name in ["uv.lock", "a/poetry.lock", "pylock.toml"] {
            sandbox.write(name, "");
        }
        let home = sandbox.host.home.clone();
        assert_eq!(sandbox.cache("uv-cache").root, home.join(".cache/uv"));
        assert_eq!(
            sandbox.cache("poetry-cache (a)").root,
            home.join(".cache/pypoetry")
        );
        assert_eq!(sandbox.cache("pip-cache").root, home.join(".cache/pip"));
        sandbox.set_env("XDG_CACHE_HOME", "/c");
        sandbox.set_env("UV_CACHE_DIR", "/u");
        assert_eq!(sandbox.cache("uv-cache").root, Path::new("/u"));
        assert_eq!(sandbox.cache("pip-cache").root, Path::new("/c/pip"));
    }
}
