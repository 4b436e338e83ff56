//! One HTTP/2 stream: a request and its answer.

use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use durastream_engine::Wake;
use durastream_engine::storage::{CommitError, Lsn};
use durastream_protocol::{Exchange, RequestHead, Response, Step};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderValue, Method, Request, header, request};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::mpsc;

use super::Room;
use super::flow::{Body, Link, Outlet, Over, Taken};
use super::upstream::{self, Piece, Pieces};
use crate::asked::Asked;
use crate::refusal;
use crate::tally::Operation;

/// Pieces of a forwarded body under way.
const PIECES: usize = 4;

/// A request for a stream, and its answer under way. Dropped before that is sent, it resets the stream.
pub(super) struct Call {
    exchange: Exchange,
    body: Body,
    outlet: Outlet,
}

/// What a request asks for.
pub(super) enum Asks {
    /// An operation of a stream.
    Call(Box<Call>),
    /// What another listener answers, in a task.
    Elsewhere(Pin<Box<dyn Future<Output = ()>>>),
}

/// Takes a request of `peer`.
pub(super) fn take(
    room: &Rc<Room>,
    (scheme, peer): (&'static str, &str),
    link: &Rc<Link>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    now: Instant,
) -> Asks {
    let (head, body) = request.into_parts();
    let path = head.uri.path().as_bytes();
    let elsewhere = room
        .routes
        .elsewhere(&room.service, head.method.as_str(), path);
    let mut asked = ask(room, &head, peer, now);
    if elsewhere.is_some() {
        asked.operation = Operation::Other;
    }
    let body = Body::new(Rc::clone(link), &asked, &head, body);
    let mut outlet = Outlet::new(Rc::clone(room), respond, asked);
    let Some(socket) = elsewhere else {
        return Asks::Call(Box::new(Call {
            exchange: begin(room, &head, scheme),
            body,
            outlet,
        }));
    };
    let (room, socket) = (Rc::clone(room), socket.clone());
    Asks::Elsewhere(Box::pin(async move {
        let mut body = body;
        // What ends a stream early needs no further treatment: dropping both ends resets it.
        let answered = forward(&room, &socket, head, scheme, &mut body, &mut outlet).await;
        if answered.is_ok() {
            body.drain().await;
        }
    }))
}

fn ask(room: &Room, head: &request::Parts, peer: &str, now: Instant) -> Asked {
    let uri = &head.uri;
    let target = uri.path_and_query().map_or("-", |target| target.as_str());
    let method = head.method.as_str();
    let operation = Operation::of(method, uri.query().unwrap_or_default().as_bytes());
    let chosen = room
        .sampler
        .choose(|| head.headers.get("traceparent").map(HeaderValue::as_bytes));
    Asked::new(operation, now, chosen, (method, target, "2"), || {
        let base = room.service.base_path(uri.path().as_bytes());
        (peer.to_owned(), base)
    })
}

/// What a call needs next.
pub(super) enum Next {
    /// The log, durable up to there.
    Log(Lsn),
    /// To be answered with this, which has no body.
    Answer(Response),
    /// A task, which does this first.
    Task(Step),
    /// Nothing: its client is gone.
    Over,
}

impl Call {
    /// Goes as far as it can without waiting.
    pub(super) fn advance(&mut self, now: Instant) -> Next {
        loop {
            match self.exchange.step(now) {
                Step::NeedBody { limit } => match self.body.at_hand(limit, now) {
                    Ok(Some(body)) => self.exchange.body(body),
                    Ok(None) => return Next::Task(Step::NeedBody { limit }),
                    Err(Over) => return Next::Over,
                },
                Step::Respond(response) if response.body.is_empty() && self.body.is_over() => {
                    return Next::Answer(response);
                }
                Step::Wait { until: None } => match self.exchange.awaits() {
                    Some(lsn) => return Next::Log(lsn),
                    None => return Next::Task(Step::Wait { until: None }),
                },
                step => return Next::Task(step),
            }
        }
    }

    /// Tells that what it waits for will never be durable.
    pub(super) fn fail(&mut self, cause: &CommitError) {
        self.exchange.fail(cause);
    }

    /// Sends an answer that has no body.
    pub(super) fn answer(mut self: Box<Self>, response: Response, now: Instant) {
        let _ = self.outlet.start(response, true, now);
    }

    /// Does `step` and goes on to the end.
    pub(super) async fn run(self: Box<Self>, step: Step) {
        let _ = self.go_on(step).await;
    }

    async fn go_on(self: Box<Self>, mut step: Step) -> Result<(), Over> {
        let Self {
            exchange,
            mut body,
            mut outlet,
        } = *self;
        // In a box: it is large, and would make every task as large.
        let mut exchange = Box::new(exchange);
        let room = Rc::clone(outlet.room());
        if let Step::NeedBody { limit } = step {
            match body.whole(limit).await? {
                Taken::Whole(body) => exchange.body(body),
                Taken::TooLarge(size) => exchange.body_too_large(size),
                Taken::Refused(response) => {
                    return tokio::join!(outlet.respond(response), body.drain()).0;
                }
            }
            step = exchange.step(Instant::now());
        }
        if let Step::Respond(response) = step {
            return tokio::join!(outlet.respond(response), body.drain()).0;
        }
        // A body is asked for first or not at all. What nobody reads of one would hold the window of its connection.
        drop(body);
        loop {
            match step {
                Step::Respond(response) => return outlet.respond(response).await,
                Step::Start(response) => outlet.start(response, false, Instant::now())?,
                Step::Chunk(data) => outlet.send([data], false).await?,
                Step::End => return outlet.send([], true).await,
                Step::Wait { until } => wait(&room, &mut exchange, until, &mut outlet).await?,
                Step::Block => {
                    let blocked = tokio::task::spawn_blocking(move || {
                        exchange.block();
                        exchange
                    });
                    exchange = blocked.await.map_err(|_| {
                        tracing::error!("a cold read panicked");
                        Over
                    })?;
                }
                step => {
                    tracing::error!(?step, "a step that this listener does not know");
                    return Err(Over);
                }
            }
            step = exchange.step(Instant::now());
        }
    }
}

/// Waits for the engine, the deadline, the listener's end or the client's.
async fn wait(
    room: &Room,
    exchange: &mut Exchange,
    until: Option<Instant>,
    outlet: &mut Outlet,
) -> Result<(), Over> {
    let mut waiting = match exchange.awaits() {
        Some(lsn) => room.wakes.begin_ack(lsn),
        None => room
            .wakes
            .begin(|sink, token| exchange.register(sink, token)),
    };
    let wake = match until {
        // An acknowledgement comes with the next commit, whatever the client does.
        None => waiting.wake().await,
        Some(until) => {
            let mut stopping = room.stopping.clone();
            let told = stopping.borrow_and_update().is_some();
            tokio::select! {
                wake = waiting.wake() => wake,
                () = tokio::time::sleep_until(until.into()) => None,
                _ = stopping.changed(), if !told => None,
                () = outlet.reset_by_client() => return Err(Over),
            }
        }
    };
    if let Some(Wake::Failed(cause)) = wake {
        exchange.fail(&cause);
    }
    Ok(())
}

fn begin(room: &Room, head: &request::Parts, scheme: &str) -> Exchange {
    let host = head.headers.get(header::HOST);
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => host
            .and_then(|host| host.to_str().ok())
            .unwrap_or(&room.local),
    };
    let headers: Vec<(&[u8], &[u8])> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .collect();
    room.service.begin(&RequestHead {
        method: head.method.as_str(),
        path: head.uri.path().as_bytes(),
        query: head.uri.query().unwrap_or_default().as_bytes(),
        headers: &headers,
        scheme,
        authority,
        prefix: "",
    })
}

