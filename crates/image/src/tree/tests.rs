use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    ContentId, DiffId, Entry,
    layer::LayerBuilder,
    testing::{TarMaker, scan},
};

fn layer(tar: TarMaker) -> Layer {
    scan(&tar.finish())
}

#[test]
fn a_node_takes_few_bytes() {
    assert_eq!(size_of::<Node<'_>>(), 48);
    assert_eq!(size_of::<Inode>(), 12);
}

fn merge(layers: &[Layer]) -> Tree<'_> {
    Tree::merge(layers.iter().map(Some)).unwrap()
}

/// Paths, with the layer they come from.
fn paths(tree: &Tree<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    tree.walk(|path, id| {
        let origin = tree
            .node(id)
            .origin
            .map_or("?".to_owned(), |at| at.layer.to_string());
        paths.push(format!("{}:{origin}", String::from_utf8_lossy(path)));
    });
    paths
}

fn hidden(tree: &Tree<'_>) -> Vec<(u32, u32, HiddenHow)> {
    let hidden = tree.hidden_files().iter();
    hidden
        .map(|file| (file.file.layer, file.hidden_by, file.how))
        .collect()
}

#[test]
fn a_folder_over_a_folder_merges_and_anything_else_replaces() {
    let layers = [
        layer(
            TarMaker::new()
                .file("d/x", b"12")
                .file("f", b"345")
                .file("g", b"6"),
        ),
        layer(
            TarMaker::new()
                .folder("d")
                .file("d/y", b"7")
                .file("f/z", b"8")
                .file("g", b"90"),
        ),
        layer(TarMaker::new().file("d", b"1")),
    ];
    let two = merge(&layers[..2]);
    assert_eq!(paths(&two), ["d:1", "d/x:0", "d/y:1", "f:?", "f/z:1", "g:1"]);
    assert_eq!(two.visible_bytes(), 6);
    assert_eq!(hidden(&two), [(0, 1, HiddenHow::Overwritten); 2]);
    let three = merge(&layers);
    assert_eq!(paths(&three), ["d:2", "f:?", "f/z:1", "g:1"]);
    assert_eq!(
        hidden(&three)[2..],
        [(0, 2, HiddenHow::Replaced), (1, 2, HiddenHow::Replaced)]
    );
    assert_eq!(three.file_bytes() - three.visible_bytes(), 3 + 1 + 2 + 1);
}

#[test]
fn whiteouts_hide_lower_layers_only_wherever_they_stand() {
    let lower = || {
        layer(
            TarMaker::new()
                .file("d/a", b"1")
                .file("d/b", b"2")
                .file("e/c/x", b"3"),
        )
    };
    let layers = [
        lower(),
        // Behind what the same layer has: these stay.
        layer(
            TarMaker::new()
                .file("d/new", b"4")
                .file("d/.wh..wh..opq", b"")
                .file("e/c/y", b"5")
                .file("e/.wh.c", b""),
        ),
    ];
    let tree = merge(&layers);
    assert_eq!(paths(&tree), ["d:?", "d/new:1", "e:?", "e/c:?", "e/c/y:1"]);
    assert_eq!(
        hidden(&tree),
        [
            (0, 1, HiddenHow::Opaque),
            (0, 1, HiddenHow::Opaque),
            (0, 1, HiddenHow::Whiteout)
        ]
    );
    let layers = [
        lower(),
        layer(
            TarMaker::new()
                .file(".wh.nothing", b"")
                .file("d/no/.wh.thing", b""),
        ),
    ];
    assert_eq!(merge(&layers).visible_bytes(), 3);
}

#[test]
fn a_path_twice_in_a_layer_is_what_comes_last() {
    let layers = [layer(TarMaker::new().file("x", b"123").file("x", b"4"))];
    let tree = merge(&layers);
    assert_eq!(tree.visible_bytes(), 1);
    assert_eq!(hidden(&tree), [(0, 0, HiddenHow::Repeated)]);
}

