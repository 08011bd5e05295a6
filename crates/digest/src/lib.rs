//! Digests and the typed IDs over them.
//!
//! Owns: the BLAKE3 digest every stored byte is named by, its hex form, and the newtypes that say *what* a digest
//! names. Does no I/O.
//!
//! ```
//! use headstart_digest::{Digest, PackId};
//!
//! let digest = Digest::of(b"hello");
//! assert_eq!(digest.to_string().len(), 64);
//! assert_eq!(Digest::from_hex(&digest.to_string()), Ok(digest));
//! let pack: PackId = digest.into();
//! assert_eq!(pack.digest(), &digest);
//! ```

mod hasher;
mod id;

pub use hasher::Hasher;
pub use id::{ChunkId, PackId, SnapshotId};

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The BLAKE3-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; Digest::LEN]);

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// A digest has 64 hexadecimal digits.
    #[error("a digest has 64 hexadecimal digits, not {0}")]
    Length(usize),
    /// Digits are `0-9` and `a-f`; capitals are refused so that a digest has one spelling.
    #[error("a digest is written in 0-9 and a-f")]
    Digit,
}

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Hashes `bytes` in one go.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// Takes 32 bytes that are a digest already, for example from a stored table.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, ParseDigestError> {
        let digits = text.as_bytes();
        if digits.len() != Self::LEN * 2 {
            return Err(ParseDigestError::Length(digits.len()));
        }
        let mut bytes = [0; Self::LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, ParseDigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseDigestError::Digit),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_has_one_spelling() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(
            Digest::from_hex(&digest.to_string().to_uppercase()),
            Err(ParseDigestError::Digit)
        );
        assert_eq!(Digest::from_hex("ab"), Err(ParseDigestError::Length(2)));
    }

    #[test]
    fn of_agrees_with_the_streaming_hasher() {
        let mut hasher = Hasher::new();
        hasher.update(b"hel");
        hasher.update(b"lo");
        assert_eq!(hasher.finish(), Digest::of(b"hello"));
    }
}
