//! What several subjects check or need.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use headstart_testkit::{Headstart, Manifest, Repository, TestEnv, skipped};

/// Clones by headstart and by git, from the same URL with the same arguments, into `ours` and `theirs`.
pub(crate) fn clone_both(
    env: &TestEnv,
    url: &str,
    ours: &[&str],
    theirs: &[&str],
) -> (Repository, Repository) {
    let _ = env
        .headstart()
        .arg("clone")
        .args(ours)
        .args([url, "ours"])
        .run()
        .success();
    let status = env
        .git()
        .args(["clone", "-q"])
        .args(theirs)
        .args([url, "theirs"])
        .status()
        .unwrap();
    assert!(status.success());
    (
        Repository::at(env.path("ours")),
        Repository::at(env.path("theirs")),
    )
}

/// Panics unless git finds the clone sound and clean.
#[track_caller]
pub(crate) fn assert_sound(clone: &Repository) {
    let _ = clone.git(["fsck", "--no-dangling"]);
    assert_eq!(clone.git(["status", "--porcelain"]), "");
}

/// Panics unless a clone is what git's own clone of the same is: refs, HEAD, settings, index, files.
#[track_caller]
pub(crate) fn assert_like_git(ours: &Repository, theirs: &Repository) {
    let _ = ours.git(["fsck", "--no-dangling"]);
    for question in [
        ["for-each-ref", "--format=%(refname) %(objectname) %(symref)"].as_slice(),
        &["config", "--list", "--local"],
        &["ls-files", "-s", "-t"],
        &["status", "--branch", "--porcelain=v2"],
        &["sparse-checkout", "list"],
        &["rev-parse", "--is-shallow-repository"],
        &["rev-list", "--all", "--count"],
    ] {
        let answers = [ours, theirs].map(|repository| {
            let output = repository.try_git(question);
            let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned)
                .collect();
            // Settings are a set.
            if question[0] == "config" {
                lines.sort();
            }
            lines
        });
        assert_eq!(
            answers[0], answers[1],
            "git {question:?}: left is headstart's, right is git's"
        );
    }
    for file in ["HEAD", "shallow"] {
        let contents = [ours, theirs]
            .map(|repository| fs::read_to_string(repository.path().join(".git").join(file)).ok());
        assert_eq!(contents[0], contents[1], ".git/{file}");
    }
    let [ours, theirs] = [ours, theirs].map(|clone| work_tree(clone.path()));
    theirs.assert_same(&ours);
}

/// The files of a work tree, as far as Git keeps them.
pub(crate) fn work_tree(path: &Path) -> Manifest {
    Manifest::of(path).without(".git").without_mtimes().without_root()
}

/// The objects a clone lacks, of all that its refs reach.
pub(crate) fn missing_objects(clone: &Repository) -> BTreeSet<String> {
    let listed = clone.git(["rev-list", "--objects", "--all", "--missing=print"]);
    listed
        .lines()
        .filter_map(|line| line.strip_prefix('?'))
        .map(str::to_owned)
        .collect()
}

