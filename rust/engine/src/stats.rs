//! Counters.

use durastream_storage::StoreStats;

/// A snapshot of counters.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EngineStats {
    /// The log's counters.
    pub store: StoreStats,
    /// Streams that exist (soft-deleted ones included).
    pub streams: u64,
    /// Streams that are soft-deleted.
    pub soft_deleted: u64,
    /// Appends accepted (closes included).
    pub appends: u64,
    /// Payload bytes accepted.
    pub append_bytes: u64,
    /// Appends that were duplicates.
    pub duplicates: u64,
    /// Appends and creations refused.
    pub refusals: u64,
    /// Pages given.
    pub reads: u64,
    /// Payload bytes given.
    pub read_bytes: u64,
    /// Watches registered now.
    pub watches: u64,
    /// Streams removed by the reaper or on touch because they had expired.
    pub expired: u64,
    /// Trims that a retention asked for.
    pub retention_trims: u64,
}
