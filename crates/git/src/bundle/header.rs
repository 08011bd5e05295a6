//! The head of a bundle: what is in the pack behind it, and what has to be here before. Foreign bytes.

use std::io::{self, BufRead, Read as _};

use bstr::ByteSlice as _;
use gix::ObjectId;

use crate::filter_spec::FilterSpec;

/// Longer than any name of a ref, or any comment, that somebody needs.
const LONGEST_LINE_BYTES: u64 = 64 << 10;
/// Room for more refs than the largest repositories have.
const LARGEST_BYTES: u64 = 256 << 20;

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleHeader {
    /// What was left out of its pack.
    pub(crate) filter: FilterSpec,
    /// Commits that must be here, with all they reach, for its pack to be complete.
    pub(crate) prerequisites: Vec<ObjectId>,
    /// What its refs point to.
    pub(crate) tips: Vec<ObjectId>,
}

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The connection, or the file.
    #[error("the bundle cannot be read")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("it is no bundle")]
    NotABundle,
    /// It ends in its head, or a line there means nothing.
    #[error("the head of the bundle is malformed in line {line}")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// It needs something that is not known here.
    #[error("the bundle needs {capability:?}, which is not supported")]
    Unsupported {
        /// As it is written.
        capability: String,
    },
}

impl BundleHeader {
    /// Reads up to the start of the pack.
    pub(crate) fn read(input: &mut dyn BufRead) -> Result<Self, HeaderError> {
        let mut lines = Lines {
            input,
            number: 0,
            bytes: 0,
            line: Vec::new(),
        };
        let has_capabilities = match lines.next() {
            Ok(b"# v2 git bundle") => false,
            Ok(b"# v3 git bundle") => true,
            Err(HeaderError::Read(error)) => return Err(HeaderError::Read(error)),
            _ => return Err(HeaderError::NotABundle),
        };
        let mut header = BundleHeader {
            filter: FilterSpec::None,
            prerequisites: Vec::new(),
            tips: Vec::new(),
        };
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                return Ok(header);
            }
            if let Some(capability) = line.strip_prefix(b"@").filter(|_| has_capabilities) {
                let unsupported = || HeaderError::Unsupported {
                    capability: crate::remote::sanitized(capability),
                };
                match capability.split_once_str("=") {
                    Some((b"object-format", b"sha1")) => {}
                    Some((b"filter", spec)) => {
                        let spec = spec.to_str().map_err(|_| unsupported())?;
                        header.filter = spec.parse().map_err(|_| unsupported())?;
                    }
                    _ => return Err(unsupported()),
                }
                continue;
            }
            let (ids, rest) = match line.strip_prefix(b"-") {
                Some(rest) => (&mut header.prerequisites, rest),
                None => (&mut header.tips, line),
            };
            // A comment, or the name of a ref, which is of no interest here.
            let id = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
            match ObjectId::from_hex(id) {
                Ok(id) if id.kind() == gix::hash::Kind::Sha1 => ids.push(id),
                _ => return Err(HeaderError::Malformed { line: lines.number }),
            }
        }
    }
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: usize,
    bytes: u64,
    line: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<&[u8], HeaderError> {
        self.number += 1;
        self.line.clear();
        let mut input = (&mut *self.input).take(LONGEST_LINE_BYTES);
        let read = input.read_until(b'\n', &mut self.line);
        self.bytes += read.map_err(HeaderError::Read)? as u64;
        match self.line.strip_suffix(b"\n") {
            Some(line) if self.bytes <= LARGEST_BYTES => Ok(line),
            _ => Err(HeaderError::Malformed { line: self.number }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(digit: u8) -> ObjectId {
        ObjectId::from_hex(&[digit; 40]).unwrap()
    }

    fn line(id: ObjectId, rest: &str) -> String {
        format!("{id}{rest}\n")
    }

    #[test]
    fn both_versions_are_read_up_to_the_pack() {
        let (a, b) = (line(id(b'a'), " refs/heads/main"), line(id(b'b'), " HEAD"));
        let needed = format!("-{}", line(id(b'c'), " a comment with spaces"));
        let mut input: &[u8] = &format!("# v2 git bundle\n{needed}{a}{b}\nPACKrest").into_bytes();
        let header = BundleHeader::read(&mut input).unwrap();
        assert_eq!(header.prerequisites, [id(b'c')]);
        assert_eq!(header.tips, [id(b'a'), id(b'b')]);
        assert!(header.filter.is_none());
        assert_eq!(input, b"PACKrest");
        let v3 = format!("# v3 git bundle\n@object-format=sha1\n@filter=blob:none\n{a}\nPACK");
        let header = BundleHeader::read(&mut v3.as_bytes()).unwrap();
        assert_eq!(header.filter, "blob:none".parse().unwrap());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let read = |text: &str| BundleHeader::read(&mut text.as_bytes()).unwrap_err();
        for text in ["", "<!doctype html>\n", "# v4 git bundle\n\n", "# v2 git bundle"] {
            assert!(matches!(read(text), HeaderError::NotABundle), "{text}");
        }
        for capability in ["object-format=sha256", "filter=new:one", "future"] {
            let text = format!("# v3 git bundle\n@{capability}\n\n");
            assert!(matches!(read(&text), HeaderError::Unsupported { .. }), "{text}");
        }
        let long = format!("{} {}", id(b'a'), "x".repeat(70_000));
        for (text, line) in [
            ("# v2 git bundle\n@filter=blob:none\n\n", 2),
            ("# v2 git bundle\nabc HEAD\n\n", 2),
            (&format!("# v2 git bundle\n{}", self::line(id(b'a'), " HEAD")), 3),
            (&format!("# v2 git bundle\n{long}\n\n"), 2),
        ] {
            assert!(
                matches!(read(text), HeaderError::Malformed { line: at } if at == line),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), v3: bool) {
            let start = if v3 { "# v3 git bundle\n" } else { "# v2 git bundle\n" };
            let mut input = &*[start.as_bytes(), &bytes].concat();
            let _ = BundleHeader::read(&mut input);
            let _ = BundleHeader::read(&mut &*bytes);
        }

        #[test]
        fn what_is_written_is_read(
            prerequisites in prop::collection::vec(any::<[u8; 20]>(), 0..20),
            tips in prop::collection::vec((any::<[u8; 20]>(), "[a-z/]{1,20}"), 0..20),
            pack in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut bytes = b"# v3 git bundle\n@filter=tree:0\n".to_vec();
            for id in &prerequisites {
                bytes.extend_from_slice(format!("-{}\n", ObjectId::from(*id)).as_bytes());
            }
            for (id, name) in &tips {
                bytes.extend_from_slice(format!("{} {name}\n", ObjectId::from(*id)).as_bytes());
            }
            bytes.push(b'\n');
            bytes.extend_from_slice(&pack);
            let mut input = &*bytes;
            let header = BundleHeader::read(&mut input).unwrap();
            prop_assert_eq!(header.prerequisites, prerequisites.into_iter().map(ObjectId::from).collect::<Vec<_>>());
            prop_assert_eq!(header.tips, tips.into_iter().map(|(id, _)| ObjectId::from(id)).collect::<Vec<_>>());
            prop_assert_eq!(input, &*pack);
        }
    }
}
