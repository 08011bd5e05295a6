//! Images read back by a reader that knows the format and nothing of the writer. Mounting them is tested with restores.

use std::collections::{BTreeMap, HashMap};

use headstart_digest::Digest;
use proptest::prelude::*;

use super::*;
use crate::{Mtime, Node, NodeKind, Tree};

const OWNER: Owner = Owner {
    user: 1000,
    group: 70_000,
};

/// A tree to be, by names.
#[derive(Debug, Clone)]
enum Draft {
    File(u64),
    Link(Vec<u8>),
    /// Another name of the last file before it; a file where there is none.
    Hardlink,
    Folder(BTreeMap<Vec<u8>, Draft>),
}

/// What is found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    mode: u16,
    mtime: Mtime,
    names: u32,
    inode: u64,
    content: Vec<u8>,
}

fn drafts() -> impl Strategy<Value = BTreeMap<Vec<u8>, Draft>> {
    let name = || {
        let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'+' } else { byte });
        prop_oneof![
            4 => proptest::collection::vec(byte.clone(), 1..12),
            1 => proptest::collection::vec(byte, 255),
        ]
        .prop_filter("no plain name", |name| name != b"." && name != b"..")
    };
    let leaf = prop_oneof![
        5 => prop_oneof![Just(0u64), 1u64..3000, Just(512), Just(8192)].prop_map(Draft::File),
        1 => name().prop_map(Draft::Link),
        1 => Just(Draft::Hardlink),
    ];
    let folder = leaf.prop_recursive(4, 64, 12, move |inner| {
        proptest::collection::btree_map(name(), inner, 0..12).prop_map(Draft::Folder)
    });
    proptest::collection::btree_map(name(), folder, 0..6)
}

fn tree(roots: &BTreeMap<Vec<u8>, Draft>) -> Tree {
    fn add(nodes: &mut Vec<Node>, parent: Option<u32>, name: &[u8], draft: &Draft) {
        let index = nodes.len() as u32;
        let file = |size_bytes| NodeKind::File {
            size_bytes,
            digest: Digest::of(b""),
        };
        let last_file = nodes
            .iter()
            .rposition(|node| matches!(node.kind, NodeKind::File { .. }));
        let kind = match draft {
            Draft::File(size_bytes) => file(*size_bytes),
            Draft::Link(target) => NodeKind::Symlink {
                target: target.as_slice().into(),
            },
            Draft::Hardlink => match last_file {
                Some(to) => NodeKind::Hardlink { to: to as u32 },
                None => file(7),
            },
            Draft::Folder(_) => NodeKind::Directory,
        };
        let has_mode = matches!(kind, NodeKind::File { .. } | NodeKind::Directory);
        let has_time = !matches!(kind, NodeKind::Hardlink { .. });
        nodes.push(Node {
            parent,
            name: name.into(),
            mode: if has_mode { (index * 37 % 0o1000) as u16 } else { 0 },
            mtime: Mtime {
                seconds: i64::from(has_time) * (i64::from(index) * 77_777_777 - 99_999_999),
                nanoseconds: u32::from(has_time) * (index % 1000) * 999_999,
            },
            kind,
        });
        if let Draft::Folder(inner) = draft {
            for (name, draft) in inner {
                add(nodes, Some(index), name, draft);
            }
        }
    }
    let mut nodes = Vec::new();
    for (name, draft) in roots {
        add(&mut nodes, None, name, draft);
    }
    Tree::new(nodes).unwrap()
}

fn body(node: u32, bytes: u64) -> Vec<u8> {
    (0..bytes)
        .map(|at| (u64::from(node) * 31 + at % 251 + 1) as u8)
        .collect()
}

