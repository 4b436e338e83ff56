//! What an inspection finds.

use std::path::PathBuf;

use crate::Lsn;
use crate::error::OpenError;

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Bytes are not what was written.
    Damage,
    /// The rest of a write that did not finish: it was never acknowledged, the next start cuts it.
    Torn,
    /// A file that does not count; the next start removes or reuses it.
    LeftOver,
}

/// One thing found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it means.
    pub kind: FindingKind,
    /// The file.
    pub file: PathBuf,
    /// Byte offset in it.
    pub offset: u64,
    /// The LSN there, for damage to the log itself.
    pub lsn: Option<Lsn>,
    /// The stream that the damaged frame says it belongs to, when that can be read.
    pub stream: Option<u64>,
    /// Whether what is hurt was acknowledged, or may have been.
    pub acknowledged: bool,
    /// What was wrong.
    pub detail: String,
    /// Whose payload lies there, when that is known.
    pub lost: Vec<Lost>,
}

/// Payload of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The stream.
    pub stream: u64,
    /// Position of the first byte.
    pub from: u64,
    /// Position behind the last byte.
    pub to: u64,
}

impl Finding {
    /// Damage to something that is no frame of the log.
    pub(crate) fn damage(file: PathBuf, offset: u64, detail: impl Into<String>) -> Self {
        Self {
            kind: FindingKind::Damage,
            file,
            offset,
            lsn: None,
            stream: None,
            acknowledged: true,
            detail: detail.into(),
            lost: Vec::new(),
        }
    }

    /// A file that does not count.
    pub(crate) fn left_over(file: PathBuf, detail: &str) -> Self {
        Self {
            kind: FindingKind::LeftOver,
            acknowledged: false,
            ..Self::damage(file, 0, detail)
        }
    }

    /// A refusal of recovery as a finding; what is no fault of the bytes stays an error.
    pub(crate) fn of(refusal: OpenError) -> Result<Self, OpenError> {
        match refusal {
            OpenError::Damaged {
                file,
                offset,
                detail,
            } => Ok(Self::damage(file, offset, detail)),
            OpenError::Version { ref file, .. } => {
                Ok(Self::damage(file.clone(), 8, refusal.to_string()))
            }
            other => Err(other),
        }
    }
}
