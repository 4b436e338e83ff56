//! What reaches a loop from other threads: one list and one eventfd.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use durastream_engine::{CompletionSink, Wake};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use super::blocking::Done;
use super::desk::Share;
use crate::side::forward::Relayed;
use crate::socket::Socket;

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    /// Its part in the count of connections, once it has one.
    pub(crate) counted: Option<Share>,
    /// It begins with a TLS handshake.
    pub(crate) tls: bool,
}

/// Everything that arrived since the last look.
#[derive(Default)]
pub(crate) struct Letters {
    /// Tokens of waits that are over: one batch per commit group.
    pub(crate) wakes: Vec<(u64, Wake)>,
    pub(crate) accepted: Vec<Accepted>,
    /// What the blocking threads have done, by token.
    pub(crate) unblocked: Vec<(u64, Done)>,
    /// News of requests that another listener answers, by token.
    pub(crate) relayed: Vec<(u64, Relayed)>,
    /// Finish until then.
    pub(crate) stop: Option<Instant>,
}

impl Letters {
    fn is_empty(&self) -> bool {
        self.wakes.is_empty()
            && self.accepted.is_empty()
            && self.unblocked.is_empty()
            && self.relayed.is_empty()
            && self.stop.is_none()
    }
}

/// The mailbox of one loop.
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    pub(crate) event: OwnedFd,
}

impl Mailbox {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            letters: Mutex::default(),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Adds to the letters; only the first of them since the last look writes the eventfd.
    pub(crate) fn put(&self, add: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters.lock();
        let first = letters.is_empty();
        add(&mut letters);
        let ring = first && !letters.is_empty();
        drop(letters);
        if ring {
            // It can only fail with EAGAIN, when the counter is full: then it is readable anyway.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Takes all letters, leaving `spare` (empty) in their place.
    pub(crate) fn take(&self, spare: Letters) -> Letters {
        // Before the letters: whoever puts one after them writes the eventfd again.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        std::mem::replace(&mut *self.letters.lock(), spare)
    }
}

impl CompletionSink for Mailbox {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        self.put(|letters| letters.wakes.append(batch));
    }
}
