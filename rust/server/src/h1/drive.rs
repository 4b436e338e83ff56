//! Drives the exchange of a connection and writes its answer.

use std::io;

use bytes::Bytes;
use durastream_engine::storage::Chunk;
use durastream_protocol::{Response, Step};

use super::answer::{self, Manner};
use super::body::Body;
use super::chunks::size_line;
use super::connection::{Connection, Flow, Phase};
use super::ending::KEEP_ALIVE_DRAIN;
use crate::limits::Pace;
use crate::loops::blocking::Work;
use crate::loops::desk::Desk;
use crate::loops::slots::slot_of;

/// A body up to this is copied behind its head, to leave in one write.
const COPIED_BYTES: usize = 8 << 10;

impl Connection {
    /// Steps the exchange until it wants something.
    pub(crate) fn step(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        loop {
            let Some(exchange) = &mut self.exchange else {
                return Ok(Flow::Close);
            };
            match exchange.step(desk.now) {
                Step::NeedBody { limit } => {
                    if let Body::Length(size) = self.body
                        && size > limit as u64
                    {
                        exchange.body_too_large(Some(size));
                        continue;
                    }
                    if self.body.ended() {
                        exchange.body(Bytes::new());
                        continue;
                    }
                    if std::mem::take(&mut self.framing.expects) && self.input.is_empty() {
                        self.output
                            .push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
                    }
                    self.since = desk.now;
                    let mut pace = Pace::begin(&desk.limits, desk.now);
                    pace.go_on(&desk.limits, desk.now, self.input.bytes().len());
                    self.phase = Phase::Body { limit, pace };
                    return Ok(Flow::Go);
                }
                Step::Respond(response) => return self.respond(desk, response),
                Step::Send(response) => return self.respond(desk, response),
                Step::Start(response) => self.start(desk, &response),
                Step::Chunk(data) => {
                    self.chunk(desk, data)?;
                    return Ok(Flow::Go);
                }
                Step::End => {
                    self.end_chunks();
                    self.finish(desk);
                    return Ok(Flow::Go);
                }
                Step::Wait { until } => {
                    // An acknowledgement comes with the next commit, whatever the client does.
                    if until.is_some() && self.input.hung_up() {
                        return Ok(Flow::Close);
                    }
                    self.phase = Phase::Waiting {
                        until,
                        token: None,
                        crowded: None,
                    };
                    desk.waiting.push(slot_of(desk.current));
                    return Ok(Flow::Go);
                }
                Step::Block => {
                    let Some(exchange) = self.exchange.take() else {
                        return Ok(Flow::Close);
                    };
                    self.phase = Phase::Blocked;
                    let sent = desk.block(Work::Exchange(exchange));
                    return Ok(if sent { Flow::Go } else { Flow::Close });
                }
                step => {
                    tracing::error!(?step, "a step that this listener does not know");
                    return Ok(Flow::Close);
                }
            }
        }
    }

    /// Writes a whole response.
    pub(crate) fn respond<T: Chunk>(
        &mut self,
        desk: &mut Desk,
        response: Response<T>,
    ) -> io::Result<Flow> {
        self.chunked = false;
        self.encode_head(desk, &response);
        let silent = self.framing.is_head || matches!(response.status, 204 | 304);
        let mut body = if silent { Vec::new() } else { response.body };
        let size = body.iter().map(T::len).sum();
        self.asked.sent(&desk.tally, size);
        if size <= COPIED_BYTES {
            for piece in body.iter_mut().filter_map(T::in_memory) {
                desk.out.extend_from_slice(piece);
            }
            self.output.write(&mut self.socket, &desk.out)?;
        } else {
            self.output.push(Bytes::copy_from_slice(&desk.out));
            for piece in body {
                self.output.push(piece);
            }
        }
        self.finish(desk);
        Ok(Flow::Go)
    }

    /// Queues the head of a response that comes in pieces; it leaves with the first of them.
    fn start(&mut self, desk: &mut Desk, response: &Response) {
        self.frame_chunks(false);
        self.encode_head(desk, response);
        self.output.push(Bytes::copy_from_slice(&desk.out));
    }

    /// Chooses how a body that comes in pieces ends; `framed`: by itself.
    pub(super) fn frame_chunks(&mut self, framed: bool) {
        self.chunked = self.framing.http11 && !framed;
        // HTTP/1.0 has no other end for a body without length.
        self.close |= !self.chunked && !framed;
    }

    /// Sends a piece of the body, or queues it.
    pub(super) fn chunk(&mut self, desk: &mut Desk, data: Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.asked.sent(&desk.tally, data.len());
        if !self.chunked {
            return self.output.write_piece(&mut self.socket, data);
        }
        if let Some(whole) = desk.chunks.whole(&data) {
            return self.output.write_piece(&mut self.socket, whole);
        }
        self.output.push(Bytes::from(size_line(data.len())));
        self.output.push(data);
        self.output.push(Bytes::from_static(b"\r\n"));
        Ok(())
    }

    pub(super) fn end_chunks(&mut self) {
        if self.chunked {
            self.output.push(Bytes::from_static(b"0\r\n\r\n"));
        }
    }

    fn encode_head<T>(&mut self, desk: &mut Desk, response: &Response<T>) {
        self.asked.answered(&desk.tally, response.status, desk.now);
        let manner = self.manner(desk);
        let fields = response
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value));
        desk.out.clear();
        answer::encode(
            &mut desk.out,
            response.status,
            fields,
            desk.clock.text(),
            manner,
        );
    }

    /// How the answer is framed, as known when its head is made.
    pub(super) fn manner(&mut self, desk: &Desk) -> Manner {
        self.close |= desk.stopping || self.too_much_unread();
        Manner {
            http11: self.framing.http11,
            close: self.close,
            chunked: self.chunked,
        }
    }

    /// Whether the rest of the request body is not worth reading to keep the connection.
    fn too_much_unread(&self) -> bool {
        match self.body {
            Body::Ended => false,
            Body::Length(left) => self.framing.expects || left > KEEP_ALIVE_DRAIN,
            Body::Chunked(_) => true,
        }
    }

    /// The answer is out (or queued): on to the next request, or to the end.
    pub(super) fn finish(&mut self, desk: &Desk) {
        self.exchange = None;
        self.asked.finished();
        self.since = desk.now;
        if !self.close {
            if self.body.ended() {
                self.next_request(desk);
            } else {
                let left = KEEP_ALIVE_DRAIN;
                self.phase = Phase::Discard { left };
            }
        } else if self.body.ended() {
            self.phase = Phase::Closing;
        } else {
            let left = desk.limits.linger_bytes;
            self.phase = Phase::Linger { left, shut: false };
        }
    }

    /// Ready for the next request.
    pub(crate) fn next_request(&mut self, desk: &Desk) {
        self.since = desk.now;
        self.phase = Phase::Head;
    }
}
