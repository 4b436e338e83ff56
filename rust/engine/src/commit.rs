//! The store's word on what is durable.

use durastream_storage::{CommitError, CommitObserver, Lsn};

use crate::core::Core;
use crate::watch::Wakes;

impl CommitObserver for Core {
    fn committed(&self, durable: Lsn) {
        let mut wakes = Wakes::default();
        self.advance(durable, &mut wakes);
        wakes.deliver();
    }

    fn poisoned(&self, cause: &CommitError) {
        let mut wakes = Wakes::default();
        self.lock().fail(cause, &mut wakes);
        wakes.deliver();
    }
}
