//! Conversions the filter pipeline of gix lacks: `ident` as git spells it, and the UTF-16 and UTF-32 encodings.

use gix::{ObjectId, bstr::ByteSlice as _};

/// Expands `$Id$` and renews `$Id: ... $`, as git does; `None` when there is nothing to expand.
///
/// What has spaces inside is left alone: other version control systems wrote it.
pub(super) fn expand_ident(content: &[u8], id: ObjectId) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut done = 0;
    for start in content.find_iter(b"$Id") {
        if start < done {
            continue;
        }
        let Some(length) = ident_length(&content[start..]) else {
            continue;
        };
        out.extend_from_slice(&content[done..start]);
        out.extend(format!("$Id: {id} $").bytes());
        done = start + length;
    }
    (done > 0).then(|| {
        out.extend_from_slice(&content[done..]);
        out
    })
}

/// Length of the keyword that `text` starts with, both dollars included.
fn ident_length(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"$Id")?;
    let inner_start = match rest.first()? {
        b'$' => return Some("$Id$".len()),
        b':' => "$Id:".len(),
        _ => return None,
    };
    let end = inner_start + text[inner_start..].find_byteset(b"$\n")?;
    let inner = &text[inner_start..end];
    let has_foreign_space = inner.get(1..).and_then(|inner| inner.find_byte(b' '));
    let is_foreign = has_foreign_space.is_some_and(|space| space + 2 < inner.len());
    (text[end] == b'$' && !is_foreign).then_some(end + 1)
}

/// An encoding of code units wider than a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WideEncoding {
    bits: u8,
    big_endian: bool,
    /// Starts with a byte order mark.
    mark: bool,
}

impl WideEncoding {
    /// Reads the value of `working-tree-encoding`. Without an order, it is that of most machines, with a mark: what
    /// git gets from its C library.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix(b"UTF")?;
        let name = name.strip_prefix(b"-").unwrap_or(name);
        let (bits, order) = name.split_at_checked(2)?;
        let bits = match bits {
            b"16" => 16,
            b"32" => 32,
            _ => return None,
        };
        let (big_endian, mark) = match order {
            b"" => (false, true),
            b"LE" => (false, false),
            b"BE" => (true, false),
            b"LE-BOM" if bits == 16 => (false, true),
            b"BE-BOM" if bits == 16 => (true, true),
            _ => return None,
        };
        Some(WideEncoding {
            bits,
            big_endian,
            mark,
        })
    }

    /// Encodes UTF-8. `None` when the content is not UTF-8: git then leaves it as it is.
    pub(super) fn encode(self, content: &[u8]) -> Option<Vec<u8>> {
        let text = content.to_str().ok()?;
        let mut out = Vec::with_capacity(content.len() * usize::from(self.bits / 8) + 4);
        for character in self.mark.then_some('\u{feff}').into_iter().chain(text.chars()) {
            if self.bits == 32 {
                let unit = u32::from(character);
                out.extend(if self.big_endian {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                });
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend(if self.big_endian {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    });
                }
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_expanded_and_foreign_ones_kept() {
        let id = ObjectId::Sha1([0xab; 20]);
        let expanded = format!("$Id: {id} $");
        for (before, after) in [
            ("a $Id$ b", format!("a {expanded} b")),
            ("$Id$$Id$", format!("{expanded}{expanded}")),
            ("$Id: deadbeef $", expanded.clone()),
            ("$Id:deadbeef$", expanded.clone()),
            ("$Id:$", expanded.clone()),
            ("$Id: x\n$Id$", format!("$Id: x\n{expanded}")),
        ] {
            let out = expand_ident(before.as_bytes(), id).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), after);
        }
        for kept in [
            "$Identity$",
            "$Id: file.c,v 1.2 joe $",
            "$Id: unfinished",
            "$Id",
            "Id$",
            "",
        ] {
            assert_eq!(expand_ident(kept.as_bytes(), id), None, "{kept:?}");
        }
    }

    #[test]
    fn wide_encodings_know_order_and_mark() {
        let encode = |name: &str| {
            WideEncoding::parse(name.as_bytes())
                .unwrap()
                .encode("a\u{1f600}".as_bytes())
        };
        assert_eq!(encode("UTF-16LE").unwrap(), [b'a', 0, 0x3d, 0xd8, 0, 0xde]);
        assert_eq!(encode("utf-16be").unwrap(), [0, b'a', 0xd8, 0x3d, 0xde, 0]);
        assert_eq!(encode("UTF-16").unwrap()[..4], [0xff, 0xfe, b'a', 0]);
        assert_eq!(encode("UTF-16BE-BOM").unwrap()[..4], [0xfe, 0xff, 0, b'a']);
        assert_eq!(encode("UTF-32BE").unwrap(), [0, 0, 0, b'a', 0, 1, 0xf6, 0]);
        for other in ["UTF-8", "latin1", "UTF-160", "UTF", "SHIFT-JIS"] {
            assert_eq!(WideEncoding::parse(other.as_bytes()), None);
        }
        assert_eq!(WideEncoding::parse(b"UTF-16").unwrap().encode(b"\xff"), None);
    }
}
