//! The seam beneath group commit: a log of groups, whatever keeps it.
//!
//! The file WAL is one implementation; one on a replicated log can be another. File names and
//! offsets stay below it, except in the texts of errors.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::Lsn;
use crate::ballast::Space;
use crate::error::{Failure, OpenError, ReadError, Trouble};
use crate::frame::{Frame, FrameRef};
use crate::group::Group;
use crate::histogram::Distribution;
use crate::home::Home;
use crate::manifest::SegmentEntry;

/// What replay shows every frame to; an `Err` ends it.
pub(crate) type Visit<'a> = dyn FnMut(Frame<'_>) -> Result<(), String> + 'a;

/// Space that is promised: groups that begin at the LSN it was asked for fit in, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// What CRCs of the frames in it are seeded with.
    pub(crate) seed: u32,
    /// Bytes of log that fit in.
    pub(crate) bytes: u64,
    /// Payloads may go in; without, only what may help a full disk.
    pub(crate) payloads: bool,
}

/// What replay found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) end: Lsn,
    /// Everything below is known to have been synced; what lies between here and `end` may be in
    /// the page cache only, and marked clean by a sync that failed.
    pub(crate) proven: Lsn,
    pub(crate) frames: u64,
    pub(crate) torn_bytes: u64,
}

/// Counters of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogFigures {
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) sync_times: Distribution,
    pub(crate) segments: u64,
    pub(crate) recycled: u64,
}

/// A log of groups. `append` and `mark` are called by one thread at a time, in LSN order.
pub(crate) trait GroupLog: Send + Sync {
    /// Promises room for groups from `at` on, at least `bytes`, and withdraws what was promised for
    /// the same LSN before. Usually prepared ahead; may do I/O when it is not. Without `payload` the
    /// last there is may be given.
    fn make_room(&self, at: Lsn, bytes: u64, payload: bool) -> Result<Room, Trouble>;

    /// Prepares room ahead of need, when there is little left.
    fn prepare(&self) -> Result<(), Trouble>;

    /// Whether `prepare` would have something to do.
    fn wants_preparation(&self) -> bool;

    /// Why there was no space to prepare any at the last try, until there is.
    fn full(&self) -> Option<String>;

    /// Makes what space can be had, for what will free more of it.
    fn make_space(&self) -> Space;

    /// How many bytes that are at least, when nobody else has taken them.
    fn kept_back(&self) -> u64;

    /// Writes a group, within room that was promised; synced when `sync`.
    fn append(&self, group: &Group, sync: bool) -> Result<Lsn, Failure>;

    /// Leaves a note at the end, not synced, that everything before is. Best effort.
    fn mark(&self) -> Result<(), Failure>;

    /// Syncs what is written; gives the LSN below which everything is synced.
    fn sync(&self) -> Result<Lsn, Failure>;

    /// Whether there is something that is not sealed below `end`, the end of the log.
    fn wants_roll(&self, end: Lsn) -> bool;

    /// Counts the last segment as full. Room for what comes next, at `end`, was promised.
    fn roll(&self, end: Lsn);

    /// How many full segments wait to be sealed.
    fn backlog(&self) -> u64;

    /// Shows every frame from `from` on, verified, and finds the end. Before the first `append` only.
    fn replay(&self, from: Lsn, visit: &mut Visit<'_>) -> Result<Replayed, OpenError>;

    /// Gives up what lies wholly below `lsn`. The segments numbered `hurt` are kept aside for people.
    fn drop_up_to(&self, lsn: Lsn, hurt: &BTreeSet<u64>) -> Result<(), Trouble>;

    /// Holds what lies between `from` and `end`, which is synced, until it is copied; more before it, maybe.
    fn export(&self, from: Lsn, end: Lsn) -> Box<dyn Export>;

    /// Counters now.
    fn figures(&self) -> LogFigures;
}

/// A part of a log that is to be copied, and stays as it is until this is dropped.
pub(crate) trait Export: Send {
    /// Writes it as segment files of another directory, synced; gives what its manifest has to list.
    fn copy_to(&self, home: &Home) -> Result<Vec<SegmentEntry>, Failure>;
}

/// Random reads of what was appended.
pub(crate) trait LogRead: Send + Sync {
    /// Payloads of `frames`, verified, in the order asked; `None` for those below what is kept.
    fn read(&self, frames: &[FrameRef]) -> Result<Vec<Option<Bytes>>, ReadError>;
}
