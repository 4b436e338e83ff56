//! One connection: what it waits for, and what it reads.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::{CompletionSink, Wake};
use durastream_protocol::{Exchange, RequestHead, Response};

use crate::body::Body;
use crate::desk::{Desk, Share};
use crate::head::{self, Framing, Length, Refused, Scan};
use crate::input::{Fill, Input};
use crate::output::Output;
use crate::{Limits, probes};

/// Steps of one connection in one turn, so that a busy one leaves time to the others.
const STEPS_PER_TURN: usize = 64;
/// A body rest up to this is read and dropped to keep the connection; a longer one ends it.
pub(crate) const KEEP_ALIVE_DRAIN: u64 = 64 << 10;
/// How much of a declared body is made room for before it arrives.
const BODY_RESERVE: usize = 1 << 20;
/// How long a client over the limit of connections has to say something, so that it can be told.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What becomes of a connection after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits for an event.
    Open,
    /// It has more to do at once.
    Again,
    /// It is over.
    Closed,
}

/// What to do after a step.
pub(crate) enum Flow {
    Go,
    Stop,
    Close,
}

/// What a connection is at.
pub(crate) enum Phase {
    /// Reads a request head.
    Head,
    /// Reads a request body of at most `limit` bytes.
    Body { limit: usize },
    /// The exchange is to be stepped.
    Running,
    /// The exchange waits, for a wake or until then.
    Waiting {
        until: Option<Instant>,
        /// The name of the wake, once it is arranged.
        token: Option<u64>,
    },
    /// The exchange is with a blocking thread.
    Blocked,
    /// Drops the rest of a request body, at most so many bytes.
    Discard { left: u64 },
    /// Sends nothing more; drops what the peer still sends. Closing at once would reset the
    /// connection, and the answer just sent could be lost with it.
    Linger { left: u64, shut: bool },
    /// One of too many: waits for the request, to refuse it.
    Refusing,
    /// Closes once everything is written.
    Closing,
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) phase: Phase,
    pub(crate) exchange: Option<Box<Exchange>>,
    pub(crate) framing: Framing,
    /// What is left of the request body.
    pub(crate) body: Body,
    /// What is there of it.
    collected: Vec<u8>,
    upload: Option<Share>,
    scan: Scan,
    /// When the phase began, or its peer last did something.
    pub(crate) since: Instant,
    /// The connection ends after the answer.
    pub(crate) close: bool,
    /// The answer comes in chunks.
    pub(crate) chunked: bool,
    /// Where the loop's timers have it.
    pub(crate) timer: Option<Instant>,
    /// Its part in the count of connections, or of refusals.
    _counted: Share,
}

