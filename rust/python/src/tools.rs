//! What is done to a data directory beside running it. Answers are dicts, as
//! `durastream/_shapes.py` describes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use durastream_engine::StreamPath;
use durastream_engine::storage::BackupReport;
use durastream_engine::storage::fs::{Fs, OsFs};
use durastream_engine::storage::inspect::ExtentFacts;
use durastream_engine::tools::{self, Depth};
use durastream_engine::{Expiry, Producer, Retention};
use pyo3::prelude::*;

use crate::errors::Raise;

fn os() -> Arc<dyn Fs> {
    Arc::new(OsFs)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| text(path)).collect()
}

/// Looks at a directory: all of it, or only what a start reads.
#[pyfunction]
pub(crate) fn examine(py: Python<'_>, path: PathBuf, everything: bool) -> PyResult<Examined> {
    let depth = if everything {
        Depth::Everything
    } else {
        Depth::Recovery
    };
    py.detach(|| tools::examine(os(), &path, depth))
        .map(|examined| (&examined).into())
        .map_err(|error| error.raise())
}

/// Repairs a directory, or says what that would do.
#[pyfunction]
pub(crate) fn repair(py: Python<'_>, path: PathBuf, dry_run: bool) -> PyResult<Repaired> {
    py.detach(|| tools::repair(os(), &path, dry_run))
        .map(Into::into)
        .map_err(|error| error.raise())
}

/// Calls `see` with every extent of sealed files and every frame from an LSN on, and with every fault among them.
#[pyfunction]
pub(crate) fn dump(path: PathBuf, start: u64, see: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut raised = None;
    let done = tools::dump(os(), &path, start, &mut |dumped| {
        let called = match dumped {
            tools::Dumped::Extent(extent, path) => see.call1((Extent::new(*extent, path),)),
            tools::Dumped::Frame(frame) => see.call1((Frame::from(*frame),)),
            tools::Dumped::Fault(fault) => see.call1((Fault::from(&fault),)),
            _ => return true,
        };
        raised = called.err();
        raised.is_none()
    });
    match raised {
        Some(error) => Err(error),
        None => done.map_err(|error| error.raise()),
    }
}

/// Removes files that do not count; gives their names.
#[pyfunction]
pub(crate) fn sweep(py: Python<'_>, path: PathBuf) -> PyResult<Vec<String>> {
    py.detach(|| tools::sweep(os(), &path))
        .map(|files| texts(&files))
        .map_err(|error| error.raise())
}

#[derive(IntoPyObject)]
pub(crate) struct Backup {
    end: u64,
    bytes: u64,
    segments: u64,
    sealed_files: u64,
    linked: u64,
}

impl From<BackupReport> for Backup {
    fn from(report: BackupReport) -> Self {
        Self {
            end: report.end,
            bytes: report.bytes,
            segments: report.segments,
            sealed_files: report.sealed_files,
            linked: report.linked,
        }
    }
}

#[derive(IntoPyObject)]
struct Fault {
    kind: &'static str,
    harmless: bool,
    file: String,
    offset: u64,
    lsn: Option<u64>,
    stream: Option<u64>,
    path: Option<String>,
    position: Option<u64>,
    end: Option<u64>,
    acknowledged: bool,
    detail: String,
}

impl From<&tools::Fault> for Fault {
    fn from(fault: &tools::Fault) -> Self {
        Self {
            kind: fault.kind.name(),
            harmless: fault.kind.is_harmless(),
            file: text(&fault.file),
            offset: fault.offset,
            lsn: fault.lsn,
            stream: fault.stream,
            path: fault.path.as_ref().map(ToString::to_string),
            position: fault.position,
            end: fault.end,
            acknowledged: fault.acknowledged,
            detail: fault.detail.clone(),
        }
    }
}

#[derive(IntoPyObject)]
struct Segment {
    file: String,
    base: u64,
    bytes: u64,
}

#[derive(IntoPyObject)]
struct Sealed {
    file: String,
    start: u64,
    end: u64,
    bytes: u64,
    payload_bytes: u64,
    streams: u64,
    events: u64,
}

#[derive(IntoPyObject)]
pub(crate) struct Examined {
    damaged: bool,
    in_use_by: Option<String>,
    segments: Vec<Segment>,
    reserves: usize,
    sealed: u64,
    sealed_files: Vec<Sealed>,
    checkpoint: Option<u64>,
    checkpoint_bytes: u64,
    oldest: u64,
    synced: u64,
    end: u64,
    clean: bool,
    frames: u64,
    torn_bytes: u64,
    streams: u64,
    events: u64,
    payload_bytes: u64,
    recovery_seconds: f64,
    faults: Vec<Fault>,
}

impl From<&tools::Examined> for Examined {
    fn from(examined: &tools::Examined) -> Self {
        let segments = examined.segments.iter().map(|segment| Segment {
            file: text(&segment.file),
            base: segment.base,
            bytes: segment.bytes,
        });
        let sealed_files = examined.sealed_files.iter().map(|file| Sealed {
            file: text(&file.file),
            start: file.from,
            end: file.to,
            bytes: file.bytes,
            payload_bytes: file.payload_bytes,
            streams: file.streams,
            events: file.events,
        });
        Self {
            damaged: examined.is_damaged(),
            in_use_by: examined.holder.clone(),
            segments: segments.collect(),
            reserves: examined.reserves,
            sealed: examined.sealed,
            sealed_files: sealed_files.collect(),
            checkpoint: examined.checkpoint,
            checkpoint_bytes: examined.checkpoint_bytes,
            oldest: examined.oldest,
            synced: examined.synced,
            end: examined.end,
            clean: examined.clean,
            frames: examined.frames,
            torn_bytes: examined.torn_bytes,
            streams: examined.streams,
            events: examined.events,
            payload_bytes: examined.payload_bytes,
            recovery_seconds: examined.recovery.as_secs_f64(),
            faults: examined.faults.iter().map(Into::into).collect(),
        }
    }
}

