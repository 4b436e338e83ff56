//! The committer thread: leads for those who do not wait, prepares room, syncs every interval, leaves marks.

use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::Committer;
use crate::error::Trouble;
use crate::options::Durability;

/// How long a busy log may go without a mark: what is committed for those who do not wait comes in bursts.
const MARK_DELAY: Duration = Duration::from_millis(2);

impl Committer {
    /// The committer thread.
    pub(crate) fn run(&self) {
        let mut turn = self.turn.lock();
        // When to leave a mark, unless there was another group since this epoch.
        let mut mark: Option<(Instant, u64)> = None;
        while !turn.stopped {
            // First, or groups that follow each other without a pause would put it off for ever.
            let now = Instant::now();
            let sync_due = match self.options.durability {
                Durability::Interval(interval) => turn.unsynced.map(|since| since + interval),
                _ => None,
            };
            if sync_due.is_some_and(|due| due <= now) {
                turn.unsynced = None;
                MutexGuard::unlocked(&mut turn, || {
                    // A failure is latched and told; there is nobody here to hear of it.
                    self.sync().ok();
                });
                continue;
            }
            if turn.kicked && !turn.leading {
                turn = self.lead(turn, false);
                continue;
            }
            if std::mem::take(&mut turn.prepare) {
                MutexGuard::unlocked(&mut turn, || self.prepare());
                continue;
            }
            let quiet = mark.is_some_and(|(_, epoch)| epoch == turn.epoch) && !turn.leading;
            if !turn.mark {
                mark = None;
            } else if !quiet {
                mark = Some((now + MARK_DELAY, turn.epoch));
            } else if mark.is_some_and(|(due, _)| due <= now) {
                turn.mark = false;
                MutexGuard::unlocked(&mut turn, || self.mark());
                continue;
            }
            match sync_due.into_iter().chain(mark.map(|(due, _)| due)).min() {
                Some(due) => {
                    self.thread.wait_until(&mut turn, due);
                }
                None => self.thread.wait(&mut turn),
            }
        }
    }

    /// Leaves a mark, if nothing waits: the acknowledged are on their way, the disk has nothing better to do.
    pub(super) fn mark(&self) {
        if self.filling.lock().is_idle()
            && self.poison.get().is_none()
            && let Err(failure) = self.log.mark()
        {
            self.latch(&failure);
            self.kick();
        }
    }

    fn prepare(&self) {
        if self.poison.get().is_some() {
            return;
        }
        match self.log.prepare() {
            // A full disk is asked again with the next group, and by whoever needs the room.
            Ok(()) | Err(Trouble::Full(_)) => {}
            Err(broken) => {
                self.trouble(broken);
            }
        }
    }
}
