//! Where a stream's own payloads lie. A million streams have none or one, a few have millions.

use std::slice;
use std::sync::Arc;

use durastream_storage::Lsn;

/// Entries of a full chunk.
pub(crate) const CHUNK: usize = if cfg!(test) || cfg!(fuzzing) { 4 } else { 1024 };

/// A payload: where it ends, and the frame that holds it. It begins where the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) end: u64,
    pub(crate) lsn: Lsn,
}

/// The newest payloads of a stream, in order, without gaps up to its tail. What lies before them was
/// trimmed, is a fork's source's, or is found by position in the store's history.
#[derive(Debug)]
pub(crate) struct Index {
    /// Where the first entry begins; the tail when there is none.
    start: u64,
    entries: Entries,
}

#[derive(Debug)]
enum Entries {
    None,
    One(Entry),
    Many(Box<Many>),
}

/// `last` is never empty.
#[derive(Debug)]
struct Many {
    /// Of [`CHUNK`] entries each; shared with checkpoints that are being written.
    full: Vec<Arc<Vec<Entry>>>,
    last: Vec<Entry>,
}

/// Some entries up to the tail, as they were when this was made.
#[derive(Debug)]
pub(crate) struct Run {
    /// Where the first begins.
    pub(crate) start: u64,
    /// Entries of the first chunk that are not meant.
    skip: usize,
    full: Vec<Arc<Vec<Entry>>>,
    last: Vec<Entry>,
}

/// A place between entries.
struct Place {
    /// Full chunks before it.
    chunk: usize,
    /// Entries before it in its chunk.
    entry: usize,
}