fn image(tree: &Tree) -> Vec<u8> {
    let layout = Layout::new(tree).unwrap();
    let mut image = Vec::new();
    layout.write_head(OWNER, &mut image).unwrap();
    assert!(image.len() as u64 <= layout.image_bytes());
    let head_bytes = image.len() as u64;
    image.resize(layout.image_bytes() as usize, 0);
    for (node, index) in tree.nodes().iter().zip(0u32..) {
        if node.size_bytes() > 0 {
            let at = layout.body_at(index);
            assert!(at >= head_bytes, "bodies come after the head");
            let at = at as usize;
            let body = body(index, node.size_bytes());
            assert!(
                image[at..at + body.len()].iter().all(|byte| *byte == 0),
                "nothing else is there"
            );
            image[at..at + body.len()].copy_from_slice(&body);
        }
    }
    image
}

/// Reads an image by the documentation of the format.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&self, at: u64, bytes: usize) -> u64 {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.0[at as usize..at as usize + bytes]);
        u64::from_le_bytes(number)
    }

    fn root(&self) -> u64 {
        assert_eq!(self.number(1024, 4), 0xe0f5_e1e2);
        assert_eq!(self.number(1036, 1), 9, "bits of a block");
        assert_eq!(self.number(1104, 4), 0, "features that a reader must know");
        assert_eq!(self.number(1060, 4) * 512, self.0.len() as u64);
        assert_eq!(self.number(1064, 4), 0, "where inodes are counted from");
        self.number(1038, 2)
    }

    fn inode(&self, inode: u64) -> Found {
        let at = inode * 32;
        assert_eq!(self.number(at, 2), 1, "extended, plain");
        assert_eq!(self.number(at + 2, 2), 0, "no attributes");
        assert_eq!(self.number(at + 24, 4), u64::from(OWNER.user));
        assert_eq!(self.number(at + 28, 4), u64::from(OWNER.group));
        let (bytes, block) = (self.number(at + 8, 8), self.number(at + 16, 4));
        let start = (block * 512) as usize;
        Found {
            mode: self.number(at + 4, 2) as u16,
            mtime: Mtime {
                seconds: self.number(at + 32, 8) as i64,
                nanoseconds: self.number(at + 40, 4) as u32,
            },
            names: self.number(at + 44, 4) as u32,
            inode,
            content: self.0[start..start + bytes as usize].to_vec(),
        }
    }

    /// The names in a folder, in their order, with inodes and kinds.
    fn list(&self, folder: &Found) -> Vec<(Vec<u8>, u64, u8)> {
        let mut entries = Vec::new();
        for block in folder.content.chunks(512) {
            let reader = Reader(block);
            let count = reader.number(8, 2) / 12;
            for index in 0..count {
                let at = index * 12;
                let start = reader.number(at + 8, 2);
                let end = match index + 1 < count {
                    true => reader.number(at + 20, 2),
                    false => block.len() as u64,
                };
                let name = &block[start as usize..end as usize];
                // The last name of a block ends at the first zero.
                let name = name.split(|byte| *byte == 0).next().unwrap();
                entries.push((
                    name.to_vec(),
                    reader.number(at, 8),
                    reader.number(at + 10, 1) as u8,
                ));
            }
        }
        entries
    }

    fn walk(&self, path: &[u8], inode: u64, above: u64, found: &mut BTreeMap<Vec<u8>, Found>) {
        let folder = self.inode(inode);
        let entries = self.list(&folder);
        assert!(
            entries.is_sorted_by(|a, b| a.0 < b.0),
            "names are looked up by bisection"
        );
        for (name, child, kind) in entries {
            match &*name {
                b"." => assert_eq!(child, inode),
                b".." => assert_eq!(child, above),
                _ => {
                    let path = [path, b"/", &name].concat();
                    match kind {
                        2 => self.walk(&path, child, inode, found),
                        1 | 7 => drop(found.insert(path, self.inode(child))),
                        kind => panic!("kind {kind}"),
                    }
                }
            }
        }
        found.insert(
            path.to_vec(),
            Found {
                content: Vec::new(),
                ..folder
            },
        );
    }
}

