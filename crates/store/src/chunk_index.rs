//! Which chunks a store has, and where: what a save deduplicates against.
//!
//! The index is a hint. A save confirms every pack it took from here before it publishes a snapshot that names it.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use headstart_digest::{ChunkId, Digest, PackId};
use headstart_fs::publish::{self, Durability};

use crate::{
    ContentId, ContentKind, FormatError, FrameRef, PackRef, PackTable, PackTail, PruneStore, Runtime,
    Snapshot, Store, StoreError, StoreExt as _,
    format::{PutField as _, checked_body},
};

/// Format and version of the cached index.
const MAGIC: &[u8; 8] = b"hsindx01";
/// Most footers are shorter. In bytes.
const TAIL_GUESS_BYTES: u64 = 32 << 10;

/// Which chunks a store has, and where.
#[derive(Debug, Default)]
pub struct ChunkIndex {
    packs: Vec<PackRef>,
    /// With an index into `packs`.
    frames: Vec<FrameRef>,
    chunks: HashMap<ChunkId, Place>,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy)]
struct Place {
    frame: u32,
    offset: u32,
}

/// Where a chunk is, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pack: PackRef,
    pub(crate) frame: FrameRef,
    /// Where in the inflated frame it starts.
    pub(crate) offset: u32,
}

impl ChunkIndex {
    /// Loads the index kept at `cache_file`, brings it in line with the packs `store` has, and keeps the result.
    ///
    /// The file is a cache: missing, damaged or unwritable it only costs reading the packs' footers. Processes may do
    /// this at the same time; the last one's file stays.
    pub fn load(cache_file: &Path, store: &dyn PruneStore, runtime: &Runtime) -> Result<Self, StoreError> {
        let present: HashMap<PackId, u64> = runtime
            .block_on(store.list_content(ContentKind::Pack))?
            .into_iter()
            .filter_map(|(id, bytes, _)| match id {
                ContentId::Pack(id) => Some((id, bytes)),
                ContentId::Snapshot(_) => None,
            })
            .collect();
        let cached = std::fs::read(cache_file)
            .ok()
            .and_then(|bytes| parse_cache(&bytes).ok())
            .unwrap_or_default();
        let cached_packs = cached.len();
        let mut tables: Vec<(PackRef, PackTable)> = cached
            .into_iter()
            .filter(|(pack, _)| present.get(&pack.id) == Some(&pack.bytes.into()))
            .collect();
        let known: HashSet<PackId> = tables.iter().map(|(pack, _)| pack.id).collect();
        let mut changed = tables.len() != cached_packs;
        for (id, bytes) in present {
            if known.contains(&id) {
                continue;
            }
            // A pack that cannot be read is no use here; restoring and verifying report it.
            if let (Ok(table), Ok(bytes)) = (read_table(id, bytes, store, runtime), u32::try_from(bytes)) {
                tables.push((PackRef { id, bytes }, table));
                changed = true;
            }
        }
        if changed {
            // Without it the next load is slower, no more.
            let _ = publish::replace(cache_file, &encode_cache(&tables), Durability::Cached);
        }
        let mut index = ChunkIndex::default();
        for (pack, table) in &tables {
            index.add_pack(*pack, table);
        }
        Ok(index)
    }

    /// Number of packs known.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Number of chunks known.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn find(&self, id: &ChunkId) -> Option<Found> {
        let place = self.chunks.get(id)?;
        let frame = self.frames[place.frame as usize];
        Some(Found {
            pack: self.packs[frame.pack as usize],
            frame,
            offset: place.offset,
        })
    }

    /// Adds what a pack holds.
    pub(crate) fn add_pack(&mut self, pack: PackRef, table: &PackTable) {
        let pack_index = self.packs.len() as u32;
        self.packs.push(pack);
        for frame in &table.frames {
            let frame_index = self.frames.len() as u32;
            self.frames.push(FrameRef {
                pack: pack_index,
                offset: frame.offset,
                stored_bytes: frame.stored_bytes,
                content_bytes: frame.content_bytes(),
                codec: frame.codec,
            });
            let mut offset = 0;
            for chunk in &frame.chunks {
                self.chunks.insert(
                    chunk.id,
                    Place {
                        frame: frame_index,
                        offset,
                    },
                );
                offset += chunk.bytes;
            }
        }
    }

    /// Adds what a snapshot refers to.
    pub(crate) fn add_snapshot(&mut self, snapshot: &Snapshot) {
        let first_pack = self.packs.len() as u32;
        let first_frame = self.frames.len() as u32;
        self.packs.extend_from_slice(snapshot.packs());
        self.frames.extend(snapshot.frames().iter().map(|frame| FrameRef {
            pack: first_pack + frame.pack,
            ..*frame
        }));
        for chunk in snapshot.chunks() {
            self.chunks.entry(chunk.id).or_insert(Place {
                frame: first_frame + chunk.frame,
                offset: chunk.offset,
            });
        }
    }
}

