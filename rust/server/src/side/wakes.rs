//! Wakes of the engine for the tasks of a side thread: one batch per commit group, and one notice for all that was
//! appended since the last look.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use durastream_engine::storage::{CommitError, Lsn};
use durastream_engine::{CompletionSink, Engine, Wake};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::loops::acks::Acks;
use crate::loops::slots::LOG;

/// Who waits, by token, and what has arrived.
#[derive(Default)]
pub(crate) struct Wakes {
    sink: Arc<Sink>,
    waiting: RefCell<HashMap<u64, Waiter>>,
    /// Those of them who wait for the log.
    acks: RefCell<Acks>,
    last: Cell<u64>,
}

enum Waiter {
    Once(oneshot::Sender<Wake>),
    Bell(Rc<Told>),
}

#[derive(Default)]
struct Sink {
    arrived: Mutex<Vec<(u64, Wake)>>,
    news: Notify,
}

impl CompletionSink for Sink {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        self.arrived.lock().append(batch);
        self.news.notify_one();
    }
}

/// A wait; dropping it forgets its token.
pub(crate) struct Waiting<'a> {
    wakes: &'a Wakes,
    token: u64,
    wake: oneshot::Receiver<Wake>,
}

impl Waiting<'_> {
    /// The wake, once it arrives. May be dropped and called again.
    pub(crate) async fn wake(&mut self) -> Option<Wake> {
        (&mut self.wake).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.wakes.waiting.borrow_mut().remove(&self.token);
    }
}

/// Tells one task of the log's progress, again and again; dropping it forgets its token.
pub(crate) struct Bell<'a> {
    wakes: &'a Wakes,
    token: u64,
    told: Rc<Told>,
}

/// What a bell was told.
#[derive(Default)]
struct Told {
    news: Notify,
    failed: RefCell<Option<CommitError>>,
}

impl Bell<'_> {
    /// Rings when `lsn` is durable. The engine is asked once for all who began since [`Wakes::pump`] last ran.
    pub(crate) fn ring_at(&self, lsn: Lsn) {
        self.wakes.acks.borrow_mut().add(lsn, self.token);
        self.wakes.sink.news.notify_one();
    }

    /// Returns once it has rung, for one LSN or several, since the last time.
    pub(crate) async fn rung(&self) {
        self.told.news.notified().await;
    }

    /// Takes the failure, if that is what was told: what it was to ring for will never be durable.
    pub(crate) fn failure(&self) -> Option<CommitError> {
        self.told.failed.take()
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.wakes.waiting.borrow_mut().remove(&self.token);
    }
}

impl Wakes {
    /// A bell that has not rung.
    pub(crate) fn bell(&self) -> Bell<'_> {
        let told = Rc::new(Told::default());
        Bell {
            wakes: self,
            token: self.enter(Waiter::Bell(Rc::clone(&told))),
            told,
        }
    }

    /// Hands a fresh token to `register`, and gives the wait for it.
    pub(crate) fn begin(
        &self,
        register: impl FnOnce(&Arc<dyn CompletionSink>, u64),
    ) -> Waiting<'_> {
        let waiting = self.wait();
        register(&self.sink(), waiting.token);
        waiting
    }

    /// Waits until `lsn` is durable. The engine is asked once for all who began since [`Self::pump`] last ran.
    pub(crate) fn begin_ack(&self, lsn: Lsn) -> Waiting<'_> {
        let waiting = self.wait();
        self.acks.borrow_mut().add(lsn, waiting.token);
        self.sink.news.notify_one();
        waiting
    }

    fn wait(&self) -> Waiting<'_> {
        let (sender, wake) = oneshot::channel();
        Waiting {
            wakes: self,
            token: self.enter(Waiter::Once(sender)),
            wake,
        }
    }

    fn enter(&self, waiter: Waiter) -> u64 {
        // Not LOG, which it would reach after 2^64 waits.
        let token = self.last.get().wrapping_add(1);
        self.last.set(token);
        self.waiting.borrow_mut().insert(token, waiter);
        token
    }

    fn sink(&self) -> Arc<dyn CompletionSink> {
        Arc::clone(&self.sink) as _
    }

    fn wake(&self, token: u64, wake: Wake) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(Waiter::Bell(told)) = waiting.get(&token) {
            if let Wake::Failed(cause) = wake {
                told.failed.replace(Some(cause));
            }
            told.news.notify_one();
        } else if let Some(Waiter::Once(task)) = waiting.remove(&token) {
            // One that has gone meanwhile needs no wake.
            let _ = task.send(wake);
        }
    }

    /// Hands wakes to the tasks that wait for them, for ever.
    pub(crate) async fn pump(&self, engine: &Engine) {
        loop {
            self.sink.news.notified().await;
            let arrived = std::mem::take(&mut *self.sink.arrived.lock());
            let mut acks = self.acks.borrow_mut();
            for (token, wake) in arrived {
                if token != LOG {
                    self.wake(token, wake);
                } else if let Wake::Failed(_) = wake {
                    while let Some(token) = acks.any() {
                        self.wake(token, wake.clone());
                    }
                }
            }
            while let Some(token) = acks.due(|lsn| engine.is_durable(lsn)) {
                self.wake(token, Wake::Ready);
            }
            if let Some(lsn) = acks.ask(|lsn| engine.is_durable(lsn)) {
                engine.notify(lsn, &self.sink(), LOG);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn has_rung(bell: &Bell<'_>) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        pin!(bell.rung()).poll(&mut nobody).is_ready()
    }

    #[test]
    fn a_bell_rings_once_for_all_that_it_was_told_at_once_and_then_again() {
        let wakes = Wakes::default();
        let (one, other) = (wakes.bell(), wakes.bell());
        assert!(!has_rung(&one));
        for _ in 0..2 {
            wakes.wake(one.token, Wake::Ready);
            wakes.wake(one.token, Wake::Ready);
            assert!(has_rung(&one) && !has_rung(&one) && !has_rung(&other));
        }
        assert!(one.failure().is_none());
    }

    #[test]
    fn a_failure_is_told_once() {
        let wakes = Wakes::default();
        let bell = wakes.bell();
        wakes.wake(bell.token, Wake::Failed(CommitError::Closed));
        assert!(has_rung(&bell));
        assert!(matches!(bell.failure(), Some(CommitError::Closed)));
        assert!(bell.failure().is_none());
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let wakes = Wakes::default();
        drop((wakes.bell(), wakes.wait()));
        assert!(wakes.waiting.borrow().is_empty());
        wakes.wake(1, Wake::Ready);
    }
}
