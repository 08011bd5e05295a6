//! From bytes to entries.

use std::io::{self, BufRead};

use super::{
    TarError,
    header::{self, BLOCK_BYTES, Flag, Header, SparsePart},
    pax::{PaxRecords, SparseRecords},
    sparse::{MAX_PIECES, SparseMap, pair_up},
};

/// The most that may describe one entry: names, attributes. Go's reader has the same limit.
const MAX_EXTRA_BYTES: u64 = 1 << 20;

/// An entry of a tar, without its body.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As written: not yet clean.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry that is root's, from 1970.
    pub(crate) fn new(path: impl Into<Vec<u8>>, kind: Kind, mode: u32) -> Self {
        Entry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Its length, holes included, and the bytes of the holes alone.
    File {
        size_bytes: u64,
        hole_bytes: u64,
    },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Folder,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

impl Kind {
    /// A file without holes.
    pub(crate) fn file(size_bytes: u64) -> Self {
        Kind::File {
            size_bytes,
            hole_bytes: 0,
        }
    }
}

/// A part of a file's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

/// Reads a tar once, from front to back.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    inner: R,
    /// Bytes taken from `inner`.
    position: u64,
    /// Of the body, stored and not yet read.
    left: u64,
    /// Zeros behind the body.
    padding: u64,
    sparse: Option<SparseMap>,
}

