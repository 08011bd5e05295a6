//! Every kind of repository comes out as git's own clone of it, and the first `git status` opens no file of the work tree.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use headstart_testkit::{Repository, TestEnv, fixtures, skipped};

use crate::{
    machine,
    support::{assert_like_git, clone_both},
};

/// Clones with both, compares, and looks at what the first status opens.
#[track_caller]
fn assert_faithful(env: &TestEnv, origin: &Repository) {
    let filter = ["--filter=blob:none"].as_slice();
    for options in [filter, &[], &["--depth=1"]] {
        let env = env.second_machine();
        let ours = match options {
            [] => ["--filter=none"].as_slice(),
            // Depth says nothing of a filter to git.
            ["--depth=1"] => &["--depth=1", "--filter=none"],
            same => same,
        };
        let (ours, theirs) = clone_both(&env, &origin.file_url(), ours, options);
        // Before any other git looks at the index and improves it.
        if let Some(opened) = opened_by_status(&env, ours.path()) {
            assert_eq!(opened, [""; 0], "{options:?}");
        }
        assert_like_git(&ours, &theirs);
    }
}

/// The files of the work tree that `git status` opens, but for `.gitmodules`, which holds settings; `None` after saying why it
/// cannot be told.
fn opened_by_status(env: &TestEnv, clone: &Path) -> Option<Vec<String>> {
    let trace = env.root().join("trace");
    let git = env.git();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-e", "trace=open,openat", "-o"])
        .arg(&trace)
        .args(["git", "--no-optional-locks", "status", "--porcelain"])
        .current_dir(clone);
    for (name, value) in git.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if !strace.output().is_ok_and(|output| output.status.success()) {
        skipped("strace is not installed, or may not trace here");
        return None;
    }
    let text = fs::read_to_string(trace).unwrap();
    let root = fs::canonicalize(clone).unwrap();
    let opened = text
        .lines()
        .filter(|line| !line.contains("O_DIRECTORY"))
        .filter_map(|line| line.rsplit_once(" = ")?.1.split_once('<')?.1.split_once('>'))
        .map(|(path, _)| Path::new(path))
        .filter(|path| path.starts_with(&root))
        .filter(|path| !path.starts_with(root.join(".git")) && *path != root.join(".gitmodules"));
    Some(opened.map(|path| path.display().to_string()).collect())
}

#[test]
fn links_modes_line_ends_submodules_and_odd_names() {
    let env = machine();
    assert_faithful(&env, &fixtures::rich(env.root().join("rich.git")));
}

#[test]
fn attributes_that_change_what_is_written() {
    let env = machine();
    let origin = Repository::create(env.root().join("attributes"));
    origin
        .write(
            ".gitattributes",
            "*.crlf text eol=crlf\n*.lf text eol=lf\n*.auto text=auto\n*.utf16 text working-tree-encoding=UTF-16LE eol=crlf\n\
             *.id ident\n*.raw -text\n[attr]windows text eol=crlf\n*.macro windows\n",
        )
        .write("deeper/.gitattributes", "*.crlf eol=lf\n")
        .write("a.crlf", "one\r\ntwo\r\n")
        .write("deeper/a.crlf", "one\ntwo\n")
        .write("a.lf", "one\ntwo\n")
        .write("a.auto", "one\ntwo\n")
        .write("a.macro", "one\r\ntwo\r\n")
        .write("a.raw", "one\r\ntwo\n\r\0")
        .write("a.utf16", "o\0n\0e\0\r\0\n\0")
        .write("a.id", "$Id$\nand $Id: of somebody else $\n");
    origin.commit("attributes");
    origin.serve_filters();
    assert_faithful(&env, &origin);
}

#[test]
fn refs_that_lead_nowhere_usual() {
    let env = machine();
    let at = |name: &str| env.root().join(name);
    for origin in [
        fixtures::empty(at("empty")),
        fixtures::unborn_head(at("unborn-head")),
        fixtures::detached_head(at("detached-head")),
        fixtures::many_refs(at("many-refs"), 2000),
    ] {
        assert_faithful(&env, &origin);
    }
}

#[test]
fn ten_thousand_tags() {
    let env = machine();
    let origin = fixtures::monorepo(env.root().join("tags.git"), 2, 100);
    let mut stream = String::new();
    for (number, id) in (0..10_000).zip(origin.git(["rev-list", "main"]).lines().cycle()) {
        // Every other one is annotated.
        let _ = match number % 2 {
            0 => write!(stream, "reset refs/tags/light/{number:05}\nfrom {id}\n\n"),
            _ => write!(
                stream,
                "tag note/{number:05}\nfrom {id}\ntagger T <t@example.org> {number} +0000\ndata 2\nt\n\n"
            ),
        };
    }
    origin.fast_import(stream.as_bytes());
    let _ = origin.git(["pack-refs", "--all"]);
    assert_eq!(origin.git(["for-each-ref", "refs/tags"]).lines().count(), 10_000);
    assert_faithful(&env, &origin);
}
