//! A stream's retention, and what is remembered for it.

use std::collections::VecDeque;

use durastream_storage::Lsn;

use super::ladder::Ladder;
use super::{PARTS, Retention, put_retention, take_retention};
use crate::moment::{Millis, span};
use crate::span::Held;
use crate::varint::{Input, Malformed};

/// The limits of one stream, and the past that they are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// As writers and the reaper see them.
    limits: Retention,
    /// Changes that are not durable yet: the end of each one's frame, and the limits before it.
    pending: VecDeque<(Lsn, Retention)>,
    count: Option<Ladder>,
    age: Option<Ladder>,
    /// The time under which the stream is queued for its age; never later than the true one.
    pub(crate) queued: Option<Millis>,
}

/// What the reaper is to do for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) id: u64,
    /// What this follows from.
    pub(crate) limits: Retention,
    /// The floor by age and number: a boundary between appends, or the tail.
    pub(crate) floor: u64,
    /// Everything that begins below this position is beyond the limit by bytes, but for the last append.
    pub(crate) beyond: u64,
    /// The tail when this was found.
    pub(crate) tail: u64,
}

impl Goal {
    /// The new floor, given what the limit by bytes cuts: an append goes as a whole, unless it is the last; appends that
    /// cannot be told apart stay.
    pub(crate) fn floor(&self, cut: &Held) -> u64 {
        let kept = match *cut {
            Held::Append(start, end, _) if start < self.beyond && end < self.tail => end,
            Held::Append(start, ..) | Held::Blurred(start) => start,
            Held::Nothing | Held::Unknown(_) => 0,
        };
        self.floor.max(kept)
    }
}

impl Ledger {
    /// The limits as writers see them.
    pub(crate) fn limits(&self) -> Retention {
        self.limits
    }

    /// The limits by the events up to `horizon`.
    pub(crate) fn limits_at(&self, horizon: Lsn) -> Retention {
        let undurable = self.pending.iter().find(|(end, _)| *end > horizon);
        undurable.map_or(self.limits, |(_, before)| *before)
    }

    /// Sets the limits. What the stream holds, from `held` on, counts as one append made now, unless
    /// it was counted before.
    pub(crate) fn set(&mut self, limits: Retention, held: Option<u64>, now: Millis) {
        self.limits = limits;
        relimit(&mut self.count, limits.max_events, held, 1);
        relimit(&mut self.age, limits.max_age.map(span), held, now);
    }

    /// Changes the limits by an event whose frame ends at `end`.
    pub(crate) fn change(&mut self, limits: Retention, held: Option<u64>, now: Millis, end: Lsn) {
        self.pending.push_back((end, self.limits));
        self.set(limits, held, now);
    }

    /// The oldest change is durable. `true`: there is nothing left to remember.
    pub(crate) fn settle(&mut self) -> bool {
        self.pending.pop_front();
        self.pending.is_empty() && self.limits.is_unlimited()
    }

    /// Notes an append; one without a time is as old as the one before it.
    pub(crate) fn note(&mut self, start: u64, at: Option<Millis>) {
        if let Some(ladder) = &mut self.count {
            ladder.note(start, ladder.mark().saturating_add(1));
        }
        if let Some(ladder) = &mut self.age {
            ladder.note(start, at.unwrap_or(0));
        }
    }

    /// Notes a trim.
    pub(crate) fn trim(&mut self, floor: u64, tail: u64) {
        for ladder in [&mut self.count, &mut self.age].into_iter().flatten() {
            ladder.trim(floor, tail);
        }
    }

    /// Whether a stream that reaches from `floor` to `tail` is worth a trim, whatever the time is now.
    pub(crate) fn is_over(&self, floor: u64, tail: u64) -> bool {
        let bytes = self.limits.max_bytes;
        bytes.is_some_and(|most| tail - floor > most.saturating_add(most / PARTS))
            || self.by_count(tail) > floor
            || self
                .age
                .as_ref()
                .is_some_and(|ladder| ladder.start() > floor)
    }

    /// When the oldest of it is too old.
    pub(crate) fn ages_at(&self) -> Option<Millis> {
        self.age.as_ref()?.due()
    }

    /// What is to be trimmed now of a stream that reaches from `floor` to `tail`.
    pub(crate) fn goal(&self, id: u64, floor: u64, tail: u64, now: Millis) -> Option<Goal> {
        let by_age = self
            .age
            .as_ref()
            .map_or(0, |ladder| ladder.floor(now, tail));
        let bytes = self.limits.max_bytes;
        let goal = Goal {
            id,
            limits: self.limits,
            floor: floor.max(by_age).max(self.by_count(tail)),
            beyond: bytes.map_or(0, |most| tail.saturating_sub(most)),
            tail,
        };
        (goal.floor > floor || goal.beyond > floor).then_some(goal)
    }

    fn by_count(&self, tail: u64) -> u64 {
        let ladder = self.count.as_ref();
        ladder.map_or(0, |ladder| ladder.floor(ladder.mark(), tail))
    }

    /// The limits, then what the one by number remembers, then the one by age.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_retention(out, &self.limits);
        for ladder in [&self.count, &self.age].into_iter().flatten() {
            ladder.encode(out);
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let limits = take_retention(input)?;
        if limits.is_unlimited() {
            return Err(Malformed("a retention without limits"));
        }
        let mut ladder =
            |limit: Option<u64>| limit.map(|limit| Ladder::decode(limit, input)).transpose();
        Ok(Self {
            limits,
            count: ladder(limits.max_events)?,
            age: ladder(limits.max_age.map(span))?,
            ..Self::default()
        })
    }
}

fn relimit(ladder: &mut Option<Ladder>, limit: Option<u64>, held: Option<u64>, mark: u64) {
    match (ladder.as_mut(), limit) {
        (Some(known), Some(limit)) => known.relimit(limit, held),
        (_, limit) => *ladder = limit.map(|limit| Ladder::new(limit, held, mark)),
    }
}
