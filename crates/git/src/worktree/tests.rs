//! Working trees and their indexes, beside those of git itself.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use headstart_fs::RelPath;
use tempfile::TempDir;

use super::*;
use crate::pack::tests::{git, pack_of, receive, reversed};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().trim_end().to_owned()
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn commit(root: &Path) -> ObjectId {
    git(root, &["add", "-f", "."], b"");
    git(root, &["commit", "-q", "--allow-empty", "-m", "commit"], b"");
    tip(root)
}

fn tip(root: &Path) -> ObjectId {
    let id = text(git(root, &["rev-parse", "HEAD"], b""));
    ObjectId::from_hex(id.as_bytes()).unwrap()
}

fn init() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main", "."], b"");
    dir
}

/// A tree with everything a tree can hold.
fn origin() -> TempDir {
    let dir = init();
    let root = dir.path();
    for file in 0..40 {
        write(
            root,
            &format!("src/m{}/deep/er/f{file}.txt", file % 7),
            format!("{file}\n").repeat(50),
        );
        write(root, &format!("same/{file}"), "the same content\n");
    }
    write(root, "empty", "");
    write(root, "run.sh", "#!/bin/sh\n");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere/at all", root.join("src/link")).unwrap();
    write(root, "caf\u{e9}/\u{1f600} x", "name");
    // Not below a folder of the same name by bytes, but sorted around it.
    for name in ["a-b", "a/b", "a.b", "a0"] {
        write(root, &format!("sort/{name}"), name);
    }
    git(root, &["add", "."], b"");
    let module = "160000,0123456789012345678901234567890123456789,src/module";
    git(root, &["update-index", "--add", "--cacheinfo", module], b"");
    git(root, &["commit", "-q", "-m", "commit"], b"");
    dir
}

/// A repository as clone prepares it, with HEAD at `tip` and these settings.
fn destination(tip: ObjectId, settings: &[(&str, &str)]) -> TempDir {
    let dir = init();
    for (key, value) in settings {
        git(dir.path(), &["config", key, value], b"");
    }
    fs::write(dir.path().join(".git/refs/heads/main"), format!("{tip}\n")).unwrap();
    dir
}

fn open(root: &Path) -> gix::Repository {
    gix::open_opts(root, gix::open::Options::isolated()).unwrap()
}

/// Receives a pack and writes its tip, as clone does.
fn write_from_pack(
    pack: &[u8],
    tip: ObjectId,
    settings: &[(&str, &str)],
    sparse: Option<Cone>,
) -> Result<(TempDir, WrittenWorktree), Box<dyn std::error::Error>> {
    let dir = destination(tip, settings);
    let repo = open(dir.path());
    let writer = WorktreeWriter::new(
        &repo,
        tip,
        WorktreeOptions {
            sparse,
            verify: false,
        },
    )?;
    receive(pack, &dir.path().join(".git/objects/pack"), Some(&writer))?;
    let written = writer.finish(&repo.objects, &AtomicBool::new(false), &|_| {})?;
    Ok((dir, written))
}

/// Path to type and mode, and content or target.
fn listing(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if relative == Path::new(".git") {
                continue;
            } else if metadata.is_dir() {
                folders.push(path);
                Vec::new()
            } else if metadata.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(relative, (metadata.mode(), content));
        }
    }
    found
}

/// Compares without printing all that is equal.
fn assert_same_files(ours: &Path, by_git: &Path, case: &str) {
    let (ours, by_git) = (listing(ours), listing(by_git));
    let paths = |listing: &BTreeMap<PathBuf, _>| listing.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&ours), paths(&by_git), "{case}");
    for (path, (mode, content)) in &ours {
        let (git_mode, git_content) = &by_git[path];
        assert_eq!(mode, git_mode, "mode of {path:?}, {case}");
        assert_eq!(
            content.as_bstr(),
            git_content.as_bstr(),
            "content of {path:?}, {case}"
        );
    }
}

