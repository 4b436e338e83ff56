//! Counters, as values.

use durastream_engine as core;
use durastream_engine::storage::Distribution as Counted;
use durastream_server as server;
use pyo3::prelude::*;

/// Values counted in buckets that double.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// Largest value of each bucket but the last, which has no bound.
    bounds: Vec<u64>,
    /// Values in each bucket alone.
    counts: Vec<u64>,
    /// All values together.
    sum: u64,
}

impl From<Counted> for Distribution {
    fn from(counted: Counted) -> Self {
        Self {
            bounds: counted.bounds,
            counts: counted.counts,
            sum: counted.sum,
        }
    }
}

#[pymethods]
impl Distribution {
    fn __repr__(&self) -> String {
        let count: u64 = self.counts.iter().sum();
        format!("Distribution(count={count}, sum={})", self.sum)
    }
}

/// Counters of the engine and its log.
#[pyclass(frozen, get_all, module = "durastream._native")]
#[derive(Debug, Clone)]
pub(crate) struct Stats {
    /// Streams now, soft-deleted ones included.
    streams: u64,
    /// Soft-deleted streams now.
    soft_deleted: u64,
    /// Appends accepted, closes included.
    appends: u64,
    /// Payload bytes accepted.
    append_bytes: u64,
    /// Appends that were duplicates.
    duplicates: u64,
    /// Appends and creations refused.
    refusals: u64,
    /// Pages given.
    reads: u64,
    /// Payload bytes given.
    read_bytes: u64,
    /// Watches registered now.
    watches: u64,
    /// Streams removed because they had expired.
    expired: u64,
    /// Trims that a retention asked for.
    retention_trims: u64,
    /// Commit groups written.
    groups: u64,
    /// Frames written.
    frames: u64,
    /// Bytes written to the log, headers included.
    log_bytes: u64,
    /// Syncs made.
    syncs: u64,
    /// Nanoseconds spent in them.
    sync_nanos: u64,
    /// Nanoseconds of each sync.
    sync_times: Distribution,
    /// Frames of each commit group.
    group_frames: Distribution,
    /// Bytes of each commit group in the log.
    group_bytes: Distribution,
    /// Bytes waiting to be committed now.
    pending_bytes: u64,
    /// Bytes kept for reads now.
    hot_bytes: u64,
    /// Log segments in use now.
    segments: u64,
    /// Segments that were reused instead of created.
    recycled: u64,
    /// Checkpoints written.
    checkpoints: u64,
    /// Log address of the newest checkpoint.
    checkpoint_lsn: u64,
    /// Log address below which everything is acknowledged.
    durable_lsn: u64,
    /// Log address behind everything decided.
    end_lsn: u64,
    /// Everything below is in sealed files, or was dead.
    sealed_lsn: u64,
    /// Sealed files now.
    sealed_files: u64,
    /// Their bytes.
    sealed_bytes: u64,
    /// Payload bytes in them that were alive when last asked: an estimate.
    sealed_live_bytes: u64,
    /// Sealed files in which something did not verify; what is alive there is refused.
    sealed_files_damaged: u64,
    /// Payload bytes that were damaged before they were sealed and that readers may ask for: refused.
    lost_bytes: u64,
    /// Full segments that wait to be sealed now.
    sealing_backlog: u64,
    /// Why sealing stands still, when it does.
    sealing_halted: Option<String>,
    /// Nanoseconds by which commits were delayed because sealing fell behind.
    slowed_nanos: u64,
    /// Bytes written by sealing.
    sealed_written_bytes: u64,
    /// Compactions done.
    compactions: u64,
    /// Bytes written by compaction.
    compacted_bytes: u64,
    /// Blocks of sealed files verified.
    blocks_verified: u64,
    /// Payloads read from memory.
    reads_hot: u64,
    /// Payloads read from files.
    reads_cold: u64,
    /// Bytes of checkpoints written.
    checkpoint_bytes: u64,
    /// Why appends are refused for want of space, while they are.
    storage_full: Option<String>,
    /// Bytes written for every byte of log, the log itself included; 0 before the first.
    write_amplification: f64,
    /// Bytes of sealed files for every payload byte in them that can still be read: an estimate.
    space_amplification: Option<f64>,
}

