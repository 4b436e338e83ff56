//! Marks: where the events of an extent begin and end.
//!
//! The lengths of all events as varints, and before them a table of restarts, so that one event is found by a
//! binary search and at most [`STRIDE`] varints. Read on demand, never kept.

use crate::codec::u64_at;
use crate::error::ReadError;
use crate::sealed::extent::Extent;

/// Events between restarts.
const STRIDE: u64 = 256;
/// Bytes before the restarts: number of events, bytes of lengths.
const HEAD: u64 = 16;
/// Bytes of a restart: position, offset among the lengths.
const RESTART: u64 = 16;
/// Most bytes of a varint.
const VARINT: u64 = 10;

/// Verified bytes by their offset in a body; what is wrong with them is told with the file's name.
pub(crate) trait Source {
    /// The `len` bytes at `at`.
    fn get(&mut self, at: u64, len: usize) -> Result<&[u8], ReadError>;
    /// What to say of bytes that verify but make no sense.
    fn senseless(&self, at: u64, detail: &str) -> ReadError;
}

/// Collects the events of one extent.
#[derive(Debug, Default)]
pub(crate) struct MarksBuilder {
    events: u64,
    position: u64,
    restarts: Vec<u8>,
    lengths: Vec<u8>,
}

impl MarksBuilder {
    /// Begins an extent at `position`.
    pub(crate) fn begin(&mut self, position: u64) {
        self.events = 0;
        self.position = position;
        self.restarts.clear();
        self.lengths.clear();
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, len: u64) {
        if self.events > 0 && self.events.is_multiple_of(STRIDE) {
            self.restarts
                .extend_from_slice(&self.position.to_le_bytes());
            let offset = self.lengths.len() as u64;
            self.restarts.extend_from_slice(&offset.to_le_bytes());
        }
        put_varint(&mut self.lengths, len);
        self.events += 1;
        self.position = self.position.saturating_add(len);
    }

    /// Number of events since `begin`.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Appends the marks, when there is anything to tell: a single event's bounds are its extent's.
    pub(crate) fn finish(&self, out: &mut Vec<u8>) -> bool {
        if self.events < 2 {
            return false;
        }
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&(self.lengths.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.restarts);
        out.extend_from_slice(&self.lengths);
        true
    }
}

/// One event of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its number in the extent, from 0.
    pub(crate) index: u64,
    /// Position of its first byte.
    pub(crate) start: u64,
    /// Position behind its last byte.
    pub(crate) end: u64,
}

/// The marks of an extent with several events, their lengths checked against each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    at: u64,
    start: u64,
    end: u64,
    events: u64,
    /// Offset in the body, and number, of the bytes of lengths.
    lengths_at: u64,
    lengths: u64,
}

impl Marks {
    /// The marks of `extent`, which has some and whose body is `body` bytes long.
    pub(crate) fn open(
        source: &mut impl Source,
        extent: &Extent,
        body: u64,
    ) -> Result<Self, ReadError> {
        let at = extent.marks_at;
        let room = body.saturating_sub(at);
        if room < HEAD {
            return Err(source.senseless(at, "the marks are cut short"));
        }
        let head = source.get(at, HEAD as usize)?;
        let (events, lengths) = (u64_at(head, 0), u64_at(head, 8));
        let fits = || {
            let table = restarts(events).checked_mul(RESTART)?;
            let whole = HEAD.checked_add(table)?.checked_add(lengths)?;
            let plausible = (events..=events.saturating_mul(VARINT)).contains(&lengths);
            (plausible && whole <= room).then_some(at + HEAD + table)
        };
        match fits() {
            Some(lengths_at) if (2..=extent.len()).contains(&events) => Ok(Self {
                at,
                start: extent.start,
                end: extent.end,
                events,
                lengths_at,
                lengths,
            }),
            _ => Err(source.senseless(at, "the marks do not fit their extent")),
        }
    }