#[test]
fn a_hard_link_keeps_content_alive() {
    let base = || layer(TarMaker::new().file("a", b"123").hard_link("b", "a"));
    let layers = [base(), layer(TarMaker::new().file(".wh.a", b""))];
    let tree = merge(&layers);
    assert_eq!((tree.visible_bytes(), hidden(&tree)), (3, vec![]));
    let layers = [base(), layer(TarMaker::new().file(".wh.a", b"").file("b", b""))];
    let tree = merge(&layers);
    assert_eq!(
        (tree.visible_bytes(), hidden(&tree)),
        (0, vec![(0, 1, HiddenHow::Overwritten)])
    );
    // A link of an upper layer to a file of a lower one; to itself; to nothing.
    let layers = [
        layer(TarMaker::new().file("a", b"123")),
        layer(
            TarMaker::new()
                .hard_link("c", "a")
                .hard_link("c", "c")
                .hard_link("d", "no"),
        ),
        layer(TarMaker::new().file(".wh.a", b"")),
    ];
    let tree = merge(&layers);
    assert_eq!(tree.visible_bytes(), 3);
    assert_eq!(paths(&tree), ["c:0", "d:1"]);
}

#[test]
fn hard_links_in_a_circle_keep_what_was_there() {
    let layers = [
        layer(TarMaker::new().file("a", b"123")),
        layer(
            TarMaker::new()
                .hard_link("a", "b")
                .hard_link("b", "a")
                .hard_link("c", "d")
                .hard_link("d", "c"),
        ),
    ];
    let tree = merge(&layers);
    assert_eq!(paths(&tree), ["a:1", "b:1", "c:1", "d:1"]);
    assert_eq!(hidden(&tree), [(0, 1, HiddenHow::Overwritten)]);
}

#[test]
fn parents_that_are_links_are_followed_inside_of_the_image() {
    let layers = [
        layer(
            TarMaker::new()
                .folder("usr/lib")
                .symlink("lib", "usr/lib")
                .symlink("abs", "/usr/../usr/lib")
                .symlink("up", "../../usr"),
        ),
        layer(
            TarMaker::new()
                .file("lib/x", b"1")
                .file("abs/y", b"2")
                .file("up/lib/z", b"3")
                .hard_link("w", "lib/x"),
        ),
        layer(TarMaker::new().file("lib/.wh.x", b"").file("w", b"")),
    ];
    let two = merge(&layers[..2]);
    assert_eq!(
        paths(&two),
        [
            "abs:0",
            "lib:0",
            "up:0",
            "usr:?",
            "usr/lib:0",
            "usr/lib/x:1",
            "usr/lib/y:1",
            "usr/lib/z:1",
            "w:1"
        ]
    );
    assert_eq!(merge(&layers).visible_bytes(), 2, "y and z");
}

#[test]
fn a_marker_in_a_folder_that_replaces_a_link_hides_nothing_behind_it() {
    let layers = [
        layer(TarMaker::new().file("e/x", b"1").symlink("d", "e")),
        layer(TarMaker::new().folder("d").file("d/.wh.x", b"")),
    ];
    let tree = merge(&layers);
    assert_eq!(paths(&tree), ["d:1", "e:?", "e/x:0"]);
    assert_eq!(tree.visible_bytes(), 1);
}

#[test]
fn links_in_a_circle_are_an_error_only_when_they_are_followed() {
    let circle = || TarMaker::new().symlink("a", "b").symlink("b", "a");
    let layers = [layer(circle())];
    assert_eq!(paths(&merge(&layers)), ["a:0", "b:0"]);
    let layers = [layer(circle().file("a/x", b"1"))];
    let error = Tree::merge(layers.iter().map(Some)).unwrap_err();
    assert!(matches!(error, TreeError::Links { .. }), "{error}");
}

