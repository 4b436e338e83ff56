//! What goes into the engine and comes out of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use durastream_storage::Lsn;

use crate::retention::Retention;
use crate::{Offset, StreamPath};

/// An outcome, true once everything below `lsn` is durable (0: already).
#[derive(Debug, Clone)]
pub struct Ticket<T> {
    /// What the outcome depends on.
    pub lsn: Lsn,
    /// The outcome.
    pub outcome: T,
}

/// Where the engine gets the time, so that tests can move it.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Sliding: this long after the last read or write.
    Ttl(Duration),
    /// At this time, whatever happens.
    At(SystemTime),
}

/// Where a fork leaves its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkSpec {
    /// The stream to fork.
    pub source: StreamPath,
    /// Divergence point; `None` is the source's tail.
    pub offset: Option<Offset>,
    /// Refinement beyond `offset`: messages of the next append (JSON) or bytes of it.
    pub sub_offset: u64,
}

/// A creation.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Content type, verbatim; `None` is `application/octet-stream`, or the source's for a fork.
    pub content_type: Option<String>,
    /// When it ends by itself; a fork without one inherits its source's.
    pub expiry: Option<Expiry>,
    /// Whether it begins closed.
    pub closed: bool,
    /// First content, as the client sent it (JSON is validated and flattened here).
    pub body: Bytes,
    /// Fork instead of a new stream.
    pub fork: Option<ForkSpec>,
    /// How much is kept; `None`: everything, or as much as a fork's source keeps. A stream that exists
    /// is compared with this only when it is given.
    pub retention: Option<Retention>,
}

/// What a creation made or found.
#[derive(Debug, Clone)]
pub struct Created {
    /// `false`: it existed with the same configuration.
    pub created: bool,
    /// The stream now.
    pub info: StreamInfo,
}

/// The producer triple of an idempotent append (protocol section 5.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Non-empty id.
    pub id: String,
    /// 0..2^53-1.
    pub epoch: u64,
    /// 0..2^53-1.
    pub seq: u64,
}

/// An append, a close, or both in one event.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// Content type as sent; `None` means "the stream's own" (embedded use).
    pub content_type: Option<String>,
    /// The body as sent (JSON is validated and flattened here). Empty only with `close`.
    pub body: Bytes,
    /// Close the stream in the same event.
    pub close: bool,
    /// Exactly-once triple.
    pub producer: Option<Producer>,
    /// `Stream-Seq`: byte-wise strictly increasing.
    pub stream_seq: Option<Bytes>,
    /// Refuse unless this is still the tail (reserved tail, that is: what writers see).
    pub if_tail: Option<Offset>,
}

/// What became of an append that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// `true`: seen before, nothing was stored.
    pub duplicate: bool,
    /// Where it begins; the tail for a duplicate or a mere close.
    pub start: Offset,
    /// The end of this very append; the tail for a duplicate.
    pub next: Offset,
    /// Whether the stream is closed behind it.
    pub closed: bool,
    /// Epoch and highest accepted sequence number of the producer, when one was named.
    pub producer: Option<(u64, u64)>,
}

/// A stream's description: the durable view, for HEAD and friends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its path.
    pub path: StreamPath,
    /// Never-reused number of the stream (a fork has its own; its offsets carry the root's).
    pub id: u64,
    /// Content type, verbatim.
    pub content_type: Arc<str>,
    /// The end.
    pub tail: Offset,
    /// The first readable position (> 0 after a trim).
    pub floor: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// When it ends by itself.
    pub expiry: Option<Expiry>,
    /// When it was created.
    pub created_at: SystemTime,
    /// How much of it is kept.
    pub retention: Retention,
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The first retained position (`-1` or nothing).
    Start,
    /// The tail (`now`).
    Now,
    /// A token.
    At(Offset),
}

/// A page of a stream: whole appends only, their wire bytes.
#[derive(Debug, Clone)]
pub struct Page<T = Bytes> {
    /// Wire bytes, in pieces of one append or more; hot ones are shared, not copied. JSON: every message is followed by a comma.
    pub chunks: Vec<T>,
    /// Position of the first byte (of the first append that ends beyond the position asked for).
    pub start: Offset,
    /// Where to read on: the end of the last append given, or the tail when there was none.
    pub next: Offset,
    /// Nothing durable lies behind `next`.
    pub up_to_date: bool,
    /// Closed, and nothing lies behind `next`.
    pub closed: bool,
}

/// One page of a listing, in byte-wise order of paths.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The streams.
    pub streams: Vec<StreamInfo>,
    /// Pass as `cursor` for the next page; `None` at the end.
    pub cursor: Option<String>,
}
