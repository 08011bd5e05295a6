use proptest::prelude::*;

use super::*;
use crate::testing::{Head, TarMaker, block, sign, try_scan as scan};

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

fn content(tar: TarMaker, number: usize) -> ContentId {
    let layer = scan(&tar.finish()).unwrap();
    match layer.entry(number).kind {
        EntryKind::File { content, .. } => content,
        other => panic!("{other:?}"),
    }
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
fn a_long_name_that_is_cut_at_a_slash_is_no_folder() {
    let long = format!("{}/keys.rs", "f".repeat(99));
    let tar = TarMaker::new()
        .pax(&[("path", &long)])
        .file(&long[..100], b"hello")
        .file("next", b"");
    assert_eq!(listing(tar), [format!("{long} file 5"), "next file 0".to_owned()]);
}

#[test]
fn markers_hide_and_leftovers_of_aufs_are_ignored() {
    let tar = TarMaker::new()
        .file("etc/.wh.x", b"")
        .file(".wh.top", b"")
        .file("var/.wh..wh..opq", b"")
        .file(".wh..wh.aufs", b"12345")
        .folder(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"linked")
        .file(".wh..wh.plnk/3.4", b"not linked")
        .file("var/.wh..wh.orph/x/y", b"12345")
        .hard_link("one", ".wh..wh.plnk/1.2")
        .hard_link("two", "./.wh..wh.plnk/1.2")
        .file("after", b"1");
    let expected = [
        "etc/x hidden",
        "top hidden",
        "var opaque",
        "one file 6",
        "two file 6",
        "after file 1",
    ];
    assert_eq!(listing(tar), expected);
}

#[test]
fn names_no_aufs_gives_are_not_remembered() {
    let listing = |name: &str| {
        let aside = format!(".wh..wh.plnk/{name}");
        listing(
            TarMaker::new()
                .pax(&[("path", &aside)])
                .file("x", b"12")
                .pax(&[("linkpath", &aside)])
                .hard_link("y", ""),
        )
    };
    assert_eq!(listing("12.34"), ["y file 2"]);
    let long = "9".repeat(256);
    assert_eq!(listing(&long), [format!("y = .wh..wh.plnk/{long}")]);
}

#[test]
fn long_names_and_sizes_come_from_pax_and_gnu() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let pax = TarMaker::new()
        .raw(&{
            // Global records change nothing.
            let body = "16 path=globally\n";
            let head = Head {
                name: "g",
                flag: b'g',
                size: 17,
                ..Head::default()
            };
            [&block(&head)[..], body.as_bytes(), &[0; 495]].concat()
        })
        .pax(&[
            ("path", &long),
            ("mtime", "1.5"),
            ("uid", "3000000"),
            ("SCHILY.xattr.security.capability", "x"),
        ])
        .file("short", b"abc")
        .file("next", b"");
    let layer = scan(&pax.finish()).unwrap();
    let entry = layer.entry(0);
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(
        (entry.meta.mtime_seconds, entry.meta.mtime_nanoseconds),
        (1, 500_000_000)
    );
    assert_eq!(entry.meta.uid, 3_000_000);
    assert!(entry.meta.attributes.is_some());
    assert_eq!(
        (layer.entry(1).path, layer.entry(1).meta.attributes),
        (&b"next"[..], None)
    );

    let name = format!("{long}\0");
    let length = name.len() as u64;
    let gnu = TarMaker::new()
        .head(&Head {
            name: "././@LongLink",
            flag: b'L',
            size: length,
            ..Head::default()
        })
        .body(name.as_bytes())
        .head(&Head {
            name: "././@LongLink",
            flag: b'K',
            size: length,
            ..Head::default()
        })
        .body(name.as_bytes())
        .symlink("short", "short");
    assert_eq!(listing(gnu), [format!("{long} -> {long}")]);

    let size = TarMaker::new()
        .pax(&[("size", "3")])
        .head(&Head {
            name: "x",
            size: 0,
            ..Head::default()
        })
        .body(b"abc");
    assert_eq!(listing(size), ["x file 3"]);
    // The size as a number of base 256.
    let mut head = block(&Head {
        name: "x",
        ..Head::default()
    });
    head[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    sign(&mut head);
    assert_eq!(listing(TarMaker::new().raw(&head).body(b"abc")), ["x file 3"]);
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

#[test]
fn tricks_are_refused() {
    for (what, tar) in [
        ("leaves the image", TarMaker::new().file("../etc/passwd", b"")),
        ("leaves the image", TarMaker::new().hard_link("x", "a/../../y")),
        ("marks nothing", TarMaker::new().file("a/.wh.", b"")),
        ("marks nothing", TarMaker::new().file("a/.wh...", b"")),
        ("checksum", TarMaker::new().raw(&[1; 512])),
        ("unknown type", TarMaker::new().of_type(b'?', "x", "")),
        (
            "longer than",
            TarMaker::new().head(&Head {
                name: "x",
                flag: b'x',
                size: 1 << 30,
                ..Head::default()
            }),
        ),
        (
            "middle of an entry",
            TarMaker::new().head(&Head {
                name: "x",
                size: 1 << 30,
                ..Head::default()
            }),
        ),
        ("middle of an entry", TarMaker::new().pax(&[("path", "x")])),
        (
            "longer than 4096",
            TarMaker::new()
                .pax(&[("path", &"x/".repeat(2100))])
                .file("y", b""),
        ),
        (
            "sparse",
            TarMaker::new()
                .pax(&[("GNU.sparse.size", "2"), ("GNU.sparse.map", "5,3")])
                .file("x", b"abc"),
        ),
        (
            "sparse",
            TarMaker::new()
                .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "2")])
                .file("x", &[b'9'; 600]),
        ),
        ("NUL", TarMaker::new().pax(&[("path", "a\0b")]).file("x", b"")),
        ("longer than 4096", {
            let name = "n".repeat(64 << 10);
            let head = Head {
                name: "././@LongLink",
                flag: b'L',
                size: name.len() as u64,
                ..Head::default()
            };
            TarMaker::new().head(&head).body(name.as_bytes()).file("y", b"")
        }),
        (
            "longer than 4096",
            TarMaker::new()
                .pax(&[("linkpath", &"n".repeat(64 << 10))])
                .symlink("x", "y"),
        ),
        (
            "middle of an entry",
            TarMaker::new()
                .pax(&[("size", "9223372036854775808")])
                .file("x", b"abc"),
        ),
        (
            "middle of an entry",
            TarMaker::new()
                .pax(&[("size", "18446744073709551615")])
                .file("x", b"abc"),
        ),
        (
            "a number is none",
            TarMaker::new()
                .pax(&[("size", "18446744073709551616")])
                .file("x", b"abc"),
        ),
        ("size is not a number", {
            let mut head = block(&Head {
                name: "x",
                ..Head::default()
            });
            head[124..136].fill(0xff);
            sign(&mut head);
            TarMaker::new().raw(&head)
        }),
    ] {
        let error = scan(&tar.finish()).map(drop).unwrap_err();
        let text = format!(
            "{error} {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        );
        assert!(text.contains(what), "{text}, not {what}");
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

#[test]
fn a_layer_survives_its_cache_and_damage_is_noticed() {
    let tar = TarMaker::new()
        .folder("a")
        .pax(&[("SCHILY.xattr.user.x", "1")])
        .file("a/x", &[3; 500])
        .hard_link("b", "a/x")
        .symlink("c", "b")
        .of_type(b'3', "null", "")
        .file("a/.wh.y", b"")
        .finish();
    let layer = scan(&tar).unwrap();
    let bytes = layer.encode().unwrap();
    assert_eq!(Layer::decode(&bytes).as_ref(), Some(&layer));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Layer::decode(&damaged).is_none(), "byte {at}");
        assert!(Layer::decode(&bytes[..at]).is_none(), "cut at {at}");
    }
}