#[test]
fn links_make_no_path_longer_than_linux_opens() {
    let deep = vec!["d".repeat(250); 16].join("/");
    let below_link = |name_length: usize| {
        let name = format!("l/{}", "f".repeat(name_length));
        let tar = TarMaker::new().pax(&[("path", &deep)]).folder("x");
        let tar = tar.pax(&[("linkpath", &deep)]).symlink("l", "x");
        layer(tar.file(&name, b""))
    };
    let left = 4096 - deep.len() - 1;
    let fits = [below_link(left)];
    let tree = merge(&fits);
    let mut longest = 0;
    tree.walk(|path, _| longest = longest.max(path.len()));
    assert_eq!(longest, 4096);
    let too_long = below_link(left + 1);
    let error = Tree::merge([Some(&too_long)]).unwrap_err();
    assert!(matches!(error, TreeError::LongPath { .. }), "{error}");
}

#[test]
fn no_layers_and_layers_without_bytes_make_an_empty_root() {
    assert_eq!(paths(&merge(&[])), [""; 0]);
    let tree = Tree::merge([None]).unwrap();
    assert_eq!((tree.file_bytes(), tree.node(Tree::ROOT).meta), (0, None));
}

/// What a generated entry is.
#[derive(Debug, Clone)]
enum Made {
    File(u8),
    Folder,
    Symlink(String),
    HardLink(String),
    Whiteout,
    Opaque,
}

fn any_path() -> impl Strategy<Value = String> {
    "[ab](/[abc]){0,2}"
}

fn any_layer() -> impl Strategy<Value = Vec<(String, Made)>> {
    let made = prop_oneof![
        4 => (1..9_u8).prop_map(Made::File),
        2 => Just(Made::Folder),
        1 => "(/|\\.\\./)?[abc](/[abc])?".prop_map(Made::Symlink),
        1 => any_path().prop_map(Made::HardLink),
        1 => Just(Made::Whiteout),
        1 => Just(Made::Opaque),
    ];
    proptest::collection::vec((any_path(), made), 0..8)
}

