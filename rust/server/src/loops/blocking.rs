//! Threads for what blocks: cold reads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use durastream_engine::storage::FilePart;
use durastream_protocol::Exchange;
use parking_lot::Mutex;

use super::mailbox::Mailbox;

/// Threads that may block.
const THREADS: usize = 4;

/// What may block.
pub(crate) enum Work {
    /// The blocking part of an exchange.
    Exchange(Box<Exchange>),
    /// To read so much of a file that it can be sent.
    Warm(FilePart, usize),
}

/// What became of it.
pub(crate) enum Done {
    /// None if it failed.
    Exchange(Option<Box<Exchange>>),
    /// Whether it can be sent.
    Warm(bool),
}

/// Work for a connection.
pub(crate) struct Job {
    pub(crate) work: Work,
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
        let Ok(Job {
            work,
            token,
            mailbox,
        }) = next
        else {
            return;
        };
        let done = match work {
            Work::Exchange(mut exchange) => {
                let done = catch_unwind(AssertUnwindSafe(|| exchange.block()));
                if done.is_err() {
                    tracing::error!("a cold read panicked");
                }
                Done::Exchange(done.is_ok().then_some(exchange))
            }
            Work::Warm(part, bytes) => Done::Warm(match part.warm(bytes) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "an answer was cut short");
                    false
                }
            }),
        };
        mailbox.put(|letters| letters.unblocked.push((token, done)));
    }
}
