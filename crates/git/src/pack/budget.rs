//! How much memory receiving a pack may take, and why that much.

/// What may be kept in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Delta bases kept inflated.
    pub(super) base_cache_bytes: usize,
    /// Objects and deltas inflated by the reader and not yet resolved by a worker.
    pub(super) in_flight_bytes: usize,
    /// Larger undeltified objects are hashed while they are inflated and never held: a sink finds them in the pack.
    pub(super) streamed_above_bytes: u64,
}

impl Budget {
    /// - The cache is a sixth of git's own (`core.deltaBaseCacheLimit`): deltas come soon after their bases. Clones of a
    ///   JavaScript monorepo and of a Rust workspace (280,000 and 229,000 objects) took the same processor time with 48, 24
    ///   and 16 MiB, and half to two thirds of the memory.
    /// - What is in flight keeps workers busy while the network stalls or a large file is written, and is small beside
    ///   the cache.
    /// - Few blobs are larger than 128 MiB, and nothing is gained by writing those a moment earlier.
    pub(super) const DEFAULT: Self = Budget {
        base_cache_bytes: 16 << 20,
        in_flight_bytes: 8 << 20,
        streamed_above_bytes: 128 << 20,
    };
}

/// What a queued object costs beside its bytes, so that millions of tiny objects count too.
pub(super) const TASK_OVERHEAD_BYTES: usize = 128;

/// Objects that can only be had by applying a delta, and their bases, may not be larger than this: a delta of a few
/// bytes can ask for any size, unlike deflated data, which grows a thousandfold at most.
pub(super) const DELTIFIED_MAX_BYTES: u64 = 2 << 30;

/// The most that is allocated on the word of a header; more follows only as data comes.
pub(super) const TRUSTED_ALLOCATION_BYTES: u64 = 1 << 20;
