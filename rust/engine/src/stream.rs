//! One stream's state: what writers see, and what is true of it up to a given LSN.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use durastream_storage::{Held, Lsn};

use crate::event::Origin;
use crate::index::{Entry, Index};
use crate::moment::{Millis, millis, span};
use crate::retention::{Ledger, Retention};
use crate::types::{Expiry, Producer};
use crate::wire::Format;
use crate::{Offset, StreamPath};

/// The end of an event that has not happened.
pub(crate) const NEVER: Lsn = Lsn::MAX;

/// How much of a stream is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All of it.
    Live,
    /// Its data, for its forks.
    Soft,
    /// Nothing; kept until that is durable, for readers that may not know yet.
    Removed,
}

/// A stream. A million of them may be idle, so rare things are boxed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) path: StreamPath,
    pub(crate) content_type: Arc<str>,
    pub(crate) created_at: Millis,
    /// End of its creation's frame; 0 when it was recovered.
    pub(crate) created_end: Lsn,
    /// End of its last event's frame; 0 when it was recovered.
    pub(crate) last_end: Lsn,
    /// End of the event that closed it, or `NEVER`.
    pub(crate) closed_end: Lsn,
    /// Its own payloads, up to the reserved tail.
    pub(crate) index: Index,
    /// Streams that read through it.
    pub(crate) forks: u32,
    pub(crate) phase: Phase,
    pub(crate) format: Format,
    /// The last snapshot that needs no more of it.
    pub(crate) round: u16,
    pub(crate) lifetime: Option<Box<Lifetime>>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What few streams have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) fork: Option<Origin>,
    /// Of a fork: the root of its tree.
    pub(crate) root: Option<u64>,
    /// The durable floor.
    pub(crate) floor: u64,
    /// A checkpoint leaves out its own payloads below this, and so may the index: the reserved floor, as of the first
    /// fork while there are forks. So no fork needs what lies below, but what lies above may be dead as well.
    pub(crate) kept: u64,
    /// That only forks read it is durable.
    pub(crate) softened: bool,
    /// End of the event that made it anything but `Live`.
    pub(crate) gone_end: Option<Lsn>,
    /// Ids come from strangers: hashed with a key.
    pub(crate) producers: HashMap<Box<str>, Progress>,
    /// The producer triple that closed the stream.
    pub(crate) closing: Option<Producer>,
    pub(crate) stream_seq: Option<Box<[u8]>>,
    /// The floor of a trim that is not durable yet.
    pub(crate) pending_floor: Option<u64>,
    /// Of a stream that does not keep everything.
    pub(crate) ledger: Option<Box<Ledger>>,
}

/// What is known of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) epoch: u64,
    /// Highest accepted sequence number of the epoch.
    pub(crate) seq: u64,
}

/// When a stream ends by itself.
#[derive(Debug)]
pub(crate) struct Lifetime {
    pub(crate) expiry: Expiry,
    /// Taken over from a fork's source, not asked for.
    pub(crate) inherited: bool,
    /// The last access that an event tells of.
    pub(crate) logged: Millis,
    /// The last access.
    pub(crate) accessed: Millis,
    /// The deadline under which the stream is queued; never later than the true one.
    pub(crate) queued: Millis,
}

impl Lifetime {
    pub(crate) fn new(expiry: Expiry, inherited: bool, now: Millis) -> Self {
        let mut lifetime = Self {
            expiry,
            inherited,
            logged: now,
            accessed: now,
            queued: 0,
        };
        lifetime.queued = lifetime.deadline();
        lifetime
    }

    /// From this time on the stream is expired.
    pub(crate) fn deadline(&self) -> Millis {
        match self.expiry {
            Expiry::Ttl(ttl) => self.accessed.saturating_add(span(ttl)),
            Expiry::At(at) => millis(at),
        }
    }

    /// How much later than `logged` an access may be without an event of its own. Recovery grants
    /// this much, so that a stream never expires early.
    pub(crate) fn slack(&self) -> Millis {
        match self.expiry {
            Expiry::Ttl(Duration::ZERO) | Expiry::At(_) => 0,
            Expiry::Ttl(ttl) => (span(ttl) / 8).max(1000),
        }
    }

    /// Notes an access; `true` when it wants an event.
    pub(crate) fn access(&mut self, now: Millis) -> bool {
        if matches!(self.expiry, Expiry::At(_)) {
            return false;
        }
        self.accessed = self.accessed.max(now);
        now > self.logged.saturating_add(self.slack())
    }

    /// Notes an access that an event tells of.
    pub(crate) fn log(&mut self, at: Millis) {
        self.logged = self.logged.max(at);
        self.accessed = self.accessed.max(at);
    }

    /// After a replay: accesses that were not logged may have been this late.
    pub(crate) fn recover(&mut self) {
        self.accessed = self.logged.saturating_add(self.slack());
        self.queued = self.deadline();
    }
}

