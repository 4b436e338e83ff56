//! One deadline per connection.

use std::collections::BTreeSet;
use std::time::Instant;

/// Deadlines by slot. A deadline that moves back costs nothing until the old one is due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, u32)>,
}

impl Timers {
    /// Sees to it that `slot` is looked at not later than `deadline`; `set` is where it is queued.
    pub(crate) fn set(&mut self, slot: u32, set: &mut Option<Instant>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if let Some(queued) = *set {
            if queued <= deadline {
                return;
            }
            self.queue.remove(&(queued, slot));
        }
        self.queue.insert((deadline, slot));
        *set = Some(deadline);
    }

    /// Forgets a slot.
    pub(crate) fn clear(&mut self, slot: u32, set: &mut Option<Instant>) {
        if let Some(queued) = set.take() {
            self.queue.remove(&(queued, slot));
        }
    }

    /// When the next slot is to be looked at.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes a slot that is due; its `set` must be cleared.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u32> {
        let (at, slot) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slot_is_queued_once_and_found_at_its_earliest_deadline() {
        let (mut timers, mut set, now) = (Timers::default(), None, Instant::now());
        let late = now + Duration::from_secs(9);
        timers.set(3, &mut set, Some(late));
        timers.set(3, &mut set, Some(now));
        timers.set(3, &mut set, Some(late));
        assert_eq!((timers.queue.len(), timers.next()), (1, Some(now)));
        assert_eq!(timers.due(now), Some(3));
        assert_eq!(timers.due(late), None);
    }

    #[test]
    fn a_cleared_slot_is_never_due() {
        let (mut timers, mut set, now) = (Timers::default(), None, Instant::now());
        timers.set(1, &mut set, Some(now));
        timers.clear(1, &mut set);
        assert_eq!((timers.due(now), set), (None, None));
    }
}
