//! The central directory of a zip: what it holds, without unpacking it. Zip64 is understood, and whatever stands before the
//! first entry, such as the shell script of an executable jar.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use flate2::{Crc, read::DeflateDecoder};
use headstart_fs::AtPath as _;

use crate::{ImageError, layer::clean_path};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";
const END_64_LOCATOR_BYTES: u64 = 20;
const END_64: &[u8] = b"PK\x06\x06";
const END_64_BYTES: u64 = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;
/// A comment has a length of two bytes.
const MAX_COMMENT_BYTES: u64 = u16::MAX as u64;
/// A directory beyond this is refused; that of a very large jar has 20 MB.
const MAX_DIRECTORY_BYTES: u64 = 256 << 20;
const ZIP64_EXTRA: u16 = 1;

/// A zip, or one inside of another that is stored as it is.
#[derive(Debug, Clone)]
pub(crate) struct Zip {
    name: String,
    file: Arc<File>,
    range: Range<u64>,
    /// In the order of the directory.
    pub(crate) entries: Vec<ZipEntry>,
}

/// An entry of the central directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZipEntry {
    /// Clean: no `..`, no slash at either end.
    pub(crate) path: String,
    pub(crate) is_folder: bool,
    pub(crate) is_deflated: bool,
    pub(crate) stored_bytes: u64,
    pub(crate) size_bytes: u64,
    /// Seconds since 1970, as if the zip's local time were that of Greenwich.
    pub(crate) mtime: i64,
    crc: u32,
    header_at: u64,
}

