//! Figures of a running store and of its recovery.

use crate::{Distribution, Lsn};

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
    /// Why the newest checkpoint could not be used; recovery then went on from the one before it.
    pub checkpoint_damage: Option<String>,
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
    /// Bytes of checkpoints written.
    pub checkpoint_bytes: u64,
    /// Nanoseconds of each.
    pub sync_times: Distribution,
    /// Frames of each group.
    pub group_frames: Distribution,
    /// Bytes of each group in the log.
    pub group_bytes: Distribution,
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
    /// Why payloads are refused for want of space, while they are.
    pub storage_full: Option<String>,
    /// Everything below this LSN is in sealed files, or was dead.
    pub sealed_lsn: Lsn,
    /// Sealed files now.
    pub sealed_files: u64,
    /// Their bytes.
    pub sealed_bytes: u64,
    /// Payload bytes in them that were alive when last asked: an estimate.
    pub sealed_live_bytes: u64,
    /// Sealed files in which something did not verify since they were opened; what is alive there is refused.
    pub sealed_files_damaged: u64,
    /// Payload bytes that were damaged in the log before they were sealed, of streams that still have them: reads of
    /// them are refused.
    pub lost_bytes: u64,
    /// Full segments that wait to be sealed now.
    pub sealing_backlog: u64,
    /// Why sealing stands still, when it does.
    pub sealing_halted: Option<String>,
    /// Nanoseconds by which commits were delayed because sealing fell behind.
    pub slowed_nanos: u64,
    /// Bytes written by sealing.
    pub sealed_written_bytes: u64,
    /// How many times sealed files were merged, or removed.
    pub compactions: u64,
    /// Bytes written by compaction.
    pub compacted_bytes: u64,
    /// Blocks of sealed files verified.
    pub blocks_verified: u64,
    /// Payloads read from memory.
    pub reads_hot: u64,
    /// Payloads read from files.
    pub reads_cold: u64,
}

impl StoreStats {
    /// Bytes written for every byte of log, the log itself included, since the store was opened; 0 before the first.
    pub fn write_amplification(&self) -> f64 {
        let again = self.sealed_written_bytes + self.compacted_bytes + self.checkpoint_bytes;
        if self.bytes == 0 {
            0.0
        } else {
            1.0 + again as f64 / self.bytes as f64
        }
    }

    /// Bytes of sealed files for every payload byte in them that is alive: an estimate; `None` when none is.
    pub fn space_amplification(&self) -> Option<f64> {
        let live = self.sealed_live_bytes;
        (live > 0).then(|| self.sealed_bytes as f64 / live as f64)
    }
}