    /// Number of events.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The event that holds the byte at `position`, which lies in the extent.
    pub(crate) fn find(&self, source: &mut impl Source, position: u64) -> Result<Event, ReadError> {
        let (mut low, mut high) = (0, restarts(self.events));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.restart(source, middle)?.0 <= position {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let (mut start, from) = self.restart(source, low)?;
        let (end, to) = self.restart(source, low + 1)?;
        let first = low * STRIDE;
        let count = STRIDE.min(self.events - first);
        if start > end || !(count..=count * VARINT).contains(&to.saturating_sub(from)) {
            return Err(self.senseless(source));
        }
        let mut bytes = source.get(self.lengths_at + from, (to - from) as usize)?;
        for index in first..first + count {
            let Some(len) = varint(&mut bytes).filter(|len| *len > 0 && *len <= end - start) else {
                return Err(self.senseless(source));
            };
            if position < start + len {
                let end = start + len;
                return Ok(Event { index, start, end });
            }
            start += len;
        }
        Err(self.senseless(source))
    }

    /// The lengths of all events, one after the other.
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths {
            marks: *self,
            left: self.events,
            at: 0,
            position: self.start,
        }
    }

    /// Reads everything: the lengths come to the extent's, and the restarts are where they say.
    pub(crate) fn verify(&self, source: &mut impl Source) -> Result<(), ReadError> {
        let (mut walk, mut strides) = (self.lengths(), Vec::new());
        for index in 0..=self.events {
            if index > 0 && index < self.events && index.is_multiple_of(STRIDE) {
                strides.push((walk.position, walk.at));
            }
            walk.next(source)?;
        }
        for (index, stride) in (1..).zip(strides) {
            if self.restart(source, index)? != stride {
                return Err(self.senseless(source));
            }
        }
        Ok(())
    }

    /// Position and offset at which stride `index` begins; behind the last, where everything ends.
    fn restart(&self, source: &mut impl Source, index: u64) -> Result<(u64, u64), ReadError> {
        let count = restarts(self.events);
        if index == 0 {
            return Ok((self.start, 0));
        }
        if index > count {
            return Ok((self.end, self.lengths));
        }
        let bytes = source.get(self.at + HEAD + (index - 1) * RESTART, RESTART as usize)?;
        let (position, offset) = (u64_at(bytes, 0), u64_at(bytes, 8));
        if position <= self.start || position >= self.end || offset >= self.lengths {
            return Err(self.senseless(source));
        }
        Ok((position, offset))
    }

    fn senseless(&self, source: &impl Source) -> ReadError {
        source.senseless(self.at, "the marks contradict each other")
    }
}

/// A walk over the lengths of an extent's events.
#[derive(Debug, Clone)]
pub(crate) struct Lengths {
    marks: Marks,
    left: u64,
    at: u64,
    position: u64,
}

impl Lengths {
    /// The next length; `None` behind the last, when all of them came to the extent's.
    pub(crate) fn next(&mut self, source: &mut impl Source) -> Result<Option<u64>, ReadError> {
        let marks = &self.marks;
        let room = marks.lengths - self.at;
        if self.left == 0 {
            return if room == 0 && self.position == marks.end {
                Ok(None)
            } else {
                Err(marks.senseless(source))
            };
        }
        let bytes = source.get(marks.lengths_at + self.at, room.min(VARINT) as usize)?;
        let mut rest = bytes;
        let len = varint(&mut rest);
        let taken = bytes.len() - rest.len();
        let Some(len) = len.filter(|len| *len > 0 && *len <= marks.end - self.position) else {
            return Err(marks.senseless(source));
        };
        self.at += taken as u64;
        self.position += len;
        self.left -= 1;
        Ok(Some(len))
    }
}

