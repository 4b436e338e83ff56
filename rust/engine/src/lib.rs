//! Streams on a log: create, append, read, watch, close, fork, expire, trim, delete, list.
//!
//! The rules are pure: `decide(state, command) -> event | rejection` and `apply(state, event)`. The
//! live path decides, logs the event, applies it; recovery only applies.
//!
//! Every answer is a [`Ticket`]: an outcome and the LSN it depends on. An outcome may be told to
//! anybody only once that LSN is durable ([`Engine::wait`], [`Engine::notify`]); that covers
//! acknowledgements, duplicates that wait for their original and refusals that wait for their cause.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
pub use durastream_storage as storage;
use durastream_storage::{CommitError, Lsn, OpenError, ReadError, RecoveryReport, StoreOptions};

pub mod offset;
pub mod path;
pub mod wire;

pub use offset::Offset;
pub use path::StreamPath;

/// An outcome, true once everything below `lsn` is durable (0: already).
#[derive(Debug, Clone)]
pub struct Ticket<T> {
    /// What the outcome depends on.
    pub lsn: Lsn,
    /// The outcome.
    pub outcome: T,
}

/// Limits and choices of an engine. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The log's options.
    pub store: StoreOptions,
    /// Largest body of one append or creation, in bytes; default 64 MiB.
    pub max_append_bytes: usize,
    /// Deepest nesting of a JSON message; default 128.
    pub max_json_depth: usize,
    /// Most producers one stream remembers; default 10,000.
    pub max_producers_per_stream: usize,
    /// Most streams; default 10,000,000.
    pub max_streams: usize,
    /// Longest producer id, in bytes; default 1,024.
    pub max_producer_id_bytes: usize,
    /// Longest `Stream-Seq`, in bytes; default 1,024.
    pub max_stream_seq_bytes: usize,
    /// Longest content type, in bytes; default 256.
    pub max_content_type_bytes: usize,
    /// How often the reaper looks for expired streams; default 1 s.
    pub reap_interval: Duration,
    /// Log bytes after which a checkpoint is made in the background; default 256 MiB.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: StoreOptions::default(),
            max_append_bytes: 64 << 20,
            max_json_depth: 128,
            max_producers_per_stream: 10_000,
            max_streams: 10_000_000,
            max_producer_id_bytes: 1024,
            max_stream_seq_bytes: 1024,
            max_content_type_bytes: 256,
            reap_interval: Duration::from_secs(1),
            checkpoint_bytes: 256 << 20,
        }
    }
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
pub struct Page {
    /// Wire bytes; hot ones are shared, not copied. JSON: every message is followed by a comma.
    pub chunks: Vec<Bytes>,
    /// Position of the first byte (of the first append that ends beyond the position asked for).
    pub start: Offset,
    /// Where to read on: the end of the last append given, or the tail when there was none.
    pub next: Offset,
    /// Nothing durable lies behind `next`.
    pub up_to_date: bool,
    /// Closed, and nothing lies behind `next`.
    pub closed: bool,
}

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
    Push(#[from] storage::PushError),
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
        /// `content type`, `expiry`, `closure status` or `fork`.
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
    /// A malformed content type (400).
    #[error("{got:?} is not a content type; use type/subtype")]
    ContentType {
        /// As sent.
        got: String,
    },
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The log took nothing.
    #[error(transparent)]
    Push(#[from] storage::PushError),
}

/// Why a delete or trim was refused.
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
    /// The log took nothing.
    #[error(transparent)]
    Push(#[from] storage::PushError),
}

/// One page of a listing, in byte-wise order of paths.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The streams.
    pub streams: Vec<StreamInfo>,
    /// Pass as `cursor` for the next page; `None` at the end.
    pub cursor: Option<String>,
}

/// What a completion queue is told for a token.
#[derive(Debug, Clone)]
pub enum Wake {
    /// The LSN is durable, or the stream changed: look again.
    Ready,
    /// The log failed; what the token waited for will never be durable.
    Failed(CommitError),
}

/// A completion queue, as the engine sees it: called once per commit group with all of its tokens.
/// Must not block and must not call back into the engine.
pub trait CompletionSink: Send + Sync {
    /// Takes finished tokens.
    fn complete(&self, batch: &mut Vec<(u64, Wake)>);
}

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFor {
    /// Durable data beyond this position, durable closure, deletion or expiry.
    Readable(Offset),
    /// Any event decided on the stream, durable or not (early producer sequences wait for this).
    Decided,
}

/// Names a registered watch, for withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchId(u64);

/// A snapshot of counters.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EngineStats {
    /// The log's counters.
    pub store: storage::StoreStats,
    /// Streams that exist (soft-deleted ones included).
    pub streams: u64,
    /// Streams that are soft-deleted.
    pub soft_deleted: u64,
    /// Appends accepted (closes included).
    pub appends: u64,
    /// Payload bytes accepted.
    pub append_bytes: u64,
    /// Appends that were duplicates.
    pub duplicates: u64,
    /// Appends and creations refused.
    pub refusals: u64,
    /// Pages given.
    pub reads: u64,
    /// Payload bytes given.
    pub read_bytes: u64,
    /// Watches registered now.
    pub watches: u64,
    /// Streams removed by the reaper or on touch because they had expired.
    pub expired: u64,
}