/// The names in a folder, sorted; those that begin with a dot too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// An address of the loopback on which nobody listens.
pub(crate) fn dead_address() -> String {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

/// Panics unless the store has nothing to complain about.
#[track_caller]
pub(crate) fn assert_store_is_sound(env: &TestEnv) {
    let _ = env.run(["cache", "verify"]).success();
}

/// Makes a folder with everything a snapshot has to keep.
pub(crate) fn odd_tree(root: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = |name: &str| fs::create_dir_all(root.join(name)).unwrap();
    let file = |name: &OsStr, content: &[u8]| fs::write(root.join(name), content).unwrap();
    folder("empty-folder");
    folder("deep/a/b/c/d/e/f");
    folder("private");
    file("empty".as_ref(), b"");
    file("deep/a/b/c/d/e/f/file".as_ref(), b"deep");
    file("with space and \"quotes\"".as_ref(), b"odd");
    file("naïve-日本".as_ref(), b"unicode");
    file(OsStr::from_bytes(b"latin1-\xe9\xff"), b"not UTF-8");
    file("script".as_ref(), b"#!/bin/sh\n");
    file("private/secret".as_ref(), b"secret");
    file("read-only".as_ref(), b"r");
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    file("large".as_ref(), &noise);
    for (name, mode) in [
        ("script", 0o755),
        ("private/secret", 0o600),
        ("read-only", 0o444),
        ("private", 0o700),
    ] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let long = "n".repeat(250);
    file(long.as_ref(), b"long name");
    symlink("script", root.join("link")).unwrap();
    symlink("deep/a", root.join("link-to-folder")).unwrap();
    symlink("no/such/place", root.join("dangling")).unwrap();
    symlink("/absolute", root.join("absolute")).unwrap();
    fs::hard_link(root.join("script"), root.join("deep/hardlink")).unwrap();
    for (name, date) in [
        ("empty", "1969-12-31 23:59:58.987654321 UTC"),
        ("script", "2001-02-03 04:05:06.123456789 UTC"),
        ("deep", "2038-01-20 UTC"),
    ] {
        touch(&root.join(name), date);
    }
}

/// A folder of `count` small files and one folder per hundred of them.
pub(crate) fn many_files(root: &Path, count: usize) {
    for number in 0..count {
        let folder = root.join(format!("package-{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        // Not compressible, so that the store has something to write.
        let body: String = (0..40)
            .map(|line: u64| blake_line(number as u64 * 40 + line))
            .collect();
        fs::write(folder.join(format!("file-{number}.js")), body).unwrap();
    }
}

fn blake_line(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut line = String::new();
    for _ in 0..3 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        line.push_str(&format!("{state:016x}"));
    }
    line.push('\n');
    line
}

fn touch(path: &Path, date: &str) {
    let status = Command::new("touch")
        .args(["-d", date])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A small file system of its own for one command, made in a mount namespace that ends with it.
pub(crate) struct SmallDisk {
    mount_point: PathBuf,
    leftovers: PathBuf,
    options: &'static str,
}

impl SmallDisk {
    /// A file system with these mount options at `name` in the work folder; `None`, after saying why, where that is not allowed.
    pub(crate) fn new(env: &TestEnv, name: &str, options: &'static str) -> Option<Self> {
        let disk = SmallDisk {
            mount_point: env.path(name),
            leftovers: env.root().join(format!("{name}.leftovers")),
            options,
        };
        fs::create_dir(&disk.mount_point).unwrap();
        let tried = Command::new("unshare")
            .args(["-m", "mount", "-t", "tmpfs", "none"])
            .arg(&disk.mount_point)
            .output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(disk);
        }
        skipped("mounting a tmpfs needs root and mount namespaces");
        None
    }

    /// Where it is mounted while the command runs.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Runs the command with the file system mounted.
    pub(crate) fn mounted_for<'a>(&self, command: Headstart<'a>) -> Headstart<'a> {
        let script = "mount -t tmpfs -o \"$0\" none \"$1\" || exit 99\n\
            point=$1 list=$2; shift 2\n\
            \"$@\"; status=$?\n\
            find \"$point\" -mindepth 1 > \"$list\"; exit $status";
        let shell = ["unshare", "-m", "sh", "-c", script, self.options].map(OsStr::new);
        command
            .through(shell)
            .through([&self.mount_point, &self.leftovers])
    }

    /// What was on it when the command had ended: paths below its root.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let root = format!("{}/", self.mount_point.display());
        let listed = fs::read_to_string(&self.leftovers).unwrap();
        listed
            .lines()
            .map(|path| path.strip_prefix(&root).unwrap().to_owned())
            .collect()
    }
}

/// False, after saying why, where one of the programs is missing.
pub(crate) fn has_programs(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let found = Command::new(program).arg("--version").output().is_ok();
        if !found {
            skipped(&format!("{program} is not installed (tests/run installs it)"));
        }
        found
    })
}

/// Runs a program in the work folder; gives what it printed. Panics when it fails.
#[track_caller]
pub(crate) fn run_program(env: &TestEnv, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .env("HOME", env.home())
        .current_dir(env.work())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs one of the programs of `tests/layers`.
#[track_caller]
pub(crate) fn layers_script(env: &TestEnv, name: &str, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/layers")
        .join(name);
    run_program(env, "python3", &[&[script.to_str().unwrap()], args].concat())
}

/// The paths below `/` that a program needs: itself, its libraries, and the links they are found through.
pub(crate) fn program_files(program: &Path) -> Vec<String> {
    let program = fs::canonicalize(program).unwrap();
    let listed = Command::new("ldd").arg(&program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut paths = vec![program];
    for library in libraries.map(Path::new) {
        let folder = fs::canonicalize(library.parent().unwrap()).unwrap();
        paths.push(folder.join(library.file_name().unwrap()));
        paths.push(fs::canonicalize(library).unwrap());
    }
    for link in ["/bin", "/lib", "/lib64"].map(PathBuf::from) {
        if link.is_symlink() {
            paths.push(link);
        }
    }
    let names = paths
        .iter()
        .map(|path| path.to_str().unwrap().trim_start_matches('/').to_owned());
    names.collect()
}
