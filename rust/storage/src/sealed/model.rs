//! What sealed files should say, the simple way, for tests.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Lsn;
use crate::frame::FrameRef;
use crate::fs::{Fs, Open, SimFs};
use crate::home::Home;
use crate::sealed::{Sealed, SealedEntry, SealedFile, SealedWriter, Throttle};
use crate::tenancy::{EverythingAlive, Held, Live, Tenancy};

/// Some events of equal length of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    pub(crate) stream: u64,
    pub(crate) len: u64,
    pub(crate) count: u64,
}

/// Bursts of few streams: tiny and large events, single ones and more than a stride of marks.
pub(crate) fn bursts(most: usize) -> impl Strategy<Value = Vec<Burst>> {
    let sizes = prop_oneof![
        4 => (1..6_u64, 1..4_u64),
        3 => (1..900_u64, 1..3_u64),
        2 => (1..4_u64, 200..700_u64),
        1 => (30_000..200_000_u64, 1..3_u64),
    ];
    let burst = (1..7_u64, sizes).prop_map(|(stream, (len, count))| Burst { stream, len, count });
    prop::collection::vec(burst, 0..most)
}

/// Streams that are gone, and floors of others; the rest lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors(pub(crate) BTreeMap<u64, Option<u64>>);

impl Tenancy for Floors {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let live = |stream| match self.0.get(stream) {
            None => Live::ALL,
            Some(floor) => floor.map_or(Live::NOTHING, Live::above),
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

/// What is left of some streams; the rest lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftovers(pub(crate) BTreeMap<u64, Live>);

impl Leftovers {
    /// Some streams of [`bursts`] gone, some trimmed somewhere, and of some of these parts that others need still.
    pub(crate) fn some() -> impl Strategy<Value = Self> {
        let position = || prop_oneof![4 => 0..3000_u64, 1 => 0..200_000_u64];
        let rest = prop_oneof![2 => position().prop_map(Some), 1 => Just(None)];
        let parts = prop::collection::vec((position(), position()), 0..4);
        let live = (1..7_u64, rest, parts).prop_map(|(stream, rest, parts)| {
            let at = |position| stream * 1000 + position;
            let rest = rest.map_or(Live::NOTHING, |floor| Live::above(at(floor)));
            let parts = parts.into_iter().map(|(from, to)| at(from)..at(to));
            (stream, rest.and(parts))
        });
        prop::collection::vec(live, 0..4).prop_map(|live| Self(live.into_iter().collect()))
    }

    /// Nobody comes back to life: what is left is what both leave.
    pub(crate) fn lessen(&mut self, other: Self) {
        for (stream, live) in other.0 {
            let before = self.0.entry(stream).or_insert(Live::ALL);
            let both = before.ranges().flat_map(|one| {
                let clip = move |two: Range<u64>| one.start.max(two.start)..one.end.min(two.end);
                live.ranges().map(clip).collect::<Vec<_>>()
            });
            let both: Vec<_> = both.collect();
            *before = Live::NOTHING.and(both);
        }
    }

