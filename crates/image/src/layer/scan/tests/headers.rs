//! Names, sizes and owners, as a header and the records before it tell them.

use super::*;
use crate::testing::{block, sign};

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
        sign(&mut head);
        TarMaker::new().raw(&head)
    };
    assert!(!refused(owned_by(u64::from(u32::MAX))));
    assert!(refused(owned_by(1 << 32)));
}
