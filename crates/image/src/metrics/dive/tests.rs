use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    ContentId, DiffId, Entry, Metadata,
    layer::LayerBuilder,
    testing::{TarMaker, scan},
};

fn count(layers: Vec<TarMaker>) -> DiveMetrics {
    let layers: Vec<_> = layers.into_iter().map(|tar| scan(&tar.finish())).collect();
    DiveMetrics::of(layers.iter().map(Some)).unwrap()
}

#[test]
fn a_path_in_two_layers_is_wasted_with_every_copy() {
    let dive = count(vec![
        TarMaker::new()
            .folder("d")
            .file("d/x", &[1; 100])
            .file("y", &[1; 50]),
        TarMaker::new().file("d/x", &[1; 60]),
    ]);
    assert_eq!(dive.wasted_bytes, 160);
    assert_eq!(dive.efficiency, 110.0 / 210.0);
    assert_eq!(dive.user_wasted_ratio, 160.0 / 60.0);
    assert_eq!(dive.wasted_paths[0].path, b"d/x");
}

#[test]
fn a_whiteout_of_a_folder_weighs_what_it_held_and_one_of_a_file_nothing() {
    let base = || {
        TarMaker::new()
            .folder("d")
            .file("d/x", &[1; 100])
            .file("d/y", &[1; 20])
            .file("d-z", &[1; 3])
    };
    let folder = count(vec![base(), TarMaker::new().file(".wh.d", b"")]);
    assert_eq!((folder.wasted_bytes, folder.efficiency), (0, 1.0));
    let file = count(vec![base(), TarMaker::new().file("d/.wh.x", b"")]);
    assert_eq!((file.wasted_bytes, file.efficiency), (100, 23.0 / 123.0));
    let nothing = count(vec![
        base(),
        TarMaker::new().file(".wh.no", b"").file("d/.wh..wh..opq", b""),
    ]);
    assert_eq!((nothing.wasted_bytes, nothing.efficiency), (0, 1.0));
}

#[test]
fn a_folder_that_the_last_layer_did_not_mention_itself_weighs_nothing() {
    let layers = |last: TarMaker| {
        let base = TarMaker::new().folder("d").file("d/x", &[1; 100]);
        let again = TarMaker::new().file("d", &[1; 30]);
        count(vec![base, last, TarMaker::new().file(".wh.d", b""), again])
    };
    let said = layers(TarMaker::new().folder("d").file("d/y", &[1; 20]));
    assert_eq!((said.wasted_bytes, said.efficiency), (150, 150.0 / 270.0));
    let unsaid = layers(TarMaker::new().file("d/y", &[1; 20]));
    assert_eq!((unsaid.wasted_bytes, unsaid.efficiency), (30, 120.0 / 150.0));
    let marked = layers(TarMaker::new().file("d/.wh..wh..opq", b""));
    assert_eq!((marked.wasted_bytes, marked.efficiency), (30, 100.0 / 130.0));
}

#[test]
fn nothing_is_efficient() {
    let dive = count(Vec::new());
    assert_eq!((dive.efficiency, dive.user_wasted_ratio), (1.0, 0.0));
}

#[test]
fn folders_on_the_way_count_towards_the_most_paths() {
    let layer = scan(&TarMaker::new().file("a/b/c/d", b"").finish());
    assert!(DiveMetrics::within(4, [Some(&layer)]).is_ok());
    let refused = DiveMetrics::within(3, [Some(&layer)]);
    assert_eq!(refused, Err(TreeError::TooLarge));
}

#[derive(Debug, Clone, Copy)]
enum Made {
    File(u8),
    Folder,
    Whiteout,
    Opaque,
}

fn any_layer() -> impl Strategy<Value = Vec<(String, Made)>> {
    let made = prop_oneof![
        4 => (0..9_u8).prop_map(Made::File),
        2 => Just(Made::Folder),
        2 => Just(Made::Whiteout),
        1 => Just(Made::Opaque),
    ];
    proptest::collection::vec(("[ab](/[a-]){0,3}", made), 0..8)
}