/// Has the other listener answer, streaming both ways.
async fn forward(
    room: &Room,
    socket: &Path,
    head: request::Parts,
    scheme: &'static str,
    body: &mut Body,
    outlet: &mut Outlet,
) -> Result<(), Over> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let is_head = head.method == Method::HEAD;
    let request = adapted(head, scheme, Pieces::new(pieces, body.length(), || {}))?;
    let answer = async {
        let answer = match upstream::send(socket, request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "the listener of the control APIs does not answer");
                return outlet.respond(refusal::bad_gateway(&room.service)).await;
            }
        };
        let (head, mut body) = answer.into_parts();
        let ends = is_head || body.is_end_stream();
        let mut out = http::Response::new(());
        *out.status_mut() = head.status;
        *out.headers_mut() = head.headers;
        outlet.pass_on(out, ends)?;
        if ends {
            return Ok(());
        }
        loop {
            match body.frame().await {
                None => return outlet.send([], true).await,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the listener of the control APIs broke off");
                    outlet.break_off();
                    return Err(Over);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        outlet.send([data], false).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        answered = answer => answered,
        over = pump(body, sender) => over,
    }
}

fn adapted<B>(head: request::Parts, scheme: &'static str, body: B) -> Result<Request<B>, Over> {
    let mut request = Request::new(body);
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| Over)?;
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    upstream::adapt(request.headers_mut(), scheme);
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

/// Passes the request body on; ends only when it cannot be.
async fn pump(body: &mut Body, sender: mpsc::Sender<Piece>) -> Result<(), Over> {
    while let Some(piece) = body.next().await? {
        if sender.send(Piece::Data(piece)).await.is_err() {
            // Whoever does not want it all answers without.
            return std::future::pending().await;
        }
    }
    let _ = sender.send(Piece::End).await;
    std::future::pending().await
}
