//! Cuts the stream of file bodies into chunks by its content.

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::{self, Normalization};

/// The smallest chunk, except at the end of the stream. In bytes.
const MIN_CHUNK_BYTES: usize = 64 << 10;
/// The size chunks tend to. In bytes.
const AVERAGE_CHUNK_BYTES: usize = 128 << 10;
/// The largest chunk. In bytes.
pub(crate) const MAX_CHUNK_BYTES: usize = 512 << 10;
/// Bytes allocated at once for chunks to come.
const BUFFER_BYTES: usize = 4 << 20;

/// Cuts a stream that arrives in pieces. Where it cuts depends on the content only, not on the pieces.
///
/// FastCDC (2020, normalisation level 1, gear table of the crate, no seed). Other parameters would find no chunk of an
/// older save again; they may change all the same, since nothing but deduplication depends on them.
pub(crate) struct Chunker {
    pending: BytesMut,
    masks: (u64, u64),
}

impl Chunker {
    pub(crate) fn new() -> Self {
        Chunker {
            pending: BytesMut::with_capacity(BUFFER_BYTES),
            masks: v2020::select_masks(AVERAGE_CHUNK_BYTES, Normalization::Level1),
        }
    }

    /// Adds the next bytes of the stream and gives the chunks they complete to `emit`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Bytes)) {
        while !bytes.is_empty() {
            if self.pending.len() == self.pending.capacity() {
                self.pending.reserve(BUFFER_BYTES);
            }
            let room = self.pending.capacity() - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            while self.pending.len() >= MAX_CHUNK_BYTES {
                emit(self.cut());
            }
        }
    }

    /// Ends the chunk here, whatever the content says: at the end of the stream, and where chunks follow that are known.
    pub(crate) fn end(&mut self, emit: &mut impl FnMut(Bytes)) {
        while !self.pending.is_empty() {
            emit(self.cut());
        }
    }

    fn cut(&mut self) -> Bytes {
        let (small, large) = self.masks;
        let (_, length) = v2020::cut(
            &self.pending,
            MIN_CHUNK_BYTES,
            AVERAGE_CHUNK_BYTES,
            MAX_CHUNK_BYTES,
            small,
            large,
            small << 1,
            large << 1,
        );
        self.pending.split_to(length).freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        (0..bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect()
    }

    fn chunks(pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut chunker = Chunker::new();
        let mut chunks = Vec::new();
        for piece in pieces {
            chunker.push(piece, &mut |chunk| chunks.push(chunk));
        }
        chunker.end(&mut |chunk| chunks.push(chunk));
        chunks
    }

    #[test]
    fn chunks_far_from_an_insertion_stay_the_same() {
        let before = noise(4 << 20, 7);
        let mut after = before.clone();
        after.splice(1 << 20..1 << 20, *b"inserted");
        let old = chunks(&[&before]);
        let new = chunks(&[&after]);
        let same = new.iter().filter(|chunk| old.contains(chunk)).count();
        assert!(
            same + 4 >= new.len(),
            "{same} of {} chunks are as before",
            new.len()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn cuts_do_not_depend_on_the_pieces(at in 0usize..3 << 20, seed: u64) {
            let stream = noise(3 << 20, seed);
            let whole = chunks(&[&stream]);
            prop_assert_eq!(&whole, &chunks(&[&stream[..at], &stream[at..]]));
            prop_assert_eq!(whole.concat(), stream);
            prop_assert!(whole.iter().all(|chunk| chunk.len() <= MAX_CHUNK_BYTES));
        }
    }
}