fn build(entries: &[(String, Made)]) -> Layer {
    let mut builder = LayerBuilder::default();
    for (path, made) in entries {
        let kind = match *made {
            Made::File(size) => EntryKind::File {
                size_bytes: u64::from(size),
                content: ContentId::of(&[size]),
            },
            Made::Folder => EntryKind::Folder,
            Made::Whiteout => EntryKind::Whiteout,
            Made::Opaque => EntryKind::Opaque,
        };
        let entry = Entry {
            path: path.as_bytes(),
            kind,
            meta: Metadata::default(),
        };
        builder.push(&entry).unwrap();
    }
    builder.finish(DiffId::of(b""), 0)
}

/// The same rules, slowly: maps of whole paths.
#[derive(Default)]
struct Naive {
    counts: BTreeMap<String, Vec<u64>>,
    /// Length, and whether it is a folder.
    stacked: BTreeMap<String, (u64, bool)>,
}

impl Naive {
    fn add(&mut self, entries: &[(String, Made)]) {
        let mut folders = BTreeSet::new();
        for (path, _) in entries {
            folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        let mut leaves = BTreeMap::new();
        for (path, made) in entries {
            let is_whiteout = matches!(made, Made::Whiteout);
            let bytes = match *made {
                Made::File(size) => u64::from(size),
                _ => 0,
            };
            if !is_whiteout && folders.contains(&path[..]) {
                continue;
            }
            match made {
                Made::Opaque => drop(leaves.entry((path, false)).or_insert(0)),
                _ => drop(leaves.insert((path, is_whiteout), bytes)),
            }
        }
        let is_below = |path: &str, folder: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        for ((path, is_whiteout), bytes) in leaves {
            let bytes = match (is_whiteout, self.stacked.get(path)) {
                (false, _) => bytes,
                (true, None) => continue,
                (true, Some((_, false))) => 0,
                (true, Some((_, true))) => {
                    let all = self.stacked.iter();
                    let below = all.filter(|(other, _)| is_below(other, path));
                    below.map(|(_, (bytes, _))| bytes).sum()
                }
            };
            self.counts.entry(path.clone()).or_default().push(bytes);
        }
        for (path, _) in entries.iter().filter(|(_, made)| matches!(made, Made::Whiteout)) {
            self.stacked
                .retain(|other, _| other != path && !is_below(other, path));
        }
        for folder in folders {
            self.stacked.insert(folder.to_owned(), (0, false));
        }
        for (path, made) in entries {
            if let Made::Opaque = made {
                self.stacked.insert(path.clone(), (0, false));
            }
        }
        for (path, made) in entries {
            match *made {
                Made::File(size) => drop(self.stacked.insert(path.clone(), (u64::from(size), false))),
                Made::Folder => drop(self.stacked.insert(path.clone(), (0, true))),
                Made::Whiteout | Made::Opaque => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_numbers_are_those_of_a_slow_computation(stack in proptest::collection::vec(any_layer(), 0..5)) {
        let layers: Vec<_> = stack.iter().map(|entries| build(entries)).collect();
        let dive = DiveMetrics::of(layers.iter().map(Some)).unwrap();
        let mut naive = Naive::default();
        stack.iter().for_each(|entries| naive.add(entries));
        let sums = naive.counts.into_iter().map(|(path, copies)| {
            let (least, all) = (copies.iter().min().copied().unwrap(), copies.iter().sum::<u64>());
            (path, least, all, copies.len() as u64)
        });
        let sums: Vec<_> = sums.collect();
        let least: u64 = sums.iter().map(|&(_, least, _, _)| least).sum();
        let all: u64 = sums.iter().map(|&(_, _, all, _)| all).sum();
        prop_assert_eq!(dive.efficiency, if all == 0 { 1.0 } else { least as f64 / all as f64 });
        let mut wasted: Vec<_> = sums
            .into_iter()
            .filter(|&(_, _, all, copies)| copies > 1 && all > 0)
            .map(|(path, _, bytes, copies)| DiveWaste { path: path.into_bytes(), bytes, copies })
            .collect();
        prop_assert_eq!(dive.wasted_bytes, wasted.iter().map(|waste| waste.bytes).sum::<u64>());
        wasted.sort_by_key(|waste| {
            (std::cmp::Reverse(waste.bytes), split(&waste.path).map(<[u8]>::to_vec).collect::<Vec<_>>())
        });
        prop_assert_eq!(dive.wasted_paths, wasted);
    }
}
