//! What a sealed file should have and has not: the log was damaged there when it was sealed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::codec::{put, u64_at};
use crate::error::ReadError;
use crate::fs::Open;
use crate::home::Home;
use crate::sealed::liveness::Lives;
use crate::tenancy::{Held, Tenancy};

/// Bytes of an encoded part.
pub(crate) const LOST: usize = 32;

/// Payload that was acknowledged and cannot be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lost {
    pub(crate) stream: u64,
    /// Position of the first byte.
    pub(crate) start: u64,
    /// Position behind the last byte.
    pub(crate) end: u64,
    /// File number of the segment in which it lay.
    pub(crate) segment: u64,
}

/// What is left of what is lost, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// A file that is there.
    pub file: PathBuf,
    /// What happened.
    pub detail: String,
}

impl Lost {
    fn encode(&self) -> [u8; LOST] {
        let mut bytes = [0; LOST];
        let row = [self.stream, self.start, self.end, self.segment];
        for (index, value) in row.iter().enumerate() {
            put(&mut bytes, index * 8, &value.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            stream: u64_at(bytes, 0),
            start: u64_at(bytes, 8),
            end: u64_at(bytes, 16),
            segment: u64_at(bytes, 24),
        }
    }

    /// Which file to name: the segment, in the log or where it was set aside, or, where it is not, the sealed file
    /// that says what is lost.
    pub(crate) fn trace(&self, home: &Home, sealed: &Path) -> Trace {
        // In this order it is found also when it is set aside meanwhile.
        let places = [home.segment(self.segment), home.aside(self.segment)];
        let segment = places
            .into_iter()
            .find(|path| home.open(path, Open::Read).is_ok());
        let mut detail = "damaged in the log before they were sealed".to_owned();
        let file = segment.unwrap_or_else(|| {
            let name = home.segment(self.segment);
            let name = name.file_name().unwrap_or_default().display();
            detail += &format!("; the segment, {name}, is not here: backups do not copy it");
            sealed.to_owned()
        });
        Trace { file, detail }
    }

    /// What to say to who reads it.
    pub(crate) fn refusal(&self, home: &Home, sealed: &Path) -> ReadError {
        let Trace { file, detail } = self.trace(home, sealed);
        let Self {
            stream, start, end, ..
        } = self;
        ReadError::Damaged {
            file,
            offset: 0,
            detail: format!("positions {start} to {end} of stream {stream} were {detail}"),
        }
    }
}

/// Parts that are lost, sorted by (stream, start), none empty, none overlapping another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Losses(Box<[Lost]>);

impl Losses {
    /// What `held` says lay in a segment.
    pub(crate) fn of(held: Vec<Held>, segment: u64) -> Self {
        let parts = held.into_iter().map(|it| Lost {
            stream: it.stream,
            start: it.start,
            end: it.end,
            segment,
        });
        Self::sorted(parts.collect())
    }

