//! Writing snapshots. `docs/design/store-format.md` describes each byte.

use super::{MAGIC, Snapshot};
use crate::{FormatError, Node, NodeKind, format::PutField as _};

/// Higher than that of frames: a snapshot is written once and read by every restore, before anything else.
const ZSTD_LEVEL: i32 = 6;

impl Snapshot {
    /// The stored form. The same snapshot always gives the same bytes. One that could not be read again is an error.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let body = self.encode_body();
        let compressed = zstd::bulk::compress(&body, ZSTD_LEVEL).expect("compressing into memory succeeds");
        let limit = Self::max_body_bytes(compressed.len());
        if body.len() as u64 > limit {
            return Err(FormatError::invalid(format!(
                "its listing has {} bytes; {limit} are the most for one like it",
                body.len()
            )));
        }
        let mut stored = Vec::with_capacity(16 + compressed.len());
        stored.extend_from_slice(MAGIC);
        stored.put_u64(body.len() as u64);
        stored.extend_from_slice(&compressed);
        Ok(stored)
    }

    /// Columns instead of records: like values side by side compress to half the size.
    pub(super) fn encode_body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u32(self.packs.len() as u32);
        for pack in &self.packs {
            body.put_digest(pack.id.digest());
            body.put_u32(pack.bytes);
        }
        body.put_u32(self.frames.len() as u32);
        for frame in &self.frames {
            body.put_u32(frame.pack);
            body.put_u32(frame.offset);
            body.put_u32(frame.stored_bytes);
            body.put_u32(frame.content_bytes);
            body.push(frame.codec.code());
        }
        body.put_u32(self.chunks.len() as u32);
        for chunk in &self.chunks {
            body.put_u32(chunk.frame);
            body.put_u32(chunk.offset);
            body.put_u32(chunk.bytes);
            body.put_digest(chunk.id.digest());
        }
        encode_nodes(self.tree.nodes(), &mut body);
        body.put_u32(self.xattrs.len() as u32);
        for xattr in &self.xattrs {
            body.put_u32(xattr.node);
            body.put_u16(xattr.name.len() as u16);
            body.put_u32(xattr.value.len() as u32);
            body.extend_from_slice(&xattr.name);
            body.extend_from_slice(&xattr.value);
        }
        body
    }
}

fn encode_nodes(nodes: &[Node], body: &mut Vec<u8>) {
    body.put_u32(nodes.len() as u32);
    body.extend(nodes.iter().map(|node| match node.kind {
        NodeKind::Directory => 0,
        NodeKind::File { .. } => 1,
        NodeKind::Symlink { .. } => 2,
        NodeKind::Hardlink { .. } => 3,
    }));
    // How far back the parent is; zero for a root. Small numbers in long runs.
    for (node, index) in nodes.iter().zip(0u32..) {
        body.put_u32(node.parent.map_or(0, |parent| index - parent));
    }
    for node in nodes {
        body.put_u16(node.mode);
    }
    for node in nodes {
        body.put_u16(node.name.len() as u16);
    }
    for node in nodes {
        body.extend_from_slice(&node.name);
    }
    for node in nodes {
        body.put_i64(node.mtime.seconds);
    }
    for node in nodes {
        body.put_u32(node.mtime.nanoseconds);
    }
    for node in nodes {
        match &node.kind {
            NodeKind::Directory => {}
            NodeKind::File { size_bytes, .. } => body.put_u64(*size_bytes),
            NodeKind::Symlink { target } => {
                body.put_u16(target.len() as u16);
                body.extend_from_slice(target);
            }
            NodeKind::Hardlink { to } => body.put_u32(*to),
        }
    }
    for node in nodes {
        if let NodeKind::File { digest, .. } = &node.kind {
            body.put_digest(digest);
        }
    }
}
