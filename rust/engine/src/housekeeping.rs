//! What happens without a request: expired streams are removed, appends that are sealed forgotten, checkpoints made.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::engine::Shared;
use crate::moment::millis;
use crate::save::Haste;
use crate::watch::Wakes;

/// Streams removed under one hold of the lock.
const BATCH: usize = 256;

/// How long a failed checkpoint is left alone.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(30);

/// Stops the thread.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Sleeps; `true` when stopped.
    fn sleep(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, time);
        }
        *stopped
    }
}

/// Starts the thread. It holds the engine only while it works, and ends with it.
pub(crate) fn start(shared: &Arc<Shared>, stop: Arc<Stop>) -> std::io::Result<()> {
    let interval = shared.options.reap_interval.max(Duration::from_millis(1));
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("durastream-keeper".to_owned())
        .spawn(move || run(&shared, &stop, interval))
        .map(drop)
}

fn run(shared: &Weak<Shared>, stop: &Stop, interval: Duration) {
    let mut paused_until = Instant::now();
    let mut freed = 0;
    while !stop.sleep(interval) {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let forgettable = shared.store.forgettable();
        let freed_now = {
            let mut inner = shared.core.lock();
            inner.state.set_forgettable(forgettable);
            inner.state.freed
        };
        if std::mem::replace(&mut freed, freed_now) != freed_now {
            shared.store.tidy();
        }
        // A log that failed takes no trims, and then the clock alone decides what is there.
        if shared.store.poisoned().is_none() {
            shared.reap();
            shared.enforce_retention();
        }
        if Instant::now() >= paused_until && shared.wants_checkpoint() {
            match shared.checkpoint(Haste::Considerate) {
                Ok(lsn) => tracing::debug!(lsn, "checkpoint"),
                Err(error) => {
                    tracing::warn!(%error, "no checkpoint could be made");
                    // On a full disk it may be a deletion away from being possible.
                    let is_full = shared.store.full().is_some();
                    let pause = if is_full { interval } else { CHECKPOINT_PAUSE };
                    paused_until = Instant::now() + pause;
                }
            }
        }
    }
}

impl Shared {
    /// Removes every stream whose time is over.
    fn reap(&self) {
        loop {
            let mut wakes = Wakes::default();
            let (more, expired) = {
                let mut inner = self.core.lock();
                let before = inner.counts.expired;
                let more = inner.reap(&self.store, millis(self.clock.now()), BATCH, &mut wakes);
                (more, inner.counts.expired > before)
            };
            wakes.deliver();
            if expired {
                self.store.kick();
            }
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "expired streams could not be removed");
                    return;
                }
            }
        }
    }

    fn wants_checkpoint(&self) -> bool {
        let grown = self.store.end().saturating_sub(*self.checkpointed.lock());
        grown >= self.options.checkpoint_bytes || self.store.wants_checkpoint()
    }
}
