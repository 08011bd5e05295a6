//! Packs: frames one after the other, and a footer that says which chunks they hold.
//!
//! A snapshot finds its frames without the footer; the footer makes a pack explain itself, so that an index of chunks
//! can be made, and a pack verified, from packs alone.

use bytes::Bytes;
use headstart_digest::ChunkId;

use crate::{
    Codec, FormatError,
    chunker::MAX_CHUNK_BYTES,
    format::{PutField as _, Reader, check_magic},
    frame::{self, MAX_FRAME_BYTES},
};

/// Format and version of packs, their first bytes.
const MAGIC: &[u8; 8] = b"hspack01";
/// The last bytes of a pack.
const END_MAGIC: &[u8; 4] = b"kcap";
/// Length of the trailer: length of the footer, end magic.
const TRAILER_BYTES: usize = 8;
/// A pack is closed when it holds this many bytes of frames.
const PACK_TARGET_BYTES: usize = 16 << 20;

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackTable {
    /// Its frames, in order.
    pub frames: Vec<PackFrame>,
}

/// A frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFrame {
    /// Where in the pack it starts.
    pub offset: u32,
    /// Its length in the pack.
    pub stored_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
    /// The chunks in it, in order: together they are its content.
    pub chunks: Vec<PackChunk>,
}

/// A chunk of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackChunk {
    /// Its name.
    pub id: ChunkId,
    /// Its length.
    pub bytes: u32,
}

/// What the last bytes of a pack tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackTail {
    /// The whole table.
    Table(PackTable),
    /// The table starts earlier: so many last bytes are needed.
    NeedsBytes(u64),
}

impl PackFrame {
    /// Its length when inflated.
    pub fn content_bytes(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }
}

impl PackTable {
    /// Reads the table from `tail`, the last bytes of a pack of `pack_bytes` bytes.
    pub fn parse_tail(tail: &[u8], pack_bytes: u64) -> Result<PackTail, FormatError> {
        let smallest = (MAGIC.len() + 4 + TRAILER_BYTES) as u64;
        if pack_bytes < smallest {
            return Err(FormatError::Truncated);
        }
        let Some((rest, trailer)) = tail.split_last_chunk::<TRAILER_BYTES>() else {
            return Ok(PackTail::NeedsBytes(smallest));
        };
        let mut trailer = Reader(trailer);
        let footer_bytes = trailer.u32()?;
        if trailer.0 != END_MAGIC {
            return Err(FormatError::Magic("pack"));
        }
        let frames_end = pack_bytes
            .checked_sub(TRAILER_BYTES as u64 + u64::from(footer_bytes))
            .filter(|end| *end >= MAGIC.len() as u64)
            .ok_or(FormatError::Truncated)?;
        match rest.len().checked_sub(footer_bytes as usize) {
            Some(start) => {
                let table = Self::parse_footer(&rest[start..])?;
                if table.frames_end() != frames_end {
                    return Err(FormatError::invalid(
                        "its frames do not end where its footer starts",
                    ));
                }
                Ok(PackTail::Table(table))
            }
            None => Ok(PackTail::NeedsBytes(pack_bytes - frames_end)),
        }
    }

    /// Reads the table of a whole pack. Inflates nothing.
    pub fn parse(pack: &[u8]) -> Result<Self, FormatError> {
        check_magic(&pack[..MAGIC.len().min(pack.len())], MAGIC, "pack")?;
        match Self::parse_tail(pack, pack.len() as u64)? {
            PackTail::Table(table) => Ok(table),
            PackTail::NeedsBytes(_) => Err(FormatError::Truncated),
        }
    }

    /// Reads the table of a whole pack and checks every chunk in it against its name.
    pub fn verify(pack: &Bytes) -> Result<Self, FormatError> {
        let table = Self::parse(pack)?;
        for entry in &table.frames {
            let start = entry.offset as usize;
            let stored = pack.slice(start..start + entry.stored_bytes as usize);
            let content = frame::decode(entry.codec, stored, entry.content_bytes())?;
            let mut rest = &content[..];
            for chunk in &entry.chunks {
                let (bytes, later) = rest
                    .split_at_checked(chunk.bytes as usize)
                    .ok_or(FormatError::Truncated)?;
                frame::check_chunk(&chunk.id, bytes)?;
                rest = later;
            }
        }
        Ok(table)
    }

