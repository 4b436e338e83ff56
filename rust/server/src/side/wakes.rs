//! Wakes of the engine for the tasks of a side thread: one batch per commit group, and one notice for all that was
//! appended since the last look.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use durastream_engine::storage::Lsn;
use durastream_engine::{CompletionSink, Engine, Wake};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::loops::acks::Acks;
use crate::loops::slots::LOG;

/// Who waits, by token, and what has arrived.
#[derive(Default)]
pub(crate) struct Wakes {
    sink: Arc<Sink>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Wake>>>,
    /// Those of them who wait for the log.
    acks: RefCell<Acks>,
    last: Cell<u64>,
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

impl Wakes {
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
        // Not LOG, which it would reach after 2^64 waits.
        let token = self.last.get().wrapping_add(1);
        self.last.set(token);
        let (sender, wake) = oneshot::channel();
        self.waiting.borrow_mut().insert(token, sender);
        Waiting {
            wakes: self,
            token,
            wake,
        }
    }

    fn sink(&self) -> Arc<dyn CompletionSink> {
        Arc::clone(&self.sink) as _
    }

    fn wake(&self, token: u64, wake: Wake) {
        if let Some(task) = self.waiting.borrow_mut().remove(&token) {
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
