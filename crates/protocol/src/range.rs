//! The headers of ranges, as far as this protocol uses them: one range of bytes, both ends given.

use std::{fmt, ops::Range, str::FromStr};

/// The value of `Range`: `bytes=<first>-<last>`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRange(pub Range<u64>);

/// The value of `Content-Range`: `bytes <first>-<last>/<total>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that come.
    pub range: Range<u64>,
    /// All there are.
    pub total_bytes: u64,
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes={}-{}", self.0.start, self.0.end.saturating_sub(1))
    }
}

impl FromStr for ByteRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        parse_range(text.strip_prefix("bytes=").ok_or(())?)
            .map(ByteRange)
            .ok_or(())
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.range.end.saturating_sub(1);
        write!(f, "bytes {}-{last}/{}", self.range.start, self.total_bytes)
    }
}

impl FromStr for ContentRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (range, total) = text
            .strip_prefix("bytes ")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(())?;
        let range = parse_range(range).ok_or(())?;
        let total_bytes = parse_number(total).ok_or(())?;
        if range.end > total_bytes {
            return Err(());
        }
        Ok(ContentRange { range, total_bytes })
    }
}

fn parse_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

/// Digits only: `u64` would also take a sign.
fn parse_number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_round_trip() {
        assert_eq!("bytes=0-9".parse(), Ok(ByteRange(0..10)));
        assert_eq!(ByteRange(5..6).to_string(), "bytes=5-5");
        let content = ContentRange {
            range: 5..10,
            total_bytes: 20,
        };
        assert_eq!(content.to_string().parse(), Ok(content));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "bytes=",
            "bytes=-5",
            "bytes=5-",
            "bytes=9-5",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "lines=1-2",
            "bytes=0-18446744073709551615",
            "bytes=99999999999999999999-99999999999999999999",
        ] {
            assert!(text.parse::<ByteRange>().is_err(), "{text:?} was taken");
        }
        for text in ["bytes 0-9/5", "bytes */5", "bytes 0-9/*", "bytes 0-9"] {
            assert!(text.parse::<ContentRange>().is_err(), "{text:?} was taken");
        }
    }
}
