//! Headers of pack entries, and the zlib streams behind them.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};
use gix::{ObjectId, objs::Kind};

use super::budget::TRUSTED_ALLOCATION_BYTES;

/// What the header of an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryHeader {
    pub(super) form: EntryForm,
    /// Claimed length of the inflated data: of the object, or of the delta instructions.
    pub(super) inflated_bytes: u64,
}

/// How an entry represents its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryForm {
    /// As it is.
    Whole(Kind),
    /// As the difference to the entry that starts so many bytes before this one.
    OffsetDelta { distance: u64 },
    /// As the difference to the object of that id.
    IdDelta { base: ObjectId },
}

/// Why an entry cannot be read.
#[derive(Debug)]
pub(super) enum EntryError {
    Read(io::Error),
    Truncated,
    Corrupt(&'static str),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        EntryError::Read(error)
    }
}

/// Reads one header and leaves `input` at the zlib stream.
pub(super) fn read_header(input: &mut impl BufRead) -> Result<EntryHeader, EntryError> {
    let first = read_byte(input)?;
    let mut inflated_bytes = u64::from(first & 0x0f);
    let mut more = first & 0x80 != 0;
    let mut shift = 4;
    while more {
        let byte = read_byte(input)?;
        let part = u64::from(byte & 0x7f);
        if shift > 60 || part > u64::MAX >> shift {
            return Err(EntryError::Corrupt("the size of an object overflows"));
        }
        inflated_bytes |= part << shift;
        shift += 7;
        more = byte & 0x80 != 0;
    }
    let form = match first >> 4 & 7 {
        1 => EntryForm::Whole(Kind::Commit),
        2 => EntryForm::Whole(Kind::Tree),
        3 => EntryForm::Whole(Kind::Blob),
        4 => EntryForm::Whole(Kind::Tag),
        6 => EntryForm::OffsetDelta {
            distance: read_distance(input)?,
        },
        7 => {
            let mut id = [0; 20];
            for byte in &mut id {
                *byte = read_byte(input)?;
            }
            EntryForm::IdDelta {
                base: ObjectId::Sha1(id),
            }
        }
        _ => return Err(EntryError::Corrupt("the type of an object is unknown")),
    };
    Ok(EntryHeader { form, inflated_bytes })
}

/// The offset encoding of git: big-endian groups of seven bits, one added per continuation so that each distance has
/// one spelling.
fn read_distance(input: &mut impl BufRead) -> Result<u64, EntryError> {
    let mut byte = read_byte(input)?;
    let mut distance = u64::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = read_byte(input)?;
        if distance >= u64::MAX >> 8 {
            return Err(EntryError::Corrupt("the offset of a delta base overflows"));
        }
        distance = (distance + 1) << 7 | u64::from(byte & 0x7f);
    }
    Ok(distance)
}

fn read_byte(input: &mut impl BufRead) -> Result<u8, EntryError> {
    let byte = *input.fill_buf()?.first().ok_or(EntryError::Truncated)?;
    input.consume(1);
    Ok(byte)
}

