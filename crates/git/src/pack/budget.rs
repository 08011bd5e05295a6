//! How much memory receiving a pack may take, and why that much.

/// Delta bases kept inflated. Half of git's own default for the same purpose (`core.deltaBaseCacheLimit`): on the
/// history of a JavaScript monorepo (400,000 objects) one delta in twenty has to read its base back, with the whole
/// it is one in twenty-five.
pub(super) const BASE_CACHE_BYTES: usize = 48 << 20;

/// Objects and deltas inflated by the reader and not yet taken by a worker. Enough for workers to stay busy while the
/// network stalls or a large file is written, small beside the base cache.
pub(super) const IN_FLIGHT_BYTES: usize = 24 << 20;

/// What a queued object costs beside its bytes, so that millions of tiny objects count too.
pub(super) const TASK_OVERHEAD_BYTES: usize = 128;

/// Larger undeltified objects are hashed while they are inflated and never held: a sink finds them in the pack. Git
/// does not make deltas of what is larger than `core.bigFileThreshold` (512 MiB), so bases stay below this in practice.
pub(super) const STREAMED_ABOVE_BYTES: u64 = 128 << 20;

/// Objects that can only be had by applying a delta, and their bases, may not be larger than this: a delta of a few
/// bytes can ask for any size, unlike deflated data, which grows a thousandfold at most.
pub(super) const DELTIFIED_MAX_BYTES: u64 = 2 << 30;

/// The most that is allocated on the word of a header; more follows only as data comes.
pub(super) const TRUSTED_ALLOCATION_BYTES: u64 = 1 << 20;
