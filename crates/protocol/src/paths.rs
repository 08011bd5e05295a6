//! The resources.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a query value.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Says whether the server lives; needs no token.
pub const HEALTH: &str = "/healthz";
/// What the server is and its limits.
pub const INFO: &str = "/v1";
/// Which of many pieces of content are missing.
pub const FIND_MISSING: &str = "/v1/find-missing";

/// A piece of content: `kind` is `packs` or `snapshots`.
pub fn content(kind: &str, id: &str) -> String {
    format!("/v1/{kind}/{id}")
}

/// An entry. The key is a query value, since a path loses `..` and its like on the way.
pub fn entry(namespace: &str, key: &str) -> String {
    format!("/v1/entries/{namespace}?key={}", utf8_percent_encode(key, QUERY))
}

/// The entries whose key starts with `prefix`.
pub fn search(namespace: &str, prefix: &str, limit: usize) -> String {
    let prefix = utf8_percent_encode(prefix, QUERY);
    format!("/v1/entries/{namespace}/search?prefix={prefix}&limit={limit}")
}
