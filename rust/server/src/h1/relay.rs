//! A request that another listener answers: its body goes there, the answer comes back, both in pieces.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use durastream_protocol::RequestHead;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::answer;
use super::connection::{Connection, Flow, Phase};
use super::head::{Framing, Length, Refused};
use super::input::Fill;
use crate::loops::desk::Desk;
use crate::refusal;
use crate::side::Order;
use crate::side::forward::{Job, Relayed};
use crate::side::upstream::{self, Piece};

/// Pieces of a request body under way.
const PIECES: usize = 4;

/// A request to be handed over.
pub(crate) struct Handover {
    socket: PathBuf,
    request: Request<()>,
}

impl Handover {
    pub(crate) fn new(
        socket: PathBuf,
        head: &RequestHead<'_>,
        target: &str,
    ) -> Result<Self, Refused> {
        let refused = |detail| Refused {
            status: 400,
            detail,
        };
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(head.method.as_bytes())
            .map_err(|_| refused("the method is not a token"))?;
        *request.uri_mut() = target
            .parse()
            .map_err(|_| refused("the request target is not a path"))?;
        let fields = request.headers_mut();
        for (name, value) in head.headers {
            let name = HeaderName::from_bytes(name);
            let value = HeaderValue::from_bytes(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(refused("a header field cannot be passed on"));
            };
            fields.append(name, value);
        }
        let scheme = if head.scheme == "https" {
            "https"
        } else {
            "http"
        };
        upstream::adapt(fields, scheme);
        if let Ok(host) = HeaderValue::from_str(head.authority) {
            fields.insert(header::HOST, host);
        }
        Ok(Self { socket, request })
    }
}

/// What a connection keeps of a request handed over.
pub(crate) struct Relay {
    /// For the body, while it is wanted and not all there.
    pieces: Option<mpsc::Sender<Piece>>,
    arrived: VecDeque<Relayed>,
    written: Arc<Semaphore>,
    /// The head of the answer was sent.
    begun: bool,
    /// The client is the one that is waited for.
    pub(crate) awaits_body: bool,
    /// Tells, when dropped, that nobody wants the answer any more.
    _present: oneshot::Sender<()>,
}

impl Relay {
    /// Whether another piece of the body is wanted now.
    fn has_room(&self) -> bool {
        self.pieces
            .as_ref()
            .is_some_and(|pieces| pieces.capacity() > 0 && !pieces.is_closed())
    }
}

impl Connection {
    pub(crate) fn hand_over(&mut self, desk: &Desk, handover: Handover, framing: Framing) -> Flow {
        let (sender, pieces) = mpsc::channel(PIECES);
        let (present, gone) = oneshot::channel();
        let written = Arc::new(Semaphore::new(0));
        let length = match framing.length {
            Length::Known(length) => Some(length),
            Length::Chunked => None,
        };
        let job = Job {
            socket: handover.socket,
            request: handover.request,
            length,
            pieces,
            token: desk.current,
            mailbox: Arc::clone(&desk.mailbox),
            written: Arc::clone(&written),
            gone,
        };
        if std::mem::take(&mut self.framing.expects) && self.input.is_empty() {
            self.output
                .push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        self.relay = Some(Box::new(Relay {
            pieces: (!self.body.ended()).then_some(sender),
            arrived: VecDeque::new(),
            written,
            begun: false,
            awaits_body: false,
            _present: present,
        }));
        self.phase = Phase::Relaying;
        self.since = desk.now;
        // It ends after the loops only.
        match desk.side.send(Order::Forward(Box::new(job))) {
            Ok(()) => Flow::Go,
            Err(_) => Flow::Close,
        }
    }

    /// Keeps what has become of the request.
    pub(crate) fn relayed(&mut self, event: Relayed, now: Instant) {
        if let Some(relay) = &mut self.relay {
            self.since = now;
            relay.arrived.push_back(event);
        }
    }

    /// Passes on what is there, one way or the other.
    pub(crate) fn relay(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        let Some(relay) = &mut self.relay else {
            return Ok(Flow::Close);
        };
        relay.awaits_body = false;
        match relay.arrived.pop_front() {
            None => return self.relay_body(desk),
            Some(Relayed::Room) => {}
            Some(Relayed::Head(status, fields)) => {
                relay.begun = true;
                self.relay_head(desk, status, &fields);
            }
            Some(Relayed::Piece(data)) => {
                relay.written.add_permits(1);
                self.chunk(desk, data)?;
            }
            Some(Relayed::End) => {
                self.relay = None;
                self.end_chunks();
                self.finish(desk);
            }
            Some(Relayed::Failed) => {
                let begun = relay.begun;
                self.relay = None;
                if begun {
                    return Ok(Flow::Close);
                }
                let response = refusal::bad_gateway(&desk.service);
                return self.respond(desk, response);
            }
        }
        Ok(Flow::Go)
    }

    fn relay_head(&mut self, desk: &mut Desk, status: u16, fields: &HeaderMap) {
        let silent = self.framing.is_head || matches!(status, 204 | 304);
        let framed = silent || fields.contains_key(header::CONTENT_LENGTH);
        self.frame_chunks(framed);
        self.asked.answered(&desk.tally, status, desk.now);
        let manner = self.manner(desk);
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        desk.out.clear();
        answer::encode(&mut desk.out, status, fields, desk.clock.text(), manner);
        self.output.push(Bytes::copy_from_slice(&desk.out));
    }

    /// Passes on a piece of the request body.
    fn relay_body(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        if !self.relay.as_ref().is_some_and(|relay| relay.has_room()) {
            return Ok(Flow::Stop);
        }
        if self.body.ended() {
            self.relay_piece(Piece::End);
            return Ok(Flow::Stop);
        }
        let mut data = Vec::new();
        match self.body.take(self.input.bytes(), &mut data, usize::MAX) {
            Ok(used) => self.input.consume(used),
            Err(bad) => {
                // Its other end sees a body cut short.
                let begun = self.relay.take().is_some_and(|relay| relay.begun);
                let refused = Refused {
                    status: 400,
                    detail: bad.0,
                };
                return if begun {
                    Ok(Flow::Close)
                } else {
                    self.refuse(desk, refused)
                };
            }
        }
        if !data.is_empty() {
            self.asked.received(&desk.tally, data.len());
            self.relay_piece(Piece::Data(Bytes::from(data)));
            return Ok(Flow::Go);
        }
        if self.body.ended() {
            return Ok(Flow::Go);
        }
        if let Some(relay) = &mut self.relay {
            relay.awaits_body = true;
        }
        Ok(match self.fill(desk)? {
            Fill::Some => {
                self.since = desk.now;
                Flow::Go
            }
            Fill::Nothing => Flow::Stop,
            Fill::End => Flow::Close,
        })
    }

    fn relay_piece(&mut self, piece: Piece) {
        let Some(relay) = &mut self.relay else { return };
        let last = matches!(piece, Piece::End);
        let sent = relay.pieces.as_ref().map(|pieces| pieces.try_send(piece));
        // Whoever does not want it all answers without.
        if last || !matches!(sent, Some(Ok(()))) {
            relay.pieces = None;
        }
    }
}
