//! Snapshots: the listing of a tree, with where the bytes of its files are.
//!
//! The bodies of all regular files, in path order, form one stream; the chunks of the snapshot, in order, are that
//! stream. A chunk lies in a frame, a frame in a pack. So a snapshot can be read with nothing but the store.

mod encode;
mod parse;

use headstart_digest::{ChunkId, PackId};

use crate::{Codec, FormatError, Tree, chunker::MAX_CHUNK_BYTES, frame::MAX_FRAME_BYTES};

/// Format and version of stored snapshots.
const MAGIC: &[u8; 8] = b"hssnap01";
/// The largest body that is written or inflated. In bytes; about ten million files.
const MAX_BODY_BYTES: u64 = 2 << 30;
/// A larger body that claims to inflate further than [`MAX_RATIO`] times is a bomb. In bytes. Smaller ones may: the chunks
/// of a large file of zeros are all the same.
const UNSUSPICIOUS_BODY_BYTES: u64 = 64 << 20;
/// Listings of ordinary trees reach some thirty.
const MAX_RATIO: u64 = 256;
/// The most attributes: each takes several times the memory that it takes in the body.
const MAX_XATTRS: usize = 1 << 24;

/// The listing of a tree, with where the bytes of its files are. Valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    packs: Vec<PackRef>,
    frames: Vec<FrameRef>,
    chunks: Vec<ChunkRef>,
    tree: Tree,
    xattrs: Vec<Xattr>,
}

/// A pack that holds frames of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackRef {
    /// Its name.
    pub id: PackId,
    /// Its length.
    pub bytes: u32,
}

/// A frame that holds chunks of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef {
    /// Index of its pack.
    pub pack: u32,
    /// Where in the pack it starts.
    pub offset: u32,
    /// Its length in the pack.
    pub stored_bytes: u32,
    /// Its length when inflated.
    pub content_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
}

/// The next piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// Index of its frame.
    pub frame: u32,
    /// Where in the inflated frame it starts.
    pub offset: u32,
    /// Its length.
    pub bytes: u32,
    /// Its name.
    pub id: ChunkId,
}

/// An extended attribute of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Index of the node that has it.
    pub node: u32,
    /// Its name, with namespace.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

impl Snapshot {
    /// Puts a snapshot together, checking that its tables agree.
    pub fn new(
        packs: Vec<PackRef>,
        frames: Vec<FrameRef>,
        chunks: Vec<ChunkRef>,
        tree: Tree,
        xattrs: Vec<Xattr>,
    ) -> Result<Self, FormatError> {
        let snapshot = Snapshot {
            packs,
            frames,
            chunks,
            tree,
            xattrs,
        };
        snapshot.check()?;
        Ok(snapshot)
    }

    /// The packs it needs, each once.
    pub fn packs(&self) -> &[PackRef] {
        &self.packs
    }

    /// The frames it needs, each once.
    pub fn frames(&self) -> &[FrameRef] {
        &self.frames
    }

    /// The stream.
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// The listing.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Extended attributes, by node and name.
    pub fn xattrs(&self) -> &[Xattr] {
        &self.xattrs
    }

    /// The most bytes the body of a snapshot may have that takes `compressed_bytes`.
    fn max_body_bytes(compressed_bytes: usize) -> u64 {
        (compressed_bytes as u64)
            .saturating_mul(MAX_RATIO)
            .clamp(UNSUSPICIOUS_BODY_BYTES, MAX_BODY_BYTES)
    }

    fn check(&self) -> Result<(), FormatError> {
        for frame in &self.frames {
            let pack = self
                .packs
                .get(frame.pack as usize)
                .ok_or_else(|| FormatError::invalid("a frame is in an unlisted pack"))?;
            let end = u64::from(frame.offset) + u64::from(frame.stored_bytes);
            if end > u64::from(pack.bytes) {
                return Err(FormatError::invalid("a frame lies beyond the end of its pack"));
            }
            if frame.content_bytes > MAX_FRAME_BYTES || frame.stored_bytes > MAX_FRAME_BYTES {
                return Err(FormatError::invalid("a frame is larger than frames may be"));
            }
        }
        let mut stream_bytes = 0u64;
        for chunk in &self.chunks {
            let frame = self
                .frames
                .get(chunk.frame as usize)
                .ok_or_else(|| FormatError::invalid("a chunk is in an unlisted frame"))?;
            let end = u64::from(chunk.offset) + u64::from(chunk.bytes);
            if end > u64::from(frame.content_bytes) {
                return Err(FormatError::invalid("a chunk lies beyond the end of its frame"));
            }
            if chunk.bytes == 0 || chunk.bytes as usize > MAX_CHUNK_BYTES {
                return Err(FormatError::invalid(
                    "a chunk is empty or larger than chunks may be",
                ));
            }
            stream_bytes += u64::from(chunk.bytes);
        }
        let content_bytes = self.tree.content_bytes();
        if stream_bytes != content_bytes {
            return Err(FormatError::invalid(format!(
                "its files have {content_bytes} bytes, its chunks {stream_bytes}"
            )));
        }
        if self.xattrs.len() > MAX_XATTRS {
            return Err(FormatError::invalid(format!(
                "it lists more than {MAX_XATTRS} attributes"
            )));
        }
        let key = |xattr: &Xattr| (xattr.node, xattr.name.clone());
        if !self.xattrs.is_sorted_by(|a, b| key(a) < key(b)) {
            return Err(FormatError::invalid("its attributes are out of order"));
        }
        if self
            .xattrs
            .iter()
            .any(|xattr| xattr.node as usize >= self.tree.nodes().len() || xattr.name.contains(&0))
        {
            return Err(FormatError::invalid(
                "an attribute belongs to nothing or has no name",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
