//! The end of an answer, and of a connection: no answer is lost to bytes that nobody read.

use std::io;
use std::sync::atomic::Ordering;

use super::body::Body;
use super::connection::{Connection, Flow, Phase};
use super::input::Fill;
use crate::loops::desk::Desk;
use crate::refusal;

/// A body rest up to this is read and dropped to keep the connection; a longer one ends it.
pub(super) const KEEP_ALIVE_DRAIN: u64 = 64 << 10;

impl Connection {
    /// Drops the rest of a body whose request is answered already.
    pub(super) fn discard(&mut self, desk: &mut Desk, left: u64) -> io::Result<Flow> {
        let mut dropped = Vec::new();
        match self.body.take(self.input.bytes(), &mut dropped, usize::MAX) {
            Ok(used) => self.input.consume(used),
            // It was answered; what follows cannot be understood.
            Err(_) => return Ok(Flow::Close),
        }
        let left = left.checked_sub(dropped.len() as u64);
        if self.body.ended() {
            self.next_request(desk);
            return Ok(Flow::Go);
        }
        let Some(left) = left else {
            return Ok(Flow::Close);
        };
        self.phase = Phase::Discard { left };
        // `since` stays: however it trickles in, it has one stall's time.
        Ok(match self.fill(desk)? {
            Fill::Some => Flow::Go,
            Fill::Nothing => Flow::Stop,
            Fill::End => Flow::Close,
        })
    }

    pub(super) fn linger(&mut self, desk: &mut Desk, left: u64, shut: bool) -> io::Result<Flow> {
        if !shut {
            self.socket.shutdown_write()?;
            self.since = desk.now;
        }
        let Some(left) = left.checked_sub(self.input.discard() as u64) else {
            return Ok(Flow::Close);
        };
        self.phase = Phase::Linger { left, shut: true };
        Ok(match self.fill(desk)? {
            Fill::Some => Flow::Go,
            Fill::Nothing => Flow::Stop,
            Fill::End => Flow::Close,
        })
    }

    /// The request first: closing over unread bytes would reset the answer away.
    pub(super) fn refuse_connection(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        match self.fill(desk)? {
            Fill::Nothing => return Ok(Flow::Stop),
            Fill::End => return Ok(Flow::Close),
            Fill::Some => self.input.discard(),
        };
        self.close = true;
        // The head was not parsed: what follows it is dropped like a body.
        self.body = Body::Length(u64::MAX);
        let open = desk.counts.connections.load(Ordering::Relaxed);
        let most = desk.limits.max_connections;
        let response = refusal::too_many_connections(&desk.service, open, most);
        self.respond(desk, response)
    }

    /// Closing over bytes that were not read would reset the connection, and the answer with it.
    pub(super) fn close_or_linger(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        if self.input.is_empty() && self.fill(desk)? != Fill::Some {
            return Ok(Flow::Close);
        }
        let left = desk.limits.linger_bytes;
        self.phase = Phase::Linger { left, shut: false };
        Ok(Flow::Go)
    }
}
