//! Any tree over any other.

use proptest::prelude::*;

use super::*;
use crate::testing::What;

#[derive(Debug, Clone)]
enum Planted {
    File(Vec<u8>, u32, i64),
    Folder(u32),
    Link(String),
    Hardlink(prop::sample::Index),
}

fn planted() -> impl Strategy<Value = (Vec<String>, Planted)> {
    let what = prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..200), 0o400u32..0o777, -5_000i64..5_000_000)
            .prop_map(|(body, mode, time)| Planted::File(body, mode | 0o400, time)),
        1 => (0o700u32..0o777).prop_map(Planted::Folder),
        1 => "[a-c/.]{1,6}".prop_map(Planted::Link),
        1 => any::<prop::sample::Index>().prop_map(Planted::Hardlink),
    ];
    (prop::collection::vec("[a-d]{1,2}", 1..4), what)
}

fn plant(root: &Path, tree: &[(Vec<String>, Planted)]) {
    let mut files = Vec::new();
    std::fs::create_dir_all(root).unwrap();
    for (names, what) in tree {
        let path = names.iter().fold(root.to_owned(), |path, name| path.join(name));
        // Names that collide with what is there already are left out.
        if std::fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match what {
            Planted::File(body, mode, time) => {
                write(&path, body);
                chmod(&path, *mode);
                touch(&path, *time, 17);
                files.push(path);
            }
            Planted::Folder(mode) => {
                std::fs::create_dir(&path).unwrap();
                chmod(&path, *mode);
            }
            Planted::Link(target) => symlink(target, &path).unwrap(),
            Planted::Hardlink(index) if !files.is_empty() => {
                std::fs::hard_link(index.get(&files), &path).unwrap();
            }
            Planted::Hardlink(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_tree_comes_back_over_any_other(
        one in prop::collection::vec(planted(), 0..20),
        other in prop::collection::vec(planted(), 0..20),
    ) {
        let bench = Bench::new();
        plant(&bench.from().join("d"), &one);
        plant(&bench.to().join("d"), &other);
        bench.save("k", &["d"]);
        bench.restore("k");
        prop_assert_eq!(manifest(&bench.from().join("d")), manifest(&bench.to().join("d")));
        let again = bench.restore("k");
        prop_assert_eq!((again.files_written, again.files_removed, again.bytes_written), (0, 0, 0));
        let links = manifest(&bench.to());
        prop_assert!(links.values().all(|seen| seen.what != What::Other));
    }
}
