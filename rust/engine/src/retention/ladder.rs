//! What one limit remembers of a stream's past.

use std::collections::VecDeque;

use super::PARTS;
use crate::varint::{Input, Malformed, put};

/// Runs of appends. Every append has a mark that never goes back: its time, or its number. A run spans
/// a 64th of the limit, and whatever lies beyond the limit is forgotten, so there are some 64 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ladder {
    limit: u64,
    /// Mark of the newest run's first append.
    opened: u64,
    runs: VecDeque<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Position of its first append.
    start: u64,
    /// Mark of its last append.
    last: u64,
}

impl Ladder {
    /// Begins to remember. The stream holds what begins at `held`; that has the mark.
    pub(super) fn new(limit: u64, held: Option<u64>, mark: u64) -> Self {
        let runs = held.map(|start| Run { start, last: mark });
        Self {
            limit,
            opened: mark,
            runs: runs.into_iter().collect(),
        }
    }

    /// The newest append's mark; 0 when there is none.
    pub(super) fn mark(&self) -> u64 {
        self.runs.back().map_or(0, |run| run.last)
    }

    /// Notes an append.
    pub(super) fn note(&mut self, start: u64, mark: u64) {
        let mark = mark.max(self.mark());
        let width = self.width();
        match self.runs.back_mut() {
            Some(run) if mark - self.opened < width => run.last = mark,
            _ => {
                self.opened = mark;
                self.runs.push_back(Run { start, last: mark });
            }
        }
        while self.due().is_some_and(|due| due <= mark) {
            self.runs.pop_front();
        }
    }

    /// Where that begins which is not forgotten; 0 when there is nothing.
    pub(super) fn start(&self) -> u64 {
        self.runs.front().map_or(0, |run| run.start)
    }

    /// At which mark the oldest run is beyond the limit, if ever.
    pub(super) fn due(&self) -> Option<u64> {
        self.runs.front()?.last.checked_add(self.limit)
    }

    /// Where that begins which is within the limit at a mark; the tail when nothing is.
    pub(super) fn floor(&self, mark: u64, tail: u64) -> u64 {
        let runs = self.runs.iter();
        let mut within = runs.filter(|run| mark.saturating_sub(run.last) < self.limit);
        within.next().map_or(tail, |run| run.start)
    }

    /// Forgets what is trimmed.
    pub(super) fn trim(&mut self, floor: u64, tail: u64) {
        if floor == tail {
            self.runs.clear();
        }
        while self.runs.get(1).is_some_and(|next| next.start <= floor) {
            self.runs.pop_front();
        }
    }

    /// Changes the limit of a stream that begins at `held`. Runs that are too short for the new one are
    /// joined. What was beyond a shorter limit and is not trimmed yet joins the oldest one.
    pub(super) fn relimit(&mut self, limit: u64, held: Option<u64>) {
        if limit > self.limit
            && let (Some(oldest), Some(held)) = (self.runs.front_mut(), held)
        {
            oldest.start = oldest.start.min(held);
        }
        self.limit = limit;
        let width = self.width();
        let mut joined: VecDeque<Run> = VecDeque::new();
        for run in &self.runs {
            match joined.back_mut() {
                Some(before) if run.last - self.opened < width => before.last = run.last,
                _ => {
                    self.opened = run.last;
                    joined.push_back(*run);
                }
            }
        }
        self.runs = joined;
    }

    fn width(&self) -> u64 {
        self.limit.div_ceil(PARTS)
    }

