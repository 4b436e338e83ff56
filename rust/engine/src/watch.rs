//! Who waits for what: watches on streams, notices of durability, and the batches that wake them.

use std::collections::BTreeMap;
use std::sync::Arc;

use durastream_storage::{CommitError, Lsn};
use rustc_hash::FxHashMap;

use crate::Offset;

/// What a completion queue is told for a token.
#[derive(Debug, Clone)]
pub enum Wake {
    /// The LSN is durable, or the stream changed: look again.
    Ready,
    /// The log failed or was closed: what the token waited for will never come.
    Failed(CommitError),
}

/// A completion queue, as the engine sees it: called once per commit group with all of its tokens.
/// Must not block and must not call back into the engine.
pub trait CompletionSink: Send + Sync {
    /// Takes finished tokens.
    fn complete(&self, batch: &mut Vec<(u64, Wake)>);
}

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFor {
    /// Durable data beyond this position, durable closure, deletion or expiry.
    Readable(Offset),
    /// Any event decided on the stream behind this LSN, durable or not (early producer sequences
    /// wait for this, from the LSN of their refusal on).
    Decided(Lsn),
}

/// Names a registered watch, for withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchId(u64);

/// Wakes collected under the lock, to be delivered outside of it: one batch per sink.
#[derive(Default)]
pub(crate) struct Wakes {
    /// By the sink's address.
    batches: FxHashMap<usize, Batch>,
}

struct Batch {
    sink: Arc<dyn CompletionSink>,
    wakes: Vec<(u64, Wake)>,
}

impl Wakes {
    pub(crate) fn add(&mut self, sink: &Arc<dyn CompletionSink>, token: u64, wake: Wake) {
        let address = Arc::as_ptr(sink).cast::<()>() as usize;
        let batch = self.batches.entry(address).or_insert_with(|| Batch {
            sink: Arc::clone(sink),
            wakes: Vec::new(),
        });
        batch.wakes.push((token, wake));
    }

    /// Call without the lock.
    pub(crate) fn deliver(self) {
        for Batch { sink, mut wakes } in self.batches.into_values() {
            sink.complete(&mut wakes);
        }
    }
}

/// A sink and its token.
struct Waiter {
    sink: Arc<dyn CompletionSink>,
    token: u64,
}

#[derive(Default)]
struct StreamWatches {
    /// By watch: the position to be passed.
    readable: FxHashMap<u64, (u64, Waiter)>,
    decided: FxHashMap<u64, Waiter>,
}

/// All watches. Each fires once.
#[derive(Default)]
pub(crate) struct Watches {
    last: u64,
    len: usize,
    streams: FxHashMap<u64, StreamWatches>,
}

impl Watches {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A number for a watch that fires at once.
    pub(crate) fn spent(&mut self) -> WatchId {
        self.last += 1;
        WatchId(self.last)
    }

    pub(crate) fn add_readable(
        &mut self,
        stream: u64,
        position: u64,
        sink: &Arc<dyn CompletionSink>,
        token: u64,
    ) -> WatchId {
        let id = self.spent();
        let sink = Arc::clone(sink);
        let watches = self.streams.entry(stream).or_default();
        watches
            .readable
            .insert(id.0, (position, Waiter { sink, token }));
        self.len += 1;
        id
    }

    pub(crate) fn add_decided(
        &mut self,
        stream: u64,
        sink: &Arc<dyn CompletionSink>,
        token: u64,
    ) -> WatchId {
        let id = self.spent();
        let sink = Arc::clone(sink);
        let watches = self.streams.entry(stream).or_default();
        watches.decided.insert(id.0, Waiter { sink, token });
        self.len += 1;
        id
    }

    pub(crate) fn remove(&mut self, stream: u64, id: WatchId) {
        let Some(watches) = self.streams.get_mut(&stream) else {
            return;
        };
        let known =
            watches.readable.remove(&id.0).is_some() || watches.decided.remove(&id.0).is_some();
        if known {
            self.len -= 1;
        }
        if watches.readable.is_empty() && watches.decided.is_empty() {
            self.streams.remove(&stream);
        }
    }

    /// Fires what waits for data that ends at `tail`, or all that reads when there is to be no more.
    pub(crate) fn fire_readable(&mut self, stream: u64, tail: u64, last: bool, wakes: &mut Wakes) {
        let Some(watches) = self.streams.get_mut(&stream) else {
            return;
        };
        let fired = watches
            .readable
            .extract_if(|_, (position, _)| last || *position < tail);
        for (_, (_, waiter)) in fired {
            self.len -= 1;
            wakes.add(&waiter.sink, waiter.token, Wake::Ready);
        }
        if watches.readable.is_empty() && watches.decided.is_empty() {
            self.streams.remove(&stream);
        }
    }

    pub(crate) fn fire_decided(&mut self, stream: u64, wakes: &mut Wakes) {
        let Some(watches) = self.streams.get_mut(&stream) else {
            return;
        };
        for (_, waiter) in watches.decided.drain() {
            self.len -= 1;
            wakes.add(&waiter.sink, waiter.token, Wake::Ready);
        }
        if watches.readable.is_empty() {
            self.streams.remove(&stream);
        }
    }

    /// Fails everything, at the end of the engine.
    pub(crate) fn fire_all(&mut self, wakes: &mut Wakes) {
        self.fail(&CommitError::Closed, wakes);
    }

    /// Fails everything: there will be no more news.
    pub(crate) fn fail(&mut self, cause: &CommitError, wakes: &mut Wakes) {
        for (_, watches) in self.streams.drain() {
            let readable = watches.readable.into_values().map(|(_, waiter)| waiter);
            for waiter in readable.chain(watches.decided.into_values()) {
                wakes.add(&waiter.sink, waiter.token, Wake::Failed(cause.clone()));
            }
        }
        self.len = 0;
    }
}

/// Who waits for which LSN to be durable.
#[derive(Default)]
pub(crate) struct Notices {
    by_lsn: BTreeMap<Lsn, Vec<Waiter>>,
}

impl Notices {
    pub(crate) fn add(&mut self, lsn: Lsn, sink: &Arc<dyn CompletionSink>, token: u64) {
        let sink = Arc::clone(sink);
        let waiters = self.by_lsn.entry(lsn).or_default();
        waiters.push(Waiter { sink, token });
    }

    pub(crate) fn fire(&mut self, durable: Lsn, wakes: &mut Wakes) {
        while let Some(entry) = self.by_lsn.first_entry()
            && *entry.key() <= durable
        {
            for waiter in entry.remove() {
                wakes.add(&waiter.sink, waiter.token, Wake::Ready);
            }
        }
    }

    pub(crate) fn fail(&mut self, cause: &CommitError, wakes: &mut Wakes) {
        for waiter in std::mem::take(&mut self.by_lsn).into_values().flatten() {
            wakes.add(&waiter.sink, waiter.token, Wake::Failed(cause.clone()));
        }
    }
}
