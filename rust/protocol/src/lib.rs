//! The Durable Streams protocol, sans-IO.
//!
//! A listener turns bytes into a [`RequestHead`], asks [`Service::begin`] for an [`Exchange`] and
//! then does what [`Exchange::step`] says until it says [`Step::Respond`] or [`Step::End`]. All
//! rules are in here; a listener only moves bytes, waits and sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::storage::CommitError;
use durastream_engine::{CompletionSink, Engine};

/// Choices and limits of the protocol layer. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where streams live; default `/v1/stream` and `/v1/streams`; `/` takes every path that is left.
    pub base_paths: Vec<String>,
    /// How long a long-poll waits; default 30 s.
    pub long_poll_timeout: Duration,
    /// After how long an SSE response ends at an event boundary; default 60 s.
    pub sse_max: Duration,
    /// Silence after which SSE sends a comment; default 15 s.
    pub sse_heartbeat: Duration,
    /// Largest page, in bytes; default 4 MiB (one append may be larger).
    pub page_bytes: usize,
    /// Origins allowed by CORS; default any (`*`).
    pub cors_origins: Vec<String>,
    /// How long an early producer sequence is held for its predecessor; default 20 ms, zero: not at all.
    pub hold_time: Duration,
    /// Most appends held at once; default 1,024.
    pub hold_count: usize,
    /// Most body bytes held at once; default 64 MiB.
    pub hold_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_paths: vec!["/v1/stream".to_owned(), "/v1/streams".to_owned()],
            long_poll_timeout: Duration::from_secs(30),
            sse_max: Duration::from_secs(60),
            sse_heartbeat: Duration::from_secs(15),
            page_bytes: 4 << 20,
            cors_origins: vec!["*".to_owned()],
            hold_time: Duration::from_millis(20),
            hold_count: 1024,
            hold_bytes: 64 << 20,
        }
    }
}

/// The head of a request, as it came off the wire.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Method, case-sensitive.
    pub method: &'a str,
    /// Raw (percent-encoded) path, without the mount prefix.
    pub path: &'a [u8],
    /// Raw query without `?`; empty when there is none.
    pub query: &'a [u8],
    /// Names in any case, values raw, in order, repeats included.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// `http` or `https`, for `Location`.
    pub scheme: &'a str,
    /// Host and port, for `Location`.
    pub authority: &'a str,
    /// Path prefix under which the application is mounted, for `Location`; empty at the root.
    pub prefix: &'a str,
}

/// A response head and body. Names are lower case.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, `content-length` included where HTTP allows it.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Body, in shared pieces; empty for HEAD, 204 and 304.
    pub body: Vec<Bytes>,
}

/// What a listener must do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Read the request body, at most `limit` bytes, then call [`Exchange::body`]; when it is
    /// larger (by `content-length` or by count), call [`Exchange::body_too_large`] instead.
    NeedBody {
        /// Limit in bytes.
        limit: usize,
    },
    /// Send this whole response; the exchange is over. A request body still unread is drained or reset.
    Respond(Response),
    /// Send this head (its body is empty) and keep the response open for `Chunk`s.
    Start(Response),
    /// Send this piece of the body, at once and in one write; then step again when it was taken.
    Chunk(Bytes),
    /// End the response body; the exchange is over.
    End,
    /// Call [`Exchange::register`], then step again at its wake or at `until`, whichever is first.
    Wait {
        /// The deadline; `None` when only the wake (an acknowledgement) counts.
        until: Option<Instant>,
    },
    /// Call [`Exchange::block`] where blocking is allowed, then step again.
    Block,
}

/// The protocol over an engine. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    _private: (),
}

impl Service {
    /// Wraps an engine. Base paths are normalised here.
    pub fn new(_engine: Engine, _config: Config) -> Result<Self, ConfigError> {
        todo!()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        todo!()
    }

    /// Whether a raw path is a stream's (or a control API's) by the base paths. `/` counts only for
    /// what the caller does not serve itself.
    pub fn routes(&self, _path: &[u8]) -> bool {
        todo!()
    }

    /// Begins to answer a request. Never blocks.
    pub fn begin(&self, _head: &RequestHead<'_>) -> Exchange {
        todo!()
    }

    /// A problem+json response with CORS and security headers, for faults that a listener itself finds
    /// (unparsable request, too many connections, shutdown, an unknown path).
    pub fn problem(&self, _status: u16, _title: &str, _detail: &str) -> Response {
        todo!()
    }

    /// From now on long-polls answer and SSE ends at the next step; new live reads answer at once.
    /// The listener steps its waiting exchanges once more after calling this.
    pub fn shut_down(&self) {
        todo!()
    }
}

/// A base path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("base path {path:?}: {detail}")]
pub struct ConfigError {
    /// As given.
    pub path: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// One request being answered. Dropping it withdraws its watches.
pub struct Exchange {
    _private: (),
}

impl Exchange {
    /// What to do next. Never blocks.
    pub fn step(&mut self, _now: Instant) -> Step {
        todo!()
    }

    /// Hands over the request body after `NeedBody`.
    pub fn body(&mut self, _body: Bytes) {
        todo!()
    }

    /// Says that the body is larger than the limit: `size` when a length was declared.
    pub fn body_too_large(&mut self, _size: Option<u64>) {
        todo!()
    }

    /// Arranges the wake that the last `Wait` is about. Exactly one wake arrives, unless the
    /// exchange steps or drops first (then none or one).
    pub fn register(&mut self, _sink: &Arc<dyn CompletionSink>, _token: u64) {
        todo!()
    }

    /// Tells that the wake was a failure ([`durastream_engine::Wake::Failed`]): the next step answers 503 or 507.
    pub fn fail(&mut self, _cause: &CommitError) {
        todo!()
    }

    /// Does the blocking part (a cold read).
    pub fn block(&mut self) {
        todo!()
    }
}
