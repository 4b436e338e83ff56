//! A listener without sockets: drives exchanges over an engine in memory, and checks on every
//! response what holds for all of them.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod events;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::{CompletionSink, Engine, Options, Wake};
use durastream_protocol::{Config, Exchange, RequestHead, Response, Service, Step};
use parking_lot::{Condvar, Mutex};
use serde_json::Value;

/// Longest real wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request, built up.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// `target` is a path below `/v1/stream/`, with its query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: format!("/v1/stream/{path}").into_bytes(),
            query: query.as_bytes().to_vec(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn head(target: &str) -> Self {
        Self::new("HEAD", target)
    }

    pub fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    /// A creation with a content type and a body.
    pub fn put(target: &str, content_type: &str, body: &str) -> Self {
        Self::new("PUT", target)
            .header("content-type", content_type)
            .body(body)
    }

    /// An append with a content type and a body.
    pub fn post(target: &str, content_type: &str, body: &str) -> Self {
        Self::new("POST", target)
            .header("content-type", content_type)
            .body(body)
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let field = (name.as_bytes().to_vec(), value.as_ref().to_vec());
        self.headers.push(field);
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The producer triple.
    pub fn producer(self, id: &str, epoch: u64, seq: u64) -> Self {
        self.header("producer-id", id)
            .header("producer-epoch", epoch.to_string())
            .header("producer-seq", seq.to_string())
    }
}

/// A response, read.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| *n == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} is sent twice");
        first.map(|(_, value)| value.as_str())
    }

    pub fn next_offset(&self) -> &str {
        self.header("stream-next-offset")
            .expect("Stream-Next-Offset")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().expect("detail").to_owned()
    }
}

/// What an exchange shows to the outside.
#[derive(Debug)]
pub enum Seen {
    /// A whole response.
    Reply(Reply),
    /// The head of an event stream.
    Head(Reply),
    /// A piece of it.
    Chunk(String),
    /// Its end.
    End,
    /// Nothing before this, unless a wake comes.
    Waiting(Instant),
}

/// Collects wakes by token.
#[derive(Default)]
struct Queue {
    woken: Mutex<HashMap<u64, Wake>>,
    changed: Condvar,
}

impl CompletionSink for Queue {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        self.woken.lock().extend(batch.drain(..));
        self.changed.notify_all();
    }
}

impl Queue {
    fn take(&self, token: u64, patience: Duration) -> Option<Wake> {
        let deadline = Instant::now() + patience;
        let mut woken = self.woken.lock();
        loop {
            if let Some(wake) = woken.remove(&token) {
                return Some(wake);
            }
            if self.changed.wait_until(&mut woken, deadline).timed_out() {
                return woken.remove(&token);
            }
        }
    }
}

/// A service over an engine in memory.
pub struct Server {
    pub service: Service,
    queue: Arc<Queue>,
    tokens: Arc<AtomicU64>,
}

impl Server {
    /// With defaults, but for a long-poll of 50 ms.
    pub fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// With other options.
    pub fn with(change: impl FnOnce(&mut Options, &mut Config)) -> Self {
        let (mut options, mut config) = (Options::default(), Config::default());
        config.long_poll_timeout = Duration::from_millis(50);
        change(&mut options, &mut config);
        Self::over(Engine::in_memory(options).expect("engine"), config)
    }

