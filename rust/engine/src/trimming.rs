//! Enforcing retention: what the reaper finds beyond a stream's limits, it trims like anybody else.

use std::collections::BTreeMap;

use bytes::Bytes;
use durastream_storage::{CommitError, PushError, ReadError};

use crate::core::Inner;
use crate::engine::Shared;
use crate::event::Event;
use crate::moment::Millis;
use crate::retention::{Cause, Goal, Ledger};
use crate::sealed::Finder;
use crate::span::{Held, holding};
use crate::state::State;
use crate::stream::Phase;
use crate::watch::Wakes;

/// Streams looked at, or trimmed, under one hold of the lock.
const BATCH: usize = 256;

impl Shared {
    /// Trims every stream to its retention. A stream whose trim fails is tried again the next time; how many these are is
    /// told of each cause when it begins, not every time.
    pub(crate) fn enforce_retention(&self) {
        let mut failed = Failed::new();
        self.trim_all(&mut failed);
        let before = {
            let failing = failed.keys().cloned().collect();
            let queue = &mut self.core.lock().state.excess;
            std::mem::replace(&mut queue.failing, failing)
        };
        failed.retain(|cause, _| !before.contains(cause));
        for Failure {
            streams,
            stream,
            error,
        } in failed.into_values()
        {
            tracing::warn!(streams, stream, %error, "streams could not be trimmed to their retention; it is tried again");
        }
    }

    fn trim_all(&self, failed: &mut Failed) {
        let now = self.now();
        let over = self.core.lock().state.excess.take_over();
        for some in over.chunks(BATCH) {
            let goals = self.core.lock().state.goals(some, now);
            self.trim_to(&goals, failed);
        }
        loop {
            let goals = {
                let mut inner = self.core.lock();
                let aged = inner.state.excess.take_aged(now, BATCH);
                if aged.is_empty() {
                    return;
                }
                inner.state.goals(&aged, now)
            };
            self.trim_to(&goals, failed);
        }
    }

    fn trim_to(&self, goals: &[Goal], failed: &mut Failed) {
        // Boundaries may have to be read, so they are looked up without the lock. They never change.
        let floors: Vec<_> = goals.iter().map(|goal| self.floor_of(goal)).collect();
        let mut wakes = Wakes::default();
        let mut trimmed = false;
        {
            let mut inner = self.core.lock();
            let _together = self.store.batch();
            for (goal, floor) in goals.iter().zip(floors) {
                // What age and number say needs no reading.
                let (floor, unread) = match floor {
                    Ok(floor) => (floor, None),
                    Err(error) => (goal.floor, Some((unreadable(&error), error.to_string()))),
                };
                let done = inner.trim_to(self, goal, floor, &mut wakes);
                trimmed |= *done.as_ref().unwrap_or(&false);
                let refused = done.err().map(|error| (refused(&error), error.to_string()));
                if let Some((cause, error)) = refused.or(unread) {
                    inner.state.excess.again(goal.id);
                    let failure = failed.entry(cause).or_insert(Failure {
                        streams: 0,
                        stream: goal.id,
                        error,
                    });
                    failure.streams += 1;
                }
            }
        }
        wakes.deliver();
        if trimmed {
            self.store.kick();
        }
    }

    /// The floor that a goal comes to: a boundary between appends.
    fn floor_of(&self, goal: &Goal) -> Result<u64, ReadError> {
        if goal.beyond <= goal.floor {
            return Ok(goal.floor);
        }
        Ok(goal.floor(&self.cut_of(goal)?))
    }

    /// What the limit by bytes cuts; nothing when that was trimmed meanwhile. Not under the lock: it may have to be read.
    fn cut_of(&self, goal: &Goal) -> Result<Held, ReadError> {
        let (mut finder, mut known) = (Finder::default(), None);
        loop {
            let held = {
                let inner = self.core.lock();
                match inner.state.stream(goal.id) {
                    // Below the floor nothing may be left to look at.
                    Some(stream) if goal.beyond > stream.reserved_floor() => {
                        holding(&inner.state, stream, goal.beyond, goal.tail, known)
                    }
                    _ => Held::Nothing,
                }
            };
            match held {
                Held::Unknown(stretch) => known = finder.find_any(self, &stretch)?,
                held => return Ok(held),
            }
        }
    }
}

/// Streams that could not be trimmed, by what they have in common.
type Failed = BTreeMap<Cause, Failure>;

/// How many these are, and the first of them with the reason.
struct Failure {
    streams: u64,
    stream: u64,
    error: String,
}

fn unreadable(error: &ReadError) -> Cause {
    match error {
        ReadError::Damaged { file, .. } | ReadError::Io { file, .. } => {
            Cause::Unreadable(file.clone())
        }
        _ => Cause::Other,
    }
}

fn refused(error: &PushError) -> Cause {
    match error {
        PushError::Commit(CommitError::StorageFull { .. }) => Cause::Full,
        PushError::Overloaded { .. } => Cause::Overloaded,
        _ => Cause::Other,
    }
}

impl State {
    /// Queues a stream that has grown, or whose limits changed, if there is something to do.
    pub(crate) fn note_excess(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(id) {
            self.excess.note(stream);
        }
    }

    /// Queues a stream that was trimmed for when it is too old again.
    pub(crate) fn await_age(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(id) {
            self.excess.await_age(stream);
        }
    }

    /// Takes a stream out of the queue.
    pub(crate) fn forget_excess(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(id) {
            self.excess.remove(stream);
        }
    }

    /// What there is to do for streams that were queued.
    pub(crate) fn goals(&mut self, ids: &[u64], now: Millis) -> Vec<Goal> {
        let mut goals = Vec::new();
        for id in ids {
            let Some(stream) = self.streams.get_mut(*id) else {
                continue;
            };
            self.excess.remove(stream);
            let (floor, tail) = (stream.reserved_floor(), stream.tail());
            let ledger = stream.ledger();
            goals.extend(ledger.and_then(|ledger| ledger.goal(*id, floor, tail, now)));
            // What is not old enough yet waits; what is will be queued again by its trim.
            let due = stream.ledger().and_then(Ledger::ages_at);
            if due.is_some_and(|due| due > now) {
                self.excess.await_age(stream);
            }
        }
        goals
    }
}

impl Inner {
    /// Raises a floor, if the stream is still there and its limits are those it follows from.
    fn trim_to(
        &mut self,
        shared: &Shared,
        goal: &Goal,
        floor: u64,
        wakes: &mut Wakes,
    ) -> Result<bool, PushError> {
        let wanted = self.state.stream(goal.id).is_some_and(|stream| {
            stream.phase == Phase::Live
                && stream.retention() == goal.limits
                && stream.reserved_floor() < floor
        });
        if wanted {
            let event = Event::Trim { id: goal.id, floor };
            self.record(&shared.store, &event, &Bytes::new(), wakes)?;
            self.counts.retention_trims += 1;
        }
        Ok(wanted)
    }
}
