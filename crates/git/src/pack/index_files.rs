//! The `.idx` (version 2) and `.rev` (version 1) files of a pack, byte for byte as git writes them.

use std::io::{self, BufWriter, Write};

use gix::{ObjectId, hash::Hasher};
use rayon::slice::ParallelSliceMut as _;

use super::schedule::Entry;

/// Offsets from here on go to the table of 64-bit offsets.
const LARGE_OFFSET: u64 = 1 << 31;

/// Positions of `entries` (which are in pack order) in the order of the index: by id.
pub(super) fn index_order(entries: &[Entry]) -> Vec<u32> {
    // Ids are random: the first bytes decide nearly every comparison, without going to the entries.
    let prefix = |entry: &Entry| {
        entry
            .id
            .as_slice()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_be_bytes)
    };
    let mut keys: Vec<(u64, u32)> = entries.iter().map(prefix).zip(0..).collect();
    keys.par_sort_unstable_by(|left, right| {
        left.0
            .cmp(&right.0)
            .then_with(|| entries[left.1 as usize].id.cmp(&entries[right.1 as usize].id))
            .then_with(|| left.1.cmp(&right.1))
    });
    keys.into_iter().map(|(_, at)| at).collect()
}

/// Writes the index of the pack with checksum `pack`.
pub(super) fn write_idx(out: impl Write, entries: &[Entry], order: &[u32], pack: ObjectId) -> io::Result<()> {
    let mut out = HashedWriter::new(out);
    out.put(b"\xfftOc")?;
    out.put(&2_u32.to_be_bytes())?;
    let sorted = || order.iter().map(|&at| &entries[at as usize]);
    let mut counts = [0_u32; 256];
    for entry in entries {
        counts[usize::from(entry.id.as_slice()[0])] += 1;
    }
    let mut total = 0;
    for count in counts {
        total += count;
        out.put(&total.to_be_bytes())?;
    }
    for entry in sorted() {
        out.put(entry.id.as_slice())?;
    }
    for entry in sorted() {
        out.put(&entry.crc.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for entry in sorted() {
        let word = if entry.offset < LARGE_OFFSET {
            entry.offset as u32
        } else {
            large.push(entry.offset);
            LARGE_OFFSET as u32 | (large.len() - 1) as u32
        };
        out.put(&word.to_be_bytes())?;
    }
    for offset in large {
        out.put(&offset.to_be_bytes())?;
    }
    out.finish(pack)
}

/// Writes the reverse index: the index position of each entry, in pack order.
pub(super) fn write_rev(out: impl Write, order: &[u32], pack: ObjectId) -> io::Result<()> {
    let mut positions = vec![0_u32; order.len()];
    for (&at, position) in order.iter().zip(0..) {
        positions[at as usize] = position;
    }
    let mut out = HashedWriter::new(out);
    out.put(b"RIDX")?;
    out.put(&1_u32.to_be_bytes())?;
    let hash_is_sha1 = 1_u32;
    out.put(&hash_is_sha1.to_be_bytes())?;
    for position in positions {
        out.put(&position.to_be_bytes())?;
    }
    out.finish(pack)
}

/// Buffers, hashes what passes, and ends the file with two checksums: that of the pack and its own.
struct HashedWriter<W: Write>(BufWriter<Tee<W>>);

struct Tee<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> HashedWriter<W> {
    fn new(out: W) -> Self {
        let hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        HashedWriter(BufWriter::with_capacity(128 << 10, Tee { out, hasher }))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(mut self, pack: ObjectId) -> io::Result<()> {
        self.put(pack.as_slice())?;
        let Tee { mut out, hasher } = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        let checksum = hasher.try_finalize().map_err(io::Error::other)?;
        out.write_all(checksum.as_slice())
    }
}
