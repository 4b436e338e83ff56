//! The store's word on what is durable, and the word it gets on what is still needed.

use durastream_storage::{CommitError, CommitObserver, Live, Lsn, Tenancy};

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

/// Streams asked about under one hold of the lock.
const BATCH: usize = 256;

impl Tenancy for Core {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        for some in streams.chunks(BATCH) {
            let inner = self.lock();
            out.extend(some.iter().map(|id| inner.state.live(*id)));
        }
    }
}
