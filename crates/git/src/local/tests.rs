//! Fetches into repositories that git made, from remotes of every version of the protocol.

use headstart_testkit::{GitHttpServer, Repository, git_command};
use tempfile::TempDir;

use super::*;
use crate::{
    progress::Silent,
    remote::{Depth, Session},
};

/// Ways to reach a remote, and versions of git's protocol: `1` differs from `0` in one line.
const WAYS: [(Way, &str); 6] = [
    (Way::Http, "0"),
    (Way::Http, "1"),
    (Way::Http, "2"),
    (Way::File, "0"),
    (Way::File, "1"),
    (Way::File, "2"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    File,
}

/// An origin of four commits with a tag, and a server for it.
struct Origin {
    dir: TempDir,
    repository: Repository,
    server: GitHttpServer,
}

impl Origin {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::create(dir.path().join("origin"));
        repository.serve_filters();
        for number in 1..=4 {
            repository
                .write("file", format!("{number}\n"))
                .write(format!("folder/{number}"), format!("new in {number}\n"))
                .commit(&number.to_string());
        }
        let _ = repository.git(["tag", "-a", "v1", "-m", "a tag"]);
        let server = GitHttpServer::start(dir.path());
        Origin {
            dir,
            repository,
            server,
        }
    }

    /// Has git clone it, then adds two commits.
    fn clone_then_grow(&self, way: Way, args: &[&str]) -> (Repository, String) {
        let url = match way {
            Way::Http => self.server.url("origin"),
            Way::File => self.repository.file_url(),
        };
        let path = self.dir.path().join("clone");
        let _ = std::fs::remove_dir_all(&path);
        let mut git = git_command();
        git.args(["clone", "-q"]).args(args).arg(url).arg(&path);
        assert!(git.status().unwrap().success());
        self.repository.write("file", "more\n").commit("more");
        let tip = self.repository.write("late", "late\n").commit("late");
        (Repository::at(path), tip)
    }
}

/// Fetches `tip`, telling of everything that is here; answers what came. Refs are left alone.
fn fetch(
    clone: &Repository,
    version: &str,
    tip: &str,
    depth: Option<Depth>,
    filter: Option<&str>,
) -> Fetched<ReceivedPack> {
    let head = clone.git(["rev-parse", "HEAD"]);
    fetch_having(clone, version, tip, depth, filter, &[head])
}

fn fetch_having(
    clone: &Repository,
    version: &str,
    tip: &str,
    depth: Option<Depth>,
    filter: Option<&str>,
    haves: &[String],
) -> Fetched<ReceivedPack> {
    let settings = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "protocol.version"),
    ];
    let mut vars: Vec<(std::ffi::OsString, std::ffi::OsString)> = git_command()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .filter(|(name, _)| !name.to_string_lossy().starts_with("GIT_CONFIG_COUNT"))
        .collect();
    vars.extend(settings.map(|(name, value)| (name.into(), value.into())));
    vars.push(("GIT_CONFIG_VALUE_0".into(), version.into()));
    vars.reverse();
    let environment = GitEnvironment {
        program: "git".into(),
        vars,
        may_prompt: false,
        folder: clone.path().to_owned(),
    };
    let repository = LocalRepository::discover(&environment).unwrap();
    let name = repository.remote_name().unwrap();
    let interrupt = AtomicBool::new(false);
    let remote = repository.remote(name.as_ref(), &interrupt).unwrap();
    let mut session = Session::new(&remote, &Silent);
    let refs = session
        .hold(|conversation| conversation.list_refs(&["refs/heads/"]))
        .unwrap();
    assert!(!refs.is_empty());
    let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).unwrap();
    let request = FetchRequest {
        wants: vec![id(tip)],
        haves: haves.iter().map(|have| id(have)).collect(),
        shallow: repository.shallow().unwrap(),
        depth,
        filter,
        include_tag: true,
    };
    let job = FetchJob {
        progress: &Silent,
        on_bytes: &|_| {},
        interrupt: &interrupt,
    };
    let promisor = repository.is_promisor(name.as_ref()).then_some(&b""[..]);
    let fetched =
        session.hold(|conversation| repository.fetch(conversation, "origin", &request, promisor, &job));
    let fetched = fetched.unwrap();
    repository.update_shallow(&fetched).unwrap();
    fetched
}

#[track_caller]
fn assert_history(clone: &Repository, tip: &str, commits: usize) {
    assert_eq!(clone.git(["rev-list", "--count", tip]), commits.to_string());
    let _ = clone.git(["update-ref", "refs/heads/fetched", tip]);
    assert_eq!(clone.git(["fsck", "--no-dangling"]), "");
}

#[test]
fn only_what_is_new_comes() {
    for (way, version) in WAYS {
        let origin = Origin::new();
        let (clone, tip) = origin.clone_then_grow(way, &[]);
        let fetched = fetch(&clone, version, &tip, None, None);
        let new = origin.repository.git(["rev-list", "--objects", &tip, "^HEAD~2"]);
        assert_eq!(
            fetched.pack.objects,
            new.lines().count() as u64,
            "{way:?} {version}"
        );
        assert_history(&clone, &tip, 6);
    }
}

#[test]
fn a_filter_stays_in_force() {
    for (way, version) in WAYS {
        let origin = Origin::new();
        let (clone, tip) = origin.clone_then_grow(way, &["--filter=blob:none"]);
        let fetched = fetch(&clone, version, &tip, None, Some("blob:none"));
        assert_eq!(
            fetched.pack.objects, 4,
            "two commits with a tree each: {way:?} {version}"
        );
        assert_history(&clone, &tip, 6);
    }
}

#[test]
fn a_shallow_boundary_stays_moves_and_goes_away() {
    let more = std::num::NonZeroU32::new(2);
    for (way, version) in WAYS {
        for (depth, commits, shallow) in [
            (None, 3, true),
            (more.map(Depth::More), 5, true),
            (Some(Depth::All), 6, false),
        ] {
            let origin = Origin::new();
            let (clone, tip) = origin.clone_then_grow(way, &["--depth=1"]);
            fetch(&clone, version, &tip, depth, None);
            assert_history(&clone, &tip, commits);
            let is_shallow = clone.git(["rev-parse", "--is-shallow-repository"]);
            assert_eq!(is_shallow, shallow.to_string(), "{way:?} {version} {depth:?}");
        }
    }
}

/// Over a pipe, a remote of old answers while it is still being told: neither side may wait for the other.
#[test]
fn many_haves_block_nobody() {
    let origin = Origin::new();
    let tree = origin.repository.git(["rev-parse", "HEAD^{tree}"]);
    let branches = (0..2500).map(|number| {
        format!("commit refs/heads/{number}\ncommitter A <a@b> {number} +0000\ndata 0\nM 040000 {tree} \n\n")
    });
    origin
        .repository
        .fast_import(branches.collect::<String>().as_bytes());
    for (way, version) in WAYS {
        let (clone, tip) = origin.clone_then_grow(way, &[]);
        let haves = clone.git(["for-each-ref", "--format=%(objectname)", "refs/remotes"]);
        let haves: Vec<String> = haves.lines().map(str::to_owned).collect();
        assert!(haves.len() > 2500);
        let fetched = fetch_having(&clone, version, &tip, None, None, &haves);
        assert!(
            fetched.pack.objects < 20,
            "{way:?} {version}: {}",
            fetched.pack.objects
        );
    }
}
