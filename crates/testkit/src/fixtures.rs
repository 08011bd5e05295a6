//! Origins to clone from: small repositories that hold every odd thing, and larger ones of realistic shape.

use std::{ffi::OsStr, fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

use crate::Repository;

/// A bare repository at `path` that holds, in some 40 commits on several branches, what real trees hold: executables,
/// symlinks (to a file, a folder, nowhere), CRLF by attribute, empty files, names with spaces, quotes, Unicode and bytes that
/// are not UTF-8, deep folders, a large file, a submodule, merges, and tags of every sort.
pub fn rich(path: impl AsRef<Path>) -> Repository {
    let path = path.as_ref();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let library = Repository::create(scratch.path().join("library"));
    library.write("lib.txt", "library\n").commit("library");

    let work = Repository::create(scratch.path().join("work"));
    work.write(
        ".gitattributes",
        "*.txt text\n*.bat text eol=crlf\n*.bin binary\n",
    )
    .write("README.md", "# Rich\n")
    .write("plain.txt", "one\ntwo\n")
    .write("script.bat", "@echo off\r\necho hi\r\n")
    .write("data.bin", [0, 13, 10, 255, 0])
    .write("empty", "")
    .write("dir with spaces/quote\"and\\back.txt", "odd\n")
    .write("dir with spaces/naïve-日本.txt", "unicode\n")
    .write("a/b/c/d/e/f/g/h/deep.txt", "deep\n")
    .write(OsStr::from_bytes(b"latin1-\xe9\xff.txt"), "not UTF-8\n")
    .write_executable("tool.sh", "#!/bin/sh\nexit 0\n")
    .symlink("link-to-file", "plain.txt")
    .symlink("link-to-folder", "a/b")
    .symlink("a/dangling", "../no/such/place");
    work.commit("everything odd");
    let _ = work.git([
        "submodule",
        "--quiet",
        "add",
        &library.file_url(),
        "vendor/library",
    ]);
    work.commit("a submodule");
    let _ = work.git(["tag", "light"]);
    let _ = work.git(["tag", "-a", "v1.0", "-m", "first release"]);
    let _ = work.git(["tag", "-a", "tag-of-tag", "-m", "signed off", "v1.0"]);

    work.write("large.txt", numbered_lines(40_000))
        .commit("a large file");
    for number in 0..30 {
        work.write(
            format!("src/module-{:02}/index.js", number % 10),
            format!("export default {number};\n"),
        )
        .write("plain.txt", format!("one\n{number}\n"))
        .commit(&format!("change {number}"));
    }
    let _ = work.git(["switch", "-q", "-c", "feature/x", "HEAD~5"]);
    work.write("feature.txt", "x\n").commit("a feature");
    let _ = work.git(["switch", "-q", "main"]);
    let _ = work.git(["merge", "-q", "--no-ff", "-m", "merge x", "feature/x"]);
    let _ = work.git(["branch", "old", "HEAD~20"]);
    work.write("after.txt", "after the merge\n")
        .commit("after the merge");
    // Not part of any branch: only a tag reaches it.
    let _ = work.git(["switch", "-q", "--detach", "HEAD~2"]);
    work.write("hotfix.txt", "hotfix\n").commit("hotfix");
    let _ = work.git(["tag", "-a", "v1.0.1", "-m", "hotfix"]);
    let _ = work.git(["switch", "-q", "main"]);

    let origin = Repository::create_bare(path);
    let _ = work.git(["push", "-q", "--mirror", &origin.file_url()]);
    origin
}

/// A bare monorepo at `path`: `packages` packages of four small files each, and `commits` commits after the first that change one
/// package each. The same numbers give the same commit IDs.
pub fn monorepo(path: impl AsRef<Path>, packages: usize, commits: usize) -> Repository {
    let origin = Repository::create_bare(path);
    let mut stream = String::new();
    let mut commit = |number: usize, files: &[(String, String)]| {
        let when = 1_700_000_000 + number * 60;
        let message = format!("commit {number}\n");
        // Writing into a String cannot fail.
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter Carl Committer <carl@example.org> {when} +0000\ndata {}\n{message}",
            message.len(),
        );
        for (name, content) in files {
            let _ = write!(
                stream,
                "M 100644 inline {name}\ndata {}\n{content}\n",
                content.len()
            );
        }
        stream.push('\n');
    };
    let mut all: Vec<_> = (0..packages)
        .flat_map(|package| package_files(package, 0))
        .collect();
    all.push((
        "package.json".to_owned(),
        "{\"private\":true,\"workspaces\":[\"packages/*\"]}\n".to_owned(),
    ));
    commit(0, &all);
    for number in 1..=commits {
        commit(number, &package_files(number * 7 % packages.max(1), number));
    }
    origin.fast_import(stream.as_bytes());
    origin
}

fn package_files(package: usize, version: usize) -> Vec<(String, String)> {
    let name = format!("pkg-{package:04}");
    let manifest = format!("{{\"name\":\"@mono/{name}\",\"version\":\"1.{version}.0\"}}\n");
    let body = numbered_lines(20 + package % 30);
    [
        ("package.json", manifest),
        (
            "src/index.ts",
            format!("export const version = {version};\n{body}"),
        ),
        ("src/util.ts", format!("// {name}\n{body}")),
        ("README.md", format!("# {name}\n")),
    ]
    .map(|(file, content)| (format!("packages/{name}/{file}"), content))
    .into()
}

/// A bare repository at `path` without any commit.
pub fn empty(path: impl AsRef<Path>) -> Repository {
    Repository::create_bare(path)
}

/// A bare repository at `path` with `count` branches beside `main`, all reachable from it.
pub fn many_refs(path: impl AsRef<Path>, count: usize) -> Repository {
    let origin = monorepo(path, 2, count);
    let mut updates = String::new();
    for (number, id) in origin
        .git(["rev-list", "--reverse", "main"])
        .lines()
        .take(count)
        .enumerate()
    {
        let _ = writeln!(updates, "reset refs/heads/topic/{number:05}\nfrom {id}\n");
    }
    origin.fast_import(updates.as_bytes());
    origin
}

/// A bare repository at `path` whose HEAD names a branch that does not exist.
pub fn unborn_head(path: impl AsRef<Path>) -> Repository {
    let origin = monorepo(path, 2, 3);
    let _ = origin.git(["symbolic-ref", "HEAD", "refs/heads/not-yet"]);
    origin
}

/// A bare repository at `path` whose HEAD is detached, one commit before the end of `main`.
pub fn detached_head(path: impl AsRef<Path>) -> Repository {
    let origin = monorepo(path, 2, 3);
    let _ = origin.git(["update-ref", "--no-deref", "HEAD", "main~1"]);
    origin
}

fn numbered_lines(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "line {number} {}", number * 7919 % 104_729);
        text
    })
}
