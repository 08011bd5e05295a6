//! SHA-256, the digest of the image formats, and what it names: blobs as stored, tars, stacks of tars. File contents, which no
//! format names, have a faster digest.

use std::{fmt, str::FromStr};

use headstart_digest::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Why a text is not the digest of a blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// Another algorithm, or none.
    #[error("{0:?} is not a sha256 digest")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("a sha256 digest has 64 digits of 0-9 and a-f")]
    Digits,
}

/// Hashes bytes as they come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sha256Hasher(Sha256);

impl Sha256Hasher {
    /// Starts with no bytes.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added, as the ID it is.
    pub(crate) fn finish<T: From<[u8; 32]>>(self) -> T {
        T::from(self.0.finalize().into())
    }
}

macro_rules! sha256_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Hashes `bytes` in one go.
            pub fn of(bytes: &[u8]) -> Self {
                $name(Sha256::digest(bytes).into())
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 digits, without `sha256:`.
            pub fn to_hex(&self) -> String {
                self.0.iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256:")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_digest(text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

sha256_id! {
    /// Names a blob by its bytes as stored: what registries and nodes compare when they pull.
    BlobDigest
}
sha256_id! {
    /// Names a layer by its uncompressed tar.
    DiffId
}
sha256_id! {
    /// Names a stack of layers: what a runtime keys an unpacked file system by.
    ChainId
}

/// Names the bytes of a file, by BLAKE3: every file of every layer is hashed, beside its tar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(Digest);

impl ContentId {
    /// Hashes `bytes` in one go.
    pub fn of(bytes: &[u8]) -> Self {
        ContentId(Digest::of(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Digest::LEN] {
        self.0.as_bytes()
    }

    /// The 64 digits, without `blake3:`.
    pub fn to_hex(&self) -> String {
        self.0.to_string()
    }
}

impl From<Digest> for ContentId {
    fn from(digest: Digest) -> Self {
        ContentId(digest)
    }
}

impl From<[u8; Digest::LEN]> for ContentId {
    fn from(bytes: [u8; Digest::LEN]) -> Self {
        ContentId(Digest::from_bytes(bytes))
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", self.0)
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ChainId {
    /// The chain that begins with `diff_id`, or goes on with it above `below`.
    pub fn stack(below: Option<ChainId>, diff_id: DiffId) -> Self {
        match below {
            None => ChainId(diff_id.0),
            Some(below) => ChainId::of(format!("{below} {diff_id}").as_bytes()),
        }
    }
}

fn parse_digest(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let Some(digits) = text.strip_prefix("sha256:") else {
        return Err(ParseDigestError::Algorithm(text.chars().take(100).collect()));
    };
    parse_hex(digits).ok_or(ParseDigestError::Digits)
}

fn parse_hex(digits: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = BlobDigest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string(), format!("sha256:{}", digest.to_hex()));
        let capitals = format!("sha256:{}", digest.to_hex().to_uppercase());
        assert_eq!(capitals.parse::<BlobDigest>(), Err(ParseDigestError::Digits));
        assert!(matches!(
            "sha512:00".parse::<BlobDigest>(),
            Err(ParseDigestError::Algorithm(_))
        ));
    }

    #[test]
    fn a_chain_of_one_is_the_layer_itself() {
        let (first, second) = (DiffId::of(b"1"), DiffId::of(b"2"));
        let chain = ChainId::stack(None, first);
        assert_eq!(chain.as_bytes(), first.as_bytes());
        assert_eq!(
            ChainId::stack(Some(chain), second),
            ChainId::of(format!("{first} {second}").as_bytes())
        );
    }
}
