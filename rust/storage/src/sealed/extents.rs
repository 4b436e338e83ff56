//! The extents of one file, as they are kept in memory.

use std::ops::Range;

use crate::sealed::extent::{Extent, NO_MARKS};

/// An extent without its end, which follows from where the data of the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    stream: u64,
    start: u64,
    data_at: u64,
    marks_at: u64,
}

/// Extents sorted by (stream, start), not overlapping, none empty, their data back to back from 0 on.
///
/// 32 bytes each: a stream costs this for every file that has something of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    rows: Vec<Row>,
    /// Bytes of data: where the last one's end.
    data: u64,
}

impl Extents {
    /// None yet, with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self {
            rows: Vec::with_capacity(count),
            data: 0,
        }
    }

    /// Adds an extent of `len` bytes behind the last, without marks. The caller keeps the order.
    pub(crate) fn push(&mut self, stream: u64, start: u64, len: u64) {
        self.rows.push(Row {
            stream,
            start,
            data_at: self.data,
            marks_at: NO_MARKS,
        });
        self.data += len;
    }

    /// Makes the last extent longer.
    pub(crate) fn grow(&mut self, len: u64) {
        self.data += len;
    }

    /// Says where the marks of the last extent lie.
    pub(crate) fn mark(&mut self, marks_at: u64) {
        if let Some(row) = self.rows.last_mut() {
            row.marks_at = marks_at;
        }
    }

    /// Moves all marks up, and keeps no more memory than needed: nothing is added any more.
    pub(crate) fn finish(&mut self, marks: u64) {
        for row in self.rows.iter_mut().filter(|row| row.marks_at != NO_MARKS) {
            row.marks_at += marks;
        }
        self.rows.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of data.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    pub(crate) fn get(&self, index: usize) -> Option<Extent> {
        let row = self.rows.get(index)?;
        let behind = self
            .rows
            .get(index + 1)
            .map_or(self.data, |next| next.data_at);
        Some(Extent {
            stream: row.stream,
            start: row.start,
            end: row.start + (behind - row.data_at),
            data_at: row.data_at,
            marks_at: row.marks_at,
        })
    }

    pub(crate) fn last(&self) -> Option<Extent> {
        self.get(self.rows.len().checked_sub(1)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Extent> {
        self.range(0..self.rows.len())
    }

    /// Those with these indices, as far as there are any.
    pub(crate) fn range(&self, indices: Range<usize>) -> impl Iterator<Item = Extent> {
        indices.map_while(|index| self.get(index))
    }

    /// Those of `stream` that end behind `position`, in order.
    pub(crate) fn behind(&self, stream: u64, position: u64) -> impl Iterator<Item = Extent> {
        let after = self
            .rows
            .partition_point(|row| (row.stream, row.start) <= (stream, position));
        let before = after.checked_sub(1).and_then(|index| self.get(index));
        let holds = before.is_some_and(|it| it.stream == stream && it.end > position);
        self.range(after - usize::from(holds)..self.rows.len())
            .take_while(move |extent| extent.stream == stream)
    }

    /// How many lie wholly before offset `at` of the data.
    pub(crate) fn before(&self, at: u64) -> usize {
        self.rows
            .partition_point(|row| row.data_at <= at)
            .saturating_sub(usize::from(at < self.data))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_extent_takes_as_many_bytes_of_memory_as_the_memory_budget_says() {
        assert_eq!(size_of::<Row>(), 32);
    }

    proptest! {
        #[test]
        fn they_answer_like_a_plain_list(
            // Stream step (0 = the same stream again), gap before, length, whether there are marks.
            parts in prop::collection::vec((0..3_u64, 0..3_u64, 1..9_u64, any::<bool>()), 0..12),
            stream in 0..20_u64, position in 0..60_u64,
        ) {
            let (mut extents, mut list) = (Extents::default(), Vec::new());
            let (mut at, mut tail, mut data, mut marks) = (0, 0, 0, 0);
            for (step, gap, len, marked) in parts {
                tail = if step == 0 { tail + gap } else { gap };
                at += step;
                extents.push(at, tail, len - 1);
                extents.grow(1);
                let mut marks_at = NO_MARKS;
                if marked {
                    extents.mark(marks);
                    marks_at = marks + 100;
                    marks += 1;
                }
                list.push(Extent { stream: at, start: tail, end: tail + len, data_at: data, marks_at });
                (tail, data) = (tail + len, data + len);
            }
            extents.finish(100);
            prop_assert_eq!(extents.iter().collect::<Vec<_>>(), &list[..]);
            prop_assert_eq!((extents.len(), extents.data()), (list.len(), data));
            prop_assert_eq!(extents.last(), list.last().copied());
            let behind: Vec<_> = list
                .iter()
                .filter(|it| it.stream == stream && it.end > position)
                .copied()
                .collect();
            prop_assert_eq!(extents.behind(stream, position).collect::<Vec<_>>(), behind);
            let before = list.iter().filter(|it| it.data_at + it.len() <= position).count();
            prop_assert_eq!(extents.before(position), before);
        }
    }
}