#[derive(IntoPyObject)]
struct Loss {
    stream: u64,
    path: Option<String>,
    events: u64,
    bytes: u64,
    positions: Option<(u64, u64)>,
    creation_lost: bool,
    deletion_lost: bool,
}

#[derive(IntoPyObject)]
pub(crate) struct Repaired {
    dry_run: bool,
    sound: bool,
    faults: Vec<Fault>,
    cut: Option<u64>,
    losses: Vec<Loss>,
    unknown: u64,
    checkpoint_dropped: bool,
    aside: Option<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    after: Option<Examined>,
}

impl From<tools::Repaired> for Repaired {
    fn from(repaired: tools::Repaired) -> Self {
        let losses = repaired.losses.into_iter().map(|loss| Loss {
            stream: loss.stream,
            path: loss.path.map(|path| path.to_string()),
            events: loss.events,
            bytes: loss.bytes,
            positions: loss.positions,
            creation_lost: loss.created,
            deletion_lost: loss.deleted,
        });
        Self {
            dry_run: repaired.dry_run,
            sound: repaired.sound,
            faults: repaired.faults.iter().map(Into::into).collect(),
            cut: repaired.cut,
            losses: losses.collect(),
            unknown: repaired.unknown,
            checkpoint_dropped: repaired.checkpoint_dropped,
            aside: repaired.aside.as_deref().map(text),
            changed: texts(&repaired.changed),
            removed: texts(&repaired.removed),
            after: repaired.after.as_ref().map(Into::into),
        }
    }
}

#[derive(IntoPyObject)]
struct Triple {
    id: String,
    epoch: u64,
    seq: u64,
}

impl From<Producer> for Triple {
    fn from(producer: Producer) -> Self {
        Self {
            id: producer.id,
            epoch: producer.epoch,
            seq: producer.seq,
        }
    }
}

#[derive(IntoPyObject)]
struct Fork {
    source: u64,
    source_path: String,
    position: u64,
}

#[derive(IntoPyObject)]
struct Limits {
    max_bytes: Option<u64>,
    max_age: Option<f64>,
    max_events: Option<u64>,
}

impl From<Retention> for Limits {
    fn from(retention: Retention) -> Self {
        Self {
            max_bytes: retention.max_bytes,
            max_age: retention.max_age.map(|age| age.as_secs_f64()),
            max_events: retention.max_events,
        }
    }
}

#[derive(IntoPyObject)]
struct Extent {
    file: String,
    offset: u64,
    lsns: (u64, u64),
    stream: u64,
    path: Option<String>,
    start: u64,
    end: u64,
    events: Option<u64>,
    head: Option<Vec<u8>>,
}

impl Extent {
    fn new(extent: ExtentFacts, path: Option<StreamPath>) -> Self {
        Self {
            file: text(&extent.file),
            offset: extent.offset,
            lsns: extent.lsns,
            stream: extent.stream,
            path: path.map(|path| path.to_string()),
            start: extent.start,
            end: extent.end,
            events: extent.events,
            head: extent.head.map(|head| head.to_vec()),
        }
    }
}

#[derive(IntoPyObject)]
struct Frame {
    kind: &'static str,
    lsn: u64,
    end: u64,
    file: String,
    offset: u64,
    stream: u64,
    path: Option<String>,
    position: u64,
    payload: Vec<u8>,
    closes: bool,
    producer: Option<Triple>,
    stream_seq: Option<Vec<u8>>,
    at: Option<f64>,
    content_type: Option<String>,
    ttl: Option<f64>,
    expires_at: Option<f64>,
    fork: Option<Fork>,
    retention: Option<Limits>,
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl From<tools::DumpedFrame> for Frame {
    fn from(frame: tools::DumpedFrame) -> Self {
        let (ttl, expires_at) = match frame.expiry {
            Some(Expiry::Ttl(ttl)) => (Some(ttl.as_secs_f64()), None),
            Some(Expiry::At(at)) => (None, Some(seconds(at))),
            None => (None, None),
        };
        Self {
            kind: frame.kind,
            lsn: frame.lsn,
            end: frame.end,
            file: text(&frame.file),
            offset: frame.offset,
            stream: frame.stream,
            path: frame.path.map(|path| path.to_string()),
            position: frame.position,
            payload: frame.payload.to_vec(),
            closes: frame.closes,
            producer: frame.producer.map(Into::into),
            stream_seq: frame.stream_seq.map(|seq| seq.to_vec()),
            at: frame.at.map(seconds),
            content_type: frame.content_type,
            ttl,
            expires_at,
            fork: frame.fork.map(|(source, path, position)| Fork {
                source,
                source_path: path.to_string(),
                position,
            }),
            retention: frame.retention.map(Into::into),
        }
    }
}
