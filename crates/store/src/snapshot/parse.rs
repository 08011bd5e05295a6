//! Reading snapshots. Their bytes are foreign: allocations are bounded by what is there, and nothing panics.

use super::{ChunkRef, FrameRef, MAGIC, MAX_XATTRS, PackRef, Snapshot, Xattr};
use crate::{
    Codec, FormatError, Mtime, Node, NodeKind, Tree,
    format::{Reader, check_magic},
    tree::MAX_NODES,
};

impl Snapshot {
    /// Reads the stored form. Does not check it against its name: `StoreExt::read` does.
    pub fn parse(stored: &[u8]) -> Result<Self, FormatError> {
        let mut header = Reader(stored);
        check_magic(header.take(MAGIC.len().min(stored.len()))?, MAGIC, "snapshot")?;
        let body_bytes = header.u64()?;
        if body_bytes > Self::max_body_bytes(header.0.len()) {
            return Err(FormatError::invalid(format!(
                "it claims to inflate to {body_bytes} bytes"
            )));
        }
        let body = zstd::bulk::decompress(header.0, body_bytes as usize)
            .map_err(|error| FormatError::invalid(format!("it cannot be inflated: {error}")))?;
        if body.len() as u64 != body_bytes {
            return Err(FormatError::Truncated);
        }
        parse_body(&body)
    }
}

fn parse_body(body: &[u8]) -> Result<Snapshot, FormatError> {
    let mut body = Reader(body);
    let packs = body.count(36)?;
    let packs = body.column(packs, |body| {
        Ok(PackRef {
            id: body.digest()?.into(),
            bytes: body.u32()?,
        })
    })?;
    let frames = body.count(17)?;
    let frames = body.column(frames, |body| {
        Ok(FrameRef {
            pack: body.u32()?,
            offset: body.u32()?,
            stored_bytes: body.u32()?,
            content_bytes: body.u32()?,
            codec: Codec::from_code(body.u8()?)?,
        })
    })?;
    let chunks = body.count(44)?;
    let chunks = body.column(chunks, |body| {
        Ok(ChunkRef {
            frame: body.u32()?,
            offset: body.u32()?,
            bytes: body.u32()?,
            id: body.digest()?.into(),
        })
    })?;
    let tree = Tree::new(parse_nodes(&mut body)?)?;
    let xattrs = body.count_up_to(MAX_XATTRS, 10)?;
    let xattrs = body.column(xattrs, |body| {
        let node = body.u32()?;
        let name_bytes = body.u16()?;
        let value_bytes = body.u32()?;
        Ok(Xattr {
            node,
            name: body.take(name_bytes.into())?.into(),
            value: body.take(value_bytes as usize)?.into(),
        })
    })?;
    body.expect_end()?;
    Snapshot::new(packs, frames, chunks, tree, xattrs)
}

fn parse_nodes(body: &mut Reader<'_>) -> Result<Vec<Node>, FormatError> {
    // Kind, parent, mode, length of the name, time: what every node has.
    let count = body.count_up_to(MAX_NODES, 1 + 4 + 2 + 2 + 12)?;
    let kinds = body.take(count)?;
    let parents = body.column(count, Reader::u32)?;
    let modes = body.column(count, Reader::u16)?;
    let name_lengths = body.column(count, Reader::u16)?;
    let mut nodes = Vec::with_capacity(count);
    for (index, ((back, mode), name_bytes)) in (0u32..).zip(parents.into_iter().zip(modes).zip(name_lengths))
    {
        let parent = match back {
            0 => None,
            back => Some(
                index
                    .checked_sub(back)
                    .ok_or_else(|| FormatError::invalid("a folder lies before the first node"))?,
            ),
        };
        nodes.push(Node {
            parent,
            name: body.take(name_bytes.into())?.into(),
            mode,
            mtime: Mtime::default(),
            kind: NodeKind::Directory,
        });
    }
    for node in &mut nodes {
        node.mtime.seconds = body.i64()?;
    }
    for node in &mut nodes {
        node.mtime.nanoseconds = body.u32()?;
    }
    for (node, kind) in nodes.iter_mut().zip(kinds) {
        node.kind = match kind {
            0 => NodeKind::Directory,
            1 => NodeKind::File {
                size_bytes: body.u64()?,
                // The digests follow all sizes.
                digest: headstart_digest::Digest::from_bytes([0; 32]),
            },
            2 => {
                let target_bytes = body.u16()?;
                NodeKind::Symlink {
                    target: body.take(target_bytes.into())?.into(),
                }
            }
            3 => NodeKind::Hardlink { to: body.u32()? },
            kind => return Err(FormatError::invalid(format!("node kind {kind} is unknown"))),
        };
    }
    for node in &mut nodes {
        if let NodeKind::File { digest, .. } = &mut node.kind {
            *digest = body.digest()?;
        }
    }
    Ok(nodes)
}