/// What git makes of the same objects and settings.
fn checked_out_by_git(pack: &[u8], tip: ObjectId, settings: &[(&str, &str)], cone: &[&str]) -> TempDir {
    let dir = destination(tip, settings);
    receive(pack, &dir.path().join(".git/objects/pack"), None).unwrap();
    if !cone.is_empty() {
        git(
            dir.path(),
            &[&["sparse-checkout", "set", "--cone"], cone].concat(),
            b"",
        );
    }
    git(dir.path(), &["reset", "-q", "--hard"], b"");
    dir
}

fn assert_as_git_would(ours: &Path, by_git: &Path) {
    assert_same_files(ours, by_git, "");
    assert_eq!(text(git(ours, &["status", "--porcelain"], b"")), "");
    git(ours, &["fsck", "--strict", "--no-dangling"], b"");
    let staged = |root| text(git(root, &["ls-files", "--stage", "-t"], b""));
    assert_eq!(staged(ours), staged(by_git));
    // From the cache of trees, and without it.
    let tree = text(git(ours, &["rev-parse", "HEAD^{tree}"], b""));
    assert_eq!(text(git(ours, &["write-tree", "--missing-ok"], b"")), tree);
    for attempt in ["ours", "git's"] {
        assert_eq!(
            text(git(ours, &["diff-index", "--cached", "HEAD"], b"")),
            "",
            "{attempt}"
        );
        git(ours, &["read-tree", "HEAD"], b"");
    }
}

#[test]
fn the_working_tree_is_that_of_git() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = pack_of(origin.path(), &["--delta-base-offset"]);
    let by_git = checked_out_by_git(&pack, tip, &[], &[]);
    let (ours, written) = write_from_pack(&pack, tip, &[], None).unwrap();
    assert_as_git_would(ours.path(), by_git.path());
    let files = listing(by_git.path());
    let is_dir = |mode: u32| mode & 0o170_000 == 0o040_000;
    assert_eq!(
        written.files,
        files.values().filter(|(mode, _)| !is_dir(*mode)).count() as u64
    );
}

#[test]
fn blobs_may_come_before_the_trees_that_name_them() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = reversed(&pack_of(origin.path(), &[]));
    let by_git = checked_out_by_git(&pack, tip, &[], &[]);
    let (ours, _) = write_from_pack(&pack, tip, &[], None).unwrap();
    assert_as_git_would(ours.path(), by_git.path());
}

#[test]
fn objects_that_did_not_pass_by_come_from_the_database() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = pack_of(origin.path(), &[]);
    let by_git = checked_out_by_git(&pack, tip, &[], &[]);
    let ours = destination(tip, &[]);
    receive(&pack, &ours.path().join(".git/objects/pack"), None).unwrap();
    let repo = open(ours.path());
    let writer = WorktreeWriter::new(&repo, tip, WorktreeOptions::default()).unwrap();
    assert_eq!(writer.missing(), [tip]);
    assert_eq!(writer.total_files(), None);
    writer
        .finish(&repo.objects, &AtomicBool::new(false), &|_| {})
        .unwrap();
    assert_as_git_would(ours.path(), by_git.path());
}

#[test]
fn the_index_is_later_than_all_files_so_that_status_reads_none() {
    let origin = origin();
    let tip = tip(origin.path());
    let (ours, _) = write_from_pack(&pack_of(origin.path(), &[]), tip, &[], None).unwrap();
    let index = fs::metadata(ours.path().join(".git/index")).unwrap().mtime();
    let newest = listing(ours.path())
        .keys()
        .map(|path| ours.path().join(path))
        .filter(|path| !path.is_dir() || path.is_symlink())
        .map(|path| fs::symlink_metadata(path).unwrap().mtime())
        .max();
    assert!(newest.unwrap() < index);
}

