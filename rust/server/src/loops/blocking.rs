//! Threads for what blocks: cold reads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use durastream_protocol::Exchange;
use parking_lot::Mutex;

use super::mailbox::Mailbox;

/// Threads that may block.
const THREADS: usize = 4;

/// An exchange whose blocking part is to be done.
pub(crate) struct Job {
    pub(crate) exchange: Box<Exchange>,
    /// Names the connection that waits for it.
    pub(crate) token: u64,
    pub(crate) mailbox: Arc<Mailbox>,
}

/// Starts the threads. They end once every sender is gone.
pub(crate) fn start() -> io::Result<Sender<Job>> {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..THREADS {
        let receiver = Arc::clone(&receiver);
        thread::Builder::new()
            .name("durastream-cold".to_owned())
            .spawn(move || work(&receiver))?;
    }
    Ok(sender)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().recv();
        let Ok(mut job) = next else { return };
        let done = catch_unwind(AssertUnwindSafe(|| job.exchange.block()));
        if done.is_err() {
            tracing::error!("a cold read panicked");
        }
        let exchange = done.is_ok().then_some(job.exchange);
        job.mailbox
            .put(|letters| letters.unblocked.push((job.token, exchange)));
    }
}
