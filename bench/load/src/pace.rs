//! A schedule of events at a fixed rate, and waiting for input or for the next of them.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::Failure;

/// When each of so many events is due.
pub(crate) struct Pace {
    start: Instant,
    rate: f64,
    next: u64,
    end: u64,
}

impl Pace {
    /// `rate` events a second for `seconds`, from `start` on.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of events"
    )]
    pub(crate) fn new(start: Instant, rate: f64, seconds: f64) -> Self {
        Self {
            start,
            rate,
            next: 0,
            end: (rate * seconds).round() as u64,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub(crate) fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The next event, when it is due by `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        let number = self.next;
        if number >= self.end || self.due(number) > now {
            return None;
        }
        self.next += 1;
        Some(number)
    }

    /// When the next one is due; `None` after the last.
    pub(crate) fn upcoming(&self) -> Option<Instant> {
        (self.next < self.end).then(|| self.due(self.next))
    }
}

/// Waits for input on any connection, not beyond `until`.
pub(crate) fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    until: Instant,
) -> Result<(), Failure> {
    events.clear();
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs())?,
        tv_nsec: left.subsec_nanos().into(),
    };
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
