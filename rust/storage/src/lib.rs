//! The log beneath durastream: frames, group commit, recovery and checkpoints.
//!
//! This crate knows bytes, stream numbers and positions. It does not know paths,
//! content types, JSON, HTTP or Python. `docs/format.md` describes every byte it writes.
//!
//! An [`Lsn`] is a byte address in one endless log, so it is unique, never reused and
//! 8-aligned; a frame is durable once the durable LSN is at or beyond its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub mod fs;

/// A byte address in the endless log; 0 is before everything.
pub type Lsn = u64;

/// When an append counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fdatasync` covers the frame before the answer.
    Sync,
    /// Written before the answer, synced within this time.
    Interval(Duration),
    /// Written before the answer; the operating system syncs when it likes.
    None,
}

/// Limits and choices of a store. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// When an append counts as acknowledged; default `Sync`.
    pub durability: Durability,
    /// Size of a WAL segment in bytes; default 64 MiB.
    pub segment_bytes: u64,
    /// Payload bytes kept in memory for reads; default 256 MiB.
    pub hot_bytes: usize,
    /// Bytes of not yet committed frames beyond which `push` refuses; default 256 MiB.
    pub pending_bytes: usize,
    /// Largest payload of one frame; default 128 MiB.
    pub frame_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            segment_bytes: 64 << 20,
            hot_bytes: 256 << 20,
            pending_bytes: 256 << 20,
            frame_bytes: 128 << 20,
        }
    }
}

/// The producer triple of an idempotent append, as a frame carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameProducer<'a> {
    /// Producer id, non-empty UTF-8.
    pub id: &'a str,
    /// Producer epoch.
    pub epoch: u64,
    /// Sequence number within the epoch.
    pub seq: u64,
}

/// What a frame says beside its payload. `kind` and `flags` mean something to the engine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead<'a> {
    /// Never-reused number of the stream.
    pub stream: u64,
    /// Position of the payload's first byte in the stream's wire bytes.
    pub position: u64,
    /// The engine's event kind.
    pub kind: u8,
    /// The engine's flags.
    pub flags: u8,
    /// The producer triple, when the append had one.
    pub producer: Option<FrameProducer<'a>>,
    /// `Stream-Seq`, when the append had one.
    pub stream_seq: Option<&'a [u8]>,
    /// Small engine-defined bytes before the payload (a creation's configuration, say).
    pub meta: &'a [u8],
}

/// A verified frame, as replay shows it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// Where the frame ends: durable when the durable LSN is at or beyond this.
    pub end: Lsn,
    /// What it says.
    pub head: FrameHead<'a>,
    /// The payload: wire bytes of the stream.
    pub payload: &'a [u8],
}

/// Where `push` put a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where the frame begins; reads name it by this.
    pub lsn: Lsn,
    /// Where it ends; wait for this.
    pub end: Lsn,
}

/// A payload to be read back, and what it must be: anything else is corruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// The stream it must belong to.
    pub stream: u64,
    /// The position it must begin at.
    pub position: u64,
    /// The payload length it must have.
    pub len: u32,
}

/// Told once per commit group, in LSN order, before any `wait` on it returns.
pub trait CommitObserver: Send + Sync {
    /// Everything below `durable` is acknowledged.
    fn committed(&self, durable: Lsn);
    /// The log failed; nothing after the durable LSN will ever commit.
    fn poisoned(&self, cause: &CommitError);
}

/// Why a frame was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// An earlier write or sync failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Too much is waiting to be committed.
    #[error("{value} bytes wait to be committed, the limit is {limit}; slow down and try again")]
    Overloaded {
        /// The limit in bytes.
        limit: usize,
        /// What would have been waiting, in bytes.
        value: usize,
    },
    /// The payload is larger than a frame may be.
    #[error("a frame's payload may have {limit} bytes, this one has {value}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// The size in bytes.
        value: usize,
    },
}

/// Why a commit failed. Cloned to every waiter.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No space for another segment; nothing was lost, the same append may succeed later.
    #[error("no space left for the log in {dir}: {detail}")]
    StorageFull {
        /// The data directory.
        dir: PathBuf,
        /// The operating system's words.
        detail: String,
    },
    /// A write or sync failed; only reopening recovers.
    #[error("the log failed and takes no more writes until it is reopened: {cause}")]
    Poisoned {
        /// The first cause.
        cause: String,
    },
    /// The store was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a payload could not be read back.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The stored bytes are not what was written.
    #[error("damaged data in {file} at byte {offset}: {detail}; run `durable-streams check`")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot read {file}: {detail}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        detail: String,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{dir} is in use by {holder}")]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, as the holder wrote it.
        holder: String,
    },
    /// Acknowledged data is damaged: refusing to open.
    #[error(
        "acknowledged data is damaged in {file} at byte {offset}: {detail}; run `durable-streams check`"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was wrong, and the streams concerned when known.
        detail: String,
    },
    /// Written by a version that this one does not know.
    #[error("{file} has format version {found}, this program knows up to {known}")]
    Version {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The highest known.
        known: u32,
    },
    /// The engine refused a replayed frame.
    #[error("the log replays to an impossible state at LSN {lsn}: {detail}")]
    Replay {
        /// The frame's LSN.
        lsn: Lsn,
        /// What was wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot open {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Where replay began: the checkpoint's LSN.
    pub replay_from: Lsn,
    /// Where the log ended.
    pub end: Lsn,
    /// Frames replayed.
    pub frames: u64,
    /// Bytes of a torn, never acknowledged tail that were copied aside and cut.
    pub torn_bytes: u64,
    /// Whether the last session closed the store.
    pub clean: bool,
}

