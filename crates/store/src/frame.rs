//! Frames: chunks compressed together, the unit that is read and inflated.

use std::cell::RefCell;

use bytes::Bytes;
use headstart_digest::ChunkId;

use crate::FormatError;

/// A frame is closed when it holds this many bytes of chunks.
pub(crate) const FRAME_TARGET_BYTES: usize = 1 << 20;
/// The most bytes of chunks a frame of ours, or of anyone we read, may hold.
pub(crate) const MAX_FRAME_BYTES: u32 = 4 << 20;
/// Against level 3 it takes a seventh less time and 4 to 6 percent more bytes on trees of dependencies.
const ZSTD_LEVEL: i32 = 2;

/// How a frame is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is, because it does not compress.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    pub(crate) fn code(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            0 => Ok(Codec::Raw),
            1 => Ok(Codec::Zstd),
            _ => Err(FormatError::invalid(format!("codec {code} is unknown"))),
        }
    }
}

thread_local! {
    // Setting up a compression context costs as much as compressing a small frame: each thread keeps its own.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `content`, or leaves it as it is when that gains less than a sixteenth.
pub(crate) fn encode(content: Vec<u8>) -> (Codec, Vec<u8>) {
    let worth_it = content.len() - content.len() / 16;
    let compressed = COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level exists")),
        };
        compressor.compress(&content)
    });
    match compressed {
        Ok(compressed) if compressed.len() < worth_it => (Codec::Zstd, compressed),
        _ => (Codec::Raw, content),
    }
}

/// Inflates a stored frame of `content_bytes` bytes into a buffer of exactly that size.
pub(crate) fn decode(codec: Codec, stored: Bytes, content_bytes: u32) -> Result<Bytes, FormatError> {
    let expected = content_bytes as usize;
    let content = match codec {
        Codec::Raw => stored,
        Codec::Zstd => DECOMPRESSOR
            .with_borrow_mut(|slot| {
                let decompressor = match slot {
                    Some(decompressor) => decompressor,
                    None => slot.insert(zstd::bulk::Decompressor::new()?),
                };
                decompressor.decompress(&stored, expected)
            })
            .map_err(|error| FormatError::invalid(format!("a frame cannot be inflated: {error}")))?
            .into(),
    };
    if content.len() != expected {
        return Err(FormatError::invalid(format!(
            "a frame has {} bytes instead of {expected}",
            content.len()
        )));
    }
    Ok(content)
}

/// Checks that `chunk` has the name it is stored under.
pub(crate) fn check_chunk(id: &ChunkId, chunk: &[u8]) -> Result<(), FormatError> {
    let actual = ChunkId::of(chunk);
    if actual != *id {
        return Err(FormatError::invalid(format!(
            "the bytes of chunk {id} have the digest {actual}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_noise_is_left_alone() {
        let text = b"again and ".repeat(1000);
        let (codec, stored) = encode(text.clone());
        assert_eq!(codec, Codec::Zstd);
        assert!(stored.len() < 100);
        assert_eq!(decode(codec, stored.into(), text.len() as u32).unwrap(), text);

        let noise =
            Vec::from_iter((0u32..64).flat_map(|n| *ChunkId::of(&n.to_le_bytes()).digest().as_bytes()));
        let (codec, stored) = encode(noise.clone());
        assert_eq!((codec, &stored), (Codec::Raw, &noise));
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        let (codec, stored) = encode(vec![7; 4096]);
        let stored = Bytes::from(stored);
        assert!(decode(codec, stored.clone(), 4095).is_err());
        assert!(decode(codec, stored.clone(), 4097).is_err());
        assert!(decode(Codec::Raw, stored, 4096).is_err());
    }
}
