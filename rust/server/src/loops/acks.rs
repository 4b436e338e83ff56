//! Connections that wait for the log. One notice for all that a turn appended stands for them.

use std::collections::VecDeque;

use durastream_engine::storage::Lsn;

/// Who waits for which LSN to be durable, by name, and what the engine was asked to tell.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// In LSN order.
    waiting: VecDeque<(Lsn, u64)>,
    /// In LSN order; a notice is gone once its LSN is durable.
    asked: VecDeque<Lsn>,
    /// The lowest LSN that came since the engine was asked.
    fresh: Option<Lsn>,
}

impl Acks {
    pub(crate) fn add(&mut self, lsn: Lsn, name: u64) {
        let place = self.waiting.iter().rposition(|(other, _)| *other <= lsn);
        self.waiting
            .insert(place.map_or(0, |before| before + 1), (lsn, name));
        self.fresh = Some(self.fresh.map_or(lsn, |known| known.min(lsn)));
    }

    /// Whether anybody waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes one whose LSN is durable.
    pub(crate) fn due(&mut self, durable: impl Fn(Lsn) -> bool) -> Option<u64> {
        let taken = self.waiting.pop_front_if(|(lsn, _)| durable(*lsn));
        taken.map(|(_, name)| name)
    }

    /// Takes any of them, at the end of the log: nothing more will be durable.
    pub(crate) fn any(&mut self) -> Option<u64> {
        self.asked.clear();
        self.waiting.pop_front().map(|(_, name)| name)
    }

    /// What to ask the engine to tell, if anything: for every turn that appended, so that the committer begins; and
    /// when a group took only the first part of what a turn appended.
    pub(crate) fn ask(&mut self, durable: impl Fn(Lsn) -> bool) -> Option<Lsn> {
        while self.asked.pop_front_if(|lsn| durable(*lsn)).is_some() {}
        let first = self.waiting.front().map(|(lsn, _)| *lsn);
        let uncovered = first.filter(|first| self.asked.front().is_none_or(|asked| asked > first));
        let lsn = uncovered.or(self.fresh.take())?;
        self.fresh = None;
        let place = self.asked.iter().rposition(|other| *other <= lsn);
        self.asked.insert(place.map_or(0, |before| before + 1), lsn);
        Some(lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_in_the_order_of_the_log_however_they_were_added() {
        let mut acks = Acks::default();
        for (lsn, name) in [(20, 1), (30, 2), (10, 3), (20, 4)] {
            acks.add(lsn, name);
        }
        let mut due = |durable: u64| {
            std::iter::from_fn(|| acks.due(|lsn| lsn <= durable)).collect::<Vec<_>>()
        };
        assert!(due(9).is_empty());
        assert_eq!(due(20), [3, 1, 4]);
        assert_eq!(due(99), [2]);
    }

    #[test]
    fn a_turn_is_asked_for_once_and_again_when_a_group_took_only_a_part_of_it() {
        let mut acks = Acks::default();
        let none = |_| false;
        acks.add(10, 1);
        acks.add(20, 2);
        assert_eq!((acks.ask(none), acks.ask(none)), (Some(10), None));
        let durable = |lsn| lsn <= 10;
        assert_eq!(acks.due(durable), Some(1));
        assert_eq!((acks.ask(durable), acks.ask(durable)), (Some(20), None));
    }

    #[test]
    fn at_the_end_of_the_log_nothing_is_kept() {
        let mut acks = Acks::default();
        acks.add(10, 1);
        assert_eq!(acks.ask(|_| false), Some(10));
        assert_eq!((acks.any(), acks.any()), (Some(1), None));
        assert!(acks.asked.is_empty());
    }

    #[test]
    fn every_turn_that_appends_asks_so_that_the_committer_begins() {
        let mut acks = Acks::default();
        acks.add(10, 1);
        assert_eq!(acks.ask(|_| false), Some(10));
        acks.add(20, 2);
        assert_eq!(acks.ask(|_| false), Some(20));
        assert_eq!(acks.ask(|_| false), None);
    }
}
