//! A sample monorepo of realistic shape: packages, shared libraries, a history, and installed dependencies.
//!
//! Deterministic: the same sample on every machine, so that two runs of `headstart try` can be compared.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use headstart_fs::{AtPath as _, PathError};

use super::prose::Prose;

/// Workspaces of the sample.
const PACKAGES: usize = 240;
/// Source files of each workspace.
const SOURCES_PER_PACKAGE: usize = 12;
/// Commits after the first.
const COMMITS: usize = 400;
/// Installed third-party packages.
const DEPENDENCIES: usize = 420;
/// Time of the first commit, and the seconds between two.
const FIRST_COMMIT_EPOCH: usize = 1_700_000_000;
const COMMIT_INTERVAL_SECONDS: usize = 3_600;

/// What was made, for the story the command tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleFacts {
    pub(super) packages: u64,
    pub(super) commits: u64,
}

/// Makes the origin: a bare repository that allows filters.
pub(super) fn create_origin(git: &Path, origin: &Path) -> Result<SampleFacts, PathError> {
    git_run(
        git,
        origin,
        ["init", "--quiet", "--bare", "--initial-branch=main", "."],
    )?;
    git_run(git, origin, ["config", "uploadpack.allowFilter", "true"])?;
    git_run(git, origin, ["config", "uploadpack.allowAnySHA1InWant", "true"])?;
    let mut import = git_command(git, origin)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .at("start git fast-import in", origin)?;
    if let Some(stdin) = import.stdin.take() {
        write_history(&mut io::BufWriter::new(stdin)).at("import the sample into", origin)?;
    }
    ended(
        import.wait().at("wait for git fast-import in", origin)?,
        "import the sample into",
        origin,
    )?;
    // What a host does at night: without it the first clone would pay for packing.
    git_run(git, origin, ["repack", "-adbq", "--write-bitmap-index"])?;
    git_run(git, origin, ["commit-graph", "write", "--reachable"])?;
    Ok(SampleFacts {
        packages: PACKAGES as u64,
        commits: COMMITS as u64 + 1,
    })
}

/// Installs the dependencies as a package manager would: one folder each, mostly small files, some executables
/// linked from `.bin`.
pub(super) fn create_node_modules(worktree: &Path) -> Result<(), PathError> {
    let root = worktree.join("node_modules");
    let bin = root.join(".bin");
    fs::create_dir_all(&bin).at("create", &bin)?;
    write_file(&root.join(".package-lock.json"), &installed_record())?;
    for index in 0..DEPENDENCIES {
        let name = dependency_name(index);
        let folder = root.join(&name);
        let mut prose = Prose::seeded(index as u64 + 77);
        write_file(&folder.join("package.json"), &dependency_manifest(index))?;
        for file in 0..8 + prose.below(32) {
            let folder = folder.join(["lib", "dist", "dist/esm", "types"][prose.below(4)]);
            // Sizes of a real node_modules: a median below 1 kB and a long tail.
            let paragraphs = if prose.below(10) == 0 {
                60
            } else {
                1 + prose.below(8)
            };
            write_file(
                &folder.join(format!("{}{file}.js", prose.word())),
                &prose.source(paragraphs),
            )?;
        }
        if index % 9 == 0 {
            let script = folder.join("cli.js");
            write_file(&script, "#!/usr/bin/env node\nrequire('./lib');\n")?;
            make_executable(&script)?;
            let link = bin.join(&name);
            std::os::unix::fs::symlink(format!("../{name}/cli.js"), &link).at("link", &link)?;
        }
    }
    Ok(())
}

fn write_history(out: &mut impl io::Write) -> io::Result<()> {
    commit(out, 0, "Start the monorepo")?;
    file(out, "package.json", &root_manifest())?;
    file(out, "package-lock.json", &lockfile())?;
    file(out, ".gitignore", "node_modules/\ndist/\n")?;
    file(
        out,
        "README.md",
        "# A sample monorepo\n\nMade by `headstart try`.\n",
    )?;
    for package in 0..PACKAGES {
        let folder = package_folder(package);
        let mut prose = Prose::seeded(package as u64);
        file(out, &format!("{folder}/package.json"), &package_manifest(package))?;
        file(out, &format!("{folder}/README.md"), &prose.source(2))?;
        file(
            out,
            &format!("{folder}/tsconfig.json"),
            "{ \"extends\": \"../../../tsconfig.json\" }\n",
        )?;
        for source in 0..SOURCES_PER_PACKAGE {
            file(out, &format!("{folder}/src/module{source}.ts"), &prose.source(6))?;
        }
    }
    for number in 1..=COMMITS {
        let mut prose = Prose::seeded(1_000_000 + number as u64);
        commit(
            out,
            number,
            &format!("Change {} and {}", prose.word(), prose.word()),
        )?;
        for _ in 0..1 + prose.below(4) {
            let package = prose.below(PACKAGES);
            let source = prose.below(SOURCES_PER_PACKAGE);
            // The file's own text with a few paragraphs replaced: history deltas as real edits do.
            let mut text = Prose::seeded(package as u64 * 31 + source as u64).source(5);
            text.push_str(&prose.source(2));
            file(
                out,
                &format!("{}/src/module{source}.ts", package_folder(package)),
                &text,
            )?;
        }
    }
    writeln!(out, "done")?;
    out.flush()
}

