//! Reading: pages of whole appends, and waiting for more (protocol sections 5.6 to 5.8 and 8).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_storage::{CommitError, Lsn, ReadError};
use parking_lot::{Condvar, Mutex};

use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::{LookupError, PageError};

use crate::rules::info;
use crate::span::{Span, walk};
use crate::stream::{Phase, Stream};
use crate::types::{From, Page, StreamInfo};
use crate::watch::{CompletionSink, Wake, Wakes, WatchFor, WatchId};
use crate::{Offset, StreamPath};

/// Most appends of one page, so that planning it stays short.
const PAGE_APPENDS: usize = 1 << 16;

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

/// A page before its bytes are read.
struct Plan {
    spans: Vec<Span>,
    start: Offset,
    next: Offset,
    up_to_date: bool,
    closed: bool,
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

    /// Whether `page(from, max)` would not touch the disk.
    pub fn is_hot(&self, from: From, max_bytes: usize) -> bool {
        let plan = self.plan(from, max_bytes);
        plan.is_ok_and(|plan| {
            let frames: Vec<_> = plan.spans.iter().map(|span| span.frame).collect();
            self.shared.store.is_hot(&frames)
        })
    }

    /// Every durable append whose end lies beyond `from`, up to `max_bytes` but at least one.
    ///
    /// A position inside an append gives that whole append; one past the tail by 1 gives nothing
    /// yet; one further beyond is `Gone`, like one of another life or below the floor.
    pub fn page(&self, from: From, max_bytes: usize) -> Result<Page, PageError> {
        let mut plan = self.plan(from, max_bytes)?;
        let chunks = loop {
            match self.read(&plan.spans) {
                Ok(chunks) => break chunks,
                Err(error) => {
                    // What was deleted or trimmed meanwhile may have been dropped from the log.
                    let again = self.plan(from, max_bytes)?;
                    if again.start == plan.start {
                        return Err(error.into());
                    }
                    plan = again;
                }
            }
        };
        let mut inner = self.shared.core.lock();
        inner.counts.reads += 1;
        inner.counts.read_bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        drop(inner);
        Ok(Page {
            chunks,
            start: plan.start,
            next: plan.next,
            up_to_date: plan.up_to_date,
            closed: plan.closed,
        })
    }

    fn plan(&self, from: From, max_bytes: usize) -> Result<Plan, PageError> {
        self.ask(|inner| plan(inner, self.find(inner)?, from, max_bytes))
    }

    fn read(&self, spans: &[Span]) -> Result<Vec<Bytes>, ReadError> {
        let frames: Vec<_> = spans.iter().map(|span| span.frame).collect();
        let mut chunks = self.shared.store.read(&frames)?;
        for (chunk, span) in chunks.iter_mut().zip(spans) {
            chunk.truncate(span.len());
        }
        Ok(chunks)
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
    fn ask<T>(&self, question: impl FnOnce(&Inner) -> T) -> T {
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
    fn find<'a>(&self, inner: &'a Inner) -> Result<&'a Stream, LookupError> {
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

/// Chooses the appends of a page.
fn plan(inner: &Inner, stream: &Stream, from: From, max_bytes: usize) -> Result<Plan, PageError> {
    let horizon = inner.durable.max(stream.created_end);
    let tail = stream.tail_at(horizon);
    let from = position(stream, from, tail)?;
    let mut spans = Vec::new();
    let mut bytes = 0;
    let mut more = false;
    walk(&inner.state, stream, from, tail, |span| {
        bytes += span.len();
        if !spans.is_empty() && (bytes > max_bytes || spans.len() == PAGE_APPENDS) {
            more = true;
            return ControlFlow::Break(());
        }
        spans.push(span);
        ControlFlow::Continue(())
    });
    let next = spans.last().map_or(tail, |span: &Span| span.end);
    Ok(Plan {
        start: stream.offset(spans.first().map_or(tail, |span| span.start)),
        next: stream.offset(next),
        up_to_date: !more,
        closed: !more && stream.closed_at(horizon),
        spans,
    })
}

/// Where to read from, in a stream with this durable tail.
fn position(stream: &Stream, from: From, tail: u64) -> Result<u64, PageError> {
    let asked = match from {
        From::Start | From::At(Offset::START) => return Ok(stream.floor()),
        From::Now => return Ok(tail),
        From::At(asked) => asked,
    };
    let gone = |why| PageError::Gone {
        asked,
        why,
        earliest: stream.offset(stream.floor()),
        tail: stream.offset(tail),
    };
    match stream.position(asked) {
        None => Err(gone("it is of an earlier life of this path")),
        Some(position) if position < stream.floor() => Err(gone("what was there is trimmed")),
        Some(position) if position > stream.tail().max(tail + 1) => {
            Err(gone("nothing was ever written there"))
        }
        Some(position) => Ok(position),
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