/// What a request head led to.
enum Opened {
    Exchange(Box<Exchange>),
    Answer(Response),
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, refused: bool, now: Instant, counted: Share) -> Self {
        let mut input = Input::default();
        // What came before it was registered has no event.
        input.notice(true, false);
        Self {
            stream,
            input,
            output: Output::default(),
            phase: if refused {
                Phase::Refusing
            } else {
                Phase::Head
            },
            exchange: None,
            framing: Framing {
                http11: true,
                keep_alive: false,
                expects: false,
                is_head: false,
                length: Length::Known(0),
            },
            body: Body::Ended,
            collected: Vec::new(),
            upload: None,
            scan: Scan::default(),
            since: now,
            close: false,
            chunked: false,
            timer: None,
            _counted: counted,
        }
    }

    /// Does everything that can be done now.
    pub(crate) fn turn(&mut self, desk: &mut Desk) -> Fate {
        self.advance(desk).unwrap_or_else(|error| {
            tracing::debug!(%error, "connection lost");
            Fate::Closed
        })
    }

    fn advance(&mut self, desk: &mut Desk) -> io::Result<Fate> {
        for _ in 0..STEPS_PER_TURN {
            if !self.output.flush(&self.stream, desk.now)? {
                return Ok(Fate::Open);
            }
            let flow = match self.phase {
                Phase::Head => self.read_head(desk)?,
                Phase::Body { limit } => self.read_body(desk, limit)?,
                Phase::Running => self.step(desk)?,
                Phase::Waiting { until, .. } => {
                    if until.is_none_or(|until| until > desk.now) {
                        Flow::Stop
                    } else {
                        self.phase = Phase::Running;
                        Flow::Go
                    }
                }
                Phase::Blocked => Flow::Stop,
                Phase::Discard { left } => self.discard(desk, left)?,
                Phase::Linger { left, shut } => self.linger(desk, left, shut)?,
                Phase::Refusing => self.refuse_connection(desk)?,
                Phase::Closing => Flow::Close,
            };
            match flow {
                Flow::Go => {}
                Flow::Stop => return Ok(Fate::Open),
                Flow::Close => return Ok(Fate::Closed),
            }
        }
        Ok(Fate::Again)
    }

    /// Arranges the wake of a waiting exchange, under the name `token`.
    pub(crate) fn register(&mut self, sink: &Arc<dyn CompletionSink>, name: u64) {
        if let (Phase::Waiting { token, .. }, Some(exchange)) =
            (&mut self.phase, &mut self.exchange)
            && token.is_none()
        {
            *token = Some(name);
            exchange.register(sink, name);
        }
    }

    /// Whether this wake is the one waited for; if so, the exchange is to be stepped.
    pub(crate) fn woken(&mut self, name: u64, wake: &Wake) -> bool {
        if !matches!(self.phase, Phase::Waiting { token, .. } if token == Some(name)) {
            return false;
        }
        if let (Wake::Failed(cause), Some(exchange)) = (wake, &mut self.exchange) {
            exchange.fail(cause);
        }
        self.phase = Phase::Running;
        true
    }

    /// Takes the exchange back from a blocking thread.
    pub(crate) fn unblocked(&mut self, exchange: Option<Box<Exchange>>) {
        if matches!(self.phase, Phase::Blocked) {
            self.phase = match exchange {
                Some(_) => Phase::Running,
                None => Phase::Closing,
            };
            self.exchange = exchange;
        }
    }

    /// The peer sends nothing more. It may still read an answer, but a live read is over.
    pub(crate) fn peer_is_done(&mut self) {
        if let Phase::Waiting { until: Some(_), .. } = self.phase {
            self.exchange = None;
            self.phase = Phase::Closing;
        }
    }

    /// The listener stops: steps a live read, looks once more for a request at an idle connection.
    pub(crate) fn wind_down(&mut self) {
        match self.phase {
            Phase::Waiting { until: Some(_), .. } => self.phase = Phase::Running,
            Phase::Head => self.input.notice(true, false),
            _ => {}
        }
    }

    /// When this connection must be looked at, event or not.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if let Some(since) = self.output.since() {
            return Some(since + limits.stall);
        }
        match self.phase {
            Phase::Head => Some(self.since + limits.keep_alive),
            Phase::Body { .. } | Phase::Discard { .. } => Some(self.since + limits.stall),
            Phase::Waiting { until, .. } => until,
            Phase::Linger { .. } => Some(self.since + limits.linger),
            Phase::Refusing => Some(self.since + REFUSAL_TIME),
            Phase::Running | Phase::Blocked | Phase::Closing => None,
        }
    }

    /// Whether its peer has kept us waiting too long.
    pub(crate) fn is_overdue(&self, desk: &Desk) -> bool {
        let waits_for_log = self.output.is_empty() && matches!(self.phase, Phase::Waiting { .. });
        !waits_for_log
            && self
                .deadline(&desk.limits)
                .is_some_and(|deadline| deadline <= desk.now)
    }

    fn fill(&mut self, desk: &mut Desk) -> io::Result<Fill> {
        self.input.fill(&self.stream, &mut desk.scratch)
    }

    fn read_head(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        let limit = desk.limits.max_header_bytes;
        let end = match self.scan.end(self.input.bytes()) {
            Err(refused) => return self.refuse(desk, refused),
            Ok(end) => end,
        };
        if end.unwrap_or(self.input.bytes().len()) > limit {
            let detail = "the request head is longer than this server takes";
            return self.refuse(
                desk,
                Refused {
                    status: 431,
                    detail,
                },
            );
        }
        let Some(end) = end else {
            let was_idle = self.input.is_empty();
            return Ok(match self.fill(desk)? {
                Fill::Some => {
                    if was_idle {
                        self.since = desk.now;
                    }
                    Flow::Go
                }
                Fill::Nothing if !desk.stopping => Flow::Stop,
                Fill::Nothing | Fill::End => Flow::Close,
            });
        };
        let raw = self.input.bytes().get(..end).unwrap_or_default();
        let opened = head::parse(raw, &desk.local, |head, framing| {
            (open(desk, head), framing)
        });
        self.scan = Scan::default();
        self.input.consume(end);
        match opened {
            Err(refused) => self.refuse(desk, refused),
            Ok((opened, framing)) => {
                self.framing = framing;
                self.body = Body::of(framing.length);
                self.close = !framing.keep_alive;
                match opened {
                    Opened::Exchange(exchange) => {
                        self.exchange = Some(exchange);
                        self.phase = Phase::Running;
                        Ok(Flow::Go)
                    }
                    Opened::Answer(response) => self.respond(desk, response),
                }
            }
        }
    }

    /// Answers something that is not HTTP as it should be; the connection ends.
    pub(crate) fn refuse(&mut self, desk: &mut Desk, refused: Refused) -> io::Result<Flow> {
        let title = match refused.status {
            431 => "Request head too large",
            501 => "Not implemented",
            505 => "HTTP version not supported",
            _ => "Bad request",
        };
        self.exchange = None;
        self.close = true;
        let response = desk.service.problem(refused.status, title, refused.detail);
        self.respond(desk, response)
    }

    fn read_body(&mut self, desk: &mut Desk, limit: usize) -> io::Result<Flow> {
        if let Body::Length(left) = self.body
            && self.collected.is_empty()
            && let Ok(left) = usize::try_from(left)
            && let Some(whole) = self.input.bytes().get(..left)
        {
            let whole = Bytes::copy_from_slice(whole);
            self.input.consume(left);
            self.body = Body::Ended;
            self.take_body(whole);
            return Ok(Flow::Go);
        }
        if let Body::Length(left) = self.body
            && self.collected.capacity() == 0
        {
            let room = usize::try_from(left).map_or(BODY_RESERVE, |left| left.min(BODY_RESERVE));
            self.collected.reserve_exact(room);
        }
        let taken = self
            .body
            .take(self.input.bytes(), &mut self.collected, limit);
        match taken {
            Ok(used) => self.input.consume(used),
            Err(bad) => {
                self.release_body();
                let detail = bad.0;
                return self.refuse(
                    desk,
                    Refused {
                        status: 400,
                        detail,
                    },
                );
            }
        }
        if self.collected.len() > limit {
            self.release_body();
            if let Some(exchange) = &mut self.exchange {
                exchange.body_too_large(None);
            }
            self.phase = Phase::Running;
            return Ok(Flow::Go);
        }
        if self.body.ended() {
            let mut whole = std::mem::take(&mut self.collected);
            self.release_body();
            // The log may keep it for readers: not with room that nobody uses.
            whole.shrink_to_fit();
            self.take_body(Bytes::from(whole));
            return Ok(Flow::Go);
        }
        let upload = self
            .upload
            .get_or_insert_with(|| Share::new(&desk.counts, |counts| &counts.uploads));
        let total = upload.resize(self.collected.len());
        let most = desk.limits.max_upload_bytes;
        if total > most {
            self.release_body();
            return self.too_many_uploads(desk, total, most);
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

    fn take_body(&mut self, body: Bytes) {
        if let Some(exchange) = &mut self.exchange {
            exchange.body(body);
        }
        self.phase = Phase::Running;
    }

    fn release_body(&mut self) {
        self.collected = Vec::new();
        self.upload = None;
    }

    fn too_many_uploads(&mut self, desk: &mut Desk, total: usize, most: usize) -> io::Result<Flow> {
        self.exchange = None;
        let detail = format!(
            "Request bodies of {total} bytes are being received at once and {most} are allowed; \
             try again later."
        );
        let mut response = desk.service.problem(503, "Too many uploads", &detail);
        response
            .headers
            .push(("retry-after", Bytes::from_static(b"1")));
        self.respond(desk, response)
    }

    /// Drops the rest of a body whose request is answered already.
    fn discard(&mut self, desk: &mut Desk, left: u64) -> io::Result<Flow> {
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
        Ok(match self.fill(desk)? {
            Fill::Some => {
                self.since = desk.now;
                Flow::Go
            }
            Fill::Nothing => Flow::Stop,
            Fill::End => Flow::Close,
        })
    }

    fn linger(&mut self, desk: &mut Desk, left: u64, shut: bool) -> io::Result<Flow> {
        if !shut {
            self.stream.shutdown(Shutdown::Write)?;
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
    fn refuse_connection(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        match self.fill(desk)? {
            Fill::Nothing => return Ok(Flow::Stop),
            Fill::End => return Ok(Flow::Close),
            Fill::Some => self.input.discard(),
        };
        let detail = format!(
            "The server allows {} connections at once and all are taken; try again later.",
            desk.limits.max_connections
        );
        self.close = true;
        // The head was not parsed: what follows it is dropped like a body.
        self.body = Body::Length(u64::MAX);
        let response = desk.service.problem(503, "Too many connections", &detail);
        self.respond(desk, response)
    }
}

fn open(desk: &Desk, head: &RequestHead<'_>) -> Opened {
    match probes::answer(&desk.service, desk.stopping, head) {
        Some(response) => Opened::Answer(response),
        None => Opened::Exchange(Box::new(desk.service.begin(head))),
    }
}
