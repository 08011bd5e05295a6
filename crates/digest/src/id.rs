//! Newtypes that say what a digest names, so that a pack cannot be asked for by a chunk's name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, ParseDigestError};

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Hashes `bytes`: the name they have.
            pub fn of(bytes: &[u8]) -> Self {
                $name(Digest::of(bytes))
            }

            /// The digest without its type.
            pub const fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                $name(digest)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

typed_id! {
    /// Names a chunk: the digest of its uncompressed bytes.
    ChunkId
}
typed_id! {
    /// Names a pack: the digest of the stored object.
    PackId
}
typed_id! {
    /// Names a snapshot: the digest of the stored document.
    SnapshotId
}