/// A stream held open for reading: finds it once, then reads and watches without its path.
/// Holds no lock; a stream deleted meanwhile answers so.
#[derive(Clone)]
pub struct Reader {
    _private: (),
}

impl Reader {
    /// The durable view now.
    pub fn info(&self) -> Result<StreamInfo, LookupError> {
        todo!()
    }

    /// Whether `page(from, max)` would not touch the disk.
    pub fn is_hot(&self, _from: From, _max_bytes: usize) -> bool {
        todo!()
    }

    /// Every durable append whose end lies beyond `from`, up to `max_bytes` but at least one.
    ///
    /// A position inside an append gives that whole append; one past the tail by 1 gives nothing
    /// yet; one further beyond is `Gone`, like one of another life or below the floor.
    pub fn page(&self, _from: From, _max_bytes: usize) -> Result<Page, PageError> {
        todo!()
    }

    /// Registers a wake; fires once, at once when already true.
    pub fn watch(&self, _what: WatchFor, _sink: &Arc<dyn CompletionSink>, _token: u64) -> WatchId {
        todo!()
    }

    /// Withdraws a watch; a wake already on its way may still arrive.
    pub fn unwatch(&self, _id: WatchId) {
        todo!()
    }

    /// Blocks until `page` from here would have news, or `timeout`: `false`.
    pub fn wait_readable(&self, _position: Offset, _timeout: Duration) -> bool {
        todo!()
    }
}

/// The embedded engine. Cheap to clone; every method may be called from any thread; none but
/// `wait`, `wait_readable`, `checkpoint`, `close` and cold `page`s blocks on I/O.
#[derive(Clone)]
pub struct Engine {
    _private: (),
}

impl Engine {
    /// Opens a data directory, recovering it first.
    pub fn open(_dir: &Path, _options: Options) -> Result<Self, OpenError> {
        todo!()
    }

    /// An engine without a disk, for tests and caches.
    pub fn in_memory(_options: Options) -> Result<Self, OpenError> {
        todo!()
    }

    /// Opens over any file system and clock.
    pub fn open_with(
        _fs: Arc<dyn storage::fs::Fs>,
        _dir: &Path,
        _options: Options,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        todo!()
    }

    /// What recovery found at open.
    pub fn recovery(&self) -> RecoveryReport {
        todo!()
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        todo!()
    }

    /// Creates a stream or a fork, or confirms that it exists just so.
    pub fn create(
        &self,
        _path: &StreamPath,
        _create: Create,
    ) -> Ticket<Result<Created, CreateError>> {
        todo!()
    }

    /// Appends, closes, or both.
    pub fn append(
        &self,
        _path: &StreamPath,
        _append: Append,
    ) -> Ticket<Result<Appended, AppendError>> {
        todo!()
    }

    /// Appends to many streams in one go, in order, so that one commit group takes them all.
    /// Stops at the first refusal, which is the last outcome given.
    pub fn append_many(
        &self,
        _appends: Vec<(StreamPath, Append)>,
    ) -> Vec<Ticket<Result<Appended, AppendError>>> {
        todo!()
    }

    /// Deletes: at once, or softly while forks live.
    pub fn delete(&self, _path: &StreamPath) -> Ticket<Result<(), ChangeError>> {
        todo!()
    }

    /// Raises the floor to the start of the append that holds `before`; gives the new floor.
    pub fn trim(&self, _path: &StreamPath, _before: Offset) -> Ticket<Result<Offset, ChangeError>> {
        todo!()
    }

    /// Describes a stream without resetting its TTL.
    pub fn head(&self, _path: &StreamPath) -> Ticket<Result<StreamInfo, LookupError>> {
        todo!()
    }

    /// Finds a stream for reading; resets its TTL.
    pub fn reader(&self, _path: &StreamPath) -> Ticket<Result<Reader, LookupError>> {
        todo!()
    }

    /// Streams whose path begins with `prefix`, after `cursor`.
    pub fn list(&self, _prefix: &str, _cursor: Option<&str>, _limit: usize) -> Listing {
        todo!()
    }

    /// Blocks until `lsn` is durable, or `timeout`: `false`. Commits on this thread when it can.
    pub fn wait(&self, _lsn: Lsn, _timeout: Option<Duration>) -> Result<bool, CommitError> {
        todo!()
    }

    /// Whether `lsn` is durable.
    pub fn is_durable(&self, _lsn: Lsn) -> bool {
        todo!()
    }

    /// Tells `sink` when `lsn` is durable (at once when it is), in a batch with its neighbours.
    pub fn notify(&self, _lsn: Lsn, _sink: &Arc<dyn CompletionSink>, _token: u64) {
        todo!()
    }

    /// Writes a checkpoint now; gives its LSN.
    pub fn checkpoint(&self) -> Result<Lsn, CommitError> {
        todo!()
    }

    /// Counters now.
    pub fn stats(&self) -> EngineStats {
        todo!()
    }

    /// The first cause, when the log is poisoned.
    pub fn poisoned(&self) -> Option<CommitError> {
        todo!()
    }

    /// Commits, checkpoints, marks the end as clean, releases the lock, wakes every watcher. Idempotent.
    pub fn close(&self) -> Result<(), CommitError> {
        todo!()
    }
}
