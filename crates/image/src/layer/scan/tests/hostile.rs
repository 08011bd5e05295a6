//! Tars that are none, or mean harm.

use proptest::prelude::*;

use super::*;
use crate::testing::{block, sign};

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
