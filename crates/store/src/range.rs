//! The rules for ranges and sizes, the same on every medium.

use std::ops::Range;

use crate::{ContentId, StoreError};

/// The bytes to read of content of `total` bytes: all of it, or a range that must lie inside.
pub(crate) fn check_range(
    id: ContentId,
    store: impl FnOnce() -> String,
    total: u64,
    range: Option<Range<u64>>,
) -> Result<Range<u64>, StoreError> {
    let Some(range) = range else {
        return Ok(0..total);
    };
    if range.start <= range.end && range.end <= total {
        return Ok(range);
    }
    Err(StoreError::Corrupt {
        what: id.to_string(),
        store: store(),
        reason: format!(
            "it has {total} bytes; the bytes {} to {} were asked for",
            range.start, range.end
        ),
    })
}

/// Refuses content of more bytes than its kind may have.
pub(crate) fn check_size(id: ContentId, bytes: u64) -> Result<(), StoreError> {
    let limit = id.kind().max_bytes();
    if bytes <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what: id.to_string(),
        bytes,
        limit,
    })
}
