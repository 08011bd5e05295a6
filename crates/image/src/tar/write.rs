//! Writing tars in one way only: equal entries are equal bytes.
//!
//! Headers are POSIX's; PAX records stand before those that do not fit, and hold no more than what does not. There are no
//! names of users, no times beside that of the file, and no sparse notation: holes are zeros.

use std::io::{self, Read, Write};

use super::{
    header::BLOCK_BYTES,
    reader::{Entry, Kind},
};

/// The largest number of seven, and of eleven, octal digits.
const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;
/// Lengths of the fields for a name, what may stand before it, and a link's target.
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// Writes entries one after the other.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    inner: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        TarWriter { inner }
    }

    /// Writes an entry whose path is clean, and its body, which must be as long as it is said to be. Extended attributes are
    /// sorted by the caller.
    pub(crate) fn write(&mut self, entry: &Entry, body: impl Read) -> io::Result<()> {
        let mut header = Block::new();
        let mut records = Vec::new();
        self.describe(entry, &mut header, &mut records)?;
        if !records.is_empty() {
            let mut extra = Block::new();
            extra.text(0, b"././@PaxHeader");
            extra.octal(100, 8, 0o644);
            extra.octal(124, 12, records.len() as u64);
            extra.0[156] = b'x';
            self.inner.write_all(&extra.signed())?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.inner.write_all(&header.signed())?;
        match entry.kind {
            Kind::File { size_bytes, .. } => self.write_body(size_bytes, body),
            _ => Ok(()),
        }
    }

    /// Writes the end of the archive, and gives back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.inner)
    }

    fn describe(&self, entry: &Entry, header: &mut Block, records: &mut Vec<u8>) -> io::Result<()> {
        let is_folder = matches!(entry.kind, Kind::Folder);
        let name = match (&entry.path[..], is_folder) {
            (b"", _) => b"./".to_vec(),
            (path, true) => [path, b"/"].concat(),
            (path, false) => path.to_vec(),
        };
        match split_name(&name) {
            Some((prefix, name)) => {
                header.text(0, name);
                header.text(345, prefix);
            }
            None => {
                // What is cut off at a slash would look like a folder to readers of the old format.
                header.text(0, without_slashes(&name[..NAME_BYTES]));
                record(records, b"path", &name);
            }
        }
        header.octal(100, 8, u64::from(entry.mode & 0o7777));
        for (at, key, number) in [(108, b"uid", entry.uid), (116, b"gid", entry.gid)] {
            match u64::from(number) {
                number if number <= MAX_OCTAL_7 => header.octal(at, 8, number),
                number => {
                    header.octal(at, 8, 0);
                    record(records, key, number.to_string().as_bytes());
                }
            }
        }
        let size_bytes = match entry.kind {
            Kind::File { size_bytes, .. } => size_bytes,
            _ => 0,
        };
        match size_bytes {
            ..=MAX_OCTAL_11 => header.octal(124, 12, size_bytes),
            _ => {
                header.octal(124, 12, 0);
                record(records, b"size", size_bytes.to_string().as_bytes());
            }
        }
        match (u64::try_from(entry.mtime.0), entry.mtime.1) {
            (Ok(seconds @ ..=MAX_OCTAL_11), 0) => header.octal(136, 12, seconds),
            (seconds, _) => {
                header.octal(136, 12, seconds.unwrap_or(0).min(MAX_OCTAL_11));
                record(records, b"mtime", time(entry.mtime).as_bytes());
            }
        }
        header.0[156] = match &entry.kind {
            Kind::File { .. } => b'0',
            Kind::HardLink(_) => b'1',
            Kind::Symlink(_) => b'2',
            Kind::CharDevice(..) => b'3',
            Kind::BlockDevice(..) => b'4',
            Kind::Folder => b'5',
            Kind::Fifo => b'6',
        };
        match &entry.kind {
            Kind::HardLink(target) | Kind::Symlink(target) => {
                header.text(157, &target[..target.len().min(NAME_BYTES)]);
                if target.len() > NAME_BYTES {
                    record(records, b"linkpath", target);
                }
            }
            &Kind::CharDevice(major, minor) | &Kind::BlockDevice(major, minor) => {
                for (at, number) in [(329, major), (337, minor)] {
                    let number = u64::from(number);
                    if number > MAX_OCTAL_7 {
                        return Err(io::Error::other("no tar holds a device of so large a number"));
                    }
                    header.octal(at, 8, number);
                }
            }
            Kind::File { .. } | Kind::Folder | Kind::Fifo => {}
        }
        for (name, value) in &entry.xattrs {
            record(records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        Ok(())
    }

    fn write_body(&mut self, size_bytes: u64, body: impl Read) -> io::Result<()> {
        let mut body = body.take(size_bytes.saturating_add(1));
        match io::copy(&mut body, &mut self.inner)? {
            written if written == size_bytes => self.pad(size_bytes),
            _ => Err(io::Error::other("its length changed while it was read")),
        }
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let padding = (length.wrapping_neg() % BLOCK_BYTES as u64) as usize;
        self.inner.write_all(&[0; BLOCK_BYTES][..padding])
    }
}

/// A header in the making.
struct Block([u8; BLOCK_BYTES]);

impl Block {
    fn new() -> Self {
        let mut block = Block([0; BLOCK_BYTES]);
        block.text(257, b"ustar\x0000");
        for (at, length) in [
            (100, 8),
            (108, 8),
            (116, 8),
            (124, 12),
            (136, 12),
            (329, 8),
            (337, 8),
        ] {
            block.octal(at, length, 0);
        }
        block
    }

    fn text(&mut self, at: usize, text: &[u8]) {
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    /// `number` must fit.
    fn octal(&mut self, at: usize, length: usize, number: u64) {
        let digits = format!("{number:0width$o}\0", width = length - 1);
        self.text(at, digits.as_bytes());
    }

    fn signed(mut self) -> [u8; BLOCK_BYTES] {
        self.text(148, b"        ");
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.text(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// A name as the two fields of a header, if it fits.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME_BYTES {
        return Some((b"", name));
    }
    // The first slash that leaves a name short enough; a folder's own last slash leaves none.
    let from = name.len() - NAME_BYTES - 1;
    let slash = from + name[from..name.len() - 1].iter().position(|&byte| byte == b'/')?;
    (1..=PREFIX_BYTES)
        .contains(&slash)
        .then(|| (&name[..slash], &name[slash + 1..]))
}

fn without_slashes(mut name: &[u8]) -> &[u8] {
    while let Some(shorter) = name.strip_suffix(b"/") {
        name = shorter;
    }
    name
}

fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    for part in [key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// Seconds with a fraction, if there is one.
fn time((seconds, nanoseconds): (i64, u32)) -> String {
    let (sign, seconds, nanoseconds) = match (seconds, nanoseconds) {
        (..=-1, 1..) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (..=-1, 0) => ("-", seconds.unsigned_abs(), 0),
        _ => ("", seconds.unsigned_abs(), nanoseconds),
    };
    match nanoseconds {
        0 => format!("{sign}{seconds}"),
        _ => {
            let fraction = format!("{nanoseconds:09}");
            format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tar::{Piece, TarReader};

    fn read_back(tar: &[u8]) -> (Entry, Vec<u8>) {
        let mut reader = TarReader::new(tar);
        let entry = reader.next().unwrap().unwrap();
        let mut body = Vec::new();
        reader
            .read_body(|piece| match piece {
                Piece::Data(bytes) => body.extend_from_slice(bytes),
                Piece::Hole(_) => unreachable!("nothing sparse is written"),
            })
            .unwrap();
        assert!(reader.next().unwrap().is_none());
        (entry, body)
    }

    fn file(path: &[u8], size_bytes: u64) -> Entry {
        Entry::new(path, Kind::file(size_bytes), 0o644)
    }

    fn written(entry: &Entry, body: &[u8]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        tar.write(entry, body).unwrap();
        tar.finish().unwrap()
    }

    #[test]
    fn what_fits_has_no_records() {
        assert_eq!(written(&file(b"etc/passwd", 3), b"abc").len(), 4 * BLOCK_BYTES);
        let long = [&[b'a'; 90][..], b"/", &[b'b'; 90]].concat();
        assert_eq!(written(&file(&long, 0), b"").len(), 3 * BLOCK_BYTES, "a prefix");
        assert_eq!(written(&file(&[b'a'; 150], 0), b"").len(), 5 * BLOCK_BYTES);
    }

    #[test]
    fn a_long_name_that_is_cut_at_a_slash_stays_that_of_a_file() {
        let name = [&[b'a'; 99][..], b"/", &[b'b'; 250]].concat();
        let (read, body) = read_back(&written(&file(&name, 1), b"x"));
        assert!(read.path == name && body == b"x");
    }

    #[test]
    fn a_body_of_another_length_is_an_error() {
        let mut tar = TarWriter::new(Vec::new());
        assert!(tar.write(&file(b"a", 3), &b"ab"[..]).is_err());
        let mut tar = TarWriter::new(Vec::new());
        assert!(tar.write(&file(b"a", 3), &b"abcd"[..]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            path in "[a-z/é]{1,300}",
            link in proptest::option::of("[a-z]{1,200}"),
            ids in any::<(u32, u32)>(),
            mtime in (any::<i32>(), 0..1_000_000_000_u32),
            body in proptest::collection::vec(any::<u8>(), 0..1500),
            attribute in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        ) {
            let path: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
            prop_assume!(!path.is_empty());
            let mut entry = file(path.join("/").as_bytes(), body.len() as u64);
            if let Some(link) = &link {
                entry.kind = Kind::Symlink(link.clone().into_bytes());
            }
            (entry.uid, entry.gid) = ids;
            entry.mtime = (i64::from(mtime.0), mtime.1);
            entry.xattrs.extend(attribute.map(|value| (b"user.x".to_vec(), value)));
            let (read, read_body) = read_back(&written(&entry, &body));
            prop_assert_eq!(&read.path, &entry.path);
            prop_assert_eq!((read.uid, read.gid, read.mtime), (entry.uid, entry.gid, entry.mtime));
            prop_assert_eq!(&read.xattrs, &entry.xattrs);
            match (&read.kind, &link) {
                (Kind::Symlink(target), Some(link)) => prop_assert_eq!(&target[..], link.as_bytes()),
                (Kind::File { .. }, None) => prop_assert_eq!(read_body, body),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
