//! The store's word on what is durable, and the word it gets on what is still needed.

use std::ops::Bound;

use durastream_storage::{CommitError, CommitObserver, Held, Live, Lsn, Tenancy};

use crate::StreamPath;
use crate::core::Core;
use crate::needs::Asked;
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
/// Forks looked at under one hold of the lock.
const FORKS: usize = 1024;

impl Tenancy for Core {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        for some in streams.chunks(BATCH) {
            let mut asked: Vec<Asked> = {
                let inner = self.lock();
                some.iter().map(|id| inner.state.ask_live(*id)).collect()
            };
            let mut answered = 0;
            while answered < asked.len() {
                let inner = self.lock();
                let mut most = FORKS;
                while let Some(next) = asked.get_mut(answered)
                    && inner.state.needs.answer(next, &mut most)
                {
                    answered += 1;
                }
            }
            out.extend(asked.into_iter().map(Asked::live));
        }
    }

    fn within(&self, from: Lsn, to: Lsn, out: &mut Vec<Held>) {
        let mut last: Option<StreamPath> = None;
        loop {
            let inner = self.lock();
            let behind = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let paths = inner.state.paths();
            let some = paths.range::<StreamPath, _>((behind, Bound::Unbounded));
            let mut next = None;
            for (path, id) in some.take(BATCH) {
                next = Some(path);
                // Whatever is not sealed has its entry.
                let stream = inner.state.stream(*id).into_iter();
                out.extend(stream.flat_map(|stream| stream.between(from, to)));
            }
            let Some(next) = next.cloned() else { return };
            last = Some(next);
        }
    }
}
