//! Reading and writing the fields of our binary formats: little-endian, bounded, never panicking on foreign bytes.

use headstart_digest::Digest;

use crate::StoreError;

/// Why some bytes are not a pack or a snapshot of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic number is another's.
    #[error("it is not a {0}")]
    Magic(&'static str),
    /// It is ours, of a version this program does not know.
    #[error("it is a {what} of version {version}; this headstart reads version {known}")]
    Version {
        /// Pack or snapshot.
        what: &'static str,
        /// The version found.
        version: String,
        /// The version known.
        known: &'static str,
    },
    /// It ends before a field does.
    #[error("it is cut off")]
    Truncated,
    /// A field says what cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl FormatError {
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        FormatError::Invalid(reason.into())
    }

    /// The store error to give when `what`, read from `store`, has this format error.
    pub fn in_store(self, what: impl ToString, store: impl ToString) -> StoreError {
        match self {
            FormatError::Version { .. } => {
                StoreError::Unsupported(format!("{} in {}: {self}", what.to_string(), store.to_string()))
            }
            _ => StoreError::Corrupt {
                what: what.to_string(),
                store: store.to_string(),
                reason: self.to_string(),
            },
        }
    }
}

/// Checks an eight-byte magic number: six letters that name the format, two digits that are its version.
pub(crate) fn check_magic(
    found: &[u8],
    expected: &'static [u8; 8],
    what: &'static str,
) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    match found.split_at_checked(6) {
        Some((name, version)) if name == &expected[..6] && version.iter().all(u8::is_ascii_digit) => {
            Err(FormatError::Version {
                what,
                version: String::from_utf8_lossy(version).into_owned(),
                known: std::str::from_utf8(&expected[6..]).expect("our magic numbers are ASCII"),
            })
        }
        _ => Err(FormatError::Magic(what)),
    }
}

/// What is between the magic number and the digest of everything before it, of a file that is only a cache.
pub(crate) fn checked_body<'a>(
    bytes: &'a [u8],
    magic: &'static [u8; 8],
    what: &'static str,
) -> Result<Reader<'a>, FormatError> {
    let (body, digest) = bytes
        .split_last_chunk::<{ Digest::LEN }>()
        .ok_or(FormatError::Truncated)?;
    if Digest::of(body).as_bytes() != digest {
        return Err(FormatError::invalid("its digest is another"));
    }
    let mut body = Reader(body);
    check_magic(body.take(magic.len())?, magic, what)?;
    Ok(body)
}

/// Takes fields off the front of a buffer.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, FormatError> {
        self.array().map(Digest::from_bytes)
    }

    /// A count of records that take at least `record_bytes` each: never more than the rest can hold, so that allocating
    /// for them is safe.
    pub(crate) fn count(&mut self, record_bytes: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / record_bytes {
            return Err(FormatError::Truncated);
        }
        Ok(count)
    }

    /// The same for records that take more memory than bytes here, of which there may be `most`.
    pub(crate) fn count_up_to(&mut self, most: usize, record_bytes: usize) -> Result<usize, FormatError> {
        let mut ahead = Reader(self.0);
        let count = ahead.u32()?;
        if count as usize > most {
            return Err(FormatError::invalid(format!(
                "a table claims to have {count} rows; {most} are the most"
            )));
        }
        self.count(record_bytes)
    }

    /// Takes `count` fields of one kind.
    pub(crate) fn column<T>(
        &mut self,
        count: usize,
        mut field: impl FnMut(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, FormatError> {
        let mut column = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            column.push(field(self)?);
        }
        Ok(column)
    }

    pub(crate) fn expect_end(&self) -> Result<(), FormatError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(FormatError::invalid(format!("{bytes} bytes follow its end"))),
        }
    }
}

/// Appends fields to a buffer.
pub(crate) trait PutField {
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_i64(&mut self, value: i64);
    fn put_digest(&mut self, value: &Digest);
}

impl PutField for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_digest(&mut self, value: &Digest) {
        self.extend_from_slice(value.as_bytes());
    }
}