    /// Whether a stream may get more.
    pub(crate) fn grows(&self, stream: u64) -> bool {
        let live = self.0.get(&stream).cloned().unwrap_or(Live::ALL);
        live.bytes(u64::MAX - 1, u64::MAX) > 0
    }
}

impl Tenancy for Leftovers {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let live = |stream| self.0.get(stream).cloned().unwrap_or(Live::ALL);
        out.extend(streams.iter().map(live));
    }

    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

/// The bounds of every event of every stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) streams: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Where each stream's next event begins, whatever is left of those before.
    tails: BTreeMap<u64, u64>,
}

/// The byte of `stream` at `position`: no two places nearby look alike.
pub(crate) fn byte(stream: u64, position: u64) -> u8 {
    let mixed = (stream << 40 ^ position).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

pub(crate) fn payload(stream: u64, start: u64, end: u64) -> Vec<u8> {
    (start..end)
        .map(|position| byte(stream, position))
        .collect()
}

pub(crate) fn home() -> Home {
    home_on(SimFs::new())
}

pub(crate) fn home_on(fs: SimFs) -> Home {
    fs.create_dir_all(Path::new("/data")).unwrap();
    Home::new(Arc::new(fs), Path::new("/data"))
}

/// Flips a bit of a file.
pub(crate) fn flip(home: &Home, path: &Path, bit: u64) {
    let file = home.open(path, Open::Write).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    let flipped = [byte[0] ^ 1 << (bit % 8)];
    file.write_all_at(&mut [IoSlice::new(&flipped)], bit / 8)
        .unwrap();
}

impl Model {
    /// Appends; gives the new events' streams and bounds, in the order of appending.
    pub(crate) fn append(&mut self, bursts: &[Burst]) -> Vec<(u64, u64, u64)> {
        let mut appended = Vec::new();
        for burst in bursts {
            let events = self.streams.entry(burst.stream).or_default();
            // Streams begin at different positions.
            let tail = self
                .tails
                .entry(burst.stream)
                .or_insert(burst.stream * 1000);
            for _ in 0..burst.count {
                let start = *tail;
                *tail += burst.len;
                events.push((start, *tail));
                appended.push((burst.stream, start, *tail));
            }
        }
        appended
    }

    /// Appends, and writes what was appended into file `number`; `None` when nothing was.
    pub(crate) fn write(
        &mut self,
        home: &Home,
        number: u64,
        bursts: &[Burst],
    ) -> Option<SealedFile> {
        let mut events = self.append(bursts);
        events.sort_unstable();
        let throttle = Throttle::new(None);
        let (from, to) = (number * 800, number * 800 + 800);
        let mut writer = SealedWriter::create(home, number, from, to, &throttle).unwrap();
        for (stream, start, end) in events {
            writer
                .event(stream, start, &payload(stream, start, end))
                .unwrap();
        }
        writer.finish(home).unwrap()
    }

    /// Writes a file for each of `batches`, and opens them.
    pub(crate) fn write_all(&mut self, home: &Home, batches: &[Vec<Burst>]) -> Sealed {
        let written = (1..)
            .zip(batches)
            .filter_map(|(number, batch)| self.write(home, number, batch));
        let entries: Vec<SealedEntry> = written.map(|file| file.entry()).collect();
        Sealed::open(home, &entries).unwrap()
    }

    /// The event of `stream` that holds the byte at `position`.
    pub(crate) fn event_at(&self, stream: u64, position: u64) -> Option<(u64, u64)> {
        let events = self.streams.get(&stream)?;
        events
            .iter()
            .copied()
            .find(|(start, end)| *start <= position && position < *end)
    }

    /// Start and end of what `history` should give.
    pub(crate) fn history(&self, stream: u64, from: u64, to: u64, max: u64) -> (u64, u64) {
        let Some((start, mut end)) = self.event_at(stream, from).filter(|_| from < to) else {
            return (from, from);
        };
        while end < to
            && let Some(next) = self.event_at(stream, end)
            && next.1.min(to) - start <= max
        {
            end = next.1;
        }
        (start, end.min(to))
    }

    pub(crate) fn events(&self, stream: u64, from: u64, to: u64) -> u64 {
        let events = self.streams.get(&stream).into_iter().flatten();
        events
            .filter(|(start, end)| from < to && *start < to && *end > from)
            .count() as u64
    }

    /// Drops what `tenancy` says is dead, by whole events.
    pub(crate) fn keep_alive(&mut self, tenancy: &dyn Tenancy) {
        self.streams.retain(|stream, events| {
            let mut live = Vec::new();
            tenancy.live(&[*stream], &mut live);
            events.retain(|(start, end)| live[0].bytes(*start, *end) > 0);
            !events.is_empty()
        });
    }

    /// What there is of each stream, as runs without a gap: stream, from, to.
    pub(crate) fn runs(&self) -> Vec<(u64, u64, u64)> {
        let mut runs = Vec::new();
        for (&stream, events) in &self.streams {
            let runs_of = events.chunk_by(|one, next| one.1 == next.0);
            runs.extend(runs_of.map(|run| (stream, run[0].0, run[run.len() - 1].1)));
        }
        runs
    }

    /// Compares every kind of look-up at every event of every stream.
    pub(crate) fn assert_whole(&self, sealed: &Sealed) {
        let mut bytes = 0;
        for (&stream, events) in &self.streams {
            for &(start, end) in events {
                bytes += end - start;
                assert_eq!(sealed.event_at(stream, start).unwrap(), Some((start, end)));
                assert_eq!(
                    sealed.event_at(stream, end - 1).unwrap(),
                    Some((start, end))
                );
                let len = (end - start) as u32;
                let frame = FrameRef {
                    lsn: 0,
                    stream,
                    position: start,
                    len,
                };
                assert_eq!(
                    sealed.payload(&frame).unwrap().unwrap(),
                    payload(stream, start, end)
                );
            }
            let (first, last) = (events[0].0, events[events.len() - 1].1);
            assert_eq!(
                sealed.events(stream, first, last).unwrap(),
                events.len() as u64
            );
        }
        for (stream, mut at, last) in self.runs() {
            while at < last {
                self.assert_history(sealed, stream, at, u64::MAX, 100_000);
                at = sealed.history(stream, at, u64::MAX, 100_000).unwrap().end;
            }
            assert_eq!(sealed.event_at(stream, last).unwrap(), None);
        }
        assert_eq!(sealed.figures().payload_bytes, bytes);
        let tenancy = EverythingAlive;
        sealed.weigh(&tenancy, &Throttle::new(None)).unwrap();
        assert_eq!(sealed.figures().live_bytes, bytes);
    }

    pub(crate) fn assert_history(
        &self,
        sealed: &Sealed,
        stream: u64,
        from: u64,
        to: u64,
        max: usize,
    ) {
        let history = sealed.history(stream, from, to, max).unwrap();
        let (start, end) = self.history(stream, from, to, max as u64);
        assert_eq!(
            (history.start, history.end),
            (start, end),
            "{stream} {from} {to} {max}"
        );
        assert_eq!(history.chunks.concat(), payload(stream, start, end));
        assert!(history.chunks.len() <= sealed.files().len());
    }
}