/// Restarts of that many events; the first stride needs none.
fn restarts(events: u64) -> u64 {
    events.saturating_sub(1) / STRIDE
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a varint off the front of `bytes`.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(VARINT as usize).enumerate() {
        let low = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if index == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(any(test, fuzzing))]
pub(crate) mod plain {
    //! Marks in plain memory.

    use std::path::PathBuf;

    use super::{ReadError, Source};

    /// Bytes that need no verification.
    pub(crate) struct Plain<'b>(pub(crate) &'b [u8]);

    impl Source for Plain<'_> {
        fn get(&mut self, at: u64, len: usize) -> Result<&[u8], ReadError> {
            let bytes = usize::try_from(at)
                .ok()
                .and_then(|at| self.0.get(at..at.checked_add(len)?));
            bytes.ok_or_else(|| self.senseless(at, "read beyond the end"))
        }

        fn senseless(&self, at: u64, detail: &str) -> ReadError {
            ReadError::Damaged {
                file: PathBuf::new(),
                offset: at,
                detail: detail.to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::plain::Plain;
    use super::*;

    /// Marks behind some other bytes, and the extent that they tell of.
    fn built(start: u64, lens: &[u64]) -> (Vec<u8>, Extent) {
        let mut builder = MarksBuilder::default();
        builder.begin(start);
        lens.iter().for_each(|len| builder.push(*len));
        let mut bytes = b"other".to_vec();
        assert!(builder.finish(&mut bytes));
        let extent = Extent {
            stream: 1,
            start,
            end: start + lens.iter().sum::<u64>(),
            data_at: 0,
            marks_at: 5,
        };
        (bytes, extent)
    }

    fn lens() -> impl Strategy<Value = Vec<u64>> {
        let len = prop_oneof![1..4_u64, 1..300_u64, 1..(1_u64 << 40)];
        prop_oneof![
            prop::collection::vec(len.clone(), 2..20),
            prop::collection::vec(len, 250..1100)
        ]
    }

    proptest! {
        #[test]
        fn every_event_is_found_by_each_of_its_bytes(
            start in 0..1_u64 << 50, lens in lens(), picks in prop::collection::vec(any::<prop::sample::Index>(), 20),
        ) {
            let (bytes, extent) = built(start, &lens);
            let mut source = Plain(&bytes);
            let marks = Marks::open(&mut source, &extent, bytes.len() as u64).unwrap();
            prop_assert_eq!(marks.events(), lens.len() as u64);
            for pick in picks {
                let index = pick.index(lens.len());
                let begins = start + lens[..index].iter().sum::<u64>();
                let event = Event { index: index as u64, start: begins, end: begins + lens[index] };
                for position in [event.start, event.start + lens[index] / 2, event.end - 1] {
                    prop_assert_eq!(marks.find(&mut source, position).unwrap(), event);
                }
            }
            let mut walk = marks.lengths();
            let mut found = Vec::new();
            while let Some(len) = walk.next(&mut source).unwrap() {
                found.push(len);
            }
            prop_assert_eq!(found, lens);
        }

        #[test]
        fn changed_bytes_never_panic_nor_lead_out_of_the_extent(
            start in 0..1_u64 << 50, lens in lens(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), at: prop::sample::Index,
        ) {
            let (mut bytes, extent) = built(start, &lens);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let mut source = Plain(&bytes);
            if let Ok(marks) = Marks::open(&mut source, &extent, bytes.len() as u64) {
                let position = start + at.index(extent.len() as usize) as u64;
                if let Ok(event) = marks.find(&mut source, position) {
                    prop_assert!(event.start <= position && position < event.end && event.end <= extent.end);
                }
                let mut walk = marks.lengths();
                while let Ok(Some(_)) = walk.next(&mut source) {}
            }
        }

        #[test]
        fn where_verification_finds_nothing_every_event_is_found(
            lens in prop::collection::vec(1..3000_u64, 257..600), place: prop::sample::Index, bit in 0..8_u32,
            at: prop::sample::Index,
        ) {
            let (mut bytes, extent) = built(9, &lens);
            prop_assert!(Marks::open(&mut Plain(&bytes), &extent, bytes.len() as u64).unwrap().verify(&mut Plain(&bytes)).is_ok());
            // Half of the flips among the head and the restarts.
            let reach = if bit % 2 == 0 { 5 + 16 + 32 } else { bytes.len() };
            bytes[place.index(reach)] ^= 1 << bit;
            let mut source = Plain(&bytes);
            if let Ok(marks) = Marks::open(&mut source, &extent, bytes.len() as u64)
                && marks.verify(&mut source).is_ok()
            {
                let position = 9 + at.index(extent.len() as usize) as u64;
                prop_assert!(marks.find(&mut source, position).is_ok());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), extent: (u64, u64, u64)) {
            let (start, end, marks_at) = extent;
            let extent = Extent { stream: 1, start, end, data_at: 0, marks_at: marks_at % 8 };
            let mut source = Plain(&bytes);
            if let Ok(marks) = Marks::open(&mut source, &extent, bytes.len() as u64) {
                let _ = marks.find(&mut source, start);
            }
        }
    }

    #[test]
    fn a_single_event_needs_no_marks() {
        let mut builder = MarksBuilder::default();
        builder.begin(7);
        builder.push(100);
        let mut out = Vec::new();
        assert!(!builder.finish(&mut out));
        assert!(out.is_empty());
    }
}