/// What a reader is to find in the image of `tree`.
fn expected(tree: &Tree) -> BTreeMap<Vec<u8>, Found> {
    let nodes = tree.nodes();
    let mut paths: Vec<Vec<u8>> = Vec::new();
    let mut found = BTreeMap::new();
    let mut names: HashMap<u32, u32> = HashMap::new();
    let mut roots = 0;
    for (node, index) in nodes.iter().zip(0u32..) {
        let path = match node.parent {
            None => {
                roots += 1;
                format!("/{}", roots - 1).into_bytes()
            }
            Some(parent) => [&*paths[parent as usize], b"/", &*node.name].concat(),
        };
        paths.push(path.clone());
        let inode = match node.kind {
            NodeKind::Hardlink { to } => to,
            _ => index,
        };
        *names.entry(inode).or_default() += 1;
        if node.kind == NodeKind::Directory {
            *names.entry(inode).or_default() += 1;
            *node
                .parent
                .map_or(&mut 0, |parent| names.entry(parent).or_default()) += 1;
        }
        let of = &nodes[inode as usize];
        let (kind, content) = match &of.kind {
            NodeKind::Directory => (0o040_000, Vec::new()),
            NodeKind::Symlink { target } => (0o120_777, target.to_vec()),
            _ => (0o100_000, body(inode, of.size_bytes())),
        };
        found.insert(
            path,
            Found {
                mode: kind | of.mode,
                mtime: of.mtime,
                names: 0,
                inode: 48 + 2 * (u64::from(inode) + 1),
                content,
            },
        );
    }
    for found in found.values_mut() {
        found.names = names[&((found.inode - 50) as u32 / 2)];
    }
    found
}

fn check(tree: &Tree) {
    let image = image(tree);
    let reader = Reader(&image);
    let mut found = BTreeMap::new();
    reader.walk(b"", reader.root(), reader.root(), &mut found);
    let root = found.remove(&b""[..]).unwrap();
    let folders = tree
        .roots()
        .filter(|(root, _)| tree.nodes()[*root as usize].kind == NodeKind::Directory);
    assert_eq!((root.mode, root.names), (0o040_555, 2 + folders.count() as u32));
    assert_eq!(found, expected(tree));
}

proptest! {
    #[test]
    fn an_image_holds_the_tree(roots in drafts()) {
        check(&tree(&roots));
    }
}

#[test]
fn large_folders_and_long_names_take_many_blocks() {
    let file = |index: usize| {
        let name = match index % 2 {
            0 => format!("{index:05}"),
            _ => format!("{index:0255}"),
        };
        (name.into_bytes(), Draft::File(index as u64 % 3))
    };
    check(&tree(&BTreeMap::from([(
        b"large".to_vec(),
        Draft::Folder((0..20_000).map(file).collect()),
    )])));
}

#[test]
fn an_image_of_nothing_is_an_empty_folder() {
    check(&Tree::default());
}

#[test]
fn what_no_image_can_hold_is_told() {
    let one = |name: &[u8], draft: Draft| {
        let folder = BTreeMap::from([(name.to_vec(), draft)]);
        tree(&BTreeMap::from([(b"d".to_vec(), Draft::Folder(folder))]))
    };
    let unfit = |tree: &Tree| Layout::new(tree).err();
    assert_eq!(unfit(&one(&[b'n'; 255], Draft::File(1))), None);
    assert_eq!(unfit(&one(&[b'n'; 256], Draft::File(1))), Some(Unfit::LongName));
    assert_eq!(unfit(&one(b"l", Draft::Link(vec![b't'; 4095]))), None);
    assert_eq!(
        unfit(&one(b"l", Draft::Link(vec![b't'; 4096]))),
        Some(Unfit::LongTarget)
    );
    assert_eq!(unfit(&one(b"f", Draft::File(1 << 40))), None);
    assert_eq!(unfit(&one(b"f", Draft::File(1 << 41))), Some(Unfit::TooLarge));
    assert_eq!(unfit(&one(b"f", Draft::File(u64::MAX))), Some(Unfit::TooLarge));
}
