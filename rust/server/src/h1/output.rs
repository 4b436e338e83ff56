//! Bytes on their way to a peer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::socket::Socket;

/// Pieces handed to the system in one call.
const PIECES: usize = 32;
/// A peer that takes this much within the write deadline counts as alive.
const ALIVE_BYTES: usize = 64 << 10;

/// What waits to be written. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    /// The socket took less than it was given.
    blocked: bool,
    /// Since when the peer has left us waiting.
    since: Option<Instant>,
    taken: usize,
}

impl Output {
    /// Since when the peer has taken nothing that counts.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The socket takes bytes again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Writes `bytes` at once if nothing waits; keeps a copy of what the socket does not take.
    pub(crate) fn write(&mut self, socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
        let written = self.write_now(socket, bytes)?;
        let rest = bytes.get(written..).unwrap_or_default();
        self.push(Bytes::copy_from_slice(rest));
        Ok(())
    }

    /// The same with a shared piece, of which nothing is copied.
    pub(crate) fn write_piece(&mut self, socket: &mut Socket, mut piece: Bytes) -> io::Result<()> {
        piece.advance(self.write_now(socket, &piece)?);
        self.push(piece);
        Ok(())
    }

    fn write_now(&self, socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
        if self.blocked || !self.pieces.is_empty() {
            return Ok(0);
        }
        match socket.write_vectored(&[IoSlice::new(bytes)]) {
            Err(error) if is_transient(&error) => Ok(0),
            written => written,
        }
    }

    /// Writes what the socket takes; whether that was all.
    pub(crate) fn flush(&mut self, socket: &mut Socket, now: Instant) -> io::Result<bool> {
        while !self.pieces.is_empty() && !self.blocked {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            match socket.write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(written) => {
                    self.drop_front(written);
                    self.taken += written;
                    if self.taken >= ALIVE_BYTES {
                        self.taken = 0;
                        self.since = None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => return Err(error),
            }
        }
        if self.pieces.is_empty() && socket.drain()? {
            if self.pieces.capacity() > 0 {
                self.pieces = VecDeque::new();
            }
            self.since = None;
            self.taken = 0;
            return Ok(true);
        }
        self.since.get_or_insert(now);
        Ok(false)
    }

    fn drop_front(&mut self, mut size: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > size {
                piece.advance(size);
                return;
            }
            size -= piece.len();
            self.pieces.pop_front();
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
