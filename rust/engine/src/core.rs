//! What the engine's one lock guards. No I/O happens under it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use durastream_storage::{CommitError, Lsn, Placed, PushError, Store};
use parking_lot::{Mutex, MutexGuard};

use crate::StreamPath;
use crate::event::Event;
use crate::moment::Millis;
use crate::rules::apply;
use crate::state::{Effect, EffectKind, State};
use crate::stream::Phase;
use crate::watch::{Notices, Wakes, Watches};

/// The state and who waits for it. Shared with the store, which tells it of commits.
pub(crate) struct Core {
    inner: Mutex<Inner>,
    /// A copy of `Inner::durable`, for those who only ask.
    durable: AtomicU64,
}

/// Everything under the lock.
pub(crate) struct Inner {
    /// What has been decided.
    pub(crate) state: State,
    /// What has been decided and is not durable, in LSN order.
    pub(crate) effects: VecDeque<Effect>,
    /// Deletions among them: while there are any, an absence may depend on one.
    pub(crate) removals: usize,
    /// Up to here, readers may know.
    pub(crate) durable: Lsn,
    /// End of the last frame.
    pub(crate) end: Lsn,
    pub(crate) watches: Watches,
    pub(crate) notices: Notices,
    pub(crate) counts: Counts,
    /// Scratch space for a frame's configuration bytes.
    meta: Vec<u8>,
}

/// What is counted under the lock; see [`crate::EngineStats`].
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) appends: u64,
    pub(crate) append_bytes: u64,
    pub(crate) duplicates: u64,
    pub(crate) refusals: u64,
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) expired: u64,
    pub(crate) retention_trims: u64,
}

impl Core {
    pub(crate) fn new(state: State) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state,
                effects: VecDeque::new(),
                removals: 0,
                durable: 0,
                end: 0,
                watches: Watches::default(),
                notices: Notices::default(),
                counts: Counts::default(),
                meta: Vec::new(),
            }),
            durable: AtomicU64::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What readers may know, never ahead of what they are shown.
    pub(crate) fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    /// Advances the durable view and collects whom that wakes.
    pub(crate) fn advance(&self, durable: Lsn, wakes: &mut Wakes) {
        let mut inner = self.lock();
        inner.advance(durable, wakes);
        self.durable.store(inner.durable, Ordering::Release);
    }
}

impl Inner {
    fn advance(&mut self, durable: Lsn, wakes: &mut Wakes) {
        if durable <= self.durable {
            return;
        }
        self.durable = durable;
        while let Some(effect) = self.effects.pop_front_if(|effect| effect.end <= durable) {
            let gone = matches!(effect.kind, EffectKind::Removed | EffectKind::Softened);
            if gone {
                self.removals -= 1;
            }
            if gone {
                self.watches.fire_readable(effect.id, 0, true, wakes);
            } else if let Some(stream) = self.state.stream(effect.id) {
                let (tail, last) = (stream.tail_at(durable), stream.closed_at(durable));
                self.watches.fire_readable(effect.id, tail, last, wakes);
            }
            self.state.settle(&effect);
        }
        self.notices.fire(durable, wakes);
    }

    /// Tells all who wait that nothing more will be durable.
    pub(crate) fn fail(&mut self, cause: &CommitError, wakes: &mut Wakes) {
        self.watches.fail(cause, wakes);
        self.notices.fail(cause, wakes);
    }

    /// Logs an event and applies it.
    pub(crate) fn record(
        &mut self,
        store: &Store,
        event: &Event,
        payload: &Bytes,
        wakes: &mut Wakes,
    ) -> Result<Placed, PushError> {
        let placed = store.push(&event.head(&mut self.meta), payload)?;
        self.end = placed.end;
        let known = self.effects.len();
        let len = payload.len();
        if let Err(impossible) = apply(&mut self.state, event, len, placed, &mut self.effects) {
            tracing::error!(%impossible, "an event was decided that the rules forbid");
        }
        for effect in self.effects.range(known..) {
            if matches!(effect.kind, EffectKind::Removed | EffectKind::Softened) {
                self.removals += 1;
            }
            self.watches.fire_decided(effect.id, wakes);
        }
        Ok(placed)
    }

    /// What an absence depends on: any deletion that is not durable yet.
    pub(crate) fn absence(&self) -> Lsn {
        if self.removals > 0 { self.end } else { 0 }
    }

    /// Deletes the stream at a path if its time is over, so that it is gone at once by the clock.
    pub(crate) fn expire_at(
        &mut self,
        store: &Store,
        path: &StreamPath,
        now: Millis,
        wakes: &mut Wakes,
    ) -> Result<(), PushError> {
        match self.state.at(path) {
            Some(stream) if stream.is_expired(now) => {
                let id = stream.id;
                self.expire(store, id, wakes)
            }
            _ => Ok(()),
        }
    }

    /// Deletes a stream whose time is over.
    pub(crate) fn expire(
        &mut self,
        store: &Store,
        id: u64,
        wakes: &mut Wakes,
    ) -> Result<(), PushError> {
        let event = Event::Delete { id, expired: true };
        self.record(store, &event, &Bytes::new(), wakes)?;
        self.counts.expired += 1;
        Ok(())
    }

    /// Deletes up to `most` streams whose time is over; `true` when more may be waiting.
    pub(crate) fn reap(
        &mut self,
        store: &Store,
        now: Millis,
        most: usize,
        wakes: &mut Wakes,
    ) -> Result<bool, PushError> {
        for _ in 0..most {
            let Some(&(queued, id)) = self.state.deadlines.first() else {
                return Ok(false);
            };
            if queued > now {
                return Ok(false);
            }
            // The queue lags behind accesses; it catches up here.
            let deadline = match self.state.stream_mut(id) {
                Some(stream) if stream.phase == Phase::Live => stream.lifetime.as_mut(),
                _ => None,
            }
            .map(|lifetime| {
                let deadline = lifetime.deadline();
                if deadline > now {
                    lifetime.queued = deadline;
                }
                deadline
            });
            match deadline {
                Some(deadline) if deadline <= now => self.expire(store, id, wakes)?,
                later => {
                    self.state.deadlines.remove(&(queued, id));
                    if let Some(deadline) = later {
                        self.state.deadlines.insert((deadline, id));
                    }
                }
            }
        }
        Ok(true)
    }

    /// Notes that a stream was read or written; `true` when an event was logged for it.
    pub(crate) fn touch(&mut self, store: &Store, id: u64, now: Millis, wakes: &mut Wakes) -> bool {
        let Some(stream) = self.state.stream_mut(id) else {
            return false;
        };
        let wanted = stream
            .lifetime
            .as_mut()
            .is_some_and(|lifetime| lifetime.access(now));
        let event = Event::Touch { id, at: now };
        // Not logged now, it will be at the next access.
        wanted && self.record(store, &event, &Bytes::new(), wakes).is_ok()
    }
}