    /// Over an engine of the test's own.
    pub fn over(engine: Engine, config: Config) -> Self {
        Self {
            service: Service::new(engine, config).expect("base paths"),
            queue: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// Begins an exchange.
    pub fn begin(&self, request: &Request) -> Live {
        let headers: Vec<(&[u8], &[u8])> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        let exchange = self.service.begin(&RequestHead {
            method: &request.method,
            path: &request.path,
            query: &request.query,
            headers: &headers,
            scheme: "http",
            authority: "localhost:4437",
            prefix: "",
        });
        Live {
            exchange,
            queue: Arc::clone(&self.queue),
            tokens: Arc::clone(&self.tokens),
            token: None,
            body: request.body.clone(),
            is_head: request.method == "HEAD",
            skew: Duration::ZERO,
        }
    }

    /// The whole answer to a request; waits are lived through.
    pub fn send(&self, request: Request) -> Reply {
        let mut live = self.begin(&request);
        loop {
            match live.poll() {
                Seen::Reply(reply) => return reply,
                Seen::Waiting(until) => live.wait(until),
                other => panic!("a whole response expected, not {other:?}"),
            }
        }
    }

    /// Like [`Self::send`], with a check of the status.
    pub fn expect(&self, status: u16, request: Request) -> Reply {
        let shown = format!(
            "{} {} {:?}",
            request.method,
            String::from_utf8_lossy(&request.path),
            request.headers
        );
        let reply = self.send(request);
        assert_eq!(
            reply.status,
            status,
            "{shown}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        reply
    }

    /// Creates a stream; gives its tail.
    pub fn create(&self, path: &str, content_type: &str, body: &str) -> String {
        self.expect(201, Request::put(path, content_type, body))
            .next_offset()
            .to_owned()
    }

    /// Appends; gives the tail.
    pub fn append(&self, path: &str, content_type: &str, body: &str) -> String {
        self.expect(204, Request::post(path, content_type, body))
            .next_offset()
            .to_owned()
    }

    /// Closes.
    pub fn close(&self, path: &str) -> String {
        self.expect(
            204,
            Request::new("POST", path).header("stream-closed", "true"),
        )
        .next_offset()
        .to_owned()
    }

    /// Reads everything as text.
    pub fn text(&self, path: &str) -> String {
        self.expect(200, Request::get(path)).text().to_owned()
    }
}

/// An exchange under way.
pub struct Live {
    exchange: Exchange,
    queue: Arc<Queue>,
    tokens: Arc<AtomicU64>,
    /// The token of the last `Waiting`.
    token: Option<u64>,
    body: Vec<u8>,
    is_head: bool,
    skew: Duration,
}

impl Live {
    /// Lets time pass for this exchange.
    pub fn pass(&mut self, time: Duration) {
        self.skew += time;
    }

    pub fn now(&self) -> Instant {
        Instant::now() + self.skew
    }

    /// Hands over the body; whether that must be looked through where blocking is allowed.
    pub fn blocks(&mut self) -> bool {
        assert!(matches!(
            self.exchange.step(self.now()),
            Step::NeedBody { .. }
        ));
        self.exchange
            .body(Bytes::from(std::mem::take(&mut self.body)));
        matches!(self.exchange.step(self.now()), Step::Block)
    }

    /// Steps until there is something to see. Acknowledgements are waited for.
    pub fn poll(&mut self) -> Seen {
        loop {
            match self.exchange.step(self.now()) {
                Step::NeedBody { limit } => {
                    if self.body.len() > limit {
                        self.exchange.body_too_large(Some(self.body.len() as u64));
                    } else {
                        self.exchange
                            .body(Bytes::from(std::mem::take(&mut self.body)));
                    }
                }
                Step::Respond(response) => {
                    let reply = read(&response);
                    check(&reply, self.is_head, false);
                    return Seen::Reply(reply);
                }
                Step::Start(response) => {
                    assert!(response.body.is_empty());
                    let reply = read(&response);
                    check(&reply, self.is_head, true);
                    return Seen::Head(reply);
                }
                Step::Chunk(chunk) => {
                    return Seen::Chunk(String::from_utf8(chunk.to_vec()).expect("UTF-8"));
                }
                Step::End => return Seen::End,
                Step::Block => self.exchange.block(),
                Step::Wait { until: None } => {
                    let token = self.register();
                    match self.queue.take(token, PATIENCE) {
                        Some(Wake::Ready) => {}
                        Some(Wake::Failed(cause)) => self.exchange.fail(&cause),
                        None => panic!("no acknowledgement"),
                    }
                }
                Step::Wait { until: Some(until) } => {
                    self.token = Some(self.register());
                    return Seen::Waiting(until);
                }
                other => panic!("an unknown step: {other:?}"),
            }
        }
    }

    fn register(&mut self) -> u64 {
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        let sink: Arc<dyn CompletionSink> = Arc::clone(&self.queue) as _;
        self.exchange.register(&sink, token);
        token
    }

    /// Waits for the wake, which must come.
    pub fn woken(&mut self) {
        let token = self.token.take().expect("a wait");
        assert!(self.queue.take(token, PATIENCE).is_some(), "no wake");
    }

    /// Whether a wake comes within a moment.
    pub fn is_woken(&mut self) -> bool {
        let token = self.token.expect("a wait");
        self.queue.take(token, Duration::from_millis(50)).is_some()
    }

    /// Waits for the wake or until then.
    pub fn wait(&mut self, until: Instant) {
        let token = self.token.take().expect("a wait");
        let left = until.saturating_duration_since(self.now());
        if let Some(Wake::Failed(cause)) = self.queue.take(token, left) {
            self.exchange.fail(&cause);
        }
    }

    /// The exchange itself.
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    pub fn reply(&mut self) -> Reply {
        match self.poll() {
            Seen::Reply(reply) => reply,
            other => panic!("a response expected, not {other:?}"),
        }
    }

    pub fn head(&mut self) -> Reply {
        match self.poll() {
            Seen::Head(reply) => reply,
            other => panic!("a head expected, not {other:?}"),
        }
    }

    pub fn chunk(&mut self) -> String {
        match self.poll() {
            Seen::Chunk(chunk) => chunk,
            other => panic!("a chunk expected, not {other:?}"),
        }
    }

    pub fn end(&mut self) {
        let seen = self.poll();
        assert!(matches!(seen, Seen::End), "the end expected, not {seen:?}");
    }

    pub fn waiting(&mut self) -> Instant {
        match self.poll() {
            Seen::Waiting(until) => until,
            other => panic!("a wait expected, not {other:?}"),
        }
    }
}

fn read(response: &Response) -> Reply {
    Reply {
        status: response.status,
        headers: response
            .headers
            .iter()
            .map(|(name, value)| {
                let value = std::str::from_utf8(value).expect("a header of text");
                assert!(
                    value.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                    "{name}: {value:?}"
                );
                (*name, value.to_owned())
            })
            .collect(),
        body: response.body.concat(),
    }
}

/// What holds for every response.
fn check(reply: &Reply, is_head: bool, is_open: bool) {
    for (name, _) in &reply.headers {
        assert_eq!(*name, name.to_ascii_lowercase());
        reply.header(name);
    }
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(reply.header("cross-origin-resource-policy").is_some());
    if reply.header("vary").is_none() {
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let exposed = reply
            .header("access-control-expose-headers")
            .expect("exposed");
        assert!(exposed.contains("Stream-SSE-Data-Encoding"));
    }
    if is_open || is_head || matches!(reply.status, 204 | 304) {
        assert!(reply.body.is_empty());
        assert_eq!(reply.header("content-length"), None);
    } else {
        let length = reply.header("content-length").expect("a length");
        assert_eq!(length, reply.body.len().to_string());
    }
    if reply.status >= 400 {
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        if !is_head {
            let problem = reply.json();
            assert_eq!(problem["status"], reply.status);
            for member in ["type", "title", "detail"] {
                assert!(
                    problem[member].as_str().is_some_and(|t| !t.is_empty()),
                    "{member}"
                );
            }
        }
    }
}

/// A server whose long-polls outlast a test.
pub fn patient() -> Server {
    Server::with(|_, config| config.long_poll_timeout = Duration::from_secs(30))
}

/// Begins a long-poll.
pub fn poll(server: &Server, target: &str) -> Live {
    server.begin(&Request::get(&format!("{target}&live=long-poll")))
}
