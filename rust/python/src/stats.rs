//! Counters, as values.

use durastream_engine as core;
use durastream_engine::storage::Distribution as Counted;
use durastream_server as server;
use pyo3::prelude::*;

/// Values counted in buckets that double.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    bounds: Vec<u64>,
    counts: Vec<u64>,
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
    streams: u64,
    soft_deleted: u64,
    appends: u64,
    append_bytes: u64,
    duplicates: u64,
    refusals: u64,
    reads: u64,
    read_bytes: u64,
    watches: u64,
    expired: u64,
    retention_trims: u64,
    groups: u64,
    frames: u64,
    log_bytes: u64,
    syncs: u64,
    sync_nanos: u64,
    sync_times: Distribution,
    group_frames: Distribution,
    group_bytes: Distribution,
    pending_bytes: u64,
    hot_bytes: u64,
    segments: u64,
    recycled: u64,
    checkpoints: u64,
    checkpoint_lsn: u64,
    durable_lsn: u64,
    end_lsn: u64,
    sealed_lsn: u64,
    sealed_files: u64,
    sealed_bytes: u64,
    sealed_live_bytes: u64,
    sealed_files_damaged: u64,
    lost_bytes: u64,
    sealing_backlog: u64,
    sealing_halted: Option<String>,
    slowed_nanos: u64,
    sealed_written_bytes: u64,
    compactions: u64,
    compacted_bytes: u64,
    blocks_verified: u64,
    reads_hot: u64,
    reads_cold: u64,
    checkpoint_bytes: u64,
    storage_full: Option<String>,
    write_amplification: f64,
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
    connections: u64,
    accepted: u64,
    refused: u64,
    upload_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    sharing: i64,
    answer_times: Vec<(&'static str, Distribution)>,
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