    /// Any parts; of those that overlap, the first counts.
    pub(crate) fn sorted(mut parts: Vec<Lost>) -> Self {
        parts.sort_unstable();
        let mut kept: Vec<Lost> = Vec::with_capacity(parts.len());
        for mut part in parts {
            if let Some(last) = kept.last_mut().filter(|last| last.stream == part.stream) {
                part.start = part.start.max(last.end);
                if last.end == part.start && last.segment == part.segment {
                    last.end = last.end.max(part.end);
                    continue;
                }
            }
            if part.start < part.end {
                kept.push(part);
            }
        }
        Self(kept.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lost> {
        self.0.iter()
    }

    /// Payload bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.iter().map(|part| part.end - part.start);
        bytes.fold(0, u64::saturating_add)
    }

    /// The segments in which they lay.
    pub(crate) fn segments(&self) -> BTreeSet<u64> {
        self.iter().map(|part| part.segment).collect()
    }

    /// The part that holds the byte of `stream` at `position`.
    pub(crate) fn at(&self, stream: u64, position: u64) -> Option<&Lost> {
        self.behind(stream, position)
            .next()
            .filter(|part| part.start <= position)
    }

    /// The parts of `stream` that end behind `position`, in order.
    pub(crate) fn behind(&self, stream: u64, position: u64) -> impl Iterator<Item = &Lost> {
        let from = self
            .0
            .partition_point(|part| (part.stream, part.end) <= (stream, position));
        let parts = self.0.get(from..).unwrap_or_default().iter();
        parts.take_while(move |part| part.stream == stream)
    }

    /// What of them is alive: nobody misses the rest.
    pub(crate) fn alive(&self, tenancy: &dyn Tenancy) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let lives = Lives::ask(tenancy, self.iter().map(|part| part.stream));
        let parts = self.iter().flat_map(|part| {
            lives.of(part.stream).ranges().filter_map(move |range| {
                let (start, end) = (part.start.max(range.start), part.end.min(range.end));
                (start < end).then_some(Lost {
                    start,
                    end,
                    ..*part
                })
            })
        });
        Self(parts.collect())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for part in self.iter() {
            out.extend_from_slice(&part.encode());
        }
    }

    /// Decodes parts that fill `bytes`; the index of the first that cannot be.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, usize> {
        let parts: Box<[Lost]> = bytes.chunks_exact(LOST).map(Lost::decode).collect();
        let mut before: Option<&Lost> = None;
        for (index, part) in parts.iter().enumerate() {
            let is_behind =
                before.is_none_or(|it| (it.stream, it.end) <= (part.stream, part.start));
            if part.start >= part.end || !is_behind {
                return Err(index);
            }
            before = Some(part);
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealed::model::Floors;

    fn parts() -> impl Strategy<Value = Vec<Lost>> {
        let part = (1..4_u64, 0..40_u64, 0..9_u64, 1..3_u64);
        let part = part.prop_map(|(stream, start, len, segment)| Lost {
            stream,
            start,
            end: start + len,
            segment,
        });
        prop::collection::vec(part, 0..12)
    }

    proptest! {
        #[test]
        fn they_answer_like_a_plain_list_and_round_trip(
            parts in parts(), stream in 1..4_u64, position in 0..60_u64,
        ) {
            let losses = Losses::sorted(parts.clone());
            let holds = |it: &Lost| it.stream == stream && it.start <= position && position < it.end;
            prop_assert_eq!(losses.at(stream, position).is_some(), parts.iter().any(holds));
            let behind: Vec<_> = losses.behind(stream, position).copied().collect();
            let wanted: Vec<_> = losses
                .iter()
                .filter(|it| it.stream == stream && it.end > position)
                .copied()
                .collect();
            prop_assert_eq!(behind, wanted);
            let mut bytes = Vec::new();
            losses.encode(&mut bytes);
            prop_assert_eq!(Losses::decode(&bytes), Ok(losses));
        }

        #[test]
        fn random_bytes_never_panic_and_what_is_read_is_in_order(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(losses) = Losses::decode(&bytes) {
                prop_assert_eq!(&Losses::sorted(losses.iter().copied().collect()).bytes(), &losses.bytes());
            }
        }
    }

    #[test]
    fn what_is_dead_is_no_loss() {
        let part = |stream, start, end| Held { stream, start, end };
        let held = vec![
            part(1, 0, 10),
            part(2, 0, 10),
            part(3, 0, 10),
            part(3, 20, 30),
        ];
        let losses = Losses::of(held, 7);
        let tenancy = Floors([(1, None), (2, Some(4)), (3, Some(10))].into());
        let alive = losses.alive(&tenancy);
        let parts: Vec<_> = alive
            .iter()
            .map(|it| (it.stream, it.start, it.end))
            .collect();
        assert_eq!(parts, [(2, 4, 10), (3, 20, 30)]);
        assert_eq!((alive.bytes(), alive.segments()), (16, [7].into()));
    }
}
