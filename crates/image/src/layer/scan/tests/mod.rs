//! Tars made by hand, and the layers they are.

mod headers;
mod hostile;
mod markers;
mod sparse;

use super::*;
use crate::testing::{Head, TarMaker, try_scan as scan};

/// Paths and kinds, for comparison.
fn listing(tar: TarMaker) -> Vec<String> {
    let layer = scan(&tar.finish()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = layer.entries().map(|entry| {
        let path = text(entry.path);
        match entry.kind {
            EntryKind::File { size_bytes, .. } => format!("{path} file {size_bytes}"),
            EntryKind::HardLink { target } => format!("{path} = {}", text(target)),
            EntryKind::Symlink { target } => format!("{path} -> {}", text(target)),
            EntryKind::Folder => format!("{path}/"),
            EntryKind::CharDevice { major, minor } => format!("{path} c {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("{path} b {major}:{minor}"),
            EntryKind::Fifo => format!("{path} |"),
            EntryKind::Whiteout => format!("{path} hidden"),
            EntryKind::Opaque => format!("{path} opaque"),
        }
    });
    entries.collect()
}

#[test]
fn every_kind_of_entry_is_known_and_paths_are_clean() {
    let tar = TarMaker::new()
        .folder("./")
        .folder("./etc/")
        .file("./etc/x", b"hello")
        .hard_link("/etc/y", "./etc/x")
        .symlink("etc/z", "../x")
        .of_type(b'3', "dev/null", "")
        .of_type(b'4', "dev/sda", "")
        .of_type(b'6', "run/pipe", "")
        .file("etc//./w", b"")
        .of_type(0, "old-folder/", "");
    assert_eq!(
        listing(tar),
        [
            "/",
            "etc/",
            "etc/x file 5",
            "etc/y = etc/x",
            "etc/z -> ../x",
            "dev/null c 1:3",
            "dev/sda b 1:3",
            "run/pipe |",
            "etc/w file 0",
            "old-folder/"
        ]
    );
}

#[test]
fn what_is_no_file_has_no_body_whatever_its_size() {
    for flag in *b"123456" {
        let link = if matches!(flag, b'1' | b'2') { "x" } else { "" };
        let head = Head {
            name: "sized",
            flag,
            link,
            size: 1024,
            ..Head::default()
        };
        for (notation, tar) in [
            ("header", TarMaker::new().head(&head)),
            (
                "pax",
                TarMaker::new()
                    .pax(&[("size", "1024")])
                    .head(&Head { size: 0, ..head }),
            ),
        ] {
            let found = listing(tar.file("x", b"1"));
            assert_eq!(found.len(), 2, "{} by {notation}: {found:?}", char::from(flag));
            assert_eq!(found[1], "x file 1");
        }
    }
}

#[test]
fn the_same_tar_has_the_same_digests_whatever_the_buffers() {
    let tar = TarMaker::new()
        .folder("a")
        .file("a/x", &[3; 5000])
        .file("y", b"1")
        .finish();
    let whole = scan(&tar).unwrap();
    assert_eq!(whole.diff_id(), DiffId::of(&tar));
    for capacity in [1, 7, 512, 1000, 4096] {
        let input = io::BufReader::with_capacity(capacity, &tar[..]);
        let memory = EntryMemory::default();
        let scanned = scan_tar(input, TarHash::Here, &memory, &AtomicBool::new(false)).unwrap();
        let layer = scanned.into_layer(BlobDigest::of(b""));
        assert_eq!(layer, whole, "{capacity}");
    }
}