/// What comes before an entry's own header.
#[derive(Debug, Default)]
struct Extra {
    pax: PaxRecords,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        TarReader {
            inner,
            position: 0,
            left: 0,
            padding: 0,
            sparse: None,
        }
    }

    /// What it reads from, where it stopped.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// Where the body of the entry that `next` gave begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or `None` at the end of the archive. What was not read of the last one's body is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.sparse = None;
        self.skip(self.left)?;
        match self.skip(self.padding) {
            // Some writers do not close their tars: the last body may lack its padding.
            Err(TarError::Truncated) => return Ok(None),
            skipped => skipped?,
        }
        (self.left, self.padding) = (0, 0);
        let mut extra = Extra::default();
        let mut has_extra = false;
        loop {
            let mut block = [0; BLOCK_BYTES];
            let is_end = !self.fill_or_end(&mut block)? || block.iter().all(|&byte| byte == 0);
            if is_end {
                return match has_extra {
                    true => Err(TarError::Truncated),
                    false => Ok(None),
                };
            }
            let header = Header::new(&block)?;
            let stored = header.stored_bytes()?;
            match header.flag()? {
                Flag::Pax => extra.pax = PaxRecords::parse(&self.read_extra(stored)?)?,
                Flag::GnuName => extra.gnu_name = Some(until_nul(self.read_extra(stored)?)),
                Flag::GnuLink => extra.gnu_link = Some(until_nul(self.read_extra(stored)?)),
                Flag::PaxGlobal | Flag::GnuOther => {
                    self.skip(stored)?;
                    self.skip(padding_of(stored))?;
                    continue;
                }
                flag => return self.begin(&header, flag, extra).map(Some),
            }
            has_extra = true;
        }
    }

    fn begin(&mut self, header: &Header<'_>, flag: Flag, extra: Extra) -> Result<Entry, TarError> {
        let Extra {
            pax,
            gnu_name,
            gnu_link,
        } = extra;
        let link = || {
            let long = pax.link.clone().or(gnu_link);
            long.unwrap_or_else(|| header.link().to_vec())
        };
        // What is no file has no body, whatever its size: hard links of old tars say that of the file, and others must not
        // hide entries.
        let kind = match flag {
            Flag::File | Flag::GnuSparse => {
                let stored = match pax.size {
                    Some(size) => size,
                    None => header.stored_bytes()?,
                };
                self.open_body(stored)?;
                self.sparse = match flag {
                    Flag::GnuSparse => Some(self.gnu_sparse_map(header)?),
                    _ => self.pax_sparse_map(&pax.sparse)?,
                };
                let (size_bytes, hole_bytes) = match &self.sparse {
                    Some(map) => (map.real_bytes, map.hole_bytes()),
                    None => (stored, 0),
                };
                Kind::File {
                    size_bytes,
                    hole_bytes,
                }
            }
            Flag::HardLink => Kind::HardLink(link()),
            Flag::Symlink => Kind::Symlink(link()),
            Flag::CharDevice => header
                .device()
                .map(|(major, minor)| Kind::CharDevice(major, minor))?,
            Flag::BlockDevice => header
                .device()
                .map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            Flag::Folder => Kind::Folder,
            Flag::Fifo => Kind::Fifo,
            Flag::Pax | Flag::PaxGlobal | Flag::GnuName | Flag::GnuLink | Flag::GnuOther => {
                unreachable!("these are handled where headers are read")
            }
        };
        let path = pax.sparse.name.or(pax.path).or(gnu_name);
        Ok(Entry {
            path: path.unwrap_or_else(|| header.name()),
            kind,
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax
                .mtime
                .map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok)?,
            xattrs: pax.xattrs,
        })
    }

    fn open_body(&mut self, stored: u64) -> Result<(), TarError> {
        self.left = stored;
        self.padding = padding_of(stored);
        match self.left.checked_add(self.padding) {
            Some(_) => Ok(()),
            None => Err(TarError::Truncated),
        }
    }

    /// Hands on what is left of the body.
    pub(crate) fn read_body(&mut self, mut take: impl FnMut(Piece<'_>)) -> Result<(), TarError> {
        let Some(map) = self.sparse.take() else {
            return self.read_data(self.left, &mut take);
        };
        let mut at = 0;
        for (offset, length) in map.pieces {
            if offset > at {
                take(Piece::Hole(offset - at));
            }
            self.read_data(length, &mut take)?;
            at = offset + length;
        }
        if map.real_bytes > at {
            take(Piece::Hole(map.real_bytes - at));
        }
        Ok(())
    }

    fn read_data(&mut self, mut length: u64, take: &mut impl FnMut(Piece<'_>)) -> Result<(), TarError> {
        while length > 0 {
            let available = fill_buf(&mut self.inner)?;
            if available.is_empty() {
                return Err(TarError::Truncated);
            }
            let taken = available.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            take(Piece::Data(&available[..taken]));
            self.inner.consume(taken);
            self.position += taken as u64;
            self.left -= taken as u64;
            length -= taken as u64;
        }
        Ok(())
    }

    fn gnu_sparse_map(&mut self, header: &Header<'_>) -> Result<SparseMap, TarError> {
        let (
            SparsePart {
                mut pieces,
                mut goes_on,
            },
            real_bytes,
        ) = header.gnu_sparse()?;
        while goes_on {
            let mut block = [0; BLOCK_BYTES];
            self.fill(&mut block)?;
            let part = header::gnu_sparse_block(&block)?;
            pieces.extend(part.pieces);
            goes_on = part.goes_on;
            if pieces.len() > MAX_PIECES {
                return Err(TarError::Sparse("it has too many pieces"));
            }
        }
        SparseMap::new(pieces, real_bytes, self.left)
    }

    fn pax_sparse_map(&mut self, records: &SparseRecords) -> Result<Option<SparseMap>, TarError> {
        let Some(real_bytes) = records.real_bytes else {
            return Ok(None);
        };
        let pieces = match (records.major, &records.map) {
            (Some(1), _) => self.read_map()?,
            (None | Some(0), Some(map)) => pair_up(map)?,
            _ => return Err(TarError::Sparse("it is of an unknown version")),
        };
        SparseMap::new(pieces, real_bytes, self.left).map(Some)
    }

    /// Version 1.0 keeps the map before the data: decimal numbers on lines, padded to a block.
    fn read_map(&mut self) -> Result<Vec<(u64, u64)>, TarError> {
        let mut block = [0; BLOCK_BYTES];
        let mut at = BLOCK_BYTES;
        let mut number = |reader: &mut Self| -> Result<u64, TarError> {
            let mut number = 0_u64;
            loop {
                if at == BLOCK_BYTES {
                    reader.left = reader
                        .left
                        .checked_sub(BLOCK_BYTES as u64)
                        .ok_or(TarError::Sparse("it is longer than the entry"))?;
                    reader.fill(&mut block)?;
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                let digit = match byte {
                    b'\n' => return Ok(number),
                    b'0'..=b'9' => u64::from(byte - b'0'),
                    _ => return Err(TarError::Sparse("a number is none")),
                };
                number = number
                    .checked_mul(10)
                    .and_then(|number| number.checked_add(digit))
                    .ok_or(TarError::Sparse("a number is too large"))?;
            }
        };
        let count = number(self)?;
        if count > MAX_PIECES as u64 {
            return Err(TarError::Sparse("it has too many pieces"));
        }
        (0..count).map(|_| Ok((number(self)?, number(self)?))).collect()
    }

    fn read_extra(&mut self, length: u64) -> Result<Vec<u8>, TarError> {
        if length > MAX_EXTRA_BYTES {
            return Err(TarError::TooLarge {
                limit: MAX_EXTRA_BYTES,
            });
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        self.skip(padding_of(length))?;
        Ok(bytes)
    }

    fn skip(&mut self, mut length: u64) -> Result<(), TarError> {
        while length > 0 {
            let available = fill_buf(&mut self.inner)?.len();
            if available == 0 {
                return Err(TarError::Truncated);
            }
            let taken = available.min(usize::try_from(length).unwrap_or(usize::MAX));
            self.inner.consume(taken);
            self.position += taken as u64;
            length -= taken as u64;
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TarError> {
        match self.fill_or_end(bytes)? {
            true => Ok(()),
            false if bytes.is_empty() => Ok(()),
            false => Err(TarError::Truncated),
        }
    }

    /// False when there is not one byte more.
    fn fill_or_end(&mut self, bytes: &mut [u8]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let available = fill_buf(&mut self.inner)?;
            if available.is_empty() {
                return match filled {
                    0 => Ok(false),
                    _ => Err(TarError::Truncated),
                };
            }
            let taken = available.len().min(bytes.len() - filled);
            bytes[filled..filled + taken].copy_from_slice(&available[..taken]);
            self.inner.consume(taken);
            filled += taken;
        }
        self.position += filled as u64;
        Ok(filled > 0)
    }
}

fn fill_buf(inner: &mut impl BufRead) -> io::Result<&[u8]> {
    // The loop the borrow checker does not accept: ask until it is not interrupted, then hand out what is there.
    while let Err(error) = inner.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    inner.fill_buf()
}

fn padding_of(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK_BYTES as u64
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

impl TarReader<io::BufReader<std::fs::File>> {
    /// Leaves the body unread, without reading over it.
    pub(crate) fn seek_over_body(&mut self) -> Result<(), TarError> {
        let length = self.left + self.padding;
        let offset = i64::try_from(length).map_err(|_| TarError::Truncated)?;
        self.inner.seek_relative(offset)?;
        self.position += length;
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}