impl Zip {
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let file = File::open(path).at("open", path)?;
        let length = file.metadata().at("look at", path)?.len();
        Self::read(path.display().to_string(), Arc::new(file), 0..length)
    }

    /// A zip that is a stored entry of this one.
    pub(crate) fn open_nested(&self, entry: &ZipEntry) -> Result<Self, ImageError> {
        let name = format!("{} in {}", entry.path, self.name);
        if entry.is_deflated {
            return Err(ImageError::unsupported(name, "it is not stored as it is"));
        }
        let at = self.body_at(entry)?;
        let end = at
            .checked_add(entry.stored_bytes)
            .filter(|&end| end <= self.range.end);
        let end = end.ok_or_else(|| ImageError::corrupt(&name, "it ends behind the archive"))?;
        Self::read(name, Arc::clone(&self.file), at..end)
    }

    fn read(name: String, file: Arc<File>, range: Range<u64>) -> Result<Self, ImageError> {
        let mut zip = Zip {
            name,
            file,
            range,
            entries: Vec::new(),
        };
        let directory = zip.find_directory()?;
        let mut bytes = vec![0; (directory.end - directory.start) as usize];
        zip.fill(&mut bytes, directory.start)?;
        zip.entries = zip.parse(&bytes, directory)?;
        Ok(zip)
    }

    /// Where the directory is in the file, and with it where the archive begins: it may say offsets from its own beginning.
    fn find_directory(&self) -> Result<Directory, ImageError> {
        let length = self.range.end - self.range.start;
        let tail_bytes = length.min(END_BYTES + MAX_COMMENT_BYTES);
        let mut tail = vec![0; tail_bytes as usize];
        let tail_at = self.range.end - tail_bytes;
        self.fill(&mut tail, tail_at)?;
        let end = (0..tail.len().saturating_sub(END_BYTES as usize - 1))
            .rev()
            .find(|&at| {
                let comment = |at: usize| usize::from(u16_at(&tail, at + 20));
                tail[at..].starts_with(END) && at + END_BYTES as usize + comment(at) == tail.len()
            });
        let end = end.ok_or_else(|| self.corrupt("it is no zip, or cut off"))?;
        let record = &tail[end..];
        let end_at = tail_at + end as u64;
        let (mut count, mut bytes) = (u64::from(u16_at(record, 10)), u64::from(u32_at(record, 12)));
        let (mut at, mut directory_end) = (u64::from(u32_at(record, 16)), end_at);
        if let Some((record, record_at)) = self.find_end_64(end_at)? {
            (count, bytes, at) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
            directory_end = record_at;
        }
        let start = directory_end
            .checked_sub(bytes)
            .filter(|&start| start >= self.range.start);
        let start = start.ok_or_else(|| self.corrupt("its directory begins before it"))?;
        if bytes > MAX_DIRECTORY_BYTES {
            return Err(ImageError::too_large(&self.name, "a directory of 256 MiB"));
        }
        if count > bytes / ENTRY_BYTES as u64 {
            return Err(self.corrupt("its directory is shorter than its entries"));
        }
        let base = start.checked_sub(at).filter(|&base| base >= self.range.start);
        Ok(Directory {
            start,
            end: directory_end,
            base: base.ok_or_else(|| self.corrupt("its directory is not where it says"))?,
            count,
        })
    }

    fn find_end_64(&self, end_at: u64) -> Result<Option<([u8; END_64_BYTES as usize], u64)>, ImageError> {
        let locator_at = end_at.checked_sub(END_64_LOCATOR_BYTES);
        let Some(locator_at) = locator_at.filter(|&at| at >= self.range.start) else {
            return Ok(None);
        };
        let mut locator = [0; END_64_LOCATOR_BYTES as usize];
        self.fill(&mut locator, locator_at)?;
        if !locator.starts_with(END_64_LOCATOR) {
            return Ok(None);
        }
        let record_at = locator_at
            .checked_sub(END_64_BYTES)
            .filter(|&at| at >= self.range.start);
        let record_at = record_at.ok_or_else(|| self.corrupt("its end record is cut off"))?;
        let mut record = [0; END_64_BYTES as usize];
        self.fill(&mut record, record_at)?;
        match record.starts_with(END_64) {
            true => Ok(Some((record, record_at))),
            false => Err(self.corrupt("its end record is not where it should be")),
        }
    }

    fn parse(&self, mut bytes: &[u8], directory: Directory) -> Result<Vec<ZipEntry>, ImageError> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..directory.count {
            let cut_off = || self.corrupt("its directory is cut off");
            let (head, rest) = bytes.split_at_checked(ENTRY_BYTES).ok_or_else(cut_off)?;
            if !head.starts_with(ENTRY) {
                return Err(self.corrupt("its directory holds something else"));
            }
            let (name, extra) = (usize::from(u16_at(head, 28)), usize::from(u16_at(head, 30)));
            let (name, rest) = rest.split_at_checked(name).ok_or_else(cut_off)?;
            let (extra, rest) = rest.split_at_checked(extra).ok_or_else(cut_off)?;
            bytes = rest.get(usize::from(u16_at(head, 32))..).ok_or_else(cut_off)?;
            let entry = self.entry(head, name, extra, directory.base)?;
            if !seen.insert(entry.path.clone()) {
                return Err(self.corrupt(&format!("it has {} twice", entry.path)));
            }
            entries.push(entry);
        }
        self.check_apart(&entries, directory.start)?;
        Ok(entries)
    }

    /// Bytes that belong to several entries would be unpacked as often as the archive likes.
    fn check_apart(&self, entries: &[ZipEntry], directory_at: u64) -> Result<(), ImageError> {
        let mut spans: Vec<_> = entries
            .iter()
            .map(|entry| (entry.header_at, entry.least_end(), &*entry.path))
            .collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            if pair[0].1 > pair[1].0 {
                return Err(self.corrupt(&format!("{} and {} overlap", pair[0].2, pair[1].2)));
            }
        }
        match spans.last() {
            Some((_, end, path)) if *end > directory_at => {
                Err(self.corrupt(&format!("{path} ends in its directory")))
            }
            _ => Ok(()),
        }
    }

    fn entry(&self, head: &[u8], name: &[u8], extra: &[u8], base: u64) -> Result<ZipEntry, ImageError> {
        let path =
            clean_path(name).map_err(|problem| self.corrupt(&format!("an entry's name: {problem}")))?;
        let path = str::from_utf8(&path).map_err(|_| self.corrupt("an entry's name is not UTF-8"))?;
        if u16_at(head, 8) & 1 != 0 {
            return Err(ImageError::unsupported(
                &self.name,
                format!("{path} is encrypted"),
            ));
        }
        let is_deflated = match u16_at(head, 10) {
            0 => false,
            8 => true,
            other => {
                let reason = format!("{path} is compressed by method {other}");
                return Err(ImageError::unsupported(&self.name, reason));
            }
        };
        // What does not fit into four bytes is in the extra field, in this order.
        let mut large = zip64_numbers(extra).into_iter();
        let mut number = |at| match u32_at(head, at) {
            u32::MAX => large.next().ok_or_else(|| self.corrupt("a size is missing")),
            number => Ok(u64::from(number)),
        };
        let (size_bytes, stored_bytes, header_at) = (number(24)?, number(20)?, number(42)?);
        let header_at = base.checked_add(header_at).filter(|&at| at < self.range.end);
        Ok(ZipEntry {
            path: path.to_owned(),
            is_folder: name.ends_with(b"/"),
            is_deflated,
            stored_bytes,
            size_bytes,
            mtime: dos_time(u16_at(head, 14), u16_at(head, 12)),
            crc: u32_at(head, 16),
            header_at: header_at.ok_or_else(|| self.corrupt(&format!("{path} begins behind it")))?,
        })
    }

    fn body_at(&self, entry: &ZipEntry) -> Result<u64, ImageError> {
        let mut head = [0; LOCAL_BYTES as usize];
        self.fill(&mut head, entry.header_at)?;
        if !head.starts_with(LOCAL) {
            return Err(self.corrupt(&format!("{} is not where it should be", entry.path)));
        }
        let before = LOCAL_BYTES + u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
        Ok(entry.header_at + before)
    }

    /// The bytes of an entry, unpacked, and compared with its checksum at their end.
    pub(crate) fn open_entry(&self, entry: &ZipEntry) -> Result<Box<dyn Read>, ImageError> {
        let part = Part {
            file: Arc::clone(&self.file),
            at: self.body_at(entry)?,
            left: entry.stored_bytes,
        };
        let body: Box<dyn Read> = match entry.is_deflated {
            true => Box::new(DeflateDecoder::new(part)),
            false => Box::new(part),
        };
        Ok(Box::new(Checked {
            inner: body,
            crc: Crc::new(),
            expected: entry.crc,
        }))
    }

    /// Its own bytes, and their number.
    pub(crate) fn whole(&self) -> (u64, impl Read + use<>) {
        let left = self.range.end - self.range.start;
        let part = Part {
            file: Arc::clone(&self.file),
            at: self.range.start,
            left,
        };
        (left, part)
    }

    /// A short entry, if it is there.
    pub(crate) fn read_entry(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.path == path) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = self.open_entry(entry)?.take(limit + 1).read_to_end(&mut bytes);
        let what = || format!("{path} in {}", self.name);
        read.map_err(|source| ImageError::Read { what: what(), source })?;
        match bytes.len() as u64 > limit {
            true => Err(ImageError::too_large(what(), format!("{limit} bytes"))),
            false => Ok(Some(bytes)),
        }
    }

    fn fill(&self, bytes: &mut [u8], at: u64) -> Result<(), ImageError> {
        let is_inside = at
            .checked_add(bytes.len() as u64)
            .is_some_and(|end| end <= self.range.end);
        if !is_inside {
            return Err(self.corrupt("it is cut off"));
        }
        self.file
            .read_exact_at(bytes, at)
            .map_err(|source| ImageError::Read {
                what: self.name.clone(),
                source,
            })
    }

    fn corrupt(&self, reason: &str) -> ImageError {
        ImageError::corrupt(&self.name, reason)
    }
}

