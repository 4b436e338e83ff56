//! How fast background work may write, and its end.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What was not used of the rate is kept for this long. The disk is the log's, too, and its syncs wait behind a burst.
const BURST: Duration = Duration::from_millis(2);
/// Seconds that one piece of work may be held back at most.
const LONGEST: f64 = 3600.0;

/// Background work was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub(crate) struct Cancelled;

/// A rate of bytes, and a way to end the work at once. Shared by the worker and whoever ends it.
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    cancelled: bool,
    /// When what was spent so far is paid for.
    paid: Instant,
}

impl Throttle {
    /// At most that many bytes a second; without, as fast as it goes.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let state = State {
            cancelled: false,
            paid: Instant::now(),
        };
        Self {
            bytes_per_second: bytes_per_second.map(|rate| rate.max(1)),
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    /// Ends the work, also when it sleeps.
    pub(crate) fn cancel(&self) {
        self.state.lock().cancelled = true;
        self.wake.notify_all();
    }

    /// Whether the work shall end.
    pub(crate) fn check(&self) -> Result<(), Cancelled> {
        if self.state.lock().cancelled {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Sleeps, but not beyond the end of the work.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.cancelled && !self.wake.wait_until(&mut state, until).timed_out() {}
        if state.cancelled {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Waits until the rate allows for `bytes` more.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), Cancelled> {
        let mut state = self.state.lock();
        if let Some(rate) = self.bytes_per_second {
            let now = Instant::now();
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let seconds = (bytes as f64 / rate as f64).min(LONGEST);
            let cost = Duration::from_secs_f64(seconds);
            state.paid = state.paid.max(earliest) + cost;
            let paid = state.paid;
            while !state.cancelled && !self.wake.wait_until(&mut state, paid).timed_out() {}
        }
        if state.cancelled {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_rate_is_kept() {
        let throttle = Throttle::new(Some(1 << 20));
        let begun = Instant::now();
        for _ in 0..8 {
            throttle.spend(32 << 10).unwrap();
        }
        // A quarter of a second's worth, of which the burst may come at once.
        assert!(begun.elapsed() >= Duration::from_millis(190));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let throttle = Throttle::new(None);
        throttle.spend(u64::MAX).unwrap();
    }

    #[test]
    fn cancelling_wakes_who_waits() {
        let throttle = Throttle::new(Some(1));
        thread::scope(|scope| {
            let worker = scope.spawn(|| throttle.spend(3600));
            thread::sleep(Duration::from_millis(20));
            let begun = Instant::now();
            throttle.cancel();
            assert_eq!(worker.join().unwrap(), Err(Cancelled));
            assert!(begun.elapsed() < Duration::from_millis(100));
        });
        assert_eq!(throttle.check(), Err(Cancelled));
        assert_eq!(throttle.spend(0), Err(Cancelled));
    }
}