    /// The newest run's first mark, the number of runs, then each as differences.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.opened);
        put(out, self.runs.len() as u64);
        let mut before = Run { start: 0, last: 0 };
        for run in &self.runs {
            put(out, run.start - before.start);
            put(out, run.last - before.last);
            before = *run;
        }
    }

    pub(super) fn decode(limit: u64, input: &mut Input<'_>) -> Result<Self, Malformed> {
        const DISORDER: Malformed = Malformed("appends of a retention out of order");
        let opened = input.number()?;
        let mut runs = VecDeque::new();
        let mut last = Run { start: 0, last: 0 };
        for _ in 0..input.number()? {
            let (start, mark) = (input.number()?, input.number()?);
            last = Run {
                start: last.start.checked_add(start).ok_or(DISORDER)?,
                last: last.last.checked_add(mark).ok_or(DISORDER)?,
            };
            runs.push_back(last);
        }
        if !runs.is_empty() && opened > last.last {
            return Err(DISORDER);
        }
        Ok(Self {
            limit,
            opened,
            runs,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Appends of one byte each with their marks, and what a ladder made of them.
    fn noted(limit: u64, steps: &[u64]) -> (Ladder, Vec<u64>) {
        let mut ladder = Ladder::new(limit, None, 0);
        let mut marks = Vec::new();
        let mut mark = 0;
        for step in steps {
            mark += step;
            ladder.note(marks.len() as u64, mark);
            marks.push(mark);
        }
        (ladder, marks)
    }

    proptest! {
        #[test]
        fn nothing_within_the_limit_is_below_the_floor_and_little_beyond_it_above(
            limit in 1u64..2000,
            steps in prop::collection::vec(0u64..40, 1..400),
            later in 0u64..3000,
        ) {
            let (ladder, marks) = noted(limit, &steps);
            let now = marks.last().unwrap() + later;
            let floor = ladder.floor(now, marks.len() as u64) as usize;
            for mark in &marks[..floor] {
                prop_assert!(now - mark >= limit, "{mark} is within {limit} of {now}");
            }
            for mark in &marks[floor..] {
                prop_assert!(now - mark < limit + limit.div_ceil(PARTS), "{mark} {limit} {now}");
            }
            prop_assert!(ladder.runs.len() <= 66, "{}", ladder.runs.len());
        }

        #[test]
        fn small_numbers_are_kept_exactly(limit in 1u64..=64, count in 0usize..200) {
            let (ladder, marks) = noted(limit, &vec![1; count]);
            let floor = ladder.floor(ladder.mark(), marks.len() as u64);
            prop_assert_eq!(count as u64 - floor, limit.min(count as u64));
        }

        #[test]
        fn another_limit_drops_nothing_that_is_within_it(
            limits in prop::collection::vec((1u64..3000, any::<bool>()), 2..9),
            steps in prop::collection::vec(0u64..40, 1..200),
        ) {
            let (mut ladder, mut marks) = noted(limits[0].0, &steps);
            let mut trimmed = 0;
            for (limit, trim) in limits {
                ladder.relimit(limit, Some(trimmed));
                for step in &steps {
                    let mark = marks.last().unwrap() + step;
                    ladder.note(marks.len() as u64, mark);
                    marks.push(mark);
                }
                let now = *marks.last().unwrap();
                let floor = ladder.floor(now, marks.len() as u64) as usize;
                for mark in &marks[trimmed as usize..floor.max(trimmed as usize)] {
                    prop_assert!(now - mark >= limit);
                }
                if trim {
                    trimmed = trimmed.max(floor as u64);
                    ladder.trim(trimmed, marks.len() as u64);
                }
                prop_assert!(ladder.runs.len() <= 2 * 66, "{}", ladder.runs.len());
            }
        }

        #[test]
        fn it_comes_back_as_it_was_written(
            limit in 1u64..2000, steps in prop::collection::vec(0u64..40, 0..200),
        ) {
            let (ladder, _) = noted(limit, &steps);
            let mut out = Vec::new();
            ladder.encode(&mut out);
            let mut input = Input::new(&out);
            prop_assert_eq!(Ladder::decode(limit, &mut input), Ok(ladder));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, start: u64, mark: u64) {
            if let Ok(mut ladder) = Ladder::decode(7, &mut Input::new(&bytes)) {
                ladder.note(start, mark);
                ladder.relimit(1 << 40, Some(start));
                ladder.trim(start, mark);
                let _ = ladder.floor(mark, start);
            }
        }
    }

    #[test]
    fn what_was_held_before_counts_as_one_append() {
        let mut ladder = Ladder::new(3, Some(10), 1);
        ladder.note(50, 2);
        ladder.note(51, 3);
        assert_eq!(ladder.floor(3, 52), 10);
        ladder.note(52, 4);
        assert_eq!(ladder.floor(4, 53), 50);
    }

    #[test]
    fn a_clock_that_goes_back_shortens_nothing() {
        let mut ladder = Ladder::new(1000, None, 0);
        ladder.note(0, 5000);
        ladder.note(1, 3000);
        assert_eq!(ladder.floor(5999, 2), 0);
        assert_eq!(ladder.floor(6000, 2), 2);
    }

    #[test]
    fn the_last_mark_there_is_forgets_nothing() {
        let mut ladder = Ladder::new(1, None, 0);
        ladder.note(0, u64::MAX);
        assert_eq!(ladder.due(), None);
        assert_eq!(ladder.floor(u64::MAX, 1), 0);
    }
}