#[test]
fn a_cone_is_kept_and_the_rest_marked() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = pack_of(origin.path(), &[]);
    let dirs = ["src/m2", "src/m3/deep", "sort"];
    let by_git = checked_out_by_git(&pack, tip, &[], &dirs);
    let cone = Cone::new(dirs.map(|dir| RelPath::parse(dir).unwrap()));
    let patterns = cone.patterns();
    let settings = [
        ("core.sparseCheckout", "true"),
        ("core.sparseCheckoutCone", "true"),
    ];
    let (ours, _) = write_from_pack(&pack, tip, &settings, Some(cone)).unwrap();
    fs::create_dir_all(ours.path().join(".git/info")).unwrap();
    fs::write(ours.path().join(".git/info/sparse-checkout"), patterns).unwrap();
    assert_same_files(ours.path(), by_git.path(), "");
    let marks = |root| text(git(root, &["ls-files", "-t"], b""));
    assert_eq!(marks(ours.path()), marks(by_git.path()));
    assert_eq!(text(git(ours.path(), &["status", "--porcelain"], b"")), "");
    git(ours.path(), &["sparse-checkout", "disable"], b"");
    git(by_git.path(), &["sparse-checkout", "disable"], b"");
    assert_same_files(ours.path(), by_git.path(), "");
}

#[test]
fn only_blobs_of_the_cone_are_missing_after_the_trees_came() {
    let origin = origin();
    let tip = tip(origin.path());
    let dir = destination(tip, &[]);
    let repo = open(dir.path());
    let cone = Cone::new([RelPath::parse("sort").unwrap()]);
    let options = WorktreeOptions {
        sparse: Some(cone),
        verify: true,
    };
    let writer = WorktreeWriter::new(&repo, tip, options).unwrap();
    let pack_dir = dir.path().join(".git/objects/pack");
    let trees = pack_of(origin.path(), &["--filter=blob:none"]);
    receive(&trees, &pack_dir, Some(&writer)).unwrap();
    let total = writer.total_files();
    assert!(total.is_some(), "all trees are here");
    let mut missing = writer.missing();
    missing.sort_unstable();
    let blob = |path: &str| {
        let id = text(git(origin.path(), &["rev-parse", &format!("HEAD:{path}")], b""));
        ObjectId::from_hex(id.as_bytes()).unwrap()
    };
    let mut expected = ["empty", "run.sh", "sort/a-b", "sort/a.b", "sort/a/b", "sort/a0"].map(blob);
    expected.sort_unstable();
    assert_eq!(missing, expected);

    let wanted: String = missing.iter().map(|id| format!("{id}\n")).collect();
    let blobs = git(
        origin.path(),
        &["pack-objects", "--stdout", "-q"],
        wanted.as_bytes(),
    );
    receive(&blobs, &pack_dir, Some(&writer)).unwrap();
    assert!(writer.missing().is_empty());
    let written = writer
        .finish(&repo.objects, &AtomicBool::new(false), &|_| {})
        .unwrap();
    assert_eq!(total, Some(written.files));
    assert_eq!(written.files, 6);
}

#[test]
fn attributes_and_settings_convert_as_git_converts() {
    let origin = init();
    let root = origin.path();
    write(
        root,
        ".gitattributes",
        "*.bat text eol=crlf\n[attr]unixy text eol=lf\n*.id ident\n",
    );
    write(root, "a.bat", "one\ntwo\n");
    write(root, "b.txt", "one\ntwo\n");
    write(root, "c.id", "$Id$ $Id: foreign one $\n");
    write(
        root,
        "sub/.gitattributes",
        "*.bat unixy\n*.enc working-tree-encoding=UTF-16LE eol=crlf\n*.latin working-tree-encoding=latin1\n*.up filter=upper\n",
    );
    write(root, "sub/a.bat", "one\ntwo\n");
    write(root, "sub/deeper/d.bat", "one\ntwo\n");
    write(
        root,
        "sub/deeper/.gitattributes",
        "d.bat text eol=crlf\nbin -text\n",
    );
    write(root, "sub/deeper/bin", "one\ntwo\n");
    write(root, "sub/e.up", "shout\n");
    write(root, "plain/deep/e.up", "no filter here\n");
    write(root, "binary", b"\0\n\n");
    let blob = text(git(
        root,
        &["hash-object", "-w", "--stdin"],
        "na\u{ef}ve text\n".as_bytes(),
    ));
    git(root, &["add", "."], b"");
    for name in ["f.enc", "g.latin"] {
        let encoded = format!("100644,{blob},sub/{name}");
        git(root, &["update-index", "--add", "--cacheinfo", &encoded], b"");
    }
    git(root, &["commit", "-q", "-m", "commit"], b"");
    let tip = tip(root);
    let pack = pack_of(root, &[]);
    for packed in [pack.clone(), reversed(&pack)] {
        for settings in [
            &[
                ("filter.upper.smudge", "tr a-z A-Z"),
                ("filter.upper.clean", "tr A-Z a-z"),
            ][..],
            &[("core.autocrlf", "true")],
            &[("core.autocrlf", "input")],
            &[("core.eol", "crlf")],
        ] {
            let by_git = checked_out_by_git(&packed, tip, settings, &[]);
            let (ours, _) = write_from_pack(&packed, tip, settings, None).unwrap();
            assert_same_files(ours.path(), by_git.path(), &format!("{settings:?}"));
            assert_eq!(text(git(ours.path(), &["status", "--porcelain"], b"")), "");
        }
    }
}

