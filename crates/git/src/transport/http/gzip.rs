//! Compression of what is asked, and of listings in answers. Packs are compressed by themselves and come as they are.

use std::io::{self, BufRead, Read, Write as _};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use reqwest::header::{self, HeaderMap};

pub(super) const NAME: &str = "gzip";
/// Requests larger than this are compressed, as by git.
pub(super) const WORTH_BYTES: usize = 1024;
/// How much an answer may grow, beside the first bytes. Listings consist of hexadecimal names and shrink to a half; names of
/// refs that are all alike make more of it, a bomb some hundred times as much.
const MOST_GROWTH: u64 = 64;
const FREE_BYTES: u64 = 16 << 20;

/// Whether the answer with these headers is compressed.
pub(super) fn is_gzipped(headers: &HeaderMap) -> bool {
    let coding = headers.get(header::CONTENT_ENCODING);
    coding.is_some_and(|coding| {
        [NAME, "x-gzip"]
            .iter()
            .any(|name| coding.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
    })
}

pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing into memory does not fail")
}

/// As much as `limit` bytes of something compressed, of which the end may be missing.
pub(super) fn inflate_start(bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut inflated = Vec::new();
    // What came before an error is what there is.
    let _ = MultiGzDecoder::new(bytes)
        .take(limit as u64)
        .read_to_end(&mut inflated);
    inflated
}

/// Knows how much was taken from it.
pub(super) trait Counted: BufRead {
    fn taken_bytes(&self) -> u64;
}

/// Inflates, but refuses to make very much of very little.
pub(super) struct Inflating<R> {
    decoder: MultiGzDecoder<R>,
    inflated_bytes: u64,
}

impl<R: Counted> Inflating<R> {
    pub(super) fn new(source: R) -> Self {
        Inflating {
            decoder: MultiGzDecoder::new(source),
            inflated_bytes: 0,
        }
    }
}

impl<R: Counted> Read for Inflating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.inflated_bytes += count as u64;
        let most = FREE_BYTES + MOST_GROWTH * self.decoder.get_ref().taken_bytes();
        match self.inflated_bytes > most {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer inflates to more than a listing can",
            )),
            false => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Source<'a> {
        left: &'a [u8],
        taken_bytes: u64,
    }

    impl Read for Source<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.left.read(buffer)?;
            self.taken_bytes += count as u64;
            Ok(count)
        }
    }

    impl BufRead for Source<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(self.left)
        }

        fn consume(&mut self, amount: usize) {
            self.taken_bytes += amount as u64;
            self.left.consume(amount);
        }
    }

    impl Counted for Source<'_> {
        fn taken_bytes(&self) -> u64 {
            self.taken_bytes
        }
    }

    fn inflate(bytes: &[u8]) -> io::Result<u64> {
        let source = Source {
            left: bytes,
            taken_bytes: 0,
        };
        io::copy(&mut Inflating::new(source), &mut io::sink())
    }

    #[test]
    fn a_listing_is_taken_and_a_bomb_is_not() {
        let listing: String = (0..400_000_u32)
            .map(|n| format!("{:040x} refs/tags/v{n}\n", u64::from(n) * 7919))
            .collect();
        assert_eq!(
            inflate(&deflate(listing.as_bytes())).unwrap(),
            listing.len() as u64
        );
        let bomb = deflate(&vec![b'a'; 64 << 20]);
        assert!(inflate(&bomb).is_err());
    }

    #[test]
    fn a_start_is_enough_for_a_page() {
        let page = deflate(&[b'a'; 10_000]);
        assert_eq!(inflate_start(&page, 100), [b'a'; 100]);
        assert_eq!(inflate_start(&page[..page.len() - 8], 20_000), [b'a'; 10_000]);
        assert_eq!(inflate_start(b"no gzip", 100), b"");
    }
}