impl Index {
    /// No entries yet behind this position.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            entries: Entries::None,
        }
    }

    /// Where the first entry begins; the tail when there is none.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn tail(&self) -> u64 {
        self.last().map_or(self.start, |entry| entry.end)
    }

    /// The newest entry.
    pub(crate) fn last(&self) -> Option<Entry> {
        self.parts().1.last().copied()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.entries, Entries::None)
    }

    /// Whether it has more than fits into one chunk.
    pub(crate) fn is_long(&self) -> bool {
        !self.parts().0.is_empty()
    }

    /// Adds a payload that ends at `end`. `true` when that filled a chunk: a time to forget.
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        match &mut self.entries {
            Entries::None => self.entries = Entries::One(entry),
            Entries::One(first) => {
                self.entries = Entries::Many(Box::new(Many {
                    full: Vec::new(),
                    last: vec![*first, entry],
                }));
            }
            Entries::Many(many) => {
                if many.last.len() == CHUNK {
                    many.full.push(Arc::new(std::mem::take(&mut many.last)));
                    many.last.push(entry);
                    return true;
                }
                many.last.push(entry);
            }
        }
        false
    }

    /// The tail by the frames that begin before `horizon`.
    pub(crate) fn tail_at(&self, horizon: Lsn) -> u64 {
        self.start_behind(|entry| entry.lsn < horizon)
    }

    /// Every entry that ends beyond `position`, each with where it begins.
    pub(crate) fn beyond(&self, position: u64) -> impl Iterator<Item = (u64, Entry)> {
        self.behind(move |entry| entry.end <= position)
    }

    /// Every entry behind those that are `gone`, each with where it begins.
    pub(crate) fn behind(
        &self,
        gone: impl Fn(&Entry) -> bool,
    ) -> impl Iterator<Item = (u64, Entry)> {
        let place = self.place(gone);
        let (full, last) = self.parts();
        let (first, full, last) = match full.get(place.chunk..) {
            Some([first, rest @ ..]) => (first.get(place.entry..), rest, last),
            _ => (last.get(place.entry..), &[][..], &[][..]),
        };
        let full = full.iter().flat_map(|chunk| chunk.iter());
        let mut start = self.end_before(&place);
        let entries = first.unwrap_or_default().iter().chain(full).chain(last);
        entries.map(move |entry| {
            let begins = std::mem::replace(&mut start, entry.end);
            (begins, *entry)
        })
    }

    /// Where the first entry behind those that are `gone` begins; the tail when there is none.
    pub(crate) fn start_behind(&self, gone: impl Fn(&Entry) -> bool) -> u64 {
        self.end_before(&self.place(gone))
    }

    /// The entries behind those that are `gone`: any up to some point.
    pub(crate) fn run(&self, gone: impl Fn(&Entry) -> bool) -> Run {
        let place = self.place(gone);
        let (full, last) = self.parts();
        let start = self.end_before(&place);
        match full.get(place.chunk..) {
            Some(full @ [_, ..]) => Run {
                start,
                skip: place.entry,
                full: full.to_vec(),
                last: last.to_vec(),
            },
            _ => Run {
                start,
                skip: 0,
                full: Vec::new(),
                last: last.get(place.entry..).unwrap_or_default().to_vec(),
            },
        }
    }

    /// Forgets entries that are `gone`: any up to some point. A part of a full chunk may be kept.
    pub(crate) fn forget(&mut self, gone: impl Fn(&Entry) -> bool) {
        match &mut self.entries {
            Entries::None => {}
            Entries::One(entry) => {
                if gone(entry) {
                    self.start = entry.end;
                    self.entries = Entries::None;
                }
            }
            Entries::Many(many) => {
                let of_chunk = |chunk: &Arc<Vec<Entry>>| chunk.last().copied();
                let chunks = many
                    .full
                    .partition_point(|chunk| of_chunk(chunk).is_some_and(|entry| gone(&entry)));
                if let Some(entry) = many
                    .full
                    .drain(..chunks)
                    .next_back()
                    .as_ref()
                    .and_then(of_chunk)
                {
                    self.start = entry.end;
                }
                if !many.full.is_empty() {
                    return;
                }
                let entries = many.last.partition_point(&gone);
                if let Some(entry) = many.last.drain(..entries).next_back() {
                    self.start = entry.end;
                }
                match many.last[..] {
                    [] => self.entries = Entries::None,
                    [entry] => self.entries = Entries::One(entry),
                    _ if many.last.len() < many.last.capacity() / 4 => many.last.shrink_to_fit(),
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        if let Entries::Many(many) = &mut self.entries {
            many.full.shrink_to_fit();
            many.last.shrink_to_fit();
        }
    }

    fn parts(&self) -> (&[Arc<Vec<Entry>>], &[Entry]) {
        match &self.entries {
            Entries::None => (&[], &[]),
            Entries::One(entry) => (&[], slice::from_ref(entry)),
            Entries::Many(many) => (&many.full, &many.last),
        }
    }

    /// Behind the last entry that is `before`: any up to some point.
    fn place(&self, before: impl Fn(&Entry) -> bool) -> Place {
        let (full, last) = self.parts();
        let chunk = full.partition_point(|chunk| chunk.last().is_some_and(&before));
        let within = full.get(chunk).map_or(last, |chunk| chunk.as_slice());
        Place {
            chunk,
            entry: within.partition_point(before),
        }
    }

    /// Where the entry before a place ends.
    fn end_before(&self, place: &Place) -> u64 {
        let (full, last) = self.parts();
        let within = full.get(place.chunk).map_or(last, |chunk| chunk.as_slice());
        let before = match place.entry.checked_sub(1) {
            Some(entry) => within.get(entry),
            None => (place.chunk.checked_sub(1)).and_then(|chunk| full.get(chunk)?.last()),
        };
        before.map_or(self.start, |entry| entry.end)
    }
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.last.len() - self.skip
    }

    pub(crate) fn first(&self) -> Option<Entry> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        let mut full = self.full.iter();
        let first = full.next().and_then(|chunk| chunk.get(self.skip..));
        let full = full.flat_map(|chunk| chunk.iter());
        first
            .unwrap_or_default()
            .iter()
            .chain(full)
            .chain(&self.last)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(u64),
        ForgetTo(u64),
        ForgetLsn(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1u64..5).prop_map(Step::Push),
            1 => (0u64..120).prop_map(Step::ForgetTo),
            1 => (0u64..400).prop_map(Step::ForgetLsn),
        ]
    }

    proptest! {
        #[test]
        fn it_answers_like_a_plain_list(steps in prop::collection::vec(step(), 0..60)) {
            let mut index = Index::new(7);
            // Of every payload ever: start, entry; and how many must be there still.
            let mut all: Vec<(u64, Entry)> = Vec::new();
            let mut gone = 0;
            for step in steps {
                match step {
                    Step::Push(len) => {
                        let start = index.tail();
                        let entry = Entry { end: start + len, lsn: 8 * all.len() as u64 };
                        index.push(entry);
                        all.push((start, entry));
                    }
                    Step::ForgetTo(end) => {
                        index.forget(|entry| entry.end <= end);
                        gone = gone.max(all.partition_point(|(_, entry)| entry.end <= end));
                    }
                    Step::ForgetLsn(lsn) => {
                        index.forget(|entry| entry.lsn < lsn);
                        gone = gone.max(all.partition_point(|(_, entry)| entry.lsn < lsn));
                    }
                }
                let tail = all.last().map_or(7, |(_, entry)| entry.end);
                prop_assert_eq!(index.tail(), tail);
                let kept: Vec<_> = index.beyond(0).collect();
                // At most a part of one chunk is kept beyond what must be.
                prop_assert!(kept.len() >= all.len() - gone && kept.len() < all.len() - gone + CHUNK);
                prop_assert_eq!(&kept[..], &all[all.len() - kept.len()..]);
                prop_assert_eq!(index.start(), kept.first().map_or(tail, |(start, _)| *start));
                for (at, (start, entry)) in kept.iter().enumerate() {
                    prop_assert_eq!(index.beyond(*start).collect::<Vec<_>>(), &kept[at..]);
                    prop_assert_eq!(index.tail_at(entry.lsn), *start);
                    prop_assert_eq!(index.tail_at(entry.lsn + 8), entry.end);
                    let run = index.run(|other| other.lsn < entry.lsn);
                    prop_assert_eq!((run.start, run.first()), (*start, Some(*entry)));
                    prop_assert_eq!(run.len(), kept.len() - at);
                    prop_assert!(run.iter().eq(kept[at..].iter().map(|(_, entry)| *entry)));
                }
            }
        }
    }

    #[test]
    fn a_run_stays_as_it_was() {
        let mut index = Index::new(0);
        let entry = |n: u64| Entry {
            end: n + 1,
            lsn: 8 * n,
        };
        for n in 0..20 {
            index.push(entry(n));
        }
        let run = index.run(|_| false);
        for n in 20..40 {
            index.push(entry(n));
        }
        index.forget(|_| true);
        assert!(index.is_empty());
        assert!(run.iter().eq((0..20).map(entry)));
    }
}
