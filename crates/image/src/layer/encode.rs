//! A layer as bytes, for a cache.
//!
//! ```text
//! magic "hslayr03" | a zstd frame | BLAKE3 of all before
//!
//! in the frame: diff ID 32 | tar bytes u64 | counts of names (bytes), contents, owners, records u32
//!               names | contents, 32 each | owners, 41 each | records, 37 each: fields in their order
//! ```
//!
//! Numbers are little-endian. What is read is checked, so that a damaged cache is a miss and nothing worse. Nothing is ever in
//! memory twice.

use std::io::{self, Read, Write};

use headstart_digest::Digest;

use super::{Layer, NO_CONTENT, Owner, Record, RecordKind, build::MAX_LAYER_BYTES};
use crate::{ContentId, DiffId};

const MAGIC: &[u8; 8] = b"hslayr03";
/// Part of the names in a cache, so that versions live side by side.
pub(crate) const FORMAT: &str = "v3";
const OWNER_BYTES: usize = 41;
const RECORD_BYTES: usize = 37;
/// Speed matters more than size: a cache is read at each analysis.
const ZSTD_LEVEL: i32 = 1;

impl Layer {
    /// The layer as bytes for a cache; nothing when it cannot be compressed for lack of memory.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = self.compress().ok()?;
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Some(bytes)
    }

    fn compress(&self) -> io::Result<Vec<u8>> {
        let mut to = zstd::Encoder::new(MAGIC.to_vec(), ZSTD_LEVEL)?;
        to.write_all(self.diff_id.as_bytes())?;
        to.write_all(&self.tar_bytes.to_le_bytes())?;
        let counts = [
            self.names.len(),
            self.contents.len(),
            self.owners.len(),
            self.records.len(),
        ];
        for count in counts {
            to.write_all(&(count as u32).to_le_bytes())?;
        }
        to.write_all(&self.names)?;
        for content in &self.contents {
            to.write_all(content.as_bytes())?;
        }
        for owner in &self.owners {
            to.write_all(&owner.encode())?;
        }
        for record in &self.records {
            to.write_all(&record.encode())?;
        }
        to.finish()
    }

    /// The layer of such bytes; nothing when they are damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Layer> {
        let (front, digest) = bytes.split_last_chunk::<{ Digest::LEN }>()?;
        if Digest::of(front).as_bytes() != digest {
            return None;
        }
        let frame = front.strip_prefix(MAGIC)?;
        Self::decode_body(zstd::Decoder::with_buffer(frame).ok()?)
    }

    fn decode_body(mut from: impl Read) -> Option<Layer> {
        let diff_id = DiffId::from(array(&mut from)?);
        let tar_bytes = u64::from_le_bytes(array(&mut from)?);
        let mut counts = [0; 4];
        for count in &mut counts {
            *count = u32::from_le_bytes(array(&mut from)?) as usize;
        }
        let [names_length, contents, owners, records] = counts;
        let bytes = names_length + contents * 32 + owners * OWNER_BYTES + records * RECORD_BYTES;
        if bytes as u64 > MAX_LAYER_BYTES {
            return None;
        }
        let mut names = vec![0; names_length];
        from.read_exact(&mut names).ok()?;
        let contents = rows(&mut from, contents, |row: [u8; 32]| Some(ContentId::from(row)))?;
        let owners = rows(&mut from, owners, Owner::decode)?;
        let records = rows(&mut from, records, Record::decode)?;
        let is_at_end = from.read(&mut [0]).ok()? == 0;
        let layer = Layer {
            diff_id,
            tar_bytes,
            names,
            contents,
            owners,
            records,
        };
        (is_at_end && layer.fits()).then_some(layer)
    }

    /// Whether what the records point at is there.
    fn fits(&self) -> bool {
        let ends = self.records.iter().skip(1).map(|record| record.path_at as usize);
        let ends = ends.chain([self.names.len()]);
        let starts_at_the_start = self.records.first().is_none_or(|record| record.path_at == 0);
        starts_at_the_start
            && self.records.iter().zip(ends).all(|(record, end)| {
                let path_end = record.path_at as usize + usize::from(record.path_length);
                let has_content = record.kind != RecordKind::File
                    || (record.content != NO_CONTENT && (record.content as usize) < self.contents.len());
                path_end <= end
                    && end <= self.names.len()
                    && has_content
                    && (record.owner as usize) < self.owners.len()
            })
    }
}

