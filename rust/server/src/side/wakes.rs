//! Wakes of the engine for the tasks of a side thread: one batch per commit group.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use durastream_engine::{CompletionSink, Wake};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Who waits, by token, and what has arrived.
#[derive(Default)]
pub(crate) struct Wakes {
    sink: Arc<Sink>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Wake>>>,
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
        let token = self.last.get().wrapping_add(1);
        self.last.set(token);
        let (sender, wake) = oneshot::channel();
        self.waiting.borrow_mut().insert(token, sender);
        let sink: Arc<dyn CompletionSink> = Arc::clone(&self.sink) as _;
        register(&sink, token);
        Waiting {
            wakes: self,
            token,
            wake,
        }
    }

    /// Hands wakes to the tasks that wait for them, for ever.
    pub(crate) async fn pump(&self) {
        loop {
            self.sink.news.notified().await;
            let arrived = std::mem::take(&mut *self.sink.arrived.lock());
            let mut waiting = self.waiting.borrow_mut();
            for (token, wake) in arrived {
                if let Some(task) = waiting.remove(&token) {
                    // One that has gone meanwhile needs no wake.
                    let _ = task.send(wake);
                }
            }
        }
    }
}
