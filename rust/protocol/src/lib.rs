//! The Durable Streams protocol, sans-IO.
//!
//! A listener turns bytes into a [`RequestHead`], asks [`Service::begin`] for an [`Exchange`] and
//! then does what [`Exchange::step`] says until it says [`Step::Respond`] or [`Step::End`]. All
//! rules are in here; a listener only moves bytes, waits and sleeps.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
mod cors;
mod cursor;
mod etag;
mod exchange;
mod framecache;
mod frames;
mod get;
mod head;
mod hold;
mod longpoll;
mod metadata;
mod paging;
mod post;
mod problem;
mod put;
mod query;
mod refusal;
mod response;
mod retention;
mod route;
mod sending;
mod service;
mod slicecache;
mod sse;
mod values;

use std::time::Instant;

use bytes::Bytes;
use durastream_engine::storage::Piece;

pub use config::Config;
pub use exchange::Exchange;
pub use paging::{Spot, SpotWatch};
pub use route::ConfigError;
pub use service::Service;

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
pub struct Response<T = Bytes> {
    /// Status code.
    pub status: u16,
    /// Header fields, `content-length` included where HTTP allows it.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Body, in shared pieces; empty for HEAD, 204 and 304.
    pub body: Vec<T>,
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
    /// The same, with a body of which some lies in files. Only after [`Exchange::take_files`].
    Send(Response<Piece>),
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
