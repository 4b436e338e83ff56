//! The log beneath durastream: frames, group commit, recovery and checkpoints.
//!
//! This crate knows bytes, stream numbers and positions. It does not know paths,
//! content types, JSON, HTTP or Python. `docs/format.md` describes every byte it writes.
//!
//! An [`Lsn`] is a byte address in one endless log, so it is unique, never reused and
//! 8-aligned; a frame is durable once the durable LSN is at or beyond its end.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backup;
mod ballast;
mod bell;
mod brake;
mod checkpoint;
mod codec;
mod cold;
mod committer;
mod compact;
mod compactor;
mod error;
mod filling;
mod frame;
pub mod fs;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod histogram;
mod home;
mod hot;
pub mod inspect;
mod log;
mod manifest;
mod options;
mod recovery;
mod replay;
mod reserves;
mod resume;
#[allow(
    dead_code,
    unused_imports,
    reason = "what checks and repairs read of sealed files"
)]
mod sealed;
mod sealer;
mod segment;
mod shelf;
mod stats;
mod store;
mod survey;
mod tail;
mod tenancy;
mod wal;
mod walk;
mod window;

pub use backup::BackupReport;
pub use error::{BackupError, CommitError, CompactError, OpenError, PushError, ReadError};
pub use frame::{Frame, FrameHead, FrameProducer, FrameRef, Placed};
pub use histogram::{Distribution, Histogram};
pub use options::{Durability, StoreOptions};
pub use recovery::Recovering;
pub use sealed::{Chunk, EventRow, FilePart, History, Piece};
pub use stats::{RecoveryReport, StoreStats};
pub use store::{Batch, CheckpointWriter, Store};
pub use tenancy::{Held, Live, Tenancy};

/// A byte address in the endless log; 0 is before everything.
pub type Lsn = u64;

/// Told once per commit group, in LSN order, before any `wait` on it returns.
///
/// Calls are never concurrent with each other. They come from whichever thread commits, with no lock
/// of the store held.
pub trait CommitObserver: Send + Sync {
    /// Everything below `durable` is acknowledged.
    fn committed(&self, durable: Lsn);
    /// The log failed; nothing after the durable LSN will ever commit. Told once.
    fn poisoned(&self, cause: &CommitError);
}
