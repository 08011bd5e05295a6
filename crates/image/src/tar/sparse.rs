//! Sparse files: where their data is.

use super::TarError;

/// The most pieces a sparse file may have: 16 MB of map.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// The pieces of a sparse file that hold data, in order, and the length with its holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Offset and length.
    pub(super) pieces: Vec<(u64, u64)>,
    pub(super) real_bytes: u64,
}

impl SparseMap {
    /// A map whose pieces are in order, inside of the file, and together as long as what is stored.
    pub(super) fn new(pieces: Vec<(u64, u64)>, real_bytes: u64, stored_bytes: u64) -> Result<Self, TarError> {
        let (mut end, mut data) = (0_u64, 0_u64);
        for &(offset, length) in &pieces {
            if offset < end {
                return Err(TarError::Sparse("its pieces are not in order"));
            }
            end = offset
                .checked_add(length)
                .filter(|&end| end <= real_bytes)
                .ok_or(TarError::Sparse("a piece ends behind the file"))?;
            // Cannot overflow: pieces do not overlap, and all end within the file.
            data += length;
        }
        match data == stored_bytes {
            true => Ok(SparseMap { pieces, real_bytes }),
            false => Err(TarError::Sparse("its pieces are not as long as what is stored")),
        }
    }

    /// Bytes in holes.
    pub(super) fn hole_bytes(&self) -> u64 {
        self.real_bytes - self.pieces.iter().map(|(_, length)| length).sum::<u64>()
    }
}

/// Offsets and lengths in turn, as pieces.
pub(super) fn pair_up(numbers: &[u64]) -> Result<Vec<(u64, u64)>, TarError> {
    let pairs = numbers.chunks_exact(2);
    match pairs.remainder() {
        [] => Ok(pairs.map(|pair| (pair[0], pair[1])).collect()),
        _ => Err(TarError::Sparse("an offset has no length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_fit_the_file_and_the_data() {
        let new = |pieces: &[(u64, u64)], real, stored| SparseMap::new(pieces.to_vec(), real, stored);
        assert_eq!(new(&[(0, 2), (4, 1), (9, 0)], 9, 3).unwrap().hole_bytes(), 6);
        assert!(new(&[(4, 1), (0, 2)], 9, 3).is_err(), "order");
        assert!(new(&[(0, 2), (1, 1)], 9, 3).is_err(), "overlap");
        assert!(new(&[(8, 2)], 9, 2).is_err(), "behind the end");
        assert!(new(&[(u64::MAX, 2)], 9, 2).is_err(), "overflow");
        assert!(new(&[(0, 2)], 9, 3).is_err(), "more data than pieces");
    }
}
