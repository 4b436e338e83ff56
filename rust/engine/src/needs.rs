//! Whose payloads are read by whom beyond the streams' own readers: what forks need of the streams that they leave.
//!
//! A stream reads its own payloads from its floor on. Below its fork point it reads its source's, below the source's fork
//! point those of that one's source, and so on: of each of them what lies between its floor and the lowest fork point on
//! the way there. Each such part is noted with the stream that it is a part of, so what is alive of a stream is what
//! these parts, and its own readers, reach. Streams that nobody forked cost nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

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

    /// What others read of a stream's payloads: in order, and not overlapping.
    pub(crate) fn of(&self, id: u64) -> impl Iterator<Item = Range<u64>> {
        let mut needs = self.0.get(&id).into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            let first = needs.next()?;
            let mut part = first.from..first.to.0;
            while let Some(next) = needs.next_if(|next| next.from <= part.end) {
                part.end = part.end.max(next.to.0);
            }
            Some(part)
        })
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
