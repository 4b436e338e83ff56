//! How much commits are slowed down when sealing falls behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The least by which a group is delayed, for every segment too many that waits.
const STEP: Duration = Duration::from_millis(1);
/// And for every so many of its bytes as much again: what the sealer writes meanwhile, at least.
const STEP_BYTES: u64 = 256 << 10;
/// The most by which a group is delayed.
const MOST: Duration = Duration::from_millis(100);

/// Delays groups in proportion to the full segments that wait beyond a limit.
pub(crate) struct Brake {
    limit: u64,
    /// Waiting would help nobody: sealing stands still.
    free: AtomicBool,
    /// Groups are being slowed down, and it was told.
    slowed: AtomicBool,
    nanos: AtomicU64,
}

impl Brake {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            free: AtomicBool::new(false),
            slowed: AtomicBool::new(false),
            nanos: AtomicU64::new(0),
        }
    }

    /// Says whether sealing goes on, so that waiting for it makes sense.
    pub(crate) fn sealing_goes_on(&self, goes_on: bool) {
        self.free.store(!goes_on, Ordering::Relaxed);
    }

    /// How long a group of `bytes` has to wait while `backlog` segments do.
    pub(crate) fn delay(&self, backlog: u64, bytes: u64) -> Option<Duration> {
        let excess = backlog.saturating_sub(self.limit);
        if !self.delays(backlog) {
            if self.slowed.swap(false, Ordering::Relaxed) {
                tracing::info!(backlog, "commits are not slowed down any more");
            }
            return None;
        }
        if !self.slowed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                backlog,
                limit = self.limit,
                "sealing fell behind: commits are slowed down until it has caught up"
            );
        }
        let steps = excess.saturating_mul(1 + bytes / STEP_BYTES);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let delay = STEP.saturating_mul(steps).min(MOST);
        self.nanos
            .fetch_add(delay.as_nanos() as u64, Ordering::Relaxed);
        Some(delay)
    }

    /// Whether groups are delayed while `backlog` segments wait.
    pub(crate) fn delays(&self, backlog: u64) -> bool {
        backlog > self.limit && !self.free.load(Ordering::Relaxed)
    }

    /// Nanoseconds of all delays.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_wait_in_proportion_to_the_backlog_up_to_a_limit() {
        let brake = Brake::new(8);
        assert_eq!(brake.delay(8, 1 << 30), None);
        assert_eq!(brake.nanos(), 0);
        assert_eq!(brake.delay(9, 100), Some(STEP));
        assert_eq!(brake.delay(11, 100), Some(3 * STEP));
        assert_eq!(brake.delay(9, 1 << 20), Some(5 * STEP));
        assert_eq!(brake.delay(1000, 1 << 30), Some(MOST));
        assert_eq!(brake.nanos(), (9 * STEP + MOST).as_nanos() as u64);
    }

    #[test]
    fn nobody_waits_for_a_sealer_that_stands_still() {
        let brake = Brake::new(2);
        brake.sealing_goes_on(false);
        assert_eq!(brake.delay(100, 100), None);
        brake.sealing_goes_on(true);
        assert!(brake.delay(100, 100).is_some());
    }
}
