//! One connection: what it waits for, and what it reads.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_engine::storage::Lsn;
use durastream_engine::{CompletionSink, Wake};
use durastream_protocol::{Exchange, RequestHead};

use super::body::Body;
use super::head::{self, Framing, Refused, Scan};
use super::input::{Fill, Input};
use super::output::{Flushed, Output, WARM_BYTES};
use super::relay::{Handover, Relay};
use crate::Limits;
use crate::asked::Asked;
use crate::limits::Pace;
use crate::loops::blocking::{Done, Work};
use crate::loops::crowds::Crowds;
use crate::loops::desk::{Desk, Share};
use crate::loops::slots::crowd_token;
use crate::socket::{Plain, Socket};
use crate::tally::{Crowded, Operation, Tally};

/// What a client that speaks HTTP/2 sends first (RFC 9113 section 3.4), as far as it looks like a head.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// Steps of one connection in one turn, so that a busy one leaves time to the others.
const STEPS_PER_TURN: usize = 64;
/// Bytes of answers that it may send in one turn, for the same reason.
const BYTES_PER_TURN: usize = 1 << 20;
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
    /// It speaks HTTP/2: another is to serve it.
    Http2,
}

/// What to do after a step.
pub(crate) enum Flow {
    Go,
    Stop,
    Close,
    Http2,
}

/// What a connection is at.
pub(crate) enum Phase {
    /// Reads a request head.
    Head,
    /// Reads a request body of at most `limit` bytes.
    Body { limit: usize, pace: Pace },
    /// The exchange is to be stepped.
    Running,
    /// The exchange waits, for a wake or until then.
    Waiting {
        until: Option<Instant>,
        /// The name of the wake, once it is arranged.
        token: Option<u64>,
        /// It is that of a crowd.
        crowded: Option<Crowded>,
    },
    /// The exchange is with a blocking thread.
    Blocked,
    /// Another listener answers.
    Relaying,
    /// Drops the rest of a request body, at most so many bytes.
    Discard { left: u64 },
    /// Sends nothing more; drops what the peer still sends. Closing at once would reset the
    /// connection, and the answer just sent could be lost with it.
    Linger { left: u64, shut: bool },
    /// One of too many: waits for the request, to refuse it.
    Refusing,
    /// Closes once everything is written, unless the peer has sent more meanwhile.
    Closing,
}

/// One connection.
pub(crate) struct Connection {
    /// Its part in the count of connections, or of refusals. First, so that it is given back before the socket closes:
    /// a peer that sees the end finds itself counted no more.
    pub(crate) counted: Share,
    pub(crate) socket: Socket,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) phase: Phase,
    pub(crate) exchange: Option<Box<Exchange>>,
    pub(crate) relay: Option<Box<Relay>>,
    /// The request, as it is counted.
    pub(super) asked: Asked,
    pub(crate) framing: Framing,
    /// What is left of the request body.
    pub(crate) body: Body,
    /// What is there of it.
    pub(super) collected: Vec<u8>,
    pub(super) upload: Option<Share>,
    scan: Scan,
    /// When the phase began, or its peer last did something.
    pub(crate) since: Instant,
    /// The connection ends after the answer.
    pub(crate) close: bool,
    /// The answer comes in chunks.
    pub(crate) chunked: bool,
    /// Where the loop's timers have it.
    pub(crate) timer: Option<Instant>,
    /// The loop knows that it has more to do.
    pub(crate) again: bool,
    /// A request was read, or is being refused: what follows cannot be HTTP/2.
    used: bool,
}

/// What a request head led to.
enum Opened {
    Exchange(Box<Exchange>),
    Elsewhere(Box<Handover>),
}

