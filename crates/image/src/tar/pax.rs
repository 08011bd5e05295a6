//! PAX records: what does not fit into a header.

use super::TarError;

/// The records of one entry, as far as they mean something here.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Seconds and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    /// Names and values of extended attributes, in the order they came.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// What GNU tar says of a sparse file, in versions 0.0, 0.1 and 1.0 of its notation.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Length of the file with its holes.
    pub(super) real_bytes: Option<u64>,
    /// Offsets and lengths in turn; versions 0.0 and 0.1.
    pub(super) map: Option<Vec<u64>>,
}

impl PaxRecords {
    /// Parses `<length> <key>=<value>\n` until the end. The last of two records of a key counts.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut records = PaxRecords::default();
        while !bytes.is_empty() {
            let (key, value, rest) =
                split_record(bytes).ok_or(TarError::Pax("a record's length is wrong"))?;
            records.take(key, value)?;
            bytes = rest;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = id(value)?,
            b"gid" => self.gid = id(value)?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.major" => self.sparse.major = number(value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_bytes = number(value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let map = self.sparse.map.get_or_insert_default();
                let is_offset = key.ends_with(b"offset");
                if map.len().is_multiple_of(2) != is_offset {
                    return Err(TarError::Sparse("offsets and lengths do not take turns"));
                }
                map.extend(number(value)?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|&byte| byte == b',').map(number);
                let numbers: Vec<_> = numbers.collect::<Result<_, _>>()?;
                self.sparse.map = Some(numbers.into_iter().flatten().collect());
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A record's key and value, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space]).ok()??).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// A text; an empty one means that there is none.
fn text(value: &[u8]) -> Result<Option<Vec<u8>>, TarError> {
    match value.contains(&0) {
        true => Err(TarError::Pax("a name holds a NUL")),
        false => Ok((!value.is_empty()).then(|| value.to_vec())),
    }
}

fn number(value: &[u8]) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
    digits
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
        .map(Some)
        .ok_or(TarError::Pax("a number is none"))
}

/// A number that Linux keeps in four bytes.
fn id(value: &[u8]) -> Result<Option<u32>, TarError> {
    let number = number(value)?.map(u32::try_from).transpose();
    number.map_err(|_| TarError::Pax("an owner is beyond 4,294,967,295"))
}

/// Seconds with a fraction, maybe before 1970.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value).map(Some).ok_or(TarError::Pax("a time is none"))
}

fn parse_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_count_their_own_length() {
        let records =
            PaxRecords::parse(b"9 path=a\n25 mtime=1350244992.02396\n28 SCHILY.xattr.user.x=a\0b\nc")
                .unwrap_err();
        assert!(matches!(records, TarError::Pax(_)), "{records}");
        let records =
            PaxRecords::parse(b"9 path=a\n26 mtime=1350244992.02396\n26 SCHILY.xattr.user.x=a\0\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a"[..]));
        assert_eq!(records.mtime, Some((1_350_244_992, 23_960_000)));
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"a\0".to_vec())]);
    }

    #[test]
    fn times_before_1970_count_up_from_the_second_before() {
        assert_eq!(parse_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(parse_time(b"7"), Some((7, 0)));
        assert_eq!(parse_time(b"7.0000000019"), Some((7, 1)));
        assert_eq!(parse_time(b"x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_records_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PaxRecords::parse(&bytes);
        }
    }
}
