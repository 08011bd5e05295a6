//! Delta instructions: copy from the base, or insert.

use super::budget::{DELTIFIED_MAX_BYTES, TRUSTED_ALLOCATION_BYTES};

/// Why instructions cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeltaError {
    Corrupt(&'static str),
    TooLarge { size_bytes: u64 },
}

/// Applies `instructions` to `base`.
pub(super) fn apply(base: &[u8], instructions: &[u8]) -> Result<Vec<u8>, DeltaError> {
    let mut rest = instructions;
    if read_size(&mut rest)? != base.len() as u64 {
        return Err(DeltaError::Corrupt("a delta is made for a base of another size"));
    }
    let size_bytes = read_size(&mut rest)?;
    if size_bytes > DELTIFIED_MAX_BYTES {
        return Err(DeltaError::TooLarge { size_bytes });
    }
    let size = size_bytes as usize;
    let mut result = Vec::with_capacity(size.min(TRUSTED_ALLOCATION_BYTES as usize));
    while let Some((&command, after)) = rest.split_first() {
        rest = after;
        let piece = if command & 0x80 != 0 {
            let offset = read_sparse(&mut rest, command, 4)?;
            let length = match read_sparse(&mut rest, command >> 4, 3)? {
                0 => 0x1_0000,
                length => length,
            };
            base.get(offset..)
                .and_then(|from| from.get(..length))
                .ok_or(DeltaError::Corrupt("a delta copies from beyond its base"))?
        } else if command != 0 {
            rest.split_off(..usize::from(command))
                .ok_or(DeltaError::Corrupt("a delta ends in an instruction"))?
        } else {
            return Err(DeltaError::Corrupt("a delta has an unknown instruction"));
        };
        if piece.len() > size - result.len() {
            return Err(DeltaError::Corrupt("a delta makes more than it says"));
        }
        result.extend_from_slice(piece);
    }
    if result.len() != size {
        return Err(DeltaError::Corrupt("a delta makes less than it says"));
    }
    Ok(result)
}

/// A little-endian number of which only the non-zero bytes are there, those whose bit is set in `present`.
fn read_sparse(rest: &mut &[u8], present: u8, bytes: u32) -> Result<usize, DeltaError> {
    let mut number = 0;
    for at in 0..bytes {
        if present & 1 << at != 0 {
            number |= usize::from(read_byte(rest)?) << (8 * at);
        }
    }
    Ok(number)
}

fn read_size(rest: &mut &[u8]) -> Result<u64, DeltaError> {
    let mut size = 0;
    let mut shift = 0;
    loop {
        let byte = read_byte(rest)?;
        let part = u64::from(byte & 0x7f);
        if shift > 63 || part > u64::MAX >> shift {
            return Err(DeltaError::Corrupt("a size in a delta overflows"));
        }
        size |= part << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Ok(size);
        }
    }
}

fn read_byte(rest: &mut &[u8]) -> Result<u8, DeltaError> {
    rest.split_off_first()
        .copied()
        .ok_or(DeltaError::Corrupt("a delta ends in an instruction"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_and_inserts_make_the_result() {
        let delta = [6, 8, 0x91, 2, 4, 3, b'x', b'y', b'z', 0x90, 1];
        assert_eq!(apply(b"abcdef", &delta).unwrap(), b"cdefxyza");
    }

    #[test]
    fn hostile_deltas_are_errors() {
        let corrupt = |delta: &[u8]| assert!(matches!(apply(b"abc", delta), Err(DeltaError::Corrupt(_))));
        corrupt(&[]);
        corrupt(&[4, 0]);
        corrupt(&[3, 1]);
        corrupt(&[3, 1, 0]);
        corrupt(&[3, 1, 2, b'x']);
        corrupt(&[3, 1, 2, b'x', b'y']);
        corrupt(&[3, 4, 0x90, 4]);
        corrupt(&[3, 4, 0x91, 0xff]);
        corrupt(&[0xff; 30]);
        assert_eq!(
            apply(b"abc", &[3, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Err(DeltaError::TooLarge {
                size_bytes: (1 << 36) - 1
            })
        );
    }

    proptest! {
        #[test]
        fn no_instructions_make_it_panic(mut delta: Vec<u8>, base in prop::collection::vec(any::<u8>(), 0..127)) {
            _ = apply(&base, &delta);
            delta.splice(0..0, [base.len() as u8, 90]);
            _ = apply(&base, &delta);
        }
    }
}
