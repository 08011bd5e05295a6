//! The wire contract between headstart and headstart-server, as `docs/design/protocol.md` describes it.
//!
//! Owns: resource paths, headers, JSON bodies, the error codes and their HTTP statuses, versions and limits. Opens no
//! socket and knows no store: client and server both build on it, and so cannot disagree.
//!
//! ```
//! use headstart_protocol::{paths, ErrorCode};
//!
//! assert_eq!(paths::content("packs", "ab"), "/v1/packs/ab");
//! assert_eq!(paths::entry("deps", "../x y"), "/v1/entries/deps?key=..%2Fx%20y");
//! assert_eq!(ErrorCode::of_status(404), Some(ErrorCode::Missing));
//! ```
#![doc = "\n\n"]
#![doc = include_str!("../../../docs/design/protocol.md")]

mod bodies;
mod error;
pub mod limits;
pub mod paths;
mod range;
mod secret;

pub use bodies::{EntryList, FindMissing, Info, ListedEntry};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use range::{ByteRange, ContentRange};
pub use secret::{ParseTokenError, Token};

/// The version of the protocol, the first path segment (`v1`) and the value of [`PROTOCOL_HEADER`].
pub const VERSION: u32 = 1;

/// Every answer of a headstart-server carries this header; without it, a 404 may come from anything.
pub const PROTOCOL_HEADER: &str = "headstart-protocol";
