//! How much of a stream is kept: limits by bytes, age and number of appends.
//!
//! Everything within the limits is kept, so a floor that follows from them is never too high. It may
//! lag: by less than 1/64 of a limit, by nothing for numbers up to 64, by what was damaged or lost together with the append
//! that a limit by bytes cuts, and until the reaper comes round.

mod ladder;
mod ledger;
mod queue;

use std::time::Duration;

use crate::moment::span;
use crate::varint::{Input, Malformed, put};

pub(crate) use ledger::{Goal, Ledger};
pub(crate) use queue::{Cause, Queue};

/// Into how many parts a limit is divided: what is remembered of a stream, and how far it may lag.
const PARTS: u64 = 64;

const BYTES: u8 = 1;
const AGE: u8 = 2;
const EVENTS: u8 = 4;

/// How much of a stream is kept. What lies beyond a limit is trimmed, append by append; with several
/// limits, what lies beyond any of them. The default keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Retention {
    /// The newest appends that have at most so many bytes together, as stored, but at least the last
    /// one. 1 or more.
    pub max_bytes: Option<u64>,
    /// Appends younger than this, in whole milliseconds, 1 or more.
    pub max_age: Option<Duration>,
    /// The newest so many appends. 1 or more.
    pub max_events: Option<u64>,
}

/// What becomes of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit<T> {
    /// It stays as it is.
    #[default]
    Unchanged,
    /// There is none any more.
    Removed,
    /// It is this one.
    Set(T),
}

/// A change of a stream's retention. The default changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconfigure {
    /// See [`Retention::max_bytes`].
    pub max_bytes: Limit<u64>,
    /// See [`Retention::max_age`].
    pub max_age: Limit<Duration>,
    /// See [`Retention::max_events`].
    pub max_events: Limit<u64>,
}

impl<T> Limit<T> {
    fn of(self, current: Option<T>) -> Option<T> {
        match self {
            Limit::Unchanged => current,
            Limit::Removed => None,
            Limit::Set(limit) => Some(limit),
        }
    }
}

impl<T> From<Option<T>> for Limit<T> {
    fn from(limit: Option<T>) -> Self {
        limit.map_or(Limit::Removed, Limit::Set)
    }
}

impl From<Retention> for Reconfigure {
    /// Replaces all limits.
    fn from(retention: Retention) -> Self {
        Self {
            max_bytes: retention.max_bytes.into(),
            max_age: retention.max_age.into(),
            max_events: retention.max_events.into(),
        }
    }
}

impl Reconfigure {
    /// What a retention becomes.
    pub fn of(self, current: Retention) -> Retention {
        Retention {
            max_bytes: self.max_bytes.of(current.max_bytes),
            max_age: self.max_age.of(current.max_age),
            max_events: self.max_events.of(current.max_events),
        }
    }
}

impl Retention {
    /// Whether everything is kept.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it, and what would be right.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.max_bytes == Some(0) {
            return Some("a limit by bytes is 1 or more; leave it out to keep everything");
        }
        if self.max_events == Some(0) {
            return Some(
                "a limit by number of appends is 1 or more; leave it out to keep everything",
            );
        }
        if self.max_age.is_some_and(|age| span(age) == 0) {
            return Some(
                "a limit by age is 1 millisecond or more; leave it out to keep everything",
            );
        }
        None
    }

    /// As it is kept: in whole milliseconds.
    pub(crate) fn rounded(self) -> Self {
        let whole = |age| Duration::from_millis(span(age));
        Self {
            max_age: self.max_age.map(whole),
            ..self
        }
    }
}

/// A tag that adds up 1 for bytes, 2 for age, 4 for events; then those there are, the age in ms.
pub(crate) fn put_retention(out: &mut Vec<u8>, retention: &Retention) {
    let age = retention.max_age.map(span);
    let limits = [retention.max_bytes, age, retention.max_events];
    let tags = [BYTES, AGE, EVENTS].into_iter().zip(limits);
    out.push(
        tags.map(|(tag, limit)| if limit.is_some() { tag } else { 0 })
            .sum(),
    );
    for limit in limits.into_iter().flatten() {
        put(out, limit);
    }
}

pub(crate) fn take_retention(input: &mut Input<'_>) -> Result<Retention, Malformed> {
    let tag = input.byte()?;
    if tag > BYTES | AGE | EVENTS {
        return Err(Malformed("unknown retention"));
    }
    let mut limit = |wanted| match tag & wanted {
        0 => Ok(None),
        _ => input.number().map(Some),
    };
    let retention = Retention {
        max_bytes: limit(BYTES)?,
        max_age: limit(AGE)?.map(Duration::from_millis),
        max_events: limit(EVENTS)?,
    };
    match retention.fault() {
        None => Ok(retention),
        Some(_) => Err(Malformed("a retention of nothing")),
    }
}
