//! Files that are links to those of the pool.

use std::os::unix::fs::MetadataExt as _;

use super::*;

#[test]
fn linked_files_come_from_the_pool_and_an_edited_one_does_not() {
    let mut bench = Bench::new();
    bench.link = LinkMode::Hardlink;
    populate(&bench.from());
    bench.save("k", &["d"]);
    assert_eq!(bench.restore("k").files_linked, 0);
    let first = std::fs::metadata(bench.to().join("d/run")).unwrap().ino();
    std::fs::rename(bench.to(), bench.temp.path().join("elsewhere")).unwrap();
    let second = bench.restore("k");
    assert_eq!(second.bytes_written, 0, "all bodies are linked");
    assert!(second.files_linked >= 6);
    assert_eq!(std::fs::metadata(bench.to().join("d/run")).unwrap().ino(), first);
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));

    write(bench.to().join("d/run"), "edited in place");
    std::fs::remove_dir_all(bench.to()).unwrap();
    bench.restore("k");
    assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
    assert_ne!(std::fs::metadata(bench.to().join("d/run")).unwrap().ino(), first);
}