/// A snapshot of counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Commit groups written.
    pub groups: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes written to the log, headers included.
    pub bytes: u64,
    /// Syncs made.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_nanos: u64,
    /// Bytes waiting to be committed now.
    pub pending_bytes: u64,
    /// Bytes kept for hot reads now.
    pub hot_bytes: u64,
    /// WAL segments in use now.
    pub segments: u64,
    /// Segments that were reused instead of created.
    pub recycled: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// LSN of the newest checkpoint.
    pub checkpoint_lsn: Lsn,
    /// The acknowledged LSN.
    pub durable_lsn: Lsn,
    /// The LSN behind everything pushed.
    pub end_lsn: Lsn,
}

/// A store that is being recovered: read the checkpoint, replay, then start.
pub struct Recovering {
    _private: (),
}

impl Recovering {
    /// Opens `dir` (created when missing), takes its lock, reads and verifies manifest and checkpoint.
    ///
    /// `holder` is written into `LOCK` for whoever comes second.
    pub fn open(
        _fs: Arc<dyn fs::Fs>,
        _dir: &Path,
        _options: StoreOptions,
        _holder: &str,
    ) -> Result<Self, OpenError> {
        todo!()
    }

    /// The newest checkpoint's payload, verified; `None` in a new directory.
    pub fn checkpoint(&self) -> Option<Bytes> {
        todo!()
    }

    /// Shows every frame after the checkpoint, in LSN order, verified. Call exactly once.
    pub fn replay(
        &mut self,
        _visit: &mut dyn FnMut(Frame<'_>) -> Result<(), String>,
    ) -> Result<RecoveryReport, OpenError> {
        todo!()
    }

    /// Starts a fresh segment and the committer thread.
    pub fn start(self, _observer: Arc<dyn CommitObserver>) -> Result<Store, OpenError> {
        todo!()
    }
}

/// The running log. Cheap to clone; every method may be called from any thread.
#[derive(Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// Puts a frame into the filling group. Never blocks on I/O; order of calls is order of LSNs.
    ///
    /// A payload of 64 KiB or more is referenced, not copied. Somebody must `wait` or `kick`.
    pub fn push(&self, _head: &FrameHead<'_>, _payload: &Bytes) -> Result<Placed, PushError> {
        todo!()
    }

    /// Blocks until everything below `lsn` is acknowledged, or `timeout`: `false`.
    ///
    /// The caller commits on its own thread when nobody else is at it (leader and followers), so a
    /// single writer pays no hand-over.
    pub fn wait(&self, _lsn: Lsn, _timeout: Option<Duration>) -> Result<bool, CommitError> {
        todo!()
    }

    /// Has the committer thread commit what is pending; the observer hears of it.
    pub fn kick(&self) {
        todo!()
    }

    /// The acknowledged LSN.
    pub fn durable(&self) -> Lsn {
        todo!()
    }

    /// The LSN behind everything pushed.
    pub fn end(&self) -> Lsn {
        todo!()
    }

    /// Whether every one of `frames` can be read without touching the disk.
    pub fn is_hot(&self, _frames: &[FrameRef]) -> bool {
        todo!()
    }

    /// Reads payloads back, in the order asked: hot ones as shared slices, cold ones verified from disk.
    ///
    /// Frames that are neighbours on disk are read together.
    pub fn read(&self, _frames: &[FrameRef]) -> Result<Vec<Bytes>, ReadError> {
        todo!()
    }

    /// Makes `payload` the newest checkpoint: the state of everything below `lsn`, which must be durable.
    ///
    /// Synced, then swapped in by manifest; the one before is kept until that is durable.
    pub fn write_checkpoint(&self, _lsn: Lsn, _payload: &[Bytes]) -> Result<(), CommitError> {
        todo!()
    }

    /// Declares that no payload below `lsn` is needed any more. Segments wholly below it and below
    /// the checkpoint are recycled.
    pub fn drop_up_to(&self, _lsn: Lsn) -> Result<(), CommitError> {
        todo!()
    }

    /// Counters now.
    pub fn stats(&self) -> StoreStats {
        todo!()
    }

    /// The first cause, when the log is poisoned.
    pub fn poisoned(&self) -> Option<CommitError> {
        todo!()
    }

    /// Commits what is pending, marks the end as clean, releases the lock. Idempotent.
    pub fn close(&self) -> Result<(), CommitError> {
        todo!()
    }
}
