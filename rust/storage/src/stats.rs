//! Figures of a running store and of its recovery.

use crate::Lsn;

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Where replay began: the checkpoint's LSN.
    pub replay_from: Lsn,
    /// Where the log ended.
    pub end: Lsn,
    /// Frames replayed.
    pub frames: u64,
    /// Bytes of a torn, never acknowledged tail that were copied aside and cut.
    pub torn_bytes: u64,
    /// Whether the last session closed the store.
    pub clean: bool,
}

/// A snapshot of counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Commit groups written.
    pub groups: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes written to the log, headers included.
    pub bytes: u64,
    /// Syncs made.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_nanos: u64,
    /// Bytes waiting to be committed now.
    pub pending_bytes: u64,
    /// Bytes kept for hot reads now.
    pub hot_bytes: u64,
    /// WAL segments in use now.
    pub segments: u64,
    /// Segments that were reused instead of created.
    pub recycled: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// LSN of the newest checkpoint.
    pub checkpoint_lsn: Lsn,
    /// The acknowledged LSN.
    pub durable_lsn: Lsn,
    /// The LSN behind everything pushed.
    pub end_lsn: Lsn,
}