fn sample() -> Vec<u8> {
    TarMaker::new()
        .folder("a")
        .pax(&[
            ("path", "a/long"),
            ("GNU.sparse.size", "25"),
            ("GNU.sparse.map", "10,3,20,2"),
        ])
        .file("x", b"abcde")
        .hard_link("b", "a/x")
        .file("a/.wh.y", b"")
        .finish()
}

proptest! {
    #[test]
    fn a_tar_with_changed_bytes_is_a_layer_or_an_error(changes in proptest::collection::vec((0..4000_usize, any::<u8>()), 1..6)) {
        let mut tar = sample();
        let length = tar.len();
        for (at, byte) in changes {
            tar[at % length] = byte;
        }
        if let Ok(layer) = scan(&tar) {
            prop_assert_eq!(layer.diff_id(), DiffId::of(&tar));
        }
    }

    #[test]
    fn a_header_with_changed_bytes_and_a_right_checksum_is_read_or_refused(
        at in 0..512_usize, byte in any::<u8>(), which in 0..3_usize,
    ) {
        let mut tar = sample();
        // The folder, the records, the file.
        let start = [0, 512, 1536][which];
        let header: &mut [u8; 512] = (&mut tar[start..start + 512]).try_into().unwrap();
        header[at] = byte;
        sign(header);
        let _ = scan(&tar);
    }
}

#[test]
fn owners_beyond_four_bytes_are_an_error_and_not_somebody_else() {
    let refused = |tar: TarMaker| scan(&tar.finish()).is_err();
    let pax = |value: &str| TarMaker::new().pax(&[("uid", value)]).file("x", b"");
    assert!(!refused(pax("4294967295")));
    assert!(refused(pax("4294967296")));
    let owned_by = |uid: u64| {
        let mut head = block(&Head {
            name: "x",
            ..Head::default()
        });
        head[108..116].copy_from_slice(&uid.to_be_bytes());
        head[108] |= 0x80;
        crate::testing::sign(&mut head);
        TarMaker::new().raw(&head)
    };
    assert!(!refused(owned_by(u64::from(u32::MAX))));
    assert!(refused(owned_by(1 << 32)));
}