fn rows<const N: usize, T>(
    from: &mut impl Read,
    count: usize,
    decode: impl Fn([u8; N]) -> Option<T>,
) -> Option<Vec<T>> {
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(decode(array(from)?)?);
    }
    Some(rows)
}

fn array<const N: usize>(from: &mut impl Read) -> Option<[u8; N]> {
    let mut array = [0; N];
    from.read_exact(&mut array).ok()?;
    Some(array)
}

impl Owner {
    fn encode(&self) -> [u8; OWNER_BYTES] {
        let mut row = [0; OWNER_BYTES];
        row[..4].copy_from_slice(&self.uid.to_le_bytes());
        row[4..8].copy_from_slice(&self.gid.to_le_bytes());
        if let Some(attributes) = self.attributes {
            row[8] = 1;
            row[9..].copy_from_slice(attributes.as_bytes());
        }
        row
    }

    fn decode(row: [u8; OWNER_BYTES]) -> Option<Owner> {
        let mut fields = Fields(&row);
        Some(Owner {
            uid: u32::from_le_bytes(fields.array()?),
            gid: u32::from_le_bytes(fields.array()?),
            attributes: match fields.array()? {
                [0] => None,
                [1] => Some(ContentId::from(fields.array()?)),
                _ => return None,
            },
        })
    }
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut row = [0; RECORD_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            row[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&self.mtime_seconds.to_le_bytes());
        put(&self.size.to_le_bytes());
        put(&self.path_at.to_le_bytes());
        put(&self.mtime_nanoseconds.to_le_bytes());
        put(&self.owner.to_le_bytes());
        put(&self.content.to_le_bytes());
        put(&self.path_length.to_le_bytes());
        put(&self.mode.to_le_bytes());
        put(&[self.kind as u8]);
        row
    }

    fn decode(row: [u8; RECORD_BYTES]) -> Option<Record> {
        let mut fields = Fields(&row);
        Some(Record {
            mtime_seconds: i64::from_le_bytes(fields.array()?),
            size: u64::from_le_bytes(fields.array()?),
            path_at: u32::from_le_bytes(fields.array()?),
            mtime_nanoseconds: u32::from_le_bytes(fields.array()?),
            owner: u32::from_le_bytes(fields.array()?),
            content: u32::from_le_bytes(fields.array()?),
            path_length: u16::from_le_bytes(fields.array()?),
            mode: u16::from_le_bytes(fields.array()?),
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
        })
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{TarMaker, scan};

    fn body() -> Vec<u8> {
        let tar = TarMaker::new()
            .pax(&[("SCHILY.xattr.user.x", "1")])
            .file("a/x", &[3; 5])
            .hard_link("b", "a/x")
            .symlink("c", "b")
            .of_type(b'3', "null", "");
        let bytes = scan(&tar.finish()).encode().unwrap();
        zstd::decode_all(&bytes[MAGIC.len()..bytes.len() - Digest::LEN]).unwrap()
    }

    #[test]
    fn a_layer_survives_its_cache_and_damage_is_noticed() {
        let tar = TarMaker::new()
            .folder("a")
            .pax(&[("SCHILY.xattr.user.x", "1")])
            .file("a/x", &[3; 500])
            .hard_link("b", "a/x")
            .symlink("c", "b")
            .of_type(b'3', "null", "")
            .file("a/.wh.y", b"")
            .finish();
        let layer = scan(&tar);
        let bytes = layer.encode().unwrap();
        assert_eq!(Layer::decode(&bytes).as_ref(), Some(&layer));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Layer::decode(&damaged).is_none(), "byte {at}");
            assert!(Layer::decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_changed_body_is_a_layer_that_can_be_used_or_none(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            length in any::<prop::sample::Index>(),
            is_cut: bool,
        ) {
            let mut body = body();
            for (at, byte) in changes {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if is_cut {
                body.truncate(length.index(body.len()));
            }
            if let Some(layer) = Layer::decode_body(&body[..]) {
                prop_assert_eq!(layer.entries().count(), layer.entry_count());
            }
        }
    }
}