fn build(entries: &[(String, Made)]) -> Layer {
    let mut builder = LayerBuilder::default();
    for (path, made) in entries {
        let kind = match made {
            Made::File(size) => EntryKind::File {
                size_bytes: u64::from(*size),
                content: ContentId::of(&[*size]),
            },
            Made::Folder => EntryKind::Folder,
            Made::Symlink(target) => EntryKind::Symlink {
                target: target.as_bytes(),
            },
            Made::HardLink(target) => EntryKind::HardLink {
                target: target.as_bytes(),
            },
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

/// The same rules, slowly: one map of whole paths.
#[derive(Default)]
struct Naive {
    map: BTreeMap<Vec<String>, Thing>,
    sizes: Vec<u64>,
}

#[derive(Clone, PartialEq)]
enum Thing {
    Folder,
    Link(String, usize),
    File(usize),
}

struct Circle;

impl Naive {
    fn resolve(&self, path: &[String], hops: usize, own: &[Vec<String>]) -> Result<Vec<String>, Circle> {
        if hops > MAX_HOPS {
            return Err(Circle);
        }
        let mut real: Vec<String> = Vec::new();
        for (number, part) in path.iter().enumerate() {
            if part == ".." {
                real.pop();
                continue;
            }
            if part.is_empty() {
                continue;
            }
            real.push(part.clone());
            if let Some(Thing::Link(target, _)) = self.map.get(&real) {
                if hops == 0 && own.contains(&path[..=number].to_vec()) {
                    return Ok(vec!["nowhere".to_owned()]);
                }
                real.pop();
                let mut whole = if target.starts_with('/') { Vec::new() } else { real };
                whole.extend(target.split('/').map(str::to_owned));
                whole.extend_from_slice(&path[number + 1..]);
                return self.resolve(&whole, hops + 1, &[]);
            }
        }
        Ok(real)
    }

    fn remove(&mut self, path: &[String]) {
        self.map.retain(|known, _| !known.starts_with(path));
    }

    fn apply(&mut self, entries: &[(String, Made)]) -> Result<(), Circle> {
        let split = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let own: Vec<_> = entries
            .iter()
            .filter(|(_, made)| matches!(made, Made::Folder))
            .map(|(path, _)| split(path))
            .collect();
        for (path, made) in entries {
            let path = split(path);
            match made {
                Made::Whiteout => {
                    let mut real = self.resolve(&path[..path.len() - 1], 0, &own)?;
                    real.push(path[path.len() - 1].clone());
                    self.remove(&real);
                }
                Made::Opaque => {
                    let real = self.resolve(&path, 0, &own)?;
                    if self.map.get(&real) == Some(&Thing::Folder) {
                        self.map
                            .retain(|known, _| !known.starts_with(&real) || known.len() == real.len());
                    }
                }
                _ => {}
            }
        }
        for (path, made) in entries {
            let thing = match made {
                Made::Whiteout | Made::Opaque => continue,
                Made::Folder => Thing::Folder,
                Made::File(size) => {
                    self.sizes.push(u64::from(*size));
                    Thing::File(self.sizes.len() - 1)
                }
                Made::Symlink(target) => {
                    self.sizes.push(0);
                    Thing::Link(target.clone(), self.sizes.len() - 1)
                }
                Made::HardLink(target) => {
                    let target = split(target);
                    let mut real = self.resolve(&target[..target.len() - 1], 0, &[])?;
                    real.push(target[target.len() - 1].clone());
                    match self.map.get(&real) {
                        Some(thing) if *thing != Thing::Folder => thing.clone(),
                        _ => {
                            self.sizes.push(0);
                            Thing::File(self.sizes.len() - 1)
                        }
                    }
                }
            };
            let path = split(path);
            let mut real = self.resolve(&path[..path.len() - 1], 0, &[])?;
            for length in 1..=real.len() {
                if self.map.get(&real[..length]) != Some(&Thing::Folder) {
                    self.remove(&real[..length]);
                    self.map.insert(real[..length].to_vec(), Thing::Folder);
                }
            }
            real.push(path[path.len() - 1].clone());
            if !(thing == Thing::Folder && self.map.get(&real) == Some(&Thing::Folder)) {
                self.remove(&real);
            }
            self.map.insert(real, thing);
        }
        Ok(())
    }

    fn visible_bytes(&self) -> u64 {
        let mut seen = std::collections::BTreeSet::new();
        for thing in self.map.values() {
            if let Thing::File(inode) = thing {
                seen.insert(*inode);
            }
        }
        seen.into_iter().map(|inode| self.sizes[inode]).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_tree_is_that_of_a_slow_computation(stack in proptest::collection::vec(any_layer(), 0..5)) {
        let layers: Vec<_> = stack.iter().map(|entries| build(entries)).collect();
        let mut naive = Naive::default();
        let outcome = stack.iter().try_for_each(|entries| naive.apply(entries));
        let tree = Tree::merge(layers.iter().map(Some));
        let Ok(tree) = tree else {
            prop_assert!(outcome.is_err(), "the slow computation finds no circle");
            return Ok(());
        };
        prop_assert!(outcome.is_ok(), "the slow computation finds a circle");
        let mut found = Vec::new();
        tree.walk(|path, _| found.push(String::from_utf8_lossy(path).into_owned()));
        let expected: Vec<_> = naive.map.keys().map(|path| path.join("/")).collect();
        let mut sorted = found.clone();
        sorted.sort();
        let mut wanted = expected;
        wanted.sort();
        prop_assert_eq!(sorted, wanted);
        prop_assert_eq!(tree.visible_bytes(), naive.visible_bytes());
        prop_assert_eq!(tree.path_bytes(), found.iter().map(|path| path.len() as u64).sum::<u64>());
        let hidden: u64 = tree.hidden_files().iter().map(|file| {
            layers[file.file.layer as usize].entry(file.file.entry as usize).size_bytes()
        }).sum();
        prop_assert_eq!(tree.file_bytes(), tree.visible_bytes() + hidden);
    }
}
