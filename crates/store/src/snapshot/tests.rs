use headstart_digest::Digest;
use proptest::prelude::*;

use super::*;
use crate::{Mtime, Node, NodeKind};

/// A folder with a file of two chunks in one frame, a link, a hardlink and an attribute.
fn sample() -> Snapshot {
    let node = |parent, name: &[u8], mode, kind| Node {
        parent,
        name: name.into(),
        mode,
        mtime: Mtime {
            seconds: -1,
            nanoseconds: 999_999_999,
        },
        kind,
    };
    let file = NodeKind::File {
        size_bytes: 30,
        digest: Digest::of(b"f"),
    };
    let link = NodeKind::Symlink {
        target: b"../x"[..].into(),
    };
    let tree = Tree::new(vec![
        node(None, b"d", 0o2755, NodeKind::Directory),
        node(Some(0), b"\xff", 0o644, file),
        Node {
            mtime: Mtime::default(),
            ..node(None, b"e", 0, NodeKind::Hardlink { to: 1 })
        },
        node(None, b"f", 0, link),
    ])
    .unwrap();
    let chunk = |offset, bytes| ChunkRef {
        frame: 0,
        offset,
        bytes,
        id: ChunkId::of(&[offset as u8]),
    };
    Snapshot::new(
        vec![PackRef {
            id: PackId::of(b"p"),
            bytes: 100,
        }],
        vec![FrameRef {
            pack: 0,
            offset: 8,
            stored_bytes: 20,
            content_bytes: 40,
            codec: Codec::Zstd,
        }],
        vec![chunk(10, 20), chunk(0, 10)],
        tree,
        vec![Xattr {
            node: 1,
            name: b"user.a"[..].into(),
            value: b"b"[..].into(),
        }],
    )
    .unwrap()
}

/// A snapshot whose tables were altered after the checks of `new`.
fn altered(alter: impl FnOnce(&mut Snapshot)) -> Result<Snapshot, FormatError> {
    let mut snapshot = sample();
    alter(&mut snapshot);
    Snapshot::parse(&snapshot.encode().unwrap())
}

#[test]
fn a_snapshot_survives_its_stored_form() {
    let snapshot = sample();
    let stored = snapshot.encode().unwrap();
    assert_eq!(Snapshot::parse(&stored).unwrap(), snapshot);
    assert_eq!(
        snapshot.encode().unwrap(),
        stored,
        "the stored form is not deterministic"
    );
}

#[test]
fn tables_that_lie_are_refused() {
    assert!(altered(|snapshot| snapshot.frames[0].pack = 1).is_err());
    assert!(altered(|snapshot| snapshot.frames[0].offset = u32::MAX).is_err());
    assert!(altered(|snapshot| snapshot.frames[0].content_bytes = u32::MAX).is_err());
    assert!(altered(|snapshot| snapshot.chunks[0].frame = 7).is_err());
    assert!(altered(|snapshot| snapshot.chunks[0].offset = u32::MAX).is_err());
    assert!(altered(|snapshot| snapshot.chunks[0].bytes = 0).is_err());
    assert!(altered(|snapshot| snapshot.chunks[0].bytes = 19).is_err());
    assert!(altered(|snapshot| snapshot.xattrs[0].node = 99).is_err());
}

#[test]
fn other_formats_and_versions_are_told_apart() {
    assert_eq!(Snapshot::parse(b""), Err(FormatError::Magic("snapshot")));
    assert_eq!(
        Snapshot::parse(b"hspack01________"),
        Err(FormatError::Magic("snapshot"))
    );
    let mut newer = sample().encode().unwrap();
    newer[7] = b'2';
    assert!(matches!(
        Snapshot::parse(&newer),
        Err(FormatError::Version { .. })
    ));
}

/// A file of zeros: one chunk, named again and again. Its listing compresses a thousand times.
#[test]
fn what_was_written_can_be_read_however_well_it_compresses() {
    let mut snapshot = sample();
    let chunks = 50_000;
    snapshot.chunks = vec![snapshot.chunks[0]; chunks];
    let mut nodes = snapshot.tree.clone().into_nodes();
    let NodeKind::File { size_bytes, .. } = &mut nodes[1].kind else {
        panic!("the sample has another order");
    };
    *size_bytes = 20 * chunks as u64;
    snapshot.tree = Tree::new(nodes).unwrap();
    let stored = snapshot.encode().unwrap();
    assert!(stored.len() < 50_000 * 44 / 256, "{} bytes", stored.len());
    assert_eq!(Snapshot::parse(&stored).unwrap(), snapshot);
}

#[test]
fn more_nodes_than_memory_is_meant_for_are_refused_unread() {
    let mut body = [0u32; 3].map(u32::to_le_bytes).concat();
    body.extend_from_slice(&(crate::tree::MAX_NODES as u32 + 1).to_le_bytes());
    let error = Snapshot::parse(&stored(&body)).unwrap_err();
    assert!(matches!(error, FormatError::Invalid(_)), "{error}");
}

#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let mut bomb = MAGIC.to_vec();
    bomb.extend_from_slice(&(1u64 << 31).to_le_bytes());
    bomb.extend_from_slice(&zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap());
    assert!(Snapshot::parse(&bomb).is_err());
}

/// Wraps a body as `encode` does, so that damage gets past the decompressor.
fn stored(body: &[u8]) -> Vec<u8> {
    let mut stored = MAGIC.to_vec();
    stored.extend_from_slice(&(body.len() as u64).to_le_bytes());
    stored.extend_from_slice(&zstd::bulk::compress(body, 1).unwrap());
    stored
}

#[test]
fn every_truncation_is_an_error() {
    let body = sample().encode_body();
    for bytes in 0..body.len() {
        assert!(
            Snapshot::parse(&stored(&body[..bytes])).is_err(),
            "{bytes} bytes were taken"
        );
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_or_another_valid_snapshot(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut body = sample().encode_body();
        for (index, value) in changes {
            let index = index.index(body.len());
            body[index] = value;
        }
        if let Ok(snapshot) = Snapshot::parse(&stored(&body)) {
            prop_assert_eq!(snapshot.encode_body(), body);
        }
    }

    #[test]
    fn noise_is_an_error(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Snapshot::parse(&stored(&noise)).is_err());
        prop_assert!(Snapshot::parse(&noise).is_err());
    }
}
