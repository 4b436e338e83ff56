//! The native listener: HTTP/1.1 from threads of its own, without Python.
//!
//! One loop per thread over epoll. What a turn of a loop appends is handed to the committer
//! together, the engine wakes a loop once per commit group, and the answers of that group leave in
//! the turn that follows. All rules of the protocol are in `durastream-protocol`; this crate moves
//! bytes, waits and sleeps. HTTP/2, TLS and forwarding to another listener are not in it yet.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answer;
mod blocking;
mod body;
mod connection;
mod desk;
mod drive;
mod eventloop;
mod head;
mod input;
mod limits;
mod listener;
mod mailbox;
mod output;
mod probes;
mod slots;
mod timers;

pub use limits::Limits;
pub use listener::{Listener, StartError};