impl ZipEntry {
    /// Where its bytes end, unless there is more between its header and its body than its name.
    fn least_end(&self) -> u64 {
        let head_bytes = LOCAL_BYTES + self.path.len() as u64;
        self.header_at
            .saturating_add(head_bytes)
            .saturating_add(self.stored_bytes)
    }

    /// As an index would spell it: a folder ends in a slash.
    pub(crate) fn name(&self) -> String {
        match self.is_folder {
            true => format!("{}/", self.path),
            false => self.path.clone(),
        }
    }
}

struct Directory {
    start: u64,
    end: u64,
    /// Where offsets count from.
    base: u64,
    count: u64,
}

/// A part of the file.
struct Part {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Compares the checksum at the end.
struct Checked {
    inner: Box<dyn Read>,
    crc: Crc,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.crc.update(&into[..read]);
        match read == 0 && !into.is_empty() && self.crc.sum() != self.expected {
            true => Err(io::Error::other("its checksum is wrong")),
            false => Ok(read),
        }
    }
}

fn zip64_numbers(mut extra: &[u8]) -> Vec<u64> {
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((field, rest)) = rest.split_at_checked(usize::from(u16_at(head, 2))) else {
            break;
        };
        if u16_at(head, 0) == ZIP64_EXTRA {
            return field.chunks_exact(8).map(|number| u64_at(number, 0)).collect();
        }
        extra = rest;
    }
    Vec::new()
}

