//! A bell: wakes one thread that sleeps, or will.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Rings are not counted, but none is lost: one that nobody waited for ends the next wait at once.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.heard.notify_one();
    }

    /// Waits for a ring, at most for `time`.
    pub(crate) fn wait(&self, time: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.heard.wait_for(&mut rung, time);
        }
        *rung = false;
    }
}
