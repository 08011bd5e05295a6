//! Packs made by git itself, whole and damaged.

use std::{
    collections::BTreeMap,
    fs,
    io::BufReader,
    path::PathBuf,
    process::{Command, Stdio},
};

use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Runs git in `dir`, away from the configuration of whoever runs the tests. Returns its stdout; it must succeed.
pub(crate) fn git(dir: &Path, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("tests have a PATH"))
        .env("HOME", dir)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.com")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    let output = std::thread::scope(|scope| {
        // Git may end without reading all of it.
        scope.spawn(move || pipe.write_all(stdin).ok());
        child.wait_with_output().expect("git can be waited for")
    });
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A repository with a history that makes deltas of files and trees, chains of them included.
fn repository() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main", "."], b"");
    for commit in 0..30 {
        for file in 0..10 {
            let folder = dir.path().join(format!("d{}/e{file}", file % 3));
            fs::create_dir_all(&folder).unwrap();
            let lines: Vec<String> = (0..300)
                .map(|line| format!("line {line} of {file}, {}", line * 7919 % (1 + commit + file)))
                .collect();
            fs::write(folder.join("file.txt"), lines.join("\n")).unwrap();
        }
        git(dir.path(), &["add", "."], b"");
        git(
            dir.path(),
            &["commit", "-q", "-m", &format!("commit {commit}")],
            b"",
        );
    }
    git(dir.path(), &["tag", "-a", "-m", "tag", "v1"], b"");
    dir
}

pub(crate) fn pack_of(repository: &Path, args: &[&str]) -> Vec<u8> {
    let args = [&["pack-objects", "--all", "--revs", "--stdout", "-q"], args].concat();
    git(repository, &args, b"")
}

pub(crate) fn receive(
    pack: &[u8],
    dir: &Path,
    sink: Option<&dyn ObjectSink>,
) -> Result<ReceivedPack, PackError> {
    // Small reads, so that everything crosses buffer boundaries.
    let mut input = BufReader::with_capacity(97, pack);
    receive_pack(
        &mut input,
        &ReceiveOptions {
            pack_dir: dir,
            promisor: None,
            threads: 2,
            interrupt: &AtomicBool::new(false),
            on_bytes: &|_| {},
        },
        sink,
    )
}

/// Remembers what it is given.
#[derive(Default)]
struct Collected(Mutex<BTreeMap<ObjectId, (Kind, ObjectData)>>);