/// Days of the years before, of the months before, and of this month, and two-second steps.
fn dos_time(date: u16, time: u16) -> i64 {
    let (year, month, day) = (
        1980 + i64::from(date >> 9),
        i64::from(date >> 5 & 15),
        i64::from(date & 31),
    );
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let (hours, minutes, steps) = (
        i64::from(time >> 11),
        i64::from(time >> 5 & 63),
        i64::from(time & 31),
    );
    ((days * 24 + hours) * 60 + minutes) * 60 + 2 * steps
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::jar::testing::{Made, zip_of};

    fn open(bytes: &[u8]) -> Result<Zip, ImageError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Zip::open(file.path())
    }

    #[test]
    fn entries_are_found_behind_a_script_and_inside_of_each_other() {
        let inner = zip_of(&[Made::deflated("x", b"inside inside inside")]);
        let made = [
            Made::deflated("a/b", b"deflated deflated"),
            Made::stored("lib.jar", &inner),
        ];
        for before in [&b""[..], b"#!/bin/sh\nexec java -jar \"$0\"\n"] {
            let zip = open(&[before, &zip_of(&made)].concat()).unwrap();
            assert_eq!(zip.read_entry("a/b", 100).unwrap().unwrap(), b"deflated deflated");
            assert!(matches!(
                zip.read_entry("a/b", 5),
                Err(ImageError::TooLarge { .. })
            ));
            let nested = zip.open_nested(&zip.entries[1]).unwrap();
            assert_eq!(
                nested.read_entry("x", 100).unwrap().unwrap(),
                b"inside inside inside"
            );
        }
    }

    #[test]
    fn what_is_no_jar_is_an_error() {
        assert!(open(b"").is_err());
        assert!(open(&[0; 100]).is_err());
        for wrong in [
            zip_of(&[Made::stored("../x", b"")]),
            zip_of(&[Made::stored("x", b"1"), Made::stored("./x", b"2")]),
        ] {
            assert!(matches!(open(&wrong), Err(ImageError::Corrupt { .. })));
        }
        let mut damaged = zip_of(&[Made::stored("x", b"body")]);
        let at = damaged.windows(4).position(|window| window == b"body").unwrap();
        damaged[at] ^= 1;
        assert!(open(&damaged).unwrap().read_entry("x", 10).is_err());
    }

    #[test]
    fn bytes_that_several_entries_claim_are_refused() {
        let bytes = zip_of(&[Made::stored("one", b"12345"), Made::stored("two", b"67890")]);
        assert!(open(&bytes).is_ok());
        let directory = |name: &[u8]| {
            let at = bytes.windows(name.len()).rposition(|window| window == name);
            at.unwrap() - ENTRY_BYTES
        };
        // The second begins where the first does.
        let mut same = bytes.clone();
        let at = directory(b"two") + 42;
        same[at..at + 4].fill(0);
        // The first reaches into the second.
        let mut longer = bytes.clone();
        longer[directory(b"one") + 20] += 1;
        // The second reaches into the directory.
        let mut last = bytes.clone();
        last[directory(b"two") + 20] += 1;
        for wrong in [same, longer, last] {
            let error = open(&wrong).unwrap_err();
            assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn times_are_counted_from_1970() {
        assert_eq!(dos_time(0x21, 0), 315_532_800, "1980-01-01");
        assert_eq!(
            dos_time((44 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28),
            1_709_210_096
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_zip_or_an_error(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = zip_of(&[Made::deflated("a/b", b"deflated deflated"), Made::stored("x", b"body")]);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() * 4).min(bytes.len()));
            if let Ok(zip) = open(&bytes) {
                for entry in &zip.entries {
                    let _ = zip.read_entry(&entry.path, 1000);
                    let _ = zip.open_nested(entry);
                }
            }
        }
    }
}
