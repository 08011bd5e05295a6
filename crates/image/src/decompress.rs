//! Plain, gzip or zstd: the bytes tell, names and media types do not.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::{ImageError, manifest::media_type};

/// What is unpacked is refused when it is longer than this, and by that much longer than what is stored. gzip cannot
/// compress so well; zstd can, and then a few bytes would keep us busy for days.
const BOMB_BYTES: u64 = 1 << 30;
const BOMB_RATIO: u64 = 2000;

/// A decompressing stream over `input`, and what it is compressed by. gzip may have several members, zstd several frames,
/// some of which may hold no data.
pub(crate) fn decompress<'a>(
    mut input: impl BufRead + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    // A first read may bring less than the magic number.
    let mut start = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let input = io::Cursor::new(start).chain(input);
    let stream: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
        Compression::None => Box::new(input),
    };
    Ok((compression, stream))
}

/// Refuses what unpacks to more than anybody compresses.
pub(crate) fn check_ratio(what: &str, unpacked_bytes: u64, stored_bytes: u64) -> Result<(), ImageError> {
    match unpacked_bytes > BOMB_BYTES && unpacked_bytes / BOMB_RATIO > stored_bytes {
        true => {
            let limit = format!("{BOMB_RATIO} times its {stored_bytes} compressed bytes");
            Err(ImageError::too_large(what, limit))
        }
        false => Ok(()),
    }
}

/// Whether bytes that start so are compressed.
pub(crate) fn is_compressed(start: &[u8]) -> bool {
    Compression::of(start) != Compression::None
}

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip, which everything reads.
    Gzip,
    /// By zstd: smaller and faster.
    Zstd,
}

impl Compression {
    /// What such a layer is called.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Compression::None => media_type::OCI_LAYER,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// The opposite.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        let all = [Compression::None, Compression::Gzip, Compression::Zstd];
        all.into_iter()
            .find(|compression| compression.media_type() == media_type)
    }

    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame, or one that decompressors skip.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression as Level, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompress(bytes)?.1.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let members = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(read(&members).unwrap(), b"one two");
        let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
        let skipped = b"\x52\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let frames = [skipped.clone(), frame(b"one "), skipped, frame(b"two")].concat();
        assert_eq!(read(&frames).unwrap(), b"one two");
        for short in [&b""[..], b"\x1f", b"tar"] {
            assert_eq!(read(short).unwrap(), short);
        }
    }

    #[test]
    fn a_window_that_is_too_large_is_refused_before_there_is_memory_for_it() {
        // A frame of no bytes that asks for so many to look back on.
        let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
        assert_eq!(read(&frame(27)).unwrap(), b"");
        for log in [28, 31, 41] {
            assert!(read(&frame(log)).is_err(), "{log}");
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let stored = [gzip(&[7; 1000]), zstd::bulk::compress(&[7; 1000], 1).unwrap()];
        for bytes in stored {
            assert!(read(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(read(&[gzip(b"x"), b"rubbish".to_vec()].concat()).is_err());
    }
}
