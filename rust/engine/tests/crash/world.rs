//! What clients know: the streams there are, what is in them, and what a disk must still show of it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use durastream_engine::{Engine, From, Offset, PageError, Ticket};

use crate::support::*;

pub(crate) const PATHS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// An answer once it may be told, or why it never may.
pub(crate) fn heard<T, E: Display>(
    engine: &Engine,
    ticket: Ticket<Result<T, E>>,
) -> Result<Result<T, E>, String> {
    match engine.wait(ticket.lsn, None) {
        Ok(_) => Ok(ticket.outcome),
        Err(e) => Err(e.to_string()),
    }
}

/// What clients know of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) id: u64,
    /// Everything that was ever appended, what it has of its source included.
    pub(crate) appends: Vec<String>,
    /// When each of them was made, in milliseconds.
    pub(crate) times: Vec<u64>,
    pub(crate) closed: bool,
    /// Closed by no producer: none of them has an append that is known still.
    pub(crate) closed_plainly: bool,
    /// Next sequence number of the only producer.
    pub(crate) seq: u64,
    /// Appends that nobody can read any more: so many were trimmed, or shown to be.
    pub(crate) floor: usize,
    /// Appends that retention may have trimmed by now.
    pub(crate) most: usize,
    pub(crate) max_events: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    /// In milliseconds.
    pub(crate) max_age: Option<u64>,
    /// When it is gone by itself, in milliseconds.
    pub(crate) ends: Option<u64>,
}

impl Life {
    /// Position behind the first `count` appends.
    pub(crate) fn position(&self, count: usize) -> u64 {
        let lengths = self.appends[..count].iter().map(|text| text.len() as u64);
        lengths.sum()
    }

    /// The number of appends before `position`, if it lies between two.
    pub(crate) fn count_at(&self, position: u64) -> Option<usize> {
        (0..=self.appends.len()).find(|count| self.position(*count) == position)
    }

    /// Notes an append.
    pub(crate) fn push(&mut self, text: String, now: u64) {
        self.appends.push(text);
        self.times.push(now);
        self.settle_retention(now);
    }

    /// Notes what the limits allow to be trimmed from now on.
    pub(crate) fn settle_retention(&mut self, now: u64) {
        let count = self.appends.len();
        let by_events = self
            .max_events
            .map_or(0, |most| count.saturating_sub(most as usize));
        let by_bytes = self.max_bytes.map_or(0, |most| {
            let whole = self.position(count);
            let kept = |from: &usize| whole - self.position(*from) <= most;
            (0..count).find(kept).unwrap_or(count.saturating_sub(1))
        });
        let is_old = |at: &&u64| self.max_age.is_some_and(|age| **at + age <= now);
        let by_age = self.times.iter().filter(is_old).count();
        let by_limits = by_events.max(by_bytes).max(by_age);
        self.most = self.most.max(self.floor).max(by_limits);
    }

    /// Whether the stream shows this, read at once and in pages.
    pub(crate) fn is_shown(&self, engine: &Engine, at: &str) -> Result<(), String> {
        let info = heard(engine, engine.head(&path(at)))?.map_err(|e| e.to_string())?;
        let floor = self.count_at(info.floor.position);
        let Some(floor) = floor.filter(|floor| (self.floor..=self.most).contains(floor)) else {
            return Err(format!("{at} begins at {}", info.floor));
        };
        let tail = self.position(self.appends.len());
        if (info.id, info.closed, info.tail.position) != (self.id, self.closed, tail) {
            return Err(format!("{info:?}"));
        }
        let limits = (info.retention.max_events, info.retention.max_bytes);
        let age = info.retention.max_age;
        if limits != (self.max_events, self.max_bytes)
            || age != self.max_age.map(Duration::from_millis)
        {
            return Err(format!("{at} keeps {:?}", info.retention));
        }
        let reader = heard(engine, engine.reader(&path(at)))?.map_err(|e| e.to_string())?;
        let (mut from, mut seen) = (From::Start, floor);
        loop {
            let page = match reader.page(from, 4000) {
                // The reaper was there since the last look.
                Err(PageError::Gone { earliest, .. })
                    if earliest.position > self.position(seen) =>
                {
                    from = From::Start;
                    continue;
                }
                page => page.map_err(|e| e.to_string())?,
            };
            let most = match from {
                From::Start => self.most.max(seen),
                _ => seen,
            };
            let start = self.count_at(page.start.position);
            let Some(start) = start.filter(|start| (seen..=most).contains(start)) else {
                return Err(format!("{at} goes on at {}", page.start));
            };
            let end = self.count_at(page.next.position);
            seen = end
                .filter(|end| *end >= start)
                .ok_or_else(|| format!("{at} was cut at {}", page.next))?;
            if page.chunks.concat() != self.appends[start..seen].concat().as_bytes() {
                return Err(format!("{at} shows something else from append {start} on"));
            }
            if page.up_to_date {
                let whole = seen == self.appends.len() && page.closed == self.closed;
                return whole
                    .then_some(())
                    .ok_or_else(|| format!("{at} ends at {}", page.next));
            }
            from = From::At(page.next);
        }
    }
}

/// All streams at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) lives: BTreeMap<&'static str, Life>,
    /// Offsets of streams that are gone, and where they were.
    pub(crate) old: Vec<(&'static str, Offset)>,
    /// The time, in milliseconds.
    pub(crate) now: u64,
}

impl World {
    /// Whether the engine shows just this.
    pub(crate) fn is_shown(&self, engine: &Engine) -> Result<(), String> {
        for at in PATHS {
            match self.lives.get(at) {
                Some(life) => life.is_shown(engine, at)?,
                None if heard(engine, engine.head(&path(at)))?.is_ok() => {
                    return Err(format!("{at} is there"));
                }
                None => {}
            }
        }
        let listed = engine.list("", None, 100).streams;
        if listed.len() != self.lives.len() {
            return Err(format!("{} streams are listed", listed.len()));
        }
        for (at, token) in &self.old {
            let reader = heard(engine, engine.reader(&path(at)))?;
            let page = reader.map(|reader| reader.page(From::At(*token), 1000));
            match page {
                Err(_) | Ok(Err(PageError::Gone { .. } | PageError::Lookup(_))) => {}
                other => return Err(format!("{token} of {at} is answered with {other:?}")),
            }
        }
        Ok(())
    }

    /// Appends as every producer would, the last one again and the next: the state of producers equals the data.
    pub(crate) fn writers_go_on(&mut self, engine: &Engine) -> Result<(), String> {
        for (at, life) in &mut self.lives {
            let write = |text: &str, seq| {
                let ticket = engine.append(&path(at), by(body(text), "p", 0, seq));
                heard(engine, ticket)?.map_err(|e| format!("{at}: {e}"))
            };
            if let Some(last) = life.seq.checked_sub(1).filter(|_| !life.closed_plainly)
                && !write("?", last)?.duplicate
            {
                return Err(format!("what its producer wrote last is new to {at}"));
            }
            if !life.closed {
                if write("!", life.seq)?.duplicate {
                    return Err(format!("what was never written is known to {at}"));
                }
                life.push("!".to_owned(), self.now);
                life.seq += 1;
            }
        }
        Ok(())
    }
}
