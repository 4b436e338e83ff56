//! What is wrong with a data directory, in the engine's words.

use std::path::PathBuf;

use durastream_storage::inspect::{Finding, FindingKind};
use durastream_storage::{FrameRef, Lsn, ReadError};

use crate::StreamPath;

/// What a fault means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Bytes are not what was written.
    Damage,
    /// An event that cannot have happened on what went before it.
    Impossible,
    /// A stream's event that cannot be read back.
    Unreadable,
    /// The rest of a write that did not finish: harmless, the next start cuts it.
    Torn,
    /// A file that does not count: harmless, the next start removes or reuses it.
    LeftOver,
}

impl FaultKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Impossible => "impossible",
            Self::Unreadable => "unreadable",
            Self::Torn => "torn",
            Self::LeftOver => "left-over",
        }
    }

    /// Whether nothing is lost by it.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Torn | Self::LeftOver)
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What it means.
    pub kind: FaultKind,
    /// The file.
    pub file: PathBuf,
    /// Byte offset in it.
    pub offset: u64,
    /// The LSN there, for faults of the log itself.
    pub lsn: Option<Lsn>,
    /// The stream concerned, when that is known.
    pub stream: Option<u64>,
    /// Its path, when that is known.
    pub path: Option<StreamPath>,
    /// Position in the stream, when that is known.
    pub position: Option<u64>,
    /// Position behind what is concerned, when that is known.
    pub end: Option<u64>,
    /// Whether what is hurt was acknowledged, or may have been.
    pub acknowledged: bool,
    /// What was wrong.
    pub detail: String,
}

impl Fault {
    /// From where to where in the stream.
    pub(super) fn positions(&self) -> Option<(u64, u64)> {
        self.position.zip(self.end)
    }

    pub(super) fn of(finding: Finding, path: Option<StreamPath>) -> Self {
        Self {
            kind: match finding.kind {
                FindingKind::Torn => FaultKind::Torn,
                FindingKind::LeftOver => FaultKind::LeftOver,
                _ => FaultKind::Damage,
            },
            file: finding.file,
            offset: finding.offset,
            lsn: finding.lsn,
            stream: finding.stream,
            path,
            position: None,
            end: None,
            acknowledged: finding.acknowledged,
            detail: finding.detail,
        }
    }

    /// Payload of sealed files that is not there, from position `from` up to `to`.
    pub(super) fn missing(
        file: PathBuf,
        offset: u64,
        stream: (u64, &StreamPath),
        (from, to): (u64, u64),
        detail: &str,
    ) -> Self {
        Self {
            kind: FaultKind::Unreadable,
            file,
            offset,
            lsn: None,
            stream: Some(stream.0),
            path: Some(stream.1.clone()),
            position: Some(from),
            end: Some(to),
            acknowledged: true,
            detail: format!(
                "{} bytes, positions {from} to {to}, cannot be read back: {detail}",
                to - from
            ),
        }
    }

    pub(super) fn unreadable(frame: &FrameRef, path: &StreamPath, error: &ReadError) -> Self {
        let (file, offset, detail) = match error {
            ReadError::Damaged {
                file,
                offset,
                detail,
            } => (file.clone(), *offset, detail.clone()),
            ReadError::Io { file, detail } => (file.clone(), 0, detail.clone()),
            other => (PathBuf::new(), 0, other.to_string()),
        };
        Self {
            kind: FaultKind::Unreadable,
            file,
            offset,
            lsn: Some(frame.lsn),
            stream: Some(frame.stream),
            path: Some(path.clone()),
            position: Some(frame.position),
            end: Some(frame.position.saturating_add(frame.len.into())),
            acknowledged: true,
            detail: format!("{} bytes cannot be read back: {detail}", frame.len),
        }
    }
}
