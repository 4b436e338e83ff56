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
    /// Where it begins; the tail for a duplicate or a mere close.
    offset: Offset,
    /// The end of this very append; the tail for a duplicate.
    next_offset: Offset,
    /// Seen before: nothing was stored.
    duplicate: bool,
    /// Whether the stream is closed behind it.
    closed: bool,
    /// Epoch and highest accepted sequence number of the producer, when one was named.
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
    /// Where it is.
    path: String,
    /// Never-reused number of the stream.
    id: u64,
    /// What it holds, as it was created.
    content_type: String,
    /// The end.
    tail: Offset,
    /// The earliest readable offset (beyond the start after a trim).
    floor: Offset,
    /// Nothing is appended any more.
    closed: bool,
    /// Ends this long after its last use.
    ttl: Option<Duration>,
    /// Ends then (UTC).
    expires_at: Option<SystemTime>,
    /// Creation time (UTC).
    created_at: SystemTime,
    /// How much of it is kept; `None`: everything.
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
    /// False when it was there already, with this configuration.
    created: bool,
    /// The stream.
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
    /// In the order of their paths.
    streams: Vec<StreamInfo>,
    /// Where the next page begins; `None`: there is none.
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
    /// Log address where replay began: the checkpoint's.
    replay_from: u64,
    /// Log address where the log ended.
    end: u64,
    /// Frames replayed.
    frames: u64,
    /// Bytes of a torn, never acknowledged tail that were copied aside and cut.
    torn_bytes: u64,
    /// Whether the last session closed the log.
    clean: bool,
    /// What was wrong with the newest checkpoint, if the one before it had to serve; nothing is lost.
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

/// A Rust `bool` as Python writes it.
fn literal(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
