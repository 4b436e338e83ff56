//! Whose payloads are read by whom beyond the streams' own readers: what forks need of the streams that they leave.
//!
//! A stream reads its own payloads from its floor on. Below its fork point it reads its source's, below the source's fork
//! point those of that one's source, and so on: of each of them what lies between its floor and the lowest fork point on
//! the way there. Each such part is noted with the stream that it is a part of, so what is alive of a stream is what
//! these parts, and its own readers, reach. Streams that nobody forked cost nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::{Bound, Range};

use durastream_storage::Live;
use rustc_hash::FxHashMap;

use crate::stream::Stream;
use crate::streams::Streams;

/// What forks and their forks read of the streams that they come from, durably.
#[derive(Debug, Default)]
pub(crate) struct Needs(FxHashMap<u64, BTreeSet<Need>>);

/// Positions of a stream that another one reads.
///
/// In the order of `from`; what many forks have in common is told by the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    from: u64,
    to: Reverse<u64>,
    reader: u64,
}

impl Needs {
    /// Notes what a stream reads of others, by its durable floor.
    pub(crate) fn add(&mut self, reader: &Stream, streams: &Streams) {
        visit(reader, streams, |source, need| {
            self.0.entry(source).or_default().insert(need);
        });
    }

    /// Forgets it, with the floor as it was when it was noted.
    pub(crate) fn remove(&mut self, reader: &Stream, streams: &Streams) {
        visit(reader, streams, |source, need| {
            if let Some(needs) = self.0.get_mut(&source) {
                needs.remove(&need);
                if needs.is_empty() {
                    self.0.remove(&source);
                }
            }
        });
    }

    /// Below which position nobody else reads a stream's payloads, if anybody does.
    pub(crate) fn lowest(&self, id: u64) -> Option<u64> {
        let first = self.0.get(&id)?.first()?;
        Some(first.from)
    }

    /// Goes on with an answer; `true` when all is known. `most` counts down for each need that is looked at, and at 0 this
    /// stops: a stream may have any number of forks.
    pub(crate) fn answer(&self, asked: &mut Asked, most: &mut usize) -> bool {
        let Some(needs) = self.0.get(&asked.id) else {
            return true;
        };
        let behind = |from| {
            let last = Need {
                from,
                to: Reverse(0),
                reader: u64::MAX,
            };
            needs.range((Bound::Excluded(last), Bound::Unbounded))
        };
        let mut rest = asked.at.map_or_else(|| needs.range(..), behind);
        while let Some(left) = most.checked_sub(1) {
            *most = left;
            match rest.next() {
                Some(need) if need.from >= asked.own => return true,
                // The first of those that begin at one position reaches the farthest.
                Some(need) if asked.at == Some(need.from) => rest = behind(need.from),
                Some(need) => asked.add(need),
                None => return true,
            }
        }
        false
    }
}

/// The question what of a stream's payloads is alive, answered bit by bit.
///
/// The answer is right also when streams changed meanwhile: a fork reads nothing that its source does not, so the need of
/// one that was made since, and that begins before what was looked at, reaches no farther than what was found there.
/// What died meanwhile may be said to be alive.
#[derive(Debug)]
pub(crate) struct Asked {
    id: u64,
    /// Its own readers reach everything from here on; `u64::MAX` when there are none.
    own: u64,
    /// What others read below that, as far as it was found: in order, and not overlapping.
    parts: Vec<Range<u64>>,
    /// Needs up to this position, inclusive, have been looked at.
    at: Option<u64>,
}

impl Asked {
    /// Asks about a stream of which its own readers reach everything from `own` on.
    pub(crate) fn new(id: u64, own: u64) -> Self {
        Self {
            id,
            own,
            parts: Vec::new(),
            at: None,
        }
    }

    /// The answer, when all is known.
    pub(crate) fn live(self) -> Live {
        Live::above(self.own).and(self.parts)
    }

    fn add(&mut self, need: &Need) {
        self.at = Some(need.from);
        match self.parts.last_mut() {
            Some(last) if need.from <= last.end => last.end = last.end.max(need.to.0),
            _ => self.parts.push(need.from..need.to.0),
        }
    }
}

/// Shows each stream that a stream reads through, and what it reads of that one's own payloads.
fn visit(reader: &Stream, streams: &Streams, mut show: impl FnMut(u64, Need)) {
    let floor = reader.floor();
    let (mut youngest, mut bound) = (reader, u64::MAX);
    while let Some(origin) = youngest.origin()
        && floor < origin.point.min(bound)
        && let Some(source) = streams.get(origin.source)
    {
        bound = bound.min(origin.point);
        let from = floor.max(source.point());
        if from < bound {
            let need = Need {
                from,
                to: Reverse(bound),
                reader: reader.id,
            };
            show(source.id, need);
        }
        youngest = source;
    }
}