impl From<core::EngineStats> for Stats {
    fn from(stats: core::EngineStats) -> Self {
        let store = stats.store;
        let write_amplification = store.write_amplification();
        let space_amplification = store.space_amplification();
        let storage_full = store.storage_full.clone();
        Self {
            streams: stats.streams,
            soft_deleted: stats.soft_deleted,
            appends: stats.appends,
            append_bytes: stats.append_bytes,
            duplicates: stats.duplicates,
            refusals: stats.refusals,
            reads: stats.reads,
            read_bytes: stats.read_bytes,
            watches: stats.watches,
            expired: stats.expired,
            retention_trims: stats.retention_trims,
            groups: store.groups,
            frames: store.frames,
            log_bytes: store.bytes,
            syncs: store.syncs,
            sync_nanos: store.sync_nanos,
            sync_times: store.sync_times.into(),
            group_frames: store.group_frames.into(),
            group_bytes: store.group_bytes.into(),
            pending_bytes: store.pending_bytes,
            hot_bytes: store.hot_bytes,
            segments: store.segments,
            recycled: store.recycled,
            checkpoints: store.checkpoints,
            checkpoint_lsn: store.checkpoint_lsn,
            durable_lsn: store.durable_lsn,
            end_lsn: store.end_lsn,
            sealed_lsn: store.sealed_lsn,
            sealed_files: store.sealed_files,
            sealed_bytes: store.sealed_bytes,
            sealed_live_bytes: store.sealed_live_bytes,
            sealed_files_damaged: store.sealed_files_damaged,
            lost_bytes: store.lost_bytes,
            sealing_backlog: store.sealing_backlog,
            sealing_halted: store.sealing_halted,
            slowed_nanos: store.slowed_nanos,
            sealed_written_bytes: store.sealed_written_bytes,
            compactions: store.compactions,
            compacted_bytes: store.compacted_bytes,
            blocks_verified: store.blocks_verified,
            reads_hot: store.reads_hot,
            reads_cold: store.reads_cold,
            checkpoint_bytes: store.checkpoint_bytes,
            storage_full,
            write_amplification,
            space_amplification,
        }
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "Stats(streams={}, appends={}, durable_lsn={}, end_lsn={}, ...)",
            self.streams, self.appends, self.durable_lsn, self.end_lsn
        )
    }
}

/// Counters of the native listener.
#[pyclass(frozen, get_all, module = "durastream._native")]
#[derive(Debug, Clone)]
pub(crate) struct ListenerStats {
    /// Connections open now.
    connections: u64,
    /// Connections accepted.
    accepted: u64,
    /// Of them, those over the limit.
    refused: u64,
    /// Bytes of request bodies being received now.
    upload_bytes: u64,
    /// Bytes of request bodies received.
    received_bytes: u64,
    /// Bytes of answers' bodies sent.
    sent_bytes: u64,
    /// Live reads that wait with others for the same, less the watches in `Stats.watches` for them.
    sharing: i64,
    /// Nanoseconds from a request's head to its answer's, by operation.
    answer_times: Vec<(&'static str, Distribution)>,
    /// Answers by status.
    statuses: Vec<(u16, u64)>,
}

impl From<server::ListenerStats> for ListenerStats {
    fn from(stats: server::ListenerStats) -> Self {
        let times = stats.answer_times.into_iter();
        Self {
            connections: stats.connections,
            accepted: stats.accepted,
            refused: stats.refused,
            upload_bytes: stats.upload_bytes,
            received_bytes: stats.received_bytes,
            sent_bytes: stats.sent_bytes,
            sharing: stats.sharing,
            answer_times: times.map(|(name, times)| (name, times.into())).collect(),
            statuses: stats.statuses,
        }
    }
}

#[pymethods]
impl ListenerStats {
    fn __repr__(&self) -> String {
        format!(
            "ListenerStats(connections={}, accepted={}, ...)",
            self.connections, self.accepted
        )
    }
}
