//! Why an operation was refused: one enum per operation, facts inside.

use std::sync::Arc;

use bytes::Bytes;
use durastream_storage::{PushError, ReadError};

use crate::{Offset, StreamPath, wire};

/// Missing, soft-deleted, or of an earlier life.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No such stream (404).
    #[error("no stream at {path}")]
    NotFound {
        /// The path asked for.
        path: StreamPath,
    },
    /// Deleted, kept for its forks only (410).
    #[error("the stream at {path} was deleted; only its forks remain")]
    SoftDeleted {
        /// The path asked for.
        path: StreamPath,
    },
}

/// Why a page could not be given.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The stream was deleted or expired meanwhile.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The offset belongs to an earlier life of the path, to trimmed data, or to data beyond the tail (410).
    #[error("offset {asked} is gone: {why}; read again from {earliest}")]
    Gone {
        /// What was asked.
        asked: Offset,
        /// Why it is gone.
        why: &'static str,
        /// The earliest readable offset.
        earliest: Offset,
        /// The tail.
        tail: Offset,
    },
    /// Damaged or unreadable data (5xx): never served.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why an append was refused. Facts are for headers and typed exceptions.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Missing or deleted.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Body that the stream cannot take (400).
    #[error(transparent)]
    Body(#[from] wire::BodyError),
    /// Empty body without close (400).
    #[error("an append needs a body, unless it closes the stream")]
    Empty,
    /// A newer epoch is known (403).
    #[error("producer epoch {got} is fenced, the current epoch is {current}")]
    Fenced {
        /// Epoch of the append.
        got: u64,
        /// The current one.
        current: u64,
    },
    /// A new epoch must start at sequence number 0 (400).
    #[error("a new producer epoch begins with sequence number 0, got {got}")]
    EpochStart {
        /// Sequence number of the append.
        got: u64,
    },
    /// A predecessor is missing (409).
    #[error("producer sequence gap: expected {expected}, got {got}")]
    Gap {
        /// The next acceptable number.
        expected: u64,
        /// The number of the append.
        got: u64,
    },
    /// Closed (409), with the final offset.
    #[error("the stream is closed at {tail}")]
    Closed {
        /// The final offset.
        tail: Offset,
    },
    /// Content type differs (409).
    #[error("the stream holds {expected}, the append says {got}")]
    ContentType {
        /// The stream's.
        expected: Arc<str>,
        /// The append's.
        got: String,
    },
    /// `Stream-Seq` did not increase (409).
    #[error("Stream-Seq {got:?} is not greater than the last one, {last:?}")]
    StreamSeq {
        /// The append's.
        got: Bytes,
        /// The last accepted.
        last: Bytes,
    },
    /// `if_tail` was not the tail (412).
    #[error("the tail is {tail}, not {expected}")]
    TailMoved {
        /// What the client expected.
        expected: Offset,
        /// The tail.
        tail: Offset,
    },
    /// A limit (413 for bodies, 429 or 507 for the rest).
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The log took nothing (503, 507).
    #[error(transparent)]
    Push(#[from] PushError),
}

/// A limit was reached; states both values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {value} is over the limit of {limit} ({flag})")]
pub struct LimitError {
    /// What is limited, in words.
    pub what: &'static str,
    /// The option that sets it, e.g. `max_append_bytes`.
    pub flag: &'static str,
    /// The limit.
    pub limit: u64,
    /// The value that was over it.
    pub value: u64,
}

/// Why a creation was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Exists with another configuration (409); says what differs.
    #[error("{path} exists with another {differs}")]
    Exists {
        /// The path.
        path: StreamPath,
        /// `content type`, `expiry`, `closure status`, `fork` or `retention`.
        differs: &'static str,
    },
    /// The path is held by a soft-deleted stream (409).
    #[error("{path} was deleted but still has forks; its path is free when they are deleted")]
    SoftDeleted {
        /// The path.
        path: StreamPath,
    },
    /// Fork source missing (404).
    #[error("the fork source {path} does not exist")]
    SourceNotFound {
        /// The source.
        path: StreamPath,
    },
    /// Fork source soft-deleted (409).
    #[error("the fork source {path} is deleted")]
    SourceDeleted {
        /// The source.
        path: StreamPath,
    },
    /// Fork point beyond the tail, trimmed, of another life, or inside nothing (400).
    #[error("the fork point is not in the source: {why}")]
    ForkPoint {
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// Content type differs from the source's (409).
    #[error("the source holds {expected}, the fork says {got}")]
    ForkContentType {
        /// The source's.
        expected: Arc<str>,
        /// The request's.
        got: String,
    },
    /// The first content does not fit (400).
    #[error(transparent)]
    Body(#[from] wire::BodyError),
    /// A retention that keeps nothing (400).
    #[error("{why}")]
    Retention {
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },
    /// A malformed content type (400).
    #[error("{got:?} is not a content type; use type/subtype")]
    ContentType {
        /// As sent.
        got: String,
    },
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The append at the fork point could not be read (5xx).
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log took nothing.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Why a delete, a trim or a change of the retention was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Missing or already soft-deleted.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The trim point is beyond the tail or of another life.
    #[error("{asked} is not an offset of this stream, whose tail is {tail}")]
    Offset {
        /// What was asked.
        asked: Offset,
        /// The tail.
        tail: Offset,
    },
    /// A retention that keeps nothing (400).
    #[error("{why}")]
    Retention {
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },
    /// The append at the trim point could not be read (5xx).
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log took nothing.
    #[error(transparent)]
    Push(#[from] PushError),
}
