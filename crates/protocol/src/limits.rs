//! Limits both sides know.

/// The most names one find-missing request may ask for.
pub const FIND_MISSING_IDS: usize = 10_000;
/// The most bytes of a JSON body. [`FIND_MISSING_IDS`] names take 670 kB.
pub const JSON_BYTES: usize = 1 << 20;
/// The most entries one search answers.
pub const SEARCH_ENTRIES: usize = 500;
/// The most bytes of an answer that tells an error; longer ones are cut.
pub const ERROR_BYTES: usize = 16 << 10;
