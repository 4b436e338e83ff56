//! Reading: what is there, and waiting for more (protocol sections 5.6 to 5.8 and 8). Pages are next door.

use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_storage::{CommitError, Lsn};
use parking_lot::{Condvar, Mutex};

use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::LookupError;
use crate::rules::info;
use crate::stream::{Phase, Stream};
use crate::types::StreamInfo;
use crate::watch::{CompletionSink, Wake, Wakes, WatchFor, WatchId};
use crate::{Offset, StreamPath};

/// A stream held open for reading: finds it once, then reads and watches without its path.
/// Holds no lock; a stream deleted meanwhile answers so.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u64,
    pub(crate) path: StreamPath,
}

/// What a watch waits for that has not come yet.
enum Wanted {
    /// Data beyond this position.
    Readable(u64),
    Decided,
}

impl Reader {
    /// The durable view now.
    pub fn info(&self) -> Result<StreamInfo, LookupError> {
        self.ask(|inner| {
            let stream = self.find(inner)?;
            Ok(info(stream, inner.durable.max(stream.created_end)))
        })
    }

    /// What is durable in the log. While it stays the same, so do [`Reader::page`]'s answers, but for what the clock ends.
    pub fn durable(&self) -> Lsn {
        self.shared.core.durable()
    }

    /// Registers a wake; fires once, at once when already true. Fails when what it waits for can no
    /// longer come, because the log failed or was closed.
    pub fn watch(&self, what: WatchFor, sink: &Arc<dyn CompletionSink>, token: u64) -> WatchId {
        let mut wakes = Wakes::default();
        let mut expired = false;
        let id = {
            let mut inner = self.shared.core.lock();
            let inner = &mut *inner;
            expired |= self.expire(inner, &mut wakes);
            let wanted = match what {
                WatchFor::Readable(offset) => self.pending(inner, offset).map(Wanted::Readable),
                WatchFor::Decided(seen) => self.undecided(inner, seen).then_some(Wanted::Decided),
            };
            match (wanted, self.ended()) {
                (Some(Wanted::Readable(position)), None) => {
                    inner.watches.add_readable(self.id, position, sink, token)
                }
                (Some(Wanted::Decided), None) => inner.watches.add_decided(self.id, sink, token),
                (Some(_), Some(cause)) => {
                    wakes.add(sink, token, Wake::Failed(cause));
                    inner.watches.spent()
                }
                (None, _) => {
                    wakes.add(sink, token, Wake::Ready);
                    inner.watches.spent()
                }
            }
        };
        wakes.deliver();
        if expired {
            self.shared.store.kick();
        }
        id
    }

    /// The position to wait at, or `None` when there is nothing to wait for.
    fn pending(&self, inner: &Inner, offset: Offset) -> Option<u64> {
        let stream = self.find(inner).ok()?;
        let position = stream.position(offset)?;
        let tail = stream.tail_at(inner.durable);
        let waits = position >= tail
            && position <= stream.tail().max(tail + 1)
            && !stream.closed_at(inner.durable);
        waits.then_some(position)
    }

    /// Why there will be no more news, if so. Asked under the lock it cannot be missed: whoever
    /// registers before the end is failed by it.
    fn ended(&self) -> Option<CommitError> {
        let closed = || self.shared.is_closed().then_some(CommitError::Closed);
        self.shared.store.poisoned().or_else(closed)
    }

    /// Whether nothing was decided on the stream since the event that ends at `seen`.
    fn undecided(&self, inner: &Inner, seen: Lsn) -> bool {
        inner
            .state
            .stream(self.id)
            .is_some_and(|stream| stream.phase == Phase::Live && stream.last_end <= seen)
    }

    /// Withdraws a watch; a wake already on its way may still arrive.
    pub fn unwatch(&self, id: WatchId) {
        self.shared.core.lock().watches.remove(self.id, id);
    }

    /// Blocks until `page` from here would have news, or `timeout`: `false`. An error when there will
    /// be none, because the log failed or was closed.
    pub fn wait_readable(&self, position: Offset, timeout: Duration) -> Result<bool, CommitError> {
        let flag = Arc::new(Flag::default());
        let sink: Arc<dyn CompletionSink> = Arc::clone(&flag) as _;
        let watch = self.watch(WatchFor::Readable(position), &sink, 0);
        match flag.wait(timeout) {
            Some(Wake::Ready) => Ok(true),
            Some(Wake::Failed(cause)) => Err(cause),
            None => {
                self.unwatch(watch);
                Ok(false)
            }
        }
    }

    /// Asks under the lock.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Inner) -> T) -> T {
        let mut wakes = Wakes::default();
        let (expired, answer) = {
            let mut inner = self.shared.core.lock();
            let expired = self.expire(&mut inner, &mut wakes);
            (expired, question(&inner))
        };
        wakes.deliver();
        if expired {
            self.shared.store.kick();
        }
        answer
    }

    /// Begins the stream's deletion when its time is over; `true` then. Until that is durable it is
    /// there: told by the clock alone, a restart that grants unlogged accesses could bring it back.
    fn expire(&self, inner: &mut Inner, wakes: &mut Wakes) -> bool {
        let stream = inner.state.stream(self.id);
        stream.is_some_and(|stream| stream.is_expired(self.shared.now()))
            // A log that takes no deletion now is asked again.
            && inner.expire(&self.shared.store, self.id, wakes).is_ok()
    }

    /// The stream, unless that it is gone is durable.
    pub(crate) fn find<'a>(&self, inner: &'a Inner) -> Result<&'a Stream, LookupError> {
        let path = || self.path.clone();
        let stream = inner
            .state
            .stream(self.id)
            .ok_or_else(|| LookupError::NotFound { path: path() })?;
        match (stream.gone_at(inner.durable), stream.phase) {
            (false, _) => Ok(stream),
            (true, Phase::Soft) => Err(LookupError::SoftDeleted { path: path() }),
            (true, _) => Err(LookupError::NotFound { path: path() }),
        }
    }
}

/// A wake for a blocked thread.
#[derive(Default)]
struct Flag {
    wake: Mutex<Option<Wake>>,
    changed: Condvar,
}

impl Flag {
    fn wait(&self, timeout: Duration) -> Option<Wake> {
        let mut wake = self.wake.lock();
        match Instant::now().checked_add(timeout) {
            Some(deadline) => {
                while wake.is_none() && !self.changed.wait_until(&mut wake, deadline).timed_out() {}
            }
            None => {
                while wake.is_none() {
                    self.changed.wait(&mut wake);
                }
            }
        }
        wake.take()
    }
}

impl CompletionSink for Flag {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        *self.wake.lock() = batch.drain(..).next().map(|(_, wake)| wake);
        self.changed.notify_all();
    }
}
