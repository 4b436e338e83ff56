//! Bytes from a peer that were not used yet.

use std::io::{self, ErrorKind};

use crate::socket::Socket;

/// A buffer that outlives a request only up to this size.
const KEPT_BYTES: usize = 1 << 10;

/// What a look at the socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// More bytes.
    Some,
    /// Nothing for now.
    Nothing,
    /// The peer sends nothing more.
    End,
}

/// Bytes from a peer that were not used yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    used: usize,
    /// The socket may have more. Its event comes once, so this is kept until a read found nothing.
    readable: bool,
    /// The peer has said that it sends nothing more, or is gone: a read finds the end.
    hung_up: bool,
}

impl Input {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == self.buffer.len()
    }

    pub(crate) fn notice(&mut self, readable: bool, hung_up: bool) {
        self.readable |= readable | hung_up;
        self.hung_up |= hung_up;
    }

    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Marks bytes as used; large buffers go when they are empty.
    pub(crate) fn consume(&mut self, size: usize) {
        self.used = (self.used + size).min(self.buffer.len());
        if self.is_empty() {
            self.used = 0;
            if self.buffer.capacity() > KEPT_BYTES {
                self.buffer = Vec::new();
            } else {
                self.buffer.clear();
            }
        }
    }

    /// Drops everything.
    pub(crate) fn discard(&mut self) -> usize {
        let size = self.bytes().len();
        self.consume(size);
        size
    }

    /// Reads once from the socket, by way of `scratch`.
    pub(crate) fn fill(&mut self, socket: &mut Socket, scratch: &mut [u8]) -> io::Result<Fill> {
        if !self.readable {
            return Ok(Fill::Nothing);
        }
        let read = loop {
            match socket.read(scratch) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Ok(Fill::End),
            Ok(size) => {
                // A short read emptied the socket; news of the end comes as an event of its own.
                self.readable =
                    size == scratch.len() || self.hung_up || !socket.short_read_empties();
                self.buffer.drain(..self.used);
                self.used = 0;
                self.buffer
                    .extend_from_slice(scratch.get(..size).unwrap_or_default());
                Ok(Fill::Some)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Fill::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}