    pub(crate) fn parse_footer(footer: &[u8]) -> Result<Self, FormatError> {
        let mut footer = Reader(footer);
        let count = footer.count(9)?;
        let mut offset = MAGIC.len() as u64;
        let frames = footer.column(count, |footer| {
            let stored_bytes = footer.u32()?;
            let codec = Codec::from_code(footer.u8()?)?;
            let count = footer.count(36)?;
            let chunks = footer.column(count, |footer| {
                let bytes = footer.u32()?;
                if bytes == 0 || bytes as usize > MAX_CHUNK_BYTES {
                    return Err(FormatError::invalid(
                        "a chunk is empty or larger than chunks may be",
                    ));
                }
                let id = footer.digest()?.into();
                Ok(PackChunk { id, bytes })
            })?;
            let content_bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
            if stored_bytes > MAX_FRAME_BYTES || content_bytes > u64::from(MAX_FRAME_BYTES) {
                return Err(FormatError::invalid("a frame is larger than frames may be"));
            }
            let frame = PackFrame {
                offset: u32::try_from(offset).map_err(|_| FormatError::Truncated)?,
                stored_bytes,
                codec,
                chunks,
            };
            offset += u64::from(stored_bytes);
            Ok(frame)
        })?;
        footer.expect_end()?;
        Ok(PackTable { frames })
    }

    pub(crate) fn encode_footer(&self) -> Vec<u8> {
        let mut footer = Vec::new();
        footer.put_u32(self.frames.len() as u32);
        for frame in &self.frames {
            footer.put_u32(frame.stored_bytes);
            footer.push(frame.codec.code());
            footer.put_u32(frame.chunks.len() as u32);
            for chunk in &frame.chunks {
                footer.put_u32(chunk.bytes);
                footer.put_digest(chunk.id.digest());
            }
        }
        footer
    }

    fn frames_end(&self) -> u64 {
        let last = self.frames.last();
        last.map_or(MAGIC.len() as u64, |frame| {
            u64::from(frame.offset) + u64::from(frame.stored_bytes)
        })
    }
}

/// Puts a pack together.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
    table: PackTable,
}

impl PackBuilder {
    pub(crate) fn new() -> Self {
        PackBuilder {
            bytes: MAGIC.to_vec(),
            table: PackTable::default(),
        }
    }

    /// Appends a frame and returns its offset.
    pub(crate) fn push(&mut self, codec: Codec, stored: &[u8], chunks: Vec<PackChunk>) -> u32 {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(stored);
        self.table.frames.push(PackFrame {
            offset,
            stored_bytes: stored.len() as u32,
            codec,
            chunks,
        });
        offset
    }

    pub(crate) fn table(&self) -> &PackTable {
        &self.table
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.frames.is_empty()
    }

    /// True when it is time to close it.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_TARGET_BYTES
    }

    /// Adds the footer.
    pub(crate) fn finish(self) -> Bytes {
        let mut bytes = self.bytes;
        let footer = self.table.encode_footer();
        bytes.extend_from_slice(&footer);
        bytes.put_u32(footer.len() as u32);
        bytes.extend_from_slice(END_MAGIC);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (Bytes, PackTable) {
        let mut builder = PackBuilder::new();
        for frame in [["one", "two"], ["three", "four"]] {
            let chunks = frame
                .iter()
                .map(|text| PackChunk {
                    id: ChunkId::of(text.as_bytes()),
                    bytes: text.len() as u32,
                })
                .collect();
            let (codec, stored) = frame::encode(frame.concat().into_bytes());
            builder.push(codec, &stored, chunks);
        }
        let table = builder.table.clone();
        (builder.finish(), table)
    }

    #[test]
    fn a_pack_explains_itself() {
        let (pack, table) = sample();
        assert_eq!(PackTable::verify(&pack).unwrap(), table);
    }

    #[test]
    fn the_tail_of_a_pack_suffices() {
        let (pack, table) = sample();
        let bytes = pack.len() as u64;
        let tail = |count: u64| &pack[(bytes - count) as usize..];
        let mut count = 1;
        loop {
            match PackTable::parse_tail(tail(count), bytes).unwrap() {
                PackTail::NeedsBytes(needed) => {
                    assert!(needed > count);
                    count = needed;
                }
                PackTail::Table(found) => break assert_eq!(found, table),
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_chunk_is_found() {
        let (pack, table) = sample();
        let mut damaged = pack.to_vec();
        damaged[table.frames[1].offset as usize] ^= 1;
        assert!(PackTable::parse(&damaged).is_ok());
        assert!(PackTable::verify(&damaged.into()).is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            index: prop::sample::Index, value: u8, keep: prop::sample::Index,
        ) {
            let mut damaged = sample().0.to_vec();
            let index = index.index(damaged.len());
            damaged[index] = value;
            damaged.truncate(keep.index(damaged.len()) + 1);
            let _ = PackTable::verify(&damaged.into());
        }
    }
}
