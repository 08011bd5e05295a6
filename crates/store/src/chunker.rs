//! Cuts the stream of file bodies into chunks by its content.

use bytes::Bytes;
use fastcdc::v2020::{self, Normalization};

/// The smallest chunk, except at the end of the stream. In bytes.
const MIN_CHUNK_BYTES: usize = 64 << 10;
/// The size chunks tend to. In bytes.
const AVERAGE_CHUNK_BYTES: usize = 128 << 10;
/// The largest chunk. In bytes.
pub(crate) const MAX_CHUNK_BYTES: usize = 512 << 10;
/// What is added at a time to a chunk that began in an earlier piece, until its end is found. In bytes.
const STEP_BYTES: usize = 128 << 10;

/// Cuts a stream that arrives in pieces. Where it cuts depends on the content only, not on the pieces.
///
/// FastCDC (2020, normalisation level 1, gear table of the crate, no seed). Other parameters would find no chunk of an
/// older save again; they may change all the same, since nothing but deduplication depends on them.
pub(crate) struct Chunker {
    /// The chunk that began in earlier pieces. Its end is not in there.
    begun: Vec<u8>,
    masks: (u64, u64),
}

impl Chunker {
    pub(crate) fn new() -> Self {
        Chunker {
            begun: Vec::new(),
            masks: v2020::select_masks(AVERAGE_CHUNK_BYTES, Normalization::Level1),
        }
    }

    /// Adds the next bytes of the stream and gives the chunks they complete to `emit`. Only chunks that lie in several pieces are
    /// copied.
    pub(crate) fn push(&mut self, mut piece: Bytes, emit: &mut impl FnMut(Bytes)) {
        if !self.begun.is_empty() && !self.complete(&mut piece, emit) {
            return;
        }
        while let Some(length) = self.find_end(&piece) {
            emit(piece.split_to(length));
        }
        self.begun.extend_from_slice(&piece);
    }

    /// Ends the chunk here, whatever the content says: at the end of the stream, and where chunks follow that are known.
    pub(crate) fn end(&mut self, emit: &mut impl FnMut(Bytes)) {
        if !self.begun.is_empty() {
            emit(std::mem::take(&mut self.begun).into());
        }
    }

    /// Completes the chunk that was begun with bytes off the front of `piece`. False when all of them are not enough.
    fn complete(&mut self, piece: &mut Bytes, emit: &mut impl FnMut(Bytes)) -> bool {
        let before = self.begun.len();
        let mut added = 0;
        while added < piece.len() {
            let step = STEP_BYTES
                .min(piece.len() - added)
                .min(MAX_CHUNK_BYTES - before - added);
            self.begun.extend_from_slice(&piece[added..added + step]);
            added += step;
            if let Some(length) = self.find_end(&self.begun) {
                self.begun.truncate(length);
                emit(std::mem::take(&mut self.begun).into());
                *piece = piece.slice(length - before..);
                return true;
            }
        }
        false
    }

    /// Where the chunk ends that begins with `bytes`; `None` when that takes more of them to tell.
    fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        let (small, large) = self.masks;
        let (_, length) = v2020::cut(
            bytes,
            MIN_CHUNK_BYTES,
            AVERAGE_CHUNK_BYTES,
            MAX_CHUNK_BYTES,
            small,
            large,
            small << 1,
            large << 1,
        );
        (length < bytes.len() || length == MAX_CHUNK_BYTES).then_some(length)
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
            chunker.push(Bytes::copy_from_slice(piece), &mut |chunk| chunks.push(chunk));
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
        fn cuts_do_not_depend_on_the_pieces(mut cuts in prop::collection::vec(0usize..3 << 20, 1..20), seed: u64) {
            let stream = noise(3 << 20, seed);
            let whole = chunks(&[&stream]);
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut start = 0;
            let pieces: Vec<&[u8]> = cuts.iter().map(|end| &stream[std::mem::replace(&mut start, *end)..*end]).collect();
            prop_assert_eq!(&whole, &chunks(&pieces));
            prop_assert_eq!(whole.concat(), stream);
            prop_assert!(whole.iter().all(|chunk| chunk.len() <= MAX_CHUNK_BYTES));
        }
    }
}