/// A filter that stays running for many files and swaps the case of letters, by the protocol of `gitattributes(5)`.
const PROCESS_FILTER: &str = r#"
$| = 1; binmode STDIN; binmode STDOUT;
sub get { read(STDIN, my $length, 4) or exit; return undef unless hex $length;
          read(STDIN, my $data, hex($length) - 4); $data }
sub skip_list { 1 while defined get() }
sub put { printf "%04x%s", length($_[0]) + 4, $_[0] }
sub flush { print "0000" }
skip_list(); put("git-filter-server\n"); put("version=2\n"); flush();
skip_list(); put("capability=$_\n") for "clean", "smudge", "delay"; flush();
while (1) {
    skip_list();
    my $content = "";
    while (defined(my $data = get())) { $content .= $data }
    $content =~ tr/a-zA-Z/A-Za-z/;
    put("status=success\n"); flush(); put($content); flush(); flush();
}
"#;

#[test]
fn a_running_filter_serves_many_files() {
    let origin = init();
    let root = origin.path();
    write(root, ".gitattributes", "*.up filter=swap\n");
    for file in 0..20 {
        write(
            root,
            &format!("d{}/{file}.up", file % 3),
            format!("Case of {file}\n"),
        );
    }
    let tip = commit(root);
    let scripts = tempfile::tempdir().unwrap();
    write(scripts.path(), "swap.pl", PROCESS_FILTER);
    let process = format!("perl {}", scripts.path().join("swap.pl").display());
    let settings = [
        ("filter.swap.process", process.as_str()),
        ("filter.swap.required", "true"),
    ];
    let pack = pack_of(root, &[]);
    let by_git = checked_out_by_git(&pack, tip, &settings, &[]);
    let (ours, _) = write_from_pack(&pack, tip, &settings, None).unwrap();
    assert_as_git_would(ours.path(), by_git.path());
    assert_eq!(fs::read(ours.path().join("d0/0.up")).unwrap(), b"cASE OF 0\n");

    let settings = [("filter.swap.process", "false"), ("filter.swap.required", "true")];
    let refused = write_from_pack(&pack, tip, &settings, None).unwrap_err();
    assert!(refused.to_string().contains(".up"), "{refused}");
}

#[test]
fn symlinks_become_files_where_the_settings_say_so() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = pack_of(origin.path(), &[]);
    let settings = [("core.symlinks", "false")];
    let by_git = checked_out_by_git(&pack, tip, &settings, &[]);
    let (ours, _) = write_from_pack(&pack, tip, &settings, None).unwrap();
    assert_same_files(ours.path(), by_git.path(), "");
}

/// A commit whose root is this tree, made without git's own checks.
fn commit_of(root: &Path, entries: &[(&str, &str, &str)]) -> ObjectId {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend(format!("{mode} {name}\0").bytes());
        tree.extend(ObjectId::from_hex(id.as_bytes()).unwrap().as_slice());
    }
    let args = ["hash-object", "-t", "tree", "-w", "--literally", "--stdin"];
    let tree = text(git(root, &args, &tree));
    let commit = text(git(root, &["commit-tree", "-m", "evil", &tree], b""));
    fs::write(root.join(".git/refs/heads/main"), format!("{commit}\n")).unwrap();
    ObjectId::from_hex(commit.as_bytes()).unwrap()
}

