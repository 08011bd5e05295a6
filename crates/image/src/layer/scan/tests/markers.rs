//! Whiteouts, and what AUFS left behind.

use super::*;

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
