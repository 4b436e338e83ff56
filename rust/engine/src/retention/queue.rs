//! Which streams the reaper is to look at.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use rustc_hash::FxBuildHasher;

use crate::moment::Millis;
use crate::stream::Stream;

/// Why streams cannot be trimmed: what they have in common, so that it is told once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Something in this file cannot be read.
    Unreadable(PathBuf),
    /// The disk is full.
    Full,
    /// Too much waits to be committed.
    Overloaded,
    /// Something else: the log takes nothing, say.
    Other,
}

/// Streams that may have something to trim, so that nobody must look at all of them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Too many bytes or appends.
    over: HashSet<u64, FxBuildHasher>,
    /// Too old from the given time on, or later.
    ages: BTreeSet<(Millis, u64)>,
    /// Why some could not be trimmed when that was last tried. All of it was told.
    pub(crate) failing: BTreeSet<Cause>,
}

impl Queue {
    /// Looks at a stream that has grown, or whose limits changed.
    pub(crate) fn note(&mut self, stream: &mut Stream) {
        let (id, floor, tail) = (stream.id, stream.reserved_floor(), stream.tail());
        if stream
            .ledger()
            .is_some_and(|ledger| ledger.is_over(floor, tail))
        {
            self.over.insert(id);
        }
        self.await_age(stream);
    }

    /// Queues a stream for its age, unless it is.
    pub(crate) fn await_age(&mut self, stream: &mut Stream) {
        let id = stream.id;
        if let Some(ledger) = stream.ledger_mut()
            && ledger.queued.is_none()
            && let Some(due) = ledger.ages_at()
        {
            ledger.queued = Some(due);
            self.ages.insert((due, id));
        }
    }

    /// Looks at a stream once more, whatever it is like.
    pub(crate) fn again(&mut self, id: u64) {
        self.over.insert(id);
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, stream: &mut Stream) {
        let id = stream.id;
        if let Some(ledger) = stream.ledger_mut() {
            self.over.remove(&id);
            if let Some(due) = ledger.queued.take() {
                self.ages.remove(&(due, id));
            }
        }
    }

    /// Takes out what has too many bytes or appends.
    pub(crate) fn take_over(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.over).into_iter().collect()
    }

    /// Takes out up to `most` that may be too old, which [`Self::remove`] is to be told.
    pub(crate) fn take_aged(&mut self, now: Millis, most: usize) -> Vec<u64> {
        let mut aged = Vec::new();
        while aged.len() < most
            && let Some(&(due, id)) = self.ages.first()
            && due <= now
        {
            self.ages.pop_first();
            aged.push(id);
        }
        aged
    }
}
