//! Small immutable answers.

use std::time::{Duration, SystemTime};

use durastream_engine as core;
use durastream_engine::storage;
use pyo3::prelude::*;

use crate::offset::Offset;
use crate::retention::Retention;

/// What became of an append.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppendResult {
    offset: Offset,
    next_offset: Offset,
    duplicate: bool,
    closed: bool,
    producer: Option<(u64, u64)>,
}

impl From<&core::Appended> for AppendResult {
    fn from(appended: &core::Appended) -> Self {
        Self {
            offset: Offset(appended.start),
            next_offset: Offset(appended.next),
            duplicate: appended.duplicate,
            closed: appended.closed,
            producer: appended.producer,
        }
    }
}

#[pymethods]
impl AppendResult {
    fn __repr__(&self) -> String {
        format!(
            "AppendResult(offset='{}', next_offset='{}', duplicate={}, closed={})",
            self.offset.0,
            self.next_offset.0,
            literal(self.duplicate),
            literal(self.closed),
        )
    }
}

/// A stream's description.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamInfo {
    path: String,
    id: u64,
    content_type: String,
    tail: Offset,
    floor: Offset,
    closed: bool,
    ttl: Option<Duration>,
    expires_at: Option<SystemTime>,
    created_at: SystemTime,
    retention: Option<Retention>,
}

impl From<&core::StreamInfo> for StreamInfo {
    fn from(info: &core::StreamInfo) -> Self {
        let (ttl, expires_at) = match info.expiry {
            Some(core::Expiry::Ttl(ttl)) => (Some(ttl), None),
            Some(core::Expiry::At(at)) => (None, Some(at)),
            None => (None, None),
        };
        Self {
            path: info.path.to_string(),
            id: info.id,
            content_type: info.content_type.to_string(),
            tail: Offset(info.tail),
            floor: Offset(info.floor),
            closed: info.closed,
            ttl,
            expires_at,
            created_at: info.created_at,
            retention: Retention::of(info.retention),
        }
    }
}

#[pymethods]
impl StreamInfo {
    fn __repr__(&self) -> String {
        format!(
            "StreamInfo({:?}, content_type={:?}, tail='{}', closed={})",
            self.path,
            self.content_type,
            self.tail.0,
            literal(self.closed),
        )
    }
}

/// What a creation made or found.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateResult {
    created: bool,
    info: StreamInfo,
}

impl From<&core::Created> for CreateResult {
    fn from(created: &core::Created) -> Self {
        Self {
            created: created.created,
            info: (&created.info).into(),
        }
    }
}

#[pymethods]
impl CreateResult {
    fn __repr__(&self) -> String {
        format!(
            "CreateResult(created={}, info={})",
            literal(self.created),
            self.info.__repr__()
        )
    }
}

/// One page of a listing.
#[pyclass(frozen, get_all, module = "durastream._native")]
#[derive(Debug, Clone)]
pub(crate) struct ListPage {
    streams: Vec<StreamInfo>,
    cursor: Option<String>,
}

impl From<core::Listing> for ListPage {
    fn from(listing: core::Listing) -> Self {
        Self {
            streams: listing.streams.iter().map(StreamInfo::from).collect(),
            cursor: listing.cursor,
        }
    }
}

/// What recovery found when the log was opened.
#[pyclass(frozen, get_all, eq, module = "durastream._native")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecoveryReport {
    replay_from: u64,
    end: u64,
    frames: u64,
    torn_bytes: u64,
    clean: bool,
    checkpoint_damage: Option<String>,
}

impl From<storage::RecoveryReport> for RecoveryReport {
    fn from(report: storage::RecoveryReport) -> Self {
        Self {
            replay_from: report.replay_from,
            end: report.end,
            frames: report.frames,
            torn_bytes: report.torn_bytes,
            clean: report.clean,
            checkpoint_damage: report.checkpoint_damage,
        }
    }
}

#[pymethods]
impl RecoveryReport {
    fn __repr__(&self) -> String {
        format!(
            "RecoveryReport(frames={}, torn_bytes={}, clean={})",
            self.frames,
            self.torn_bytes,
            literal(self.clean),
        )
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
    sealing_backlog: u64,
    sealing_halted: Option<String>,
    slowed_nanos: u64,
    sealed_written_bytes: u64,
    compactions: u64,
    compacted_bytes: u64,
    checkpoint_bytes: u64,
    storage_full: Option<String>,
    write_amplification: f64,
    space_amplification: Option<f64>,
}

impl From<core::EngineStats> for Stats {
    fn from(stats: core::EngineStats) -> Self {
        let store = stats.store;
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
            pending_bytes: store.pending_bytes,
            hot_bytes: store.hot_bytes,
            segments: store.segments,
            recycled: store.recycled,
            checkpoints: store.checkpoints,
            checkpoint_lsn: store.checkpoint_lsn,
            durable_lsn: store.durable_lsn,
            end_lsn: store.end_lsn,
            write_amplification: store.write_amplification(),
            space_amplification: store.space_amplification(),
            sealed_lsn: store.sealed_lsn,
            sealed_files: store.sealed_files,
            sealed_bytes: store.sealed_bytes,
            sealed_live_bytes: store.sealed_live_bytes,
            sealing_backlog: store.sealing_backlog,
            sealing_halted: store.sealing_halted,
            slowed_nanos: store.slowed_nanos,
            sealed_written_bytes: store.sealed_written_bytes,
            compactions: store.compactions,
            compacted_bytes: store.compacted_bytes,
            checkpoint_bytes: store.checkpoint_bytes,
            storage_full: store.storage_full,
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

/// A Rust `bool` as Python writes it.
fn literal(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