fn commit(out: &mut impl io::Write, number: usize, message: &str) -> io::Result<()> {
    let time = FIRST_COMMIT_EPOCH + number * COMMIT_INTERVAL_SECONDS;
    writeln!(out, "commit refs/heads/main")?;
    writeln!(out, "committer Sample <sample@example.com> {time} +0000")?;
    writeln!(out, "data {}\n{message}", message.len())
}

fn file(out: &mut impl io::Write, path: &str, text: &str) -> io::Result<()> {
    writeln!(out, "M 100644 inline {path}\ndata {}\n{text}", text.len())
}

fn package_folder(package: usize) -> String {
    let group = ["services", "apps", "libs", "tools"][package % 4];
    format!(
        "packages/{group}/{}-{package}",
        Prose::seeded(package as u64 + 5).word()
    )
}

fn root_manifest() -> String {
    "{\n  \"name\": \"sample\",\n  \"private\": true,\n  \"workspaces\": [\"packages/*/*\"]\n}\n".to_owned()
}

fn package_manifest(package: usize) -> String {
    let mut prose = Prose::seeded(package as u64 + 9);
    let dependencies: Vec<String> = (0..4)
        .map(|_| prose.below(DEPENDENCIES))
        .map(|index| format!("    \"{}\": \"^1.0.0\"", dependency_name(index)))
        .collect();
    format!(
        "{{\n  \"name\": \"@sample/package-{package}\",\n  \"version\": \"0.0.0\",\n  \"dependencies\": {{\n{}\n  }}\n}}\n",
        dependencies.join(",\n")
    )
}

fn dependency_name(index: usize) -> String {
    format!("{}-{index}", Prose::seeded(index as u64 + 40_000).word())
}

fn dependency_manifest(index: usize) -> String {
    format!(
        "{{\n  \"name\": \"{}\",\n  \"version\": \"1.{}.0\"\n}}\n",
        dependency_name(index),
        index % 7
    )
}

/// `package-lock.json` of the sample.
fn lockfile() -> String {
    let root = "    \"\": { \"name\": \"sample\" },\n";
    format!(
        "{{\n  \"name\": \"sample\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \"packages\": {{\n{root}{}\n  }}\n}}\n",
        locked_packages()
    )
}

/// npm's own record of what it installed, `node_modules/.package-lock.json`: the lockfile without the project.
fn installed_record() -> String {
    format!(
        "{{\n  \"name\": \"sample\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \"packages\": {{\n{}\n  }}\n}}\n",
        locked_packages()
    )
}

fn locked_packages() -> String {
    let lines: Vec<String> = (0..DEPENDENCIES)
        .map(|index| {
            format!(
                "    \"node_modules/{}\": {{ \"version\": \"1.{}.0\" }}",
                dependency_name(index),
                index % 7
            )
        })
        .collect();
    lines.join(",\n")
}

fn write_file(path: &Path, text: &str) -> Result<(), PathError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    fs::write(path, text).at("write", path)
}

fn make_executable(path: &Path) -> Result<(), PathError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("make executable", path)
}

fn git_command(git: &Path, folder: &Path) -> Command {
    let mut command = Command::new(git);
    // The sample is the same whatever the user's own git settings are.
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn git_run<const N: usize>(git: &Path, folder: &Path, args: [&str; N]) -> Result<(), PathError> {
    fs::create_dir_all(folder).at("create", folder)?;
    let status = git_command(git, folder)
        .args(args)
        .status()
        .at("run git in", folder)?;
    ended(status, "make the sample in", folder)
}

fn ended(status: std::process::ExitStatus, action: &'static str, folder: &Path) -> Result<(), PathError> {
    if status.success() {
        return Ok(());
    }
    Err(PathError {
        action,
        path: PathBuf::from(folder),
        source: io::Error::other(format!("git ended with {status}")),
    })
}
