//! A zip by its central directory: what it holds, without unpacking it. Zip64 is understood, and whatever stands before the
//! first entry, such as the shell script of an executable jar.

mod bytes;
mod checked;
mod directory;
mod dos_time;

use std::{io::Read, path::Path, sync::Arc};

use bytes::{ZipBytes, u16_at};
use checked::Checked;
use flate2::read::DeflateDecoder;
use headstart_fs::AtPath as _;

use crate::{ImageError, source::open_file};

/// What stands before a body, without names.
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;

/// A zip, or one inside of another that is stored as it is.
#[derive(Debug, Clone)]
pub(crate) struct Zip {
    bytes: ZipBytes,
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
        let file = open_file(path)?;
        let length = file.metadata().at("look at", path)?.len();
        Self::read(ZipBytes {
            name: path.display().to_string(),
            file: Arc::new(file),
            range: 0..length,
        })
    }

    /// A zip that is a stored entry of this one.
    pub(crate) fn open_nested(&self, entry: &ZipEntry) -> Result<Self, ImageError> {
        let name = format!("{} in {}", entry.path, self.bytes.name);
        if entry.is_deflated {
            return Err(ImageError::unsupported(name, "it is not stored as it is"));
        }
        let at = self.body_at(entry)?;
        let end = at
            .checked_add(entry.stored_bytes)
            .filter(|&end| end <= self.bytes.range.end);
        let end = end.ok_or_else(|| ImageError::corrupt(&name, "it ends behind the archive"))?;
        Self::read(ZipBytes {
            name,
            file: Arc::clone(&self.bytes.file),
            range: at..end,
        })
    }

    fn read(bytes: ZipBytes) -> Result<Self, ImageError> {
        Ok(Zip {
            entries: bytes.read_directory()?,
            bytes,
        })
    }

    /// The entries that are no folders.
    pub(crate) fn files(&self) -> impl Iterator<Item = &ZipEntry> {
        self.entries.iter().filter(|entry| !entry.is_folder)
    }

    /// The bytes of an entry, unpacked, and compared with its checksum at their end.
    pub(crate) fn open_entry(&self, entry: &ZipEntry) -> Result<Box<dyn Read>, ImageError> {
        let stored = self.bytes.part(self.body_at(entry)?, entry.stored_bytes);
        Ok(match entry.is_deflated {
            true => Box::new(Checked::new(
                DeflateDecoder::new(stored),
                entry.size_bytes,
                entry.crc,
            )),
            false => Box::new(Checked::new(stored, entry.size_bytes, entry.crc)),
        })
    }

    /// A short entry, if it is there.
    pub(crate) fn read_entry(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.path == path) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = self.open_entry(entry)?.take(limit + 1).read_to_end(&mut bytes);
        let what = || format!("{path} in {}", self.bytes.name);
        read.map_err(|source| ImageError::Read { what: what(), source })?;
        match bytes.len() as u64 > limit {
            true => Err(ImageError::too_large(what(), format!("{limit} bytes"))),
            false => Ok(Some(bytes)),
        }
    }

    /// Its own bytes, and their number.
    pub(crate) fn whole(&self) -> (u64, impl Read + use<>) {
        let length = self.bytes.range.end - self.bytes.range.start;
        (length, self.bytes.part(self.bytes.range.start, length))
    }

    fn body_at(&self, entry: &ZipEntry) -> Result<u64, ImageError> {
        let mut head = [0; LOCAL_BYTES as usize];
        self.bytes.fill(&mut head, entry.header_at)?;
        if !head.starts_with(LOCAL) {
            return Err(self
                .bytes
                .corrupt(&format!("{} is not where it should be", entry.path)));
        }
        let before = LOCAL_BYTES + u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
        Ok(entry.header_at + before)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jar::testing::{Made, keep, zip_of};

    fn open(bytes: &[u8]) -> Result<Zip, ImageError> {
        Zip::open(keep(bytes).path())
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
    fn a_body_is_as_long_as_its_directory_says() {
        let whole = zip_of(&[Made::deflated("x", &[7; 1000])]);
        let entry = whole.windows(4).rposition(|window| window == b"PK\x01\x02");
        let size_at = entry.unwrap() + 24;
        for size in [999_u32, 1001] {
            let mut other = whole.clone();
            other[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
            let error = open(&other).unwrap().read_entry("x", 2000).unwrap_err();
            assert!(matches!(error, ImageError::Read { .. }), "{error}");
        }
        assert_eq!(
            open(&whole).unwrap().read_entry("x", 2000).unwrap().unwrap(),
            [7; 1000]
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
