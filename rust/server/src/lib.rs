//! The native listener: HTTP/1.1 and HTTP/2 from threads of its own, without Python.
//!
//! HTTP/1.1 has the fast path: one loop per thread over epoll (`loops`, `h1`). What a turn of a loop
//! appends is handed to the committer together, the engine wakes a loop once per commit group, and the
//! answers of that group leave in the turn that follows. Beside each loop a thread with a tokio runtime
//! (`side`) does what needs no such care: HTTP/2, TLS handshakes, and requests that are no operations of
//! streams, which another listener answers over a Unix socket.
//!
//! All rules of the protocol are in `durastream-protocol`; this crate moves bytes, waits and sleeps.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod asked;
mod date;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod h1;
mod limits;
mod listener;
mod loops;
mod refusal;
mod routes;
mod sampling;
mod side;
mod socket;
mod tally;

pub use limits::Limits;
pub use listener::{Address, Listener, StartError};
pub use routes::Upstream;
pub use sampling::{TraceParent, TraceSampler};
pub use side::tls::{TlsError, TlsFiles};
pub use tally::ListenerStats;
