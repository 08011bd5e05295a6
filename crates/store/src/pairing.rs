//! Which nodes of two listings have the same path: one walk along both, since both are in path order.

use std::cmp::Ordering;

use crate::{Node, listing::Listed};

/// Something in a listing in path order.
pub(crate) trait Placed {
    /// Index of the folder it is in; `None` for a root.
    fn parent(&self) -> Option<u32>;
    /// Its name; for a root the whole path.
    fn name(&self) -> &[u8];
}

impl Placed for Node {
    fn parent(&self) -> Option<u32> {
        self.parent
    }

    fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Placed for Listed {
    fn parent(&self) -> Option<u32> {
        self.parent
    }

    fn name(&self) -> &[u8] {
        &self.name
    }
}

/// By index in `these`, which of `those` has the same path.
pub(crate) fn pair(these: &[impl Placed], those: &[impl Placed]) -> Vec<Option<u32>> {
    let (depths, other_depths) = (depths(these), depths(those));
    let mut pairs = vec![None; these.len()];
    let (mut this, mut that) = (0, 0);
    while this < these.len() && that < those.len() {
        // The one that is deeper lies in a folder that has no pair, or whose pair has no more in it. Where both are as deep,
        // the folders they are in are a pair.
        let order = other_depths[that]
            .cmp(&depths[this])
            .then_with(|| compare_names(&these[this], &those[that]));
        match order {
            Ordering::Less => this += 1,
            Ordering::Greater => that += 1,
            Ordering::Equal => {
                pairs[this] = Some(that as u32);
                this += 1;
                that += 1;
            }
        }
    }
    pairs
}

fn depths(items: &[impl Placed]) -> Vec<u32> {
    let mut depths: Vec<u32> = Vec::with_capacity(items.len());
    for item in items {
        let above = item.parent().map_or(0, |parent| depths[parent as usize] + 1);
        depths.push(above);
    }
    depths
}

/// Siblings are ordered by the bytes of their names, roots by those of their components.
fn compare_names(this: &impl Placed, that: &impl Placed) -> Ordering {
    match this.parent() {
        Some(_) => this.name().cmp(that.name()),
        None => {
            let split = |byte: &u8| *byte == b'/';
            this.name().split(split).cmp(that.name().split(split))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headstart_fs::RelPath;
    use proptest::prelude::*;

    use super::*;

    struct Item(Option<u32>, Vec<u8>);

    impl Placed for Item {
        fn parent(&self) -> Option<u32> {
            self.0
        }

        fn name(&self) -> &[u8] {
            &self.1
        }
    }

    /// The listing of some paths below some roots, and the path of each item in it.
    fn listing(paths: &[(usize, Vec<String>)]) -> (Vec<Item>, Vec<RelPath>) {
        const ROOTS: [&str; 3] = ["a-b/c", "a/b", "b"];
        let mut all: BTreeMap<RelPath, (Option<RelPath>, Vec<u8>)> = BTreeMap::new();
        for (root, components) in paths {
            let root = RelPath::parse(ROOTS[*root]).unwrap();
            all.insert(root.clone(), (None, root.as_bytes().to_vec()));
            let mut path = root;
            for component in components {
                let parent = path.clone();
                path.push(component.as_bytes()).unwrap();
                all.entry(path.clone())
                    .or_insert((Some(parent), component.clone().into_bytes()));
            }
        }
        let paths: Vec<RelPath> = all.keys().cloned().collect();
        let index = |path: &RelPath| paths.binary_search(path).unwrap() as u32;
        let items = all
            .values()
            .map(|(parent, name)| Item(parent.as_ref().map(index), name.clone()))
            .collect();
        (items, paths)
    }

    fn some_paths() -> impl Strategy<Value = Vec<(usize, Vec<String>)>> {
        let path = (0usize..3, prop::collection::vec("[a-c]{1,2}", 0..5));
        prop::collection::vec(path, 0..20)
    }

    proptest! {
        #[test]
        fn pairs_have_the_same_path_and_all_of_them_are_found(these in some_paths(), those in some_paths()) {
            let ((these, paths), (those, other_paths)) = (listing(&these), listing(&those));
            let expected: Vec<Option<u32>> = paths
                .iter()
                .map(|path| other_paths.binary_search(path).ok().map(|index| index as u32))
                .collect();
            prop_assert_eq!(pair(&these, &those), expected);
        }
    }
}