impl ObjectSink for Collected {
    fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Commit
    }

    fn object(&self, id: ObjectId, kind: Kind, data: ObjectData) -> Result<(), PackError> {
        self.0.lock().insert(id, (kind, data));
        Ok(())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files `git index-pack` makes of a pack.
fn indexed_by_git(pack: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("git.pack");
    fs::write(&path, pack).unwrap();
    git(dir.path(), &["index-pack", "--rev-index", "git.pack"], b"");
    (dir, path)
}

#[test]
fn a_reader_that_panics_does_not_leave_the_workers_waiting() {
    let repository = repository();
    let pack = pack_of(repository.path(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let received = std::panic::catch_unwind(|| {
        let options = ReceiveOptions {
            pack_dir: dir.path(),
            promisor: None,
            threads: 2,
            interrupt: &AtomicBool::new(false),
            on_bytes: &|_| panic!("on purpose"),
        };
        receive_pack(&mut &pack[..], &options, None)
    });
    assert!(received.is_err());
    assert!(names(dir.path()).is_empty());
}

#[test]
fn index_and_reverse_index_are_those_of_git() {
    let repository = repository();
    for args in [
        &["--delta-base-offset"][..],
        &[],
        &["--delta-base-offset", "--depth=4000", "--window=50"],
        &["--window=0"],
    ] {
        let pack = pack_of(repository.path(), args);
        let (_dir, by_git) = indexed_by_git(&pack);
        let dir = tempfile::tempdir().unwrap();
        let received = receive(&pack, dir.path(), None).unwrap();
        let ours =
            |extension: &str| fs::read(dir.path().join(format!("pack-{}.{extension}", received.id))).unwrap();
        assert_eq!(received.bytes, pack.len() as u64);
        assert!(ours("pack") == pack);
        assert!(ours("idx") == fs::read(by_git.with_extension("idx")).unwrap());
        assert!(ours("rev") == fs::read(by_git.with_extension("rev")).unwrap());
        assert_eq!(names(dir.path()).len(), 3, "no debris");
    }
}

#[test]
fn the_sink_gets_every_object_it_wants_once_and_right() {
    let repository = repository();
    let pack = pack_of(repository.path(), &["--delta-base-offset"]);
    let collected = Collected::default();
    receive(&pack, tempfile::tempdir().unwrap().path(), Some(&collected)).unwrap();
    let listed = git(
        repository.path(),
        &["cat-file", "--batch-all-objects", "--batch-check"],
        b"",
    );
    let wanted = String::from_utf8(listed)
        .unwrap()
        .lines()
        .filter(|line| !line.contains(" commit "))
        .count();
    let collected = collected.0.into_inner();
    assert_eq!(collected.len(), wanted);
    for (id, (kind, data)) in collected {
        assert_eq!(
            gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, &data).unwrap(),
            id
        );
    }
}

#[test]
fn the_smallest_budgets_change_nothing_but_what_the_sink_sees() {
    let repository = repository();
    for args in [&["--delta-base-offset", "--depth=4000"][..], &[]] {
        let pack = pack_of(repository.path(), args);
        for (pack, base_cache_bytes, in_flight_bytes, streamed_above_bytes) in [
            (&pack, 0, usize::MAX, u64::MAX),
            (&pack, usize::MAX, 0, u64::MAX),
            (&pack, 3000, 0, 3000),
        ] {
            let (_dir, by_git) = indexed_by_git(pack);
            let budget = Budget {
                base_cache_bytes,
                in_flight_bytes,
                streamed_above_bytes,
            };
            let dir = tempfile::tempdir().unwrap();
            let options = ReceiveOptions {
                pack_dir: dir.path(),
                promisor: None,
                threads: 2,
                interrupt: &AtomicBool::new(false),
                on_bytes: &|_| {},
            };
            let sink = Collected::default();
            let received = receive_within(&budget, &mut pack.as_slice(), &options, Some(&sink)).unwrap();
            let idx = dir.path().join(format!("pack-{}.idx", received.id));
            assert!(fs::read(idx).unwrap() == fs::read(by_git.with_extension("idx")).unwrap());
            assert!(!sink.0.into_inner().is_empty());
        }
    }
}

#[test]
fn a_promisor_file_appears_beside_the_pack() {
    let repository = repository();
    let pack = pack_of(repository.path(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let pack_dir = dir.path().join("objects/pack");
    let received = receive_pack(
        &mut pack.as_slice(),
        &ReceiveOptions {
            pack_dir: &pack_dir,
            promisor: Some(b"refs"),
            threads: 1,
            interrupt: &AtomicBool::new(false),
            on_bytes: &|_| {},
        },
        None,
    )
    .unwrap();
    let promisor = pack_dir.join(format!("pack-{}.promisor", received.id));
    assert_eq!(fs::read(promisor).unwrap(), b"refs");
}

#[test]
fn deltas_of_ids_may_come_before_their_bases() {
    let repository = repository();
    let pack = pack_of(repository.path(), &[]);
    let reordered = reversed(&pack);
    let (_dir, by_git) = indexed_by_git(&reordered);
    let dir = tempfile::tempdir().unwrap();
    let received = receive(&reordered, dir.path(), Some(&Collected::default())).unwrap();
    assert!(
        fs::read(dir.path().join(format!("pack-{}.idx", received.id))).unwrap()
            == fs::read(by_git.with_extension("idx")).unwrap()
    );
}

/// The same entries in reverse order. Works for packs whose deltas name their base by id.
pub(crate) fn reversed(pack: &[u8]) -> Vec<u8> {
    let body = &pack[..pack.len() - 20];
    let mut rest = &body[12..];
    let mut inflater = Inflater::new();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let header = entry::read_header(&mut rest).unwrap();
        inflater.inflate(&mut rest, header.inflated_bytes).unwrap();
        entries.push(&start[..start.len() - rest.len()]);
    }
    let mut reversed = body[..12].to_vec();
    reversed.extend(entries.into_iter().rev().flatten());
    sealed(reversed)
}

/// With a checksum that is right, so that damage has to be found by what it does.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&body);
    body.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
    body
}

/// A pack of hand-made entries: header bytes, then the data to deflate.
fn pack_from(entries: &[(Vec<u8>, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut body = b"PACK\0\0\0\x02".to_vec();
    body.extend((entries.len() as u32).to_be_bytes());
    for (header, data) in entries {
        body.extend(header);
        let mut encoder = flate2::write::ZlibEncoder::new(&mut body, flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap();
    }
    sealed(body)
}

fn blob_header(size: u8) -> Vec<u8> {
    assert!(size < 16);
    vec![0x30 | size]
}

fn assert_refused(pack: &[u8], refused: impl Fn(&PackError) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let error = receive(pack, dir.path(), None).unwrap_err();
    assert!(refused(&error), "{error:?}");
    assert_eq!(names(dir.path()), [""; 0], "something was left behind");
}

#[test]
fn a_pack_without_objects_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(receive(&pack_from(&[]), dir.path(), None).unwrap().objects, 0);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn truncated_and_altered_packs_are_refused() {
    let repository = repository();
    let pack = pack_of(repository.path(), &["--delta-base-offset"]);
    for length in [0, 3, 12, 13, 500, pack.len() - 20, pack.len() - 1] {
        assert_refused(&pack[..length], |error| matches!(error, PackError::Truncated));
    }
    let mut altered = pack.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_refused(&altered, |error| matches!(error, PackError::Corrupt { .. }));
    let mut altered = pack.clone();
    altered[7] = 9;
    assert_refused(&altered, |error| matches!(error, PackError::Version(9)));
    let mut altered = pack;
    altered[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_refused(&altered, |error| {
        matches!(error, PackError::Corrupt { .. } | PackError::Truncated)
    });
}

#[test]
fn bases_that_are_missing_or_circular_are_refused() {
    let delta = [3, 3, 0x90, 3];
    let ofs = |distance: u8| vec![0x64, distance];
    let of_id = |id: [u8; 20]| [&[0x74][..], &id].concat();
    let missing = |error: &PackError| matches!(error, PackError::MissingBase { .. });
    assert_refused(&pack_from(&[(blob_header(3), b"abc"), (ofs(5), &delta)]), missing);
    assert_refused(&pack_from(&[(ofs(0), &delta)]), missing);
    assert_refused(&pack_from(&[(ofs(12), &delta)]), missing);
    assert_refused(&pack_from(&[(of_id([1; 20]), &delta)]), missing);
    // A delta of what it makes itself: the object exists nowhere else.
    let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, Kind::Blob, b"abc").unwrap();
    let id = <[u8; 20]>::try_from(id.as_slice()).unwrap();
    assert_refused(
        &pack_from(&[(of_id(id), &delta), (blob_header(1), b"x")]),
        missing,
    );
}

#[test]
fn a_delta_bomb_is_refused_before_it_goes_off() {
    let huge = [3, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let base = blob_header(3);
    let distance = pack_from(&[(base.clone(), b"abc")]).len() as u8 - 32;
    assert_refused(
        &pack_from(&[(base, b"abc"), (vec![0x67, distance], &huge)]),
        |error| matches!(error, PackError::TooLarge { .. }),
    );
    let claims_exabytes = vec![0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_refused(&pack_from(&[(claims_exabytes, b"abc")]), |error| {
        matches!(error, PackError::Corrupt { .. })
    });
}

#[test]
fn an_interrupt_stops_and_leaves_nothing() {
    let repository = repository();
    let pack = pack_of(repository.path(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let interrupt = AtomicBool::new(true);
    let result = receive_pack(
        &mut pack.as_slice(),
        &ReceiveOptions {
            pack_dir: dir.path(),
            promisor: None,
            threads: 2,
            interrupt: &interrupt,
            on_bytes: &|_| {},
        },
        None,
    );
    assert!(matches!(result, Err(PackError::Interrupted)));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn the_error_of_a_sink_is_the_error_of_the_pack() {
    struct Full;
    impl ObjectSink for Full {
        fn wants(&self, _: Kind) -> bool {
            true
        }
        fn object(&self, _: ObjectId, _: Kind, _: ObjectData) -> Result<(), PackError> {
            Err(PackError::Sink("disk full".into()))
        }
    }
    let repository = repository();
    let pack = pack_of(repository.path(), &[]);
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        receive(&pack, dir.path(), Some(&Full)),
        Err(PackError::Sink(_))
    ));
    assert_eq!(names(dir.path()), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_packs_never_panic_nor_pass_as_whole(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        truncate: bool,
    ) {
        static PACK: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let pack = PACK.get_or_init(|| pack_of(repository().path(), &["--delta-base-offset"]));
        let mut body = pack[..pack.len() - 20].to_vec();
        for (at, byte) in damage {
            *at.get_mut(&mut body) = byte;
        }
        if truncate {
            body.truncate(cut.index(body.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        let pack = sealed(body);
        if let Ok(received) = receive(&pack, dir.path(), None) {
            // What we take, git takes, with the same objects.
            let (_dir, by_git) = indexed_by_git(&pack);
            let ours = fs::read(dir.path().join(format!("pack-{}.idx", received.id))).unwrap();
            prop_assert!(ours == fs::read(by_git.with_extension("idx")).unwrap());
        } else {
            prop_assert_eq!(names(dir.path()).len(), 0);
        }
    }
}