#[test]
fn hostile_trees_write_nothing_outside_and_are_refused() {
    let origin = init();
    let root = origin.path();
    let hook = text(git(root, &["hash-object", "-w", "--stdin"], b"#!/bin/sh\n"));
    let to_git = text(git(root, &["hash-object", "-w", "--stdin"], b".git"));
    let listed = format!("100755 blob {hook}\thook\n");
    let below = text(git(root, &["mktree"], listed.as_bytes()));
    let folder = |name: &'static str| vec![("40000", name, below.as_str())];
    for entries in [
        folder(".."),
        folder(".git"),
        folder(".GIT"),
        folder("git~1"),
        folder("."),
        vec![("100644", "a/../../b", hook.as_str())],
        vec![("120000", "a", to_git.as_str()), ("40000", "a", below.as_str())],
        vec![("40000", "a", below.as_str()), ("120000", "a", to_git.as_str())],
        vec![("100644", "a", hook.as_str()), ("100644", "a", to_git.as_str())],
        vec![("120000", ".gitmodules", to_git.as_str())],
        vec![("40000", "a", hook.as_str())],
        vec![("100644", "a", below.as_str())],
    ] {
        let tip = commit_of(root, &entries);
        // By name, because git would not follow some of these trees.
        let all = text(git(
            root,
            &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"],
            b"",
        ));
        let pack = git(root, &["pack-objects", "--stdout", "-q"], all.as_bytes());
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("clone");
        fs::create_dir(&dir).unwrap();
        git(&dir, &["init", "-q", "-b", "main", "."], b"");
        let repo = open(&dir);
        let writer = WorktreeWriter::new(&repo, tip, WorktreeOptions::default()).unwrap();
        let refused = receive(&pack, &dir.join(".git/objects/pack"), Some(&writer)).is_err()
            || writer
                .finish(&repo.objects, &AtomicBool::new(false), &|_| {})
                .is_err();
        assert!(refused, "{entries:?} was taken");
        assert!(!dir.join(".git/hook").exists() && !parent.path().join("hook").exists());
        assert!(!dir.join(".git/index").exists());
    }
}

#[test]
fn an_existing_file_or_index_lock_is_an_error() {
    let origin = origin();
    let tip = tip(origin.path());
    let pack = pack_of(origin.path(), &[]);
    let attempt = |obstacle: &str| {
        let dir = destination(tip, &[]);
        receive(&pack, &dir.path().join(".git/objects/pack"), None).unwrap();
        fs::write(dir.path().join(obstacle), "mine").unwrap();
        let repo = open(dir.path());
        let writer = WorktreeWriter::new(&repo, tip, WorktreeOptions::default()).unwrap();
        let error = writer
            .finish(&repo.objects, &AtomicBool::new(false), &|_| {})
            .unwrap_err();
        assert_eq!(fs::read(dir.path().join(obstacle)).unwrap(), b"mine");
        assert!(!dir.path().join(".git/index").exists());
        error.to_string()
    };
    assert!(attempt("run.sh").contains("run.sh"));
    assert!(attempt(".git/index.lock").contains("index.lock"));
}

#[test]
fn a_missing_object_and_an_interrupt_leave_no_index() {
    let origin = origin();
    let tip = tip(origin.path());
    let dir = destination(tip, &[]);
    let trees = pack_of(origin.path(), &["--filter=blob:none"]);
    receive(&trees, &dir.path().join(".git/objects/pack"), None).unwrap();
    let repo = open(dir.path());
    let finish = |interrupt: bool| {
        WorktreeWriter::new(&repo, tip, WorktreeOptions::default())
            .unwrap()
            .finish(&repo.objects, &AtomicBool::new(interrupt), &|_| {})
            .unwrap_err()
    };
    assert!(matches!(finish(true), WorktreeError::Interrupted));
    assert!(matches!(finish(false), WorktreeError::MissingObject { .. }));
    assert!(!dir.path().join(".git/index").exists());
}

#[test]
fn an_empty_commit_has_an_empty_index() {
    let origin = init();
    let tip = commit(origin.path());
    let (ours, written) = write_from_pack(&pack_of(origin.path(), &[]), tip, &[], None).unwrap();
    assert_eq!(written, WrittenWorktree::default());
    assert_eq!(text(git(ours.path(), &["status", "--porcelain"], b"")), "");
}
