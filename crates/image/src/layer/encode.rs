//! A layer as bytes, for a cache.
//!
//! ```text
//! magic "hslayr01" | length of the body u64 | body, compressed by zstd | BLAKE3 of all before
//!
//! body: diff ID 32 | tar bytes u64 | counts of names (bytes), contents, records u32
//!       names | contents, 32 each | records, 53 each: the fields of `Record` in their order
//! ```
//!
//! Numbers are little-endian. What is read is checked, so that a damaged cache is a miss and nothing worse.

use headstart_digest::Digest;

use super::{
    Layer, NO_CONTENT, Record, RecordKind,
    build::{MAX_ENTRIES, MAX_NAME_BYTES},
};
use crate::{ContentId, DiffId};

const MAGIC: &[u8; 8] = b"hslayr01";
/// Part of the names in a cache, so that versions live side by side.
pub(crate) const FORMAT: &str = "v2";
const RECORD_BYTES: usize = 53;
/// Speed matters more than size: a cache is read at each analysis.
const ZSTD_LEVEL: i32 = 1;
/// Digests do not compress, the rest does well.
const MAX_BODY_BYTES: u64 = (MAX_NAME_BYTES + MAX_ENTRIES * (RECORD_BYTES + 2 * 32)) as u64 + 64;

impl Layer {
    /// The layer as bytes for a cache; nothing when it cannot be compressed for lack of memory.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(
            64 + self.names.len() + self.contents.len() * 32 + self.records.len() * RECORD_BYTES,
        );
        body.extend_from_slice(self.diff_id.as_bytes());
        body.extend_from_slice(&self.tar_bytes.to_le_bytes());
        for count in [self.names.len(), self.contents.len(), self.records.len()] {
            body.extend_from_slice(&(count as u32).to_le_bytes());
        }
        body.extend_from_slice(&self.names);
        for content in &self.contents {
            body.extend_from_slice(content.as_bytes());
        }
        for record in &self.records {
            record.encode(&mut body);
        }
        let mut bytes = [&MAGIC[..], &(body.len() as u64).to_le_bytes()].concat();
        bytes.extend(zstd::bulk::compress(&body, ZSTD_LEVEL).ok()?);
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Some(bytes)
    }

    /// The layer of such bytes; nothing when they are damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Layer> {
        let (front, digest) = bytes.split_last_chunk::<{ Digest::LEN }>()?;
        if Digest::of(front).as_bytes() != digest {
            return None;
        }
        let mut front = Fields(front.strip_prefix(MAGIC)?);
        let length = front.u64().filter(|&length| length <= MAX_BODY_BYTES)?;
        let body = zstd::bulk::decompress(front.0, length as usize).ok()?;
        Self::decode_body(&body)
    }

    fn decode_body(body: &[u8]) -> Option<Layer> {
        let mut fields = Fields(body);
        let diff_id = DiffId::from(fields.array()?);
        let tar_bytes = fields.u64()?;
        let (names, contents, records) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let names = fields.take(names as usize)?.to_vec();
        let contents = fields.take((contents as usize).checked_mul(32)?)?;
        let contents: Vec<_> = contents
            .as_chunks::<32>()
            .0
            .iter()
            .map(|&bytes| ContentId::from(bytes))
            .collect();
        let rows = fields.take((records as usize).checked_mul(RECORD_BYTES)?)?;
        let rows = rows.chunks_exact(RECORD_BYTES);
        let records: Vec<_> = rows
            .map(|row| Record::decode(row).filter(|record| record.fits(names.len(), contents.len())))
            .collect::<Option<_>>()?;
        fields.0.is_empty().then_some(Layer {
            diff_id,
            tar_bytes,
            names,
            contents,
            records,
        })
    }
}

impl Record {
    fn encode(&self, to: &mut Vec<u8>) {
        for number in [self.path_at, self.link_at, self.link_end] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.push(self.kind as u8);
        for number in [self.mode, self.uid, self.gid, self.mtime_nanoseconds] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.mtime_seconds.to_le_bytes());
        to.extend_from_slice(&self.size.to_le_bytes());
        to.extend_from_slice(&self.content.to_le_bytes());
        to.extend_from_slice(&self.attributes.to_le_bytes());
    }

    fn decode(row: &[u8]) -> Option<Record> {
        let mut fields = Fields(row);
        Some(Record {
            path_at: fields.u32()?,
            link_at: fields.u32()?,
            link_end: fields.u32()?,
            kind: match fields.array::<1>()?[0] {
                0 => RecordKind::File,
                1 => RecordKind::HardLink,
                2 => RecordKind::Symlink,
                3 => RecordKind::Folder,
                4 => RecordKind::CharDevice,
                5 => RecordKind::BlockDevice,
                6 => RecordKind::Fifo,
                7 => RecordKind::Whiteout,
                8 => RecordKind::Opaque,
                _ => return None,
            },
            mode: fields.u32()?,
            uid: fields.u32()?,
            gid: fields.u32()?,
            mtime_nanoseconds: fields.u32()?,
            mtime_seconds: fields.u64()?.cast_signed(),
            size: fields.u64()?,
            content: fields.u32()?,
            attributes: fields.u32()?,
        })
    }

    /// Whether what it points at is there.
    fn fits(&self, names: usize, contents: usize) -> bool {
        let has = |index: u32| (index as usize) < contents;
        self.path_at <= self.link_at
            && self.link_at <= self.link_end
            && self.link_end as usize <= names
            && (self.kind != RecordKind::File || has(self.content))
            && (self.attributes == NO_CONTENT || has(self.attributes))
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
