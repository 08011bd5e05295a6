//! Sparse files: what they hold, in every notation, and what their holes may cost.

use super::*;
use crate::testing::{block, sign};

fn content(tar: TarMaker, number: usize) -> ContentId {
    let layer = scan(&tar.finish()).unwrap();
    match layer.entry(number).kind {
        EntryKind::File { content, .. } => content,
        other => panic!("{other:?}"),
    }
}

/// A file of 10 zeros, `abc`, 7 zeros, `de`, 3 zeros.
fn expanded() -> Vec<u8> {
    [&[0; 10][..], b"abc", &[0; 7], b"de", &[0; 3]].concat()
}

#[test]
fn sparse_files_are_what_they_are_with_their_holes_in_every_notation() {
    let whole = content(TarMaker::new().file("x", &expanded()), 0);
    let pax = |records: &[(&str, &str)], body: &[u8]| {
        TarMaker::new()
            .pax(records)
            .file("GNUSparseFile.0/x", body)
            .file("y", b"1")
    };
    let version_0_0 = pax(
        &[
            ("GNU.sparse.size", "25"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "10"),
            ("GNU.sparse.numbytes", "3"),
            ("GNU.sparse.offset", "20"),
            ("GNU.sparse.numbytes", "2"),
        ],
        b"abcde",
    );
    let version_0_1 = pax(
        &[
            ("GNU.sparse.size", "25"),
            ("GNU.sparse.name", "x"),
            ("GNU.sparse.map", "10,3,20,2"),
        ],
        b"abcde",
    );
    let mut map = b"2\n10\n3\n20\n2\n".to_vec();
    map.resize(512, 0);
    let version_1_0 = pax(
        &[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "x"),
            ("GNU.sparse.realsize", "25"),
        ],
        &[&map[..], b"abcde"].concat(),
    );
    let mut head = block(&Head {
        name: "x",
        flag: b'S',
        size: 5,
        ..Head::default()
    });
    for (at, number) in [(386, 10), (398, 3), (410, 20), (422, 2), (483, 25)] {
        head[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    sign(&mut head);
    let old_gnu = TarMaker::new().raw(&head).body(b"abcde").file("y", b"1");
    // The map goes on in a block of its own.
    head[482] = 1;
    head[410..434].fill(0);
    sign(&mut head);
    let mut more = [0; 512];
    more[..12].copy_from_slice(b"00000000024\0");
    more[12..24].copy_from_slice(b"00000000002\0");
    let extended = TarMaker::new()
        .raw(&head)
        .raw(&more)
        .body(b"abcde")
        .file("y", b"1");
    for (name, tar) in [
        ("0.0", version_0_0),
        ("0.1", version_0_1),
        ("1.0", version_1_0),
        ("old", old_gnu),
        ("extended", extended),
    ] {
        let bytes = tar.finish();
        let layer = scan(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let EntryKind::File { size_bytes, content } = layer.entry(0).kind else {
            panic!("{name}");
        };
        assert_eq!((size_bytes, content), (25, whole), "{name}");
        assert_eq!(layer.entry(1).path, b"y", "{name}: what follows is found");
    }
}

#[test]
fn a_hole_of_petabytes_costs_nothing() {
    let tar = TarMaker::new()
        .pax(&[
            ("GNU.sparse.size", "9000000000000000000"),
            ("GNU.sparse.map", "5,3"),
        ])
        .file("x", b"abc");
    assert_eq!(listing(tar), ["x file 9000000000000000000"]);
}

#[test]
fn many_holes_are_too_much_together_and_end_on_request() {
    let holes = |count: usize, bytes: &str| {
        let records = [("GNU.sparse.size", bytes), ("GNU.sparse.map", "0,3")];
        (0..count)
            .fold(TarMaker::new(), |tar, _| tar.pax(&records).file("x", b"abc"))
            .finish()
    };
    let scan = |tar: &[u8], is_interrupted| {
        let mut limits = Limits {
            hole_bytes: 2000,
            memory: &EntryMemory::default(),
            interrupt: &AtomicBool::new(is_interrupted),
        };
        scan_within(tar, TarHash::Here, &mut limits)
    };
    assert!(scan(&holes(2, "1003"), false).is_ok());
    assert!(matches!(scan(&holes(3, "1003"), false), Err(ScanError::Holes)));
    let whole = holes(9, "9000000000000000000");
    assert!(scan(&whole, false).is_ok(), "these are not hashed");
    assert!(matches!(scan(&holes(1, "1003"), true), Err(ScanError::Stopped)));
}
