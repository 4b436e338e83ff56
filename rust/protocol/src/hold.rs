//! Holding early producer sequences until their predecessor arrives (pipelined producers).

use std::sync::Arc;
use std::time::Instant;

use durastream_engine::storage::Lsn;
use durastream_engine::{AppendError, CompletionSink, Engine, Reader, WatchFor, WatchId};
use parking_lot::Mutex;

use crate::post::{Attempt, Tried};

/// What is held now, over all exchanges.
#[derive(Debug)]
pub(crate) struct Held {
    now: Mutex<Load>,
    limit: Load,
}

#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

impl Held {
    /// Holds at most `count` appends with at most `bytes` of bodies.
    pub(crate) fn new(count: usize, bytes: usize) -> Self {
        Self {
            now: Mutex::default(),
            limit: Load { count, bytes },
        }
    }

    /// Room for a body of `bytes`, given back on drop; `None` when it would be too much.
    fn room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let mut now = self.now.lock();
        let next = Load {
            count: now.count + 1,
            bytes: now.bytes.saturating_add(bytes),
        };
        if next.count > self.limit.count || next.bytes > self.limit.bytes {
            return None;
        }
        *now = next;
        Some(Room {
            held: Arc::clone(self),
            bytes,
        })
    }
}

#[derive(Debug)]
struct Room {
    held: Arc<Held>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut now = self.held.now.lock();
        now.count -= 1;
        now.bytes -= self.bytes;
    }
}

/// An append that came before its predecessor.
pub(crate) struct Hold {
    attempt: Attempt,
    reader: Reader,
    /// What the last refusal was decided on.
    seen: Lsn,
    watch: Option<WatchId>,
    deadline: Instant,
    _room: Room,
}

/// What became of a retry.
pub(crate) enum Retried {
    /// Still early: wait until then.
    Early(Instant),
    /// An outcome, whatever it is.
    Done(Tried),
}

impl Hold {
    /// Holds `attempt`, refused for what was decided up to `seen`, until `deadline`, when there is room
    /// and the stream can be watched.
    pub(crate) fn begin(
        engine: &Engine,
        held: &Arc<Held>,
        attempt: Attempt,
        seen: Lsn,
        deadline: Instant,
    ) -> Option<Self> {
        let room = held.room(attempt.body_len())?;
        let reader = engine.reader(attempt.path()).outcome.ok()?;
        Some(Self {
            attempt,
            reader,
            seen,
            watch: None,
            deadline,
            _room: room,
        })
    }

    /// Tries again. At the deadline every outcome counts.
    pub(crate) fn retry(&mut self, engine: &Engine, now: Instant) -> Retried {
        self.unwatch();
        let tried = self.attempt.clone().run(engine);
        if now < self.deadline && missing(&tried).is_some() {
            self.seen = tried.lsn;
            return Retried::Early(self.deadline);
        }
        Retried::Done(tried)
    }

    /// Arranges a wake at the next event decided on the stream, at once when there was one.
    pub(crate) fn watch(&mut self, sink: &Arc<dyn CompletionSink>, token: u64) {
        self.unwatch();
        self.watch = Some(self.reader.watch(WatchFor::Decided(self.seen), sink, token));
    }

    fn unwatch(&mut self) {
        if let Some(id) = self.watch.take() {
            self.reader.unwatch(id);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.unwatch();
    }
}

/// How many predecessors are missing, which may be on their way.
///
/// All but the first of them would have to be held, too: more than can be held will not come in time.
pub(crate) fn missing(tried: &Tried) -> Option<u64> {
    match &tried.outcome {
        Err(AppendError::Gap { expected, got }) if got > expected => Some(got - expected),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_by_count_and_bytes_and_given_back() {
        let held = Arc::new(Held::new(2, 10));
        let first = held.room(6).unwrap();
        assert!(held.room(5).is_none(), "too many bytes");
        let second = held.room(4).unwrap();
        assert!(held.room(0).is_none(), "too many appends");
        drop(first);
        assert!(held.room(6).is_some());
        drop(second);
        assert_eq!(held.now.lock().count, 0);
        assert_eq!(held.now.lock().bytes, 0);
    }
}