fn read_table(id: PackId, bytes: u64, store: &dyn Store, runtime: &Runtime) -> Result<PackTable, StoreError> {
    let corrupt = |error: FormatError| error.in_store(ContentId::Pack(id), store.location());
    let mut count = TAIL_GUESS_BYTES.min(bytes);
    loop {
        let tail = runtime.block_on(store.read_range(ContentId::Pack(id), bytes - count..bytes))?;
        match PackTable::parse_tail(&tail, bytes).map_err(corrupt)? {
            PackTail::Table(table) => return Ok(table),
            PackTail::NeedsBytes(needed) if needed > count && needed <= bytes => count = needed,
            PackTail::NeedsBytes(_) => return Err(corrupt(FormatError::Truncated)),
        }
    }
}

/// Each pack is kept as its name, its length and its footer, the whole followed by its digest.
fn encode_cache(tables: &[(PackRef, PackTable)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32(tables.len() as u32);
    for (pack, table) in tables {
        let footer = table.encode_footer();
        bytes.put_digest(pack.id.digest());
        bytes.put_u32(pack.bytes);
        bytes.put_u32(footer.len() as u32);
        bytes.extend_from_slice(&footer);
    }
    let digest = Digest::of(&bytes);
    bytes.put_digest(&digest);
    bytes
}

fn parse_cache(bytes: &[u8]) -> Result<Vec<(PackRef, PackTable)>, FormatError> {
    let mut body = checked_body(bytes, MAGIC, "chunk index")?;
    let count = body.count(40)?;
    let tables = body.column(count, |body| {
        let pack = PackRef {
            id: body.digest()?.into(),
            bytes: body.u32()?,
        };
        let footer_bytes = body.u32()?;
        let table = PackTable::parse_footer(body.take(footer_bytes as usize)?)?;
        Ok((pack, table))
    })?;
    body.expect_end()?;
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, noise, write};

    fn load(bench: &Bench) -> ChunkIndex {
        let cache = bench.temp.path().join("index");
        ChunkIndex::load(&cache, &bench.store.inner, &bench.runtime).unwrap()
    }

    #[test]
    fn the_index_follows_the_packs_with_and_without_its_cache() {
        let bench = Bench::new();
        let cache = bench.temp.path().join("index");
        assert_eq!(load(&bench).packs(), 0);
        write(bench.from().join("d"), noise(18 << 20, 1));
        bench.save("one", &["d"]);
        let index = load(&bench);
        assert_eq!(index.packs(), 2);
        let chunks = index.chunks();
        assert!(chunks > 50, "{chunks}");

        assert_eq!(load(&bench).chunks(), chunks, "read from the cache");
        write(&cache, "damaged");
        assert_eq!(load(&bench).chunks(), chunks, "read from the packs");

        let first = bench
            .runtime
            .block_on(bench.store.inner.list_content(ContentKind::Pack))
            .unwrap()[0]
            .0;
        bench.runtime.block_on(bench.store.inner.delete(first)).unwrap();
        let index = load(&bench);
        assert_eq!(index.packs(), 1);
        assert!(index.chunks() < chunks);
    }

    #[test]
    fn what_the_index_finds_is_where_it_says() {
        let bench = Bench::new();
        write(bench.from().join("d"), noise(1 << 20, 2));
        bench.save("one", &["d"]);
        let index = load(&bench);
        let stored = bench
            .runtime
            .block_on(bench.store.inner.list_content(ContentKind::Pack))
            .unwrap()[0]
            .0;
        let pack = bench.runtime.block_on(bench.store.inner.read(stored)).unwrap();
        for chunk in &PackTable::verify(&pack).unwrap().frames[0].chunks {
            let found = index.find(&chunk.id).unwrap();
            assert_eq!(found.pack.id.digest(), stored.digest());
            assert!(found.offset + chunk.bytes <= found.frame.content_bytes);
        }
    }
}