impl Connection {
    pub(crate) fn new(socket: Socket, refused: bool, now: Instant, counted: Share) -> Self {
        let mut input = Input::default();
        // What came before it was registered has no event.
        input.notice(true, false);
        Self {
            socket,
            input,
            output: Output::default(),
            phase: if refused {
                Phase::Refusing
            } else {
                Phase::Head
            },
            exchange: None,
            relay: None,
            asked: Asked::nothing(now),
            framing: Framing::default(),
            body: Body::Ended,
            collected: Vec::new(),
            upload: None,
            scan: Scan::default(),
            since: now,
            close: false,
            chunked: false,
            timer: None,
            again: false,
            used: refused,
            counted,
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
        let mut allowed = BYTES_PER_TURN;
        for _ in 0..STEPS_PER_TURN {
            let (socket, scratch) = (&mut self.socket, &mut desk.scratch);
            match self.output.flush(socket, scratch, &mut allowed, desk.now)? {
                Flushed::All => {}
                Flushed::Blocked => return Ok(Fate::Open),
                Flushed::Spent => return Ok(Fate::Again),
                Flushed::Cold(part) => {
                    let sent = desk.block(Work::Warm(part, WARM_BYTES));
                    return Ok(if sent { Fate::Open } else { Fate::Closed });
                }
            }
            let flow = match self.phase {
                Phase::Head => self.read_head(desk)?,
                Phase::Body { limit, pace } => self.read_body(desk, limit, pace)?,
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
                Phase::Relaying => self.relay(desk)?,
                Phase::Discard { left } => self.discard(desk, left)?,
                Phase::Linger { left, shut } => self.linger(desk, left, shut)?,
                Phase::Refusing => self.refuse_connection(desk)?,
                Phase::Closing => self.close_or_linger(desk)?,
            };
            match flow {
                Flow::Go => {}
                Flow::Stop => return Ok(Fate::Open),
                Flow::Close => return Ok(Fate::Closed),
                Flow::Http2 => return Ok(Fate::Http2),
            }
        }
        Ok(Fate::Again)
    }

    /// Arranges the wake of a waiting exchange, under the name `name`, alone or in one of `crowds`; gives the LSN when
    /// it only waits for the log, which is then the caller's to watch.
    pub(crate) fn register(
        &mut self,
        sink: &Arc<dyn CompletionSink>,
        name: u64,
        crowds: &mut Crowds,
        tally: &Arc<Tally>,
    ) -> Option<Lsn> {
        let (Phase::Waiting { token, crowded, .. }, Some(exchange)) =
            (&mut self.phase, &mut self.exchange)
        else {
            return None;
        };
        if token.is_some() {
            return None;
        }
        *token = Some(name);
        let awaited = exchange.awaits();
        if awaited.is_none() {
            if crowds.join(exchange, name, sink, crowd_token) {
                *crowded = Some(Crowded::new(tally));
            } else {
                exchange.register(sink, name);
            }
        }
        awaited
    }

    /// Whether it waits for the wake of this name.
    pub(crate) fn awaits(&self, name: u64) -> bool {
        matches!(self.phase, Phase::Waiting { token, .. } if token == Some(name))
    }

    /// Whether this wake is the one waited for; if so, the exchange is to be stepped.
    pub(crate) fn woken(&mut self, name: u64, wake: &Wake) -> bool {
        if !self.awaits(name) {
            return false;
        }
        match (wake, &mut self.exchange) {
            (Wake::Ready, Some(exchange)) => exchange.woken(),
            (Wake::Failed(cause), Some(exchange)) => exchange.fail(cause),
            (_, None) => {}
        }
        self.phase = Phase::Running;
        true
    }

    /// Goes on with what a blocking thread did.
    pub(crate) fn unblocked(&mut self, done: Done, now: Instant) {
        let exchange = match done {
            Done::Warm(is_there) => return self.output.warmed(is_there, now),
            Done::Exchange(exchange) => exchange,
        };
        if matches!(self.phase, Phase::Blocked) {
            self.phase = match exchange {
                Some(_) => Phase::Running,
                None => Phase::Closing,
            };
            self.exchange = exchange;
        }
    }

    /// The peer sends nothing more. It may still read an answer, but a live read is over, and another listener is not
    /// waited for without end.
    pub(crate) fn peer_is_done(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { until: Some(_), .. } => {
                self.exchange = None;
                self.phase = Phase::Closing;
            }
            Phase::Relaying => self.since = now,
            _ => {}
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
            Phase::Body { pace, .. } => {
                let stalls = self.since + limits.stall;
                Some(pace.until.map_or(stalls, |until| until.min(stalls)))
            }
            Phase::Discard { .. } => Some(self.since + limits.stall),
            Phase::Waiting { until, .. } => until,
            Phase::Linger { .. } => Some(self.since + limits.linger),
            Phase::Refusing => Some(self.since + REFUSAL_TIME),
            Phase::Relaying => {
                let awaits_body = self.relay.as_ref().is_some_and(|relay| relay.awaits_body);
                (awaits_body || self.input.hung_up()).then_some(self.since + limits.stall)
            }
            Phase::Running | Phase::Blocked | Phase::Closing => None,
        }
    }