/// Inflates zlib streams, one after the other, with one set of tables.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Inflater(Decompress::new(true))
    }

    /// Inflates the stream at the start of `input`, which must be of exactly `size_bytes`, and consumes it.
    ///
    /// Memory grows with the data that comes, never with what `size_bytes` claims.
    pub(super) fn inflate(
        &mut self,
        input: &mut impl BufRead,
        size_bytes: u64,
    ) -> Result<Vec<u8>, EntryError> {
        // One byte more than needed: a stream that is too long shows by using it, and the decoder always has room.
        let room = size_bytes.saturating_add(1);
        let mut data = Vec::with_capacity(room.min(TRUSTED_ALLOCATION_BYTES) as usize);
        self.0.reset(true);
        loop {
            if data.len() == data.capacity() {
                let grown = (data.len() as u64 * 2).min(room);
                data.reserve_exact((grown as usize).saturating_sub(data.len()).max(1));
            }
            let ended = self.step(input, |inflate, compressed| {
                inflate.decompress_vec(compressed, &mut data, FlushDecompress::None)
            })?;
            if data.len() as u64 > size_bytes {
                return Err(TOO_LONG);
            }
            if ended {
                break;
            }
        }
        if (data.len() as u64) < size_bytes {
            return Err(TOO_SHORT);
        }
        Ok(data)
    }

    /// The same for data too large to hold: `each` sees it piece by piece.
    pub(super) fn inflate_through(
        &mut self,
        input: &mut impl BufRead,
        size_bytes: u64,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), EntryError> {
        let mut piece = Vec::with_capacity(TRUSTED_ALLOCATION_BYTES as usize);
        let mut total = 0;
        self.0.reset(true);
        loop {
            let ended = self.step(input, |inflate, compressed| {
                inflate.decompress_vec(compressed, &mut piece, FlushDecompress::None)
            })?;
            total += piece.len() as u64;
            if total > size_bytes {
                return Err(TOO_LONG);
            }
            each(&piece);
            piece.clear();
            if ended {
                break;
            }
        }
        if total < size_bytes {
            return Err(TOO_SHORT);
        }
        Ok(())
    }

    /// Feeds what `input` has at hand to the decoder; true when the zlib stream is over.
    fn step(
        &mut self,
        input: &mut impl BufRead,
        decompress: impl FnOnce(&mut Decompress, &[u8]) -> Result<Status, flate2::DecompressError>,
    ) -> Result<bool, EntryError> {
        let compressed = input.fill_buf()?;
        if compressed.is_empty() {
            return Err(EntryError::Truncated);
        }
        let (in_before, out_before) = (self.0.total_in(), self.0.total_out());
        let status = decompress(&mut self.0, compressed)
            .map_err(|_| EntryError::Corrupt("the data of an object does not inflate"))?;
        let used = self.0.total_in() - in_before;
        input.consume(used as usize);
        let ended = matches!(status, Status::StreamEnd);
        if !ended && used == 0 && self.0.total_out() == out_before {
            return Err(EntryError::Corrupt("the data of an object does not inflate"));
        }
        Ok(ended)
    }
}

const TOO_LONG: EntryError = EntryError::Corrupt("an object is longer than its header says");
const TOO_SHORT: EntryError = EntryError::Corrupt("an object is shorter than its header says");

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn headers_of_all_forms_are_read() {
        assert_eq!(
            read_header(&mut &[0xb5, 0x0a][..]).unwrap(),
            EntryHeader {
                form: EntryForm::Whole(Kind::Blob),
                inflated_bytes: 5 | 10 << 4
            }
        );
        assert_eq!(
            read_header(&mut &[0x60, 0x80, 0x01][..]).unwrap().form,
            EntryForm::OffsetDelta { distance: 129 }
        );
        let mut with_id = vec![0x71];
        with_id.extend([7; 20]);
        assert_eq!(
            read_header(&mut with_id.as_slice()).unwrap().form,
            EntryForm::IdDelta {
                base: ObjectId::Sha1([7; 20])
            }
        );
    }

    #[test]
    fn hostile_headers_are_errors() {
        assert!(matches!(read_header(&mut &[][..]), Err(EntryError::Truncated)));
        assert!(matches!(
            read_header(&mut &[0xb5][..]),
            Err(EntryError::Truncated)
        ));
        for type_bits in [0x00, 0x50] {
            assert!(matches!(
                read_header(&mut &[type_bits][..]),
                Err(EntryError::Corrupt(_))
            ));
        }
        assert!(matches!(
            read_header(&mut &[0xff; 40][..]),
            Err(EntryError::Corrupt(_))
        ));
        let mut far = vec![0x60];
        far.extend([0xff; 40]);
        assert!(matches!(
            read_header(&mut far.as_slice()),
            Err(EntryError::Corrupt(_))
        ));
    }

    #[test]
    fn a_stream_must_have_the_size_it_claims() {
        let stream = deflated(b"hello");
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&mut stream.as_slice(), 5).unwrap(), b"hello");
        for wrong in [0, 4, 6, u64::MAX] {
            assert!(matches!(
                inflater.inflate(&mut stream.as_slice(), wrong),
                Err(EntryError::Corrupt(_))
            ));
            assert!(matches!(
                inflater.inflate_through(&mut stream.as_slice(), wrong, |_| {}),
                Err(EntryError::Corrupt(_))
            ));
        }
        assert!(matches!(
            inflater.inflate(&mut &stream[..stream.len() - 1], 5),
            Err(EntryError::Truncated)
        ));
    }

    #[test]
    fn what_follows_the_stream_is_left_alone() {
        let data = vec![7; 3_000_000];
        let mut bytes = deflated(&data);
        bytes.extend(b"next");
        let mut input = BufReader::with_capacity(13, bytes.as_slice());
        assert_eq!(
            Inflater::new().inflate(&mut input, data.len() as u64).unwrap(),
            data
        );
        let mut rest = Vec::new();
        io::Read::read_to_end(&mut input, &mut rest).unwrap();
        assert_eq!(rest, b"next");
    }
}
