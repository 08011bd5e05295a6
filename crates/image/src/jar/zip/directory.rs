//! The central directory: where it is, and its entries.

use super::{
    ZipEntry,
    bytes::{ZipBytes, u16_at, u32_at, u64_at},
    dos_time::dos_time,
};
use crate::{ImageError, layer::clean_path};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";
const END_64_LOCATOR_BYTES: u64 = 20;
const END_64: &[u8] = b"PK\x06\x06";
const END_64_BYTES: u64 = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const ZIP64_EXTRA: u16 = 1;
/// A comment has a length of two bytes.
const MAX_COMMENT_BYTES: u64 = u16::MAX as u64;
/// A directory beyond this is refused; that of a very large jar has 20 MB.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

struct Directory {
    start: u64,
    end: u64,
    /// Where offsets count from.
    base: u64,
    count: u64,
    /// Without zip64, only the last 16 bits of the count are known.
    is_64: bool,
}

impl ZipBytes {
    /// The entries, in the order of the directory.
    pub(super) fn read_directory(&self) -> Result<Vec<ZipEntry>, ImageError> {
        let directory = self.find_directory()?;
        let mut bytes = vec![0; (directory.end - directory.start) as usize];
        self.fill(&mut bytes, directory.start)?;
        self.parse(&bytes, directory)
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
        let short = [
            (u64::from(u16_at(record, 10)), u64::from(u16::MAX)),
            (u64::from(u32_at(record, 12)), u64::from(u32::MAX)),
            (u64::from(u32_at(record, 16)), u64::from(u32::MAX)),
        ];
        let end_64 = self.find_end_64(end_at)?;
        let ([count, bytes, at], directory_end) = match &end_64 {
            None => (short.map(|(number, _)| number), end_at),
            Some((record, record_at)) => ([32, 40, 48].map(|field| u64_at(record, field)), *record_at),
        };
        // Programs that believe one of the records would see another archive than those that believe the other.
        let mut pairs = short.iter().zip([count, bytes, at]);
        if !pairs.all(|(&(short, most), long)| short == long || short == most) {
            return Err(self.corrupt("its end records differ"));
        }
        let start = directory_end
            .checked_sub(bytes)
            .filter(|&start| start >= self.range.start);
        let start = start.ok_or_else(|| self.corrupt("its directory begins before it"))?;
        if bytes > MAX_DIRECTORY_BYTES {
            let limit = format!("a directory of {} MiB", MAX_DIRECTORY_BYTES >> 20);
            return Err(ImageError::too_large(&self.name, limit));
        }
        let base = start.checked_sub(at).filter(|&base| base >= self.range.start);
        Ok(Directory {
            start,
            end: directory_end,
            base: base.ok_or_else(|| self.corrupt("its directory is not where it says"))?,
            count,
            is_64: end_64.is_some(),
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
        while !bytes.is_empty() {
            let cut_off = || self.corrupt("its directory is cut off");
            let (head, rest) = bytes.split_at_checked(ENTRY_BYTES).ok_or_else(cut_off)?;
            if !head.starts_with(ENTRY) {
                return Err(self.corrupt("its directory holds something else"));
            }
            let (name, extra) = (usize::from(u16_at(head, 28)), usize::from(u16_at(head, 30)));
            let (name, rest) = rest.split_at_checked(name).ok_or_else(cut_off)?;
            let (extra, rest) = rest.split_at_checked(extra).ok_or_else(cut_off)?;
            bytes = rest.get(usize::from(u16_at(head, 32))..).ok_or_else(cut_off)?;
            entries.push(self.entry(head, name, extra, directory.base)?);
        }
        let count = entries.len() as u64;
        if count != directory.count && (directory.is_64 || count as u16 != directory.count as u16) {
            return Err(self.corrupt("its directory has other entries than it says"));
        }
        self.check_paths(&entries)?;
        self.check_apart(&entries, directory.start)?;
        Ok(entries)
    }

    /// Two entries at one path, or one below a file, make a tree that nobody unpacks alike.
    fn check_paths(&self, entries: &[ZipEntry]) -> Result<(), ImageError> {
        let mut sorted: Vec<_> = entries.iter().collect();
        // By their parts: what is below a path comes right after it.
        sorted.sort_unstable_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        for pair in sorted.windows(2) {
            let (above, entry) = (pair[0], pair[1]);
            match entry.path.strip_prefix(&*above.path) {
                Some("") => return Err(self.corrupt(&format!("it has {} twice", entry.path))),
                Some(below) if below.starts_with('/') && !above.is_folder => {
                    return Err(self.corrupt(&format!("{} is a file and a folder", above.path)));
                }
                _ => {}
            }
        }
        Ok(())
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
        let is_folder = name.ends_with(b"/");
        if path.is_empty() && !is_folder {
            return Err(self.corrupt("an entry has no name"));
        }
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
            is_folder,
            is_deflated,
            stored_bytes,
            size_bytes,
            mtime: dos_time(u16_at(head, 14), u16_at(head, 12)),
            crc: u32_at(head, 16),
            header_at: header_at.ok_or_else(|| self.corrupt(&format!("{path} begins behind it")))?,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jar::{
        testing::{Made, keep, zip_of},
        zip::Zip,
    };

    fn open(bytes: &[u8]) -> Result<Zip, ImageError> {
        Zip::open(keep(bytes).path())
    }

    fn assert_corrupt(bytes: &[u8], reason: &str) {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn a_path_is_one_thing() {
        let one = |name| Made::stored(name, b"");
        for (names, reason) in [
            (["x", "./x"], "twice"),
            (["x/", "x"], "twice"),
            (["x/y", "x"], "x is a file and a folder"),
            (["x/y/z", "x"], "x is a file and a folder"),
            (["a", "."], "has no name"),
        ] {
            assert_corrupt(&zip_of(&names.map(one)), reason);
        }
        assert!(open(&zip_of(&["x/", "x/y", "x!", "x.y/z", "/"].map(one))).is_ok());
    }

    #[test]
    fn a_directory_has_as_many_entries_as_it_says() {
        let whole = zip_of(&["a", "b"].map(|name| Made::stored(name, b"")));
        let count_at = whole.len() - END_BYTES as usize + 10;
        for count in [0, 1, 3] {
            let mut other = whole.clone();
            other[count_at] = count;
            assert_corrupt(&other, "entries");
        }
    }

    #[test]
    fn more_entries_than_the_count_can_hold_are_all_there() {
        let names: Vec<_> = (0..65_538).map(|number| number.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| Made::stored(name, b"")).collect();
        assert_eq!(open(&zip_of(&entries)).unwrap().entries.len(), 65_538);
    }

    #[test]
    fn two_end_records_say_the_same() {
        let whole = zip_of(&[Made::stored("a", b"1")]);
        let end_at = whole.len() - END_BYTES as usize;
        let (before, end) = whole.split_at(end_at);
        let with_64 = |count: u64| {
            let [directory, at] = [12, 16].map(|at| u64::from(u32_at(end, at)));
            let mut record = END_64.to_vec();
            record.extend_from_slice(&44_u64.to_le_bytes());
            record.extend_from_slice(&[0; 12]);
            for number in [count, count, directory, at] {
                record.extend_from_slice(&number.to_le_bytes());
            }
            let mut locator = END_64_LOCATOR.to_vec();
            locator.extend_from_slice(&[0; 4]);
            locator.extend_from_slice(&(end_at as u64).to_le_bytes());
            locator.extend_from_slice(&1_u32.to_le_bytes());
            [before, &record, &locator, end].concat()
        };
        assert_eq!(open(&with_64(1)).unwrap().entries.len(), 1);
        assert_corrupt(&with_64(2), "end records");
        // What does not fit into the short one stands in the long one alone.
        let mut long = with_64(1);
        let count_at = long.len() - END_BYTES as usize + 8;
        long[count_at..count_at + 4].fill(0xff);
        assert_eq!(open(&long).unwrap().entries.len(), 1);
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
}
