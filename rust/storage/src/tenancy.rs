//! Whose payloads are still needed.

use std::ops::Range;
use std::sync::Arc;

use crate::Lsn;

/// Payload of a stream, from one position up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The stream.
    pub stream: u64,
    /// Position of the first byte.
    pub start: u64,
    /// Position behind the last byte.
    pub end: u64,
}

/// Says what of the streams' history is alive, so that the rest need not be kept.
///
/// Asked by the store's own thread while it seals and compacts, with no lock of the store held.
/// Answered from durable state only: what was once told to be dead is dropped, and must never be asked for again.
pub trait Tenancy: Send + Sync {
    /// For each of `streams`, in order, pushes what of its payload is alive: what some reader can reach, its own or a
    /// fork's.
    fn live(&self, streams: &[u64], out: &mut Vec<Live>);

    /// Pushes, in any order, what payload streams have in frames that begin at LSN `from` or behind it and before `to`.
    ///
    /// Asked where the log is damaged before it is sealed, so that what is lost there can be told. All of it is
    /// acknowledged and not sealed; what is dead may be there or not.
    fn within(&self, from: Lsn, to: Lsn, out: &mut Vec<Held>);
}

/// What is alive of a stream's payload, by position: some parts, and all from some position on.
///
/// Cheap to clone, however many parts there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// In order; none is empty, and none touches the next one or `rest`.
    parts: Option<Arc<[Range<u64>]>>,
    /// All from here on; `u64::MAX` when there is no such position.
    rest: u64,
}

impl Live {
    /// All of it.
    pub const ALL: Self = Self::above(0);

    /// Nothing of it: nobody can reach any of it any more.
    pub const NOTHING: Self = Self::above(u64::MAX);

    /// All from `floor` on, and nothing below.
    pub const fn above(floor: u64) -> Self {
        Self {
            parts: None,
            rest: floor,
        }
    }

    /// These parts, which may be empty or overlap, and what `self` has.
    #[must_use]
    pub fn and(self, parts: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut all: Vec<_> = self.parts().iter().cloned().chain(parts).collect();
        all.retain(|part| part.start < part.end);
        all.sort_unstable_by_key(|part| part.start);
        let (mut merged, mut rest) = (Vec::<Range<u64>>::new(), self.rest);
        for part in all {
            match merged.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                _ => merged.push(part),
            }
        }
        // Those that reach it belong to it.
        while let Some(last) = merged.pop_if(|last| last.end >= rest) {
            rest = rest.min(last.start);
        }
        Self {
            parts: (!merged.is_empty()).then(|| merged.into()),
            rest,
        }
    }

    /// How many of the bytes from `start` up to `end` are alive.
    pub fn bytes(&self, start: u64, end: u64) -> u64 {
        let rest = end.saturating_sub(self.rest.max(start));
        let parts = self.parts();
        let first = parts.partition_point(|part| part.end <= start);
        let within = parts.iter().skip(first);
        let within = within.take_while(|part| part.start < end);
        let within = within.map(|part| part.end.min(end).saturating_sub(part.start.max(start)));
        rest + within.sum::<u64>()
    }

    /// What is alive, in order; what has no end goes up to `u64::MAX`.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let rest = Some(self.rest..u64::MAX).filter(|rest| !rest.is_empty());
        self.parts().iter().cloned().chain(rest)
    }

    fn parts(&self) -> &[Range<u64>] {
        self.parts.as_deref().unwrap_or_default()
    }
}

/// Keeps everything.
pub(crate) struct EverythingAlive;

impl Tenancy for EverythingAlive {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        out.extend(streams.iter().map(|_| Live::ALL));
    }

    /// It knows of no stream; what is missing is found out when it is read.
    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: u64 = 60;

    proptest! {
        #[test]
        fn it_answers_like_a_list_of_bytes(
            parts in prop::collection::vec((0..END, 0..20_u64), 0..6), more in (0..END, 0..20_u64),
            floor in prop_oneof![0..END, Just(u64::MAX)], start in 0..END, len in 0..END,
        ) {
            let range = |(start, len): (u64, u64)| start..start + len;
            let live = Live::above(floor).and(parts.iter().copied().map(range)).and(Some(range(more)));
            let is_alive = |at: &u64| {
                let mut parts = parts.iter().copied().chain([more]).map(range);
                *at >= floor || parts.any(|part| part.contains(at))
            };
            let end = start + len;
            prop_assert_eq!(live.bytes(start, end), (start..end).filter(is_alive).count() as u64);
            let ranges: Vec<_> = live.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(ranges.iter().all(|range| range.start < range.end));
            let listed = |at: &u64| ranges.iter().any(|range| range.contains(at));
            prop_assert!((0..2 * END).all(|at| listed(&at) == is_alive(&at)));
            prop_assert_eq!(&live, &Live::NOTHING.and(ranges.clone()));
        }
    }

    #[test]
    fn all_and_nothing_are_what_they_say() {
        assert_eq!(Live::ALL.bytes(5, 9), 4);
        assert_eq!(Live::NOTHING.bytes(5, 9), 0);
        assert_eq!(Live::NOTHING.ranges().count(), 0);
        assert_eq!(Live::ALL.and(Some(3..7)), Live::ALL);
        assert_eq!(Live::above(9).bytes(10, 5), 0);
    }
}