impl Stream {
    /// The reserved tail.
    pub(crate) fn tail(&self) -> u64 {
        self.index.tail()
    }

    pub(crate) fn offset(&self, position: u64) -> Offset {
        Offset {
            incarnation: self.root(),
            position,
        }
    }

    /// The position of a token, or `None` when it is of another life.
    pub(crate) fn position(&self, offset: Offset) -> Option<u64> {
        (offset.incarnation == 0 || offset.incarnation == self.root()).then_some(offset.position)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed_end != NEVER
    }

    pub(crate) fn is_expired(&self, now: Millis) -> bool {
        self.phase == Phase::Live
            && self
                .lifetime
                .as_ref()
                .is_some_and(|lifetime| lifetime.deadline() <= now)
    }

    pub(crate) fn expiry(&self) -> Option<Expiry> {
        self.lifetime.as_ref().map(|lifetime| lifetime.expiry)
    }

    /// Whether its appends say when they were made.
    pub(crate) fn wants_times(&self) -> bool {
        matches!(self.expiry(), Some(Expiry::Ttl(_))) || self.retention().max_age.is_some()
    }

    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.extra.as_ref()?.ledger.as_deref()
    }

    pub(crate) fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.extra.as_mut()?.ledger.as_deref_mut()
    }

    /// How much of it is kept, as writers see it.
    pub(crate) fn retention(&self) -> Retention {
        self.ledger().map(Ledger::limits).unwrap_or_default()
    }

    /// Where its oldest append begins, as writers see it, if it has any.
    pub(crate) fn held(&self) -> Option<u64> {
        Some(self.reserved_floor()).filter(|floor| *floor < self.tail())
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.extra.as_ref()?.fork.as_ref()
    }

    pub(crate) fn progress(&self, producer: &str) -> Option<Progress> {
        self.extra.as_ref()?.producers.get(producer).copied()
    }

    pub(crate) fn stream_seq(&self) -> Option<&[u8]> {
        self.extra.as_ref()?.stream_seq.as_deref()
    }

    /// Where its own payloads begin: its fork point, or 0.
    pub(crate) fn point(&self) -> u64 {
        self.origin().map_or(0, |origin| origin.point)
    }

    /// Incarnation of its offsets: its own id, or that of the root of its fork tree.
    pub(crate) fn root(&self) -> u64 {
        let root = self.extra.as_ref().and_then(|extra| extra.root);
        root.unwrap_or(self.id)
    }

    /// The durable floor.
    pub(crate) fn floor(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.floor)
    }

    /// See [`Extra::kept`].
    pub(crate) fn kept(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.kept)
    }

    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The floor as writers see it.
    pub(crate) fn reserved_floor(&self) -> u64 {
        let pending = self.extra.as_ref().and_then(|extra| extra.pending_floor);
        pending.unwrap_or_else(|| self.floor())
    }

    /// The tail by the events whose frames end at or before `horizon`.
    ///
    /// A horizon never lies inside a frame, so a frame that begins before it ends before it.
    pub(crate) fn tail_at(&self, horizon: Lsn) -> u64 {
        if self.last_end <= horizon {
            return self.tail();
        }
        self.index.tail_at(horizon)
    }

    /// Whether it is closed by the events up to `horizon`.
    pub(crate) fn closed_at(&self, horizon: Lsn) -> bool {
        self.closed_end <= horizon
    }

    /// Whether it is deleted by the events up to `horizon`.
    pub(crate) fn gone_at(&self, horizon: Lsn) -> bool {
        let gone = self.extra.as_ref().and_then(|extra| extra.gone_end);
        gone.is_some_and(|end| end <= horizon)
    }

    /// Notes that a payload is about to be added, and when, for what its retention remembers.
    pub(crate) fn note(&mut self, at: Option<Millis>) {
        let start = self.tail();
        if let Some(ledger) = self.ledger_mut() {
            ledger.note(start, at);
        }
    }

    /// Its payloads in frames that begin at `from` or behind it and before `to`, as far as they are indexed.
    pub(crate) fn between(&self, from: Lsn, to: Lsn) -> impl Iterator<Item = Held> {
        let entries = self.index.behind(move |entry| entry.lsn < from);
        entries
            .take_while(move |(_, entry)| entry.lsn < to)
            .map(|(start, entry)| Held {
                stream: self.id,
                start,
                end: entry.end,
            })
    }

    /// Adds a payload behind the tail. Entries of frames below `forgettable` may be forgotten by it.
    pub(crate) fn push(&mut self, len: u64, lsn: Lsn, forgettable: Lsn) {
        let end = self.tail() + len;
        if self.index.push(Entry { end, lsn }) {
            self.index.forget(|entry| entry.lsn < forgettable);
        }
    }

    /// Whether it has readers of its own, as far as is durable.
    pub(crate) fn is_read(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| !extra.softened)
    }
}
