//! The 512-byte header of a tar entry.

/// Length of a header, and what bodies are padded to.
pub(crate) const BLOCK_BYTES: usize = 512;

/// What an entry's type flag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Folder,
    Fifo,
    /// Records for the next entry.
    Pax,
    /// Records for all that follow.
    PaxGlobal,
    /// The next entry's name.
    GnuName,
    /// The next entry's link target.
    GnuLink,
    GnuSparse,
    /// Multi-volume headers and volume labels.
    GnuOther,
}

/// A header whose checksum is right.
#[derive(Debug)]
pub(crate) struct Header<'a>(&'a [u8; BLOCK_BYTES]);

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("a header's checksum is wrong")]
    Checksum,
    #[error("a header's {0} is not a number, or too large")]
    Number(&'static str),
    #[error("a header is of the unknown type {0:?}")]
    Flag(char),
}

impl<'a> Header<'a> {
    pub(crate) fn new(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, HeaderError> {
        let header = Header(block);
        let said = header.number(148, 8, "checksum")?;
        // Some old tars summed signed bytes.
        let (mut sum, mut signed) = (0, 0);
        for (at, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            sum += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        match said == sum || said == signed {
            true => Ok(header),
            false => Err(HeaderError::Checksum),
        }
    }

    fn field(&self, at: usize, length: usize) -> &'a [u8] {
        &self.0[at..at + length]
    }

    fn text(&self, at: usize, length: usize) -> &'a [u8] {
        until_nul(self.field(at, length))
    }

    fn number(&self, at: usize, length: usize, name: &'static str) -> Result<i64, HeaderError> {
        parse_number(self.field(at, length)).ok_or(HeaderError::Number(name))
    }

    /// A number that Linux keeps in four bytes.
    fn id(&self, at: usize, name: &'static str) -> Result<u32, HeaderError> {
        let number = self.number(at, 8, name)?;
        u32::try_from(number).map_err(|_| HeaderError::Number(name))
    }

    pub(crate) fn flag(&self) -> Result<Flag, HeaderError> {
        Ok(match self.0[156] {
            // Before POSIX, folders were files whose name ends in a slash; since, a long name may be cut there.
            0 if self.text(0, 100).ends_with(b"/") => Flag::Folder,
            0 | b'0' | b'7' => Flag::File,
            b'1' => Flag::HardLink,
            b'2' => Flag::Symlink,
            b'3' => Flag::CharDevice,
            b'4' => Flag::BlockDevice,
            b'5' => Flag::Folder,
            b'6' => Flag::Fifo,
            b'x' | b'X' => Flag::Pax,
            b'g' => Flag::PaxGlobal,
            b'L' => Flag::GnuName,
            b'K' => Flag::GnuLink,
            b'S' => Flag::GnuSparse,
            b'M' | b'V' | b'N' => Flag::GnuOther,
            other => return Err(HeaderError::Flag(char::from(other))),
        })
    }

    /// The name, with the prefix that POSIX keeps apart and GNU has not.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let is_posix = self.field(257, 6) == b"ustar\0";
        match self.text(345, 155) {
            prefix if is_posix && !prefix.is_empty() => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        self.text(157, 100)
    }

    /// The length of the body in the archive.
    pub(crate) fn stored_bytes(&self) -> Result<u64, HeaderError> {
        let number = self.number(124, 12, "size")?;
        u64::try_from(number).map_err(|_| HeaderError::Number("size"))
    }

    pub(crate) fn mode(&self) -> Result<u32, HeaderError> {
        self.number(100, 8, "mode").map(|mode| (mode & 0o7777) as u32)
    }

    pub(crate) fn uid(&self) -> Result<u32, HeaderError> {
        self.id(108, "uid")
    }

    pub(crate) fn gid(&self) -> Result<u32, HeaderError> {
        self.id(116, "gid")
    }

    pub(crate) fn mtime(&self) -> Result<i64, HeaderError> {
        self.number(136, 12, "mtime")
    }

    pub(crate) fn device(&self) -> Result<(u32, u32), HeaderError> {
        Ok((self.id(329, "device number")?, self.id(337, "device number")?))
    }

    /// GNU sparse: the start of the map, and the length of the file with its holes.
    pub(crate) fn gnu_sparse(&self) -> Result<(SparsePart, u64), HeaderError> {
        let pieces = sparse_pieces(self.field(386, 96))?;
        let real = self.number(483, 12, "real size")?;
        let real = u64::try_from(real).map_err(|_| HeaderError::Number("real size"))?;
        let goes_on = self.0[482] != 0;
        Ok((SparsePart { pieces, goes_on }, real))
    }
}

/// A part of the map of a GNU sparse file.
#[derive(Debug)]
pub(crate) struct SparsePart {
    /// Offsets and lengths.
    pub(crate) pieces: Vec<(u64, u64)>,
    /// Whether another part follows.
    pub(crate) goes_on: bool,
}

/// A block that continues the map of a GNU sparse file.
pub(crate) fn gnu_sparse_block(block: &[u8; BLOCK_BYTES]) -> Result<SparsePart, HeaderError> {
    Ok(SparsePart {
        pieces: sparse_pieces(&block[..504])?,
        goes_on: block[504] != 0,
    })
}

fn sparse_pieces(field: &[u8]) -> Result<Vec<(u64, u64)>, HeaderError> {
    let mut pieces = Vec::new();
    for piece in field.chunks_exact(24) {
        if piece[0] == 0 {
            break;
        }
        let number = |field| {
            let number = parse_number(field).and_then(|number| u64::try_from(number).ok());
            number.ok_or(HeaderError::Number("sparse map"))
        };
        pieces.push((number(&piece[..12])?, number(&piece[12..])?));
    }
    Ok(pieces)
}

/// A text of octal digits, or, where the first bit is set, a big-endian number of base 256.
fn parse_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // The second bit is the sign.
        let is_negative = field[0] & 0x40 != 0;
        let mut number: i64 = if is_negative { -1 } else { 0 };
        for (at, &byte) in field.iter().enumerate() {
            let byte = match (at, is_negative) {
                (0, true) => byte | 0x80,
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            if number != (number << 8) >> 8 {
                return None;
            }
            number = number << 8 | i64::from(byte);
        }
        return Some(number);
    }
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0_i64, |number, &digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    match field.iter().position(|&byte| byte == 0) {
        Some(end) => &field[..end],
        None => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(parse_number(b"0000644\0"), Some(0o644));
        assert_eq!(parse_number(b" 644 \0\0\0"), Some(0o644));
        assert_eq!(parse_number(b"\0\0\0\0"), Some(0));
        assert_eq!(parse_number(b"00x\0"), None);
        assert_eq!(
            parse_number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
            Some(2 << 32)
        );
        assert_eq!(parse_number(&[0xff; 12]), Some(-1));
        assert_eq!(
            parse_number(&[
                0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            None
        );
    }
}