    /// Whether its peer has kept us waiting too long. Who sends a body too slowly is told so instead.
    pub(crate) fn is_overdue(&self, desk: &Desk) -> bool {
        if matches!(self.phase, Phase::Body { .. }) && self.output.since().is_none() {
            return self.since + desk.limits.stall <= desk.now;
        }
        let waits_for_log =
            self.output.since().is_none() && matches!(self.phase, Phase::Waiting { .. });
        !waits_for_log
            && self
                .deadline(&desk.limits)
                .is_some_and(|deadline| deadline <= desk.now)
    }

    pub(super) fn fill(&mut self, desk: &mut Desk) -> io::Result<Fill> {
        self.input.fill(&mut self.socket, &mut desk.scratch)
    }

    /// The socket, for another to serve.
    pub(crate) fn into_plain(self) -> Option<(Plain, Share)> {
        match self.socket {
            Socket::Plain(plain) => Some((plain, self.counted)),
            Socket::Tls(_) => None,
        }
    }

    /// All bytes read and not used, for whoever serves the connection from now on.
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        let bytes = self.input.bytes().to_vec();
        self.input.discard();
        bytes
    }

    fn read_head(&mut self, desk: &mut Desk) -> io::Result<Flow> {
        let limit = desk.limits.max_header_bytes;
        let end = match self.scan.end(self.input.bytes()) {
            Err(refused) => return self.refuse_head(desk, refused),
            Ok(end) => end,
        };
        if end.unwrap_or(self.input.bytes().len()) > limit {
            let detail = "the request head is longer than this server takes";
            let refused = Refused {
                status: 431,
                detail,
            };
            return self.refuse_head(desk, refused);
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
        if raw == PREFACE && !self.used && !self.socket.is_tls() {
            return Ok(Flow::Http2);
        }
        self.used = true;
        let scheme = if self.socket.is_tls() {
            "https"
        } else {
            "http"
        };
        let place = head::Place {
            scheme,
            authority: &desk.local,
        };
        let opened = head::parse(raw, place, |head, target, framing| {
            let asked = ask(desk, &self.socket, head, target, framing.http11);
            let files = self.socket.sends_files();
            open(desk, head, target, files).map(|opened| (opened, framing, asked))
        });
        self.scan = Scan::default();
        self.input.consume(end);
        match opened.and_then(|opened| opened) {
            Err(refused) => self.refuse_head(desk, refused),
            Ok((opened, framing, asked)) => {
                self.asked = asked;
                self.framing = framing;
                self.body = Body::of(framing.length);
                self.close = !framing.keep_alive;
                match opened {
                    Opened::Exchange(exchange) => {
                        self.exchange = Some(exchange);
                        self.phase = Phase::Running;
                        Ok(Flow::Go)
                    }
                    Opened::Elsewhere(handover) => {
                        self.asked.operation = Operation::Other;
                        Ok(self.hand_over(desk, *handover, framing))
                    }
                }
            }
        }
    }

    fn refuse_head(&mut self, desk: &mut Desk, refused: Refused) -> io::Result<Flow> {
        // The request before it had a framing of its own.
        self.framing = Framing::default();
        self.used = true;
        let unknown = ("-", "-", "-");
        let chosen = desk.sampler.choose(|| None);
        self.asked = Asked::new(Operation::Other, desk.now, chosen, unknown, || {
            (self.socket.plain().peer(), None)
        });
        self.refuse(desk, refused)
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
}

fn ask(desk: &Desk, socket: &Socket, head: &RequestHead<'_>, target: &str, http11: bool) -> Asked {
    let version = if http11 { "1.1" } else { "1.0" };
    let told = (head.method, target, version);
    let operation = Operation::of(head.method, head.query);
    let chosen = desk.sampler.choose(|| {
        let mut fields = head.headers.iter();
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"traceparent"));
        found.map(|(_, value)| *value)
    });
    Asked::new(operation, desk.now, chosen, told, || {
        (socket.plain().peer(), desk.service.base_path(head.path))
    })
}

fn open(
    desk: &Desk,
    head: &RequestHead<'_>,
    target: &str,
    sends_files: bool,
) -> Result<Opened, Refused> {
    if let Some(socket) = desk.routes.elsewhere(&desk.service, head.method, head.path) {
        return Handover::new(socket.clone(), head, target)
            .map(|handover| Opened::Elsewhere(Box::new(handover)));
    }
    let mut exchange = desk.service.begin(head);
    if sends_files {
        exchange.take_files();
    }
    Ok(Opened::Exchange(Box::new(exchange)))
}
